//! What a host loads for an app: its functions with their compiled code, and the values they see.
//!
//! Encoded as BSON, since it is read once per isolate and kept beside the deployment. It holds secrets (values that come
//! from them), so it is never logged and a host gets only the bundle of the app it was invoked for.

use bson::raw::{RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf};

/// One app's code and values.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Bundle {
    /// `context.app` as JSON text.
    pub app_json: String,
    /// `{name: value}` as JSON text, secrets filled in.
    pub values_json: String,
    /// `context.environment` as JSON text: `{"tag": …, "values": {…}}`.
    pub environment_json: String,
    pub functions: Vec<BundleFunction>,
    /// The npm packages that functions can require, when there are any.
    pub packages: Option<Packages>,
}

/// npm packages as one script, made when they were deployed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Packages {
    pub source: String,
    /// Where the script's lines came from, as JSON text: `[[file, …], [line, file, line, …]]`.
    pub lines: String,
    /// V8 code cache of the script, empty when there is none.
    pub code_cache: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct BundleFunction {
    pub name: String,
    pub source: String,
    /// V8 code cache of the wrapped source, empty when there is none; V8 checks it and falls back to compiling.
    pub code_cache: Vec<u8>,
    /// Runs as system whoever calls it.
    pub system: bool,
}

/// A bundle whose bytes make no sense; names the field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadBundle(pub String);

impl Bundle {
    pub fn encode(&self) -> Vec<u8> {
        let mut functions = RawArrayBuf::new();
        for function in &self.functions {
            let mut one = RawDocumentBuf::new();
            one.append(bson::raw::cstr!("name"), function.name.as_str());
            one.append(bson::raw::cstr!("source"), function.source.as_str());
            one.append(
                bson::raw::cstr!("code_cache"),
                bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: function.code_cache.clone() },
            );
            one.append(bson::raw::cstr!("system"), function.system);
            functions.push(one);
        }
        let mut all = RawDocumentBuf::new();
        all.append(bson::raw::cstr!("app"), self.app_json.as_str());
        all.append(bson::raw::cstr!("values"), self.values_json.as_str());
        all.append(bson::raw::cstr!("environment"), self.environment_json.as_str());
        all.append(bson::raw::cstr!("functions"), functions);
        if let Some(packages) = &self.packages {
            let mut one = RawDocumentBuf::new();
            one.append(bson::raw::cstr!("source"), packages.source.as_str());
            one.append(bson::raw::cstr!("lines"), packages.lines.as_str());
            one.append(
                bson::raw::cstr!("code_cache"),
                bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: packages.code_cache.clone() },
            );
            all.append(bson::raw::cstr!("packages"), one);
        }
        all.into_bytes()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, BadBundle> {
        let all = RawDocument::from_bytes(bytes).map_err(|error| BadBundle(error.to_string()))?;
        let text = |document: &RawDocument, key: &str| -> Result<String, BadBundle> {
            document.get_str(key).map(str::to_owned).map_err(|error| BadBundle(error.to_string()))
        };
        let mut functions = Vec::new();
        for element in all.get_array("functions").map_err(|error| BadBundle(error.to_string()))? {
            let Ok(RawBsonRef::Document(one)) = element else {
                return Err(BadBundle("a function is not a document".to_owned()));
            };
            functions.push(BundleFunction {
                name: text(one, "name")?,
                source: text(one, "source")?,
                code_cache: one.get_binary("code_cache").map_err(|error| BadBundle(error.to_string()))?.bytes.to_vec(),
                system: one.get_bool("system").map_err(|error| BadBundle(error.to_string()))?,
            });
        }
        let packages = match all.get("packages").map_err(|error| BadBundle(error.to_string()))? {
            None => None,
            Some(RawBsonRef::Document(one)) => Some(Packages {
                source: text(one, "source")?,
                lines: text(one, "lines")?,
                code_cache: one.get_binary("code_cache").map_err(|error| BadBundle(error.to_string()))?.bytes.to_vec(),
            }),
            Some(_) => return Err(BadBundle("packages are not a document".to_owned())),
        };
        Ok(Self {
            app_json: text(all, "app")?,
            values_json: text(all, "values")?,
            environment_json: text(all, "environment")?,
            functions,
            packages,
        })
    }
}
