//! Packages of a deployment to the script that hosts load.
//!
//! In: a configuration with dependencies. Out: the id of a blob that holds the script, where its lines came from, and V8's
//! code of it. The same packages and the same names make the same script, so most deployments find it made.

use std::collections::BTreeSet;

use bson::oid::ObjectId;
use bson::raw::{RawDocument, RawDocumentBuf};
use bson::spec::BinarySubtype;

use bundler::bundle::{self, package_of};
use bundler::requires::required;
use isolate_pool::compiler::{PACKAGES_PATH, Source};
use storage::model::{AppConfig, AppId};

use super::{Dependencies, blob_id, failure};
use crate::ControlPlane;
use crate::publish::PublishError;

/// A script of packages, and what whoever deploys it should be told.
#[derive(Default)]
pub(crate) struct Built {
    pub script: Option<ObjectId>,
    pub warnings: Vec<String>,
}

impl ControlPlane {
    /// Makes the script of what `config`'s functions require.
    pub(crate) async fn build_packages(
        &self,
        app: AppId,
        config: &AppConfig,
        dependencies: &Dependencies,
    ) -> Result<Built, PublishError> {
        let refused = |problem: bundler::Problem| match problem.ours {
            true => PublishError::Platform(failure(&problem)),
            false => PublishError::DoesNotInstall(failure(&problem)),
        };
        let names: BTreeSet<String> = config.functions.iter().flat_map(|function| required(&function.source)).collect();
        // Of an archive, whose top holds everything, only what is required; of a manifest everything it asks for.
        let others: BTreeSet<String> = match dependencies.is_archive() {
            true => BTreeSet::new(),
            false => dependencies.packages.iter().map(|package| package.name.clone()).collect(),
        };
        let list = |names: &BTreeSet<String>| names.iter().map(String::as_str).collect::<Vec<_>>().join("\n");
        let engine = isolate_pool::engine::snapshot::key();
        let version = env!("CARGO_PKG_VERSION");
        let id = blob_id(&[
            &dependencies.source.bytes(),
            list(&names).as_bytes(),
            list(&others).as_bytes(),
            engine.as_bytes(),
            version.as_bytes(),
        ]);
        if self.catalog.has_blob(app, id).await? {
            return Ok(Built { script: Some(id), warnings: Vec::new() });
        }
        let upload = self.upload_of(app, dependencies.source).await.map_err(PublishError::Platform)?;
        let installed = upload.install(&self.packages.installer).await.map_err(refused)?;
        // A name of a package that is not installed is no mistake yet: it may be required in a `try`, or never.
        let (names, absent): (BTreeSet<String>, BTreeSet<String>) = names
            .into_iter()
            .partition(|name| installed.tree.root.join("node_modules").join(package_of(name)).exists());
        let script = bundle::bundle(&installed.tree, &names, &others).await.map_err(refused)?;
        let mut warnings: Vec<String> = absent
            .iter()
            .chain(&script.missing)
            .map(|name| format!("a function requires '{name}', which is not among the installed packages"))
            .collect();
        warnings.extend(script.broken.iter().map(|problem| format!("{problem}; requiring it fails")));
        warnings.truncate(crate::limits::PROBLEMS_MAX);
        if script.names.is_empty() {
            return Ok(Built { script: None, warnings });
        }
        let source = Source { path: PACKAGES_PATH.to_owned(), text: script.source.clone() };
        let compiled = self.compiler.compile(vec![source]).await;
        let compiled = compiled.map_err(|error| PublishError::Platform(format!("the compiler failed: {error}")))?;
        let code_cache = match compiled.into_iter().next() {
            Some(Ok(code)) => code,
            Some(Err(error)) => {
                let place = script.lines.origin(error.line);
                let (file, line) = place.map_or((String::new(), error.line), |(file, line)| (file.to_owned(), line));
                let reason = format!("{} (line {line})", error.message);
                return Err(refused(bundler::Problem::new(reason).at(file)));
            }
            None => return Err(PublishError::Platform("the compiler did not answer for the packages".to_owned())),
        };
        let lines = script.lines.to_json();
        let packages = isolate_pool::Packages { source: script.source, lines, code_cache };
        self.catalog.put_blob(app, id, &encode(&packages)).await?;
        Ok(Built { script: Some(id), warnings })
    }
}

fn encode(packages: &isolate_pool::Packages) -> Vec<u8> {
    let mut record = RawDocumentBuf::new();
    record.append(bson::raw::cstr!("source"), packages.source.as_str());
    record.append(bson::raw::cstr!("lines"), packages.lines.as_str());
    let code = bson::Binary { subtype: BinarySubtype::Generic, bytes: packages.code_cache.clone() };
    record.append(bson::raw::cstr!("code_cache"), code);
    record.into_bytes()
}

/// The way back, for bundles.
pub(crate) fn decode(bytes: &[u8]) -> Result<isolate_pool::Packages, String> {
    let damaged = |error: bson::error::Error| format!("the script of its packages is damaged: {error}");
    let record = RawDocument::from_bytes(bytes).map_err(damaged)?;
    Ok(isolate_pool::Packages {
        source: record.get_str("source").map_err(damaged)?.to_owned(),
        lines: record.get_str("lines").map_err(damaged)?.to_owned(),
        code_cache: record.get_binary("code_cache").map_err(damaged)?.bytes.to_vec(),
    })
}
