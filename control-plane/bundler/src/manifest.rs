//! `package.json` of an app's functions, and `package-lock.json`.
//!
//! In: texts that somebody sent. Out: what is asked for, and which versions lie where, both checked: a name is a name, and
//! a place in the tree is made of names, so that a lock file cannot say where on our disk to write.

use std::collections::BTreeMap;

use nodejs_semver::{Range, Version};
use serde_json::{Map, Value as Json, json};

use crate::integrity::Integrity;
use crate::limits::PACKAGES_MAX;
use crate::problem::Problem;
use crate::registry::{Needs, Only};

const MANIFEST: &str = "package.json";
const LOCK: &str = "package-lock.json";

/// What an app's functions ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifest {
    pub dependencies: Needs,
    pub optional: Needs,
}

impl Manifest {
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let at = |reason: String| Problem::new(reason).at(MANIFEST);
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let json: Json = serde_json::from_str(text).map_err(|error| at(error.to_string()))?;
        let Json::Object(fields) = json else { return Err(at("must hold a JSON object".to_owned())) };
        let needs = |key: &str| -> Result<Needs, Problem> {
            let mut needs = Needs::new();
            match fields.get(key) {
                None | Some(Json::Null) => {}
                Some(Json::Object(found)) => {
                    for (name, asked) in found {
                        let Json::String(asked) = asked else {
                            return Err(at(format!("{key}: {name}: must be a string")));
                        };
                        if !is_name(name) {
                            return Err(at(format!("{key}: '{name}' is no name of a package")));
                        }
                        needs.insert(name.clone(), asked.clone());
                    }
                }
                Some(_) => return Err(at(format!("{key}: must be an object"))),
            }
            Ok(needs)
        };
        let optional = needs("optionalDependencies")?;
        let mut dependencies = needs("dependencies")?;
        dependencies.retain(|name, _| !optional.contains_key(name));
        if dependencies.len() + optional.len() > PACKAGES_MAX {
            return Err(at(format!("asks for more than {PACKAGES_MAX} packages")));
        }
        Ok(Self { dependencies, optional })
    }

    /// Everything that is asked for, with whether the app can do without.
    pub fn all(&self) -> impl Iterator<Item = (&str, &str, bool)> {
        let required = self.dependencies.iter().map(|(name, asked)| (name.as_str(), asked.as_str(), false));
        required.chain(self.optional.iter().map(|(name, asked)| (name.as_str(), asked.as_str(), true)))
    }
}

/// Which package lies where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lock {
    /// By place: `node_modules/a/node_modules/@b/c`.
    pub packages: BTreeMap<String, Locked>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locked {
    /// What it is called in the registry; its place may call it otherwise.
    pub name: String,
    pub version: String,
    pub integrity: Option<Integrity>,
    /// Where the lock file says it lies. Only followed where that is at our registry.
    pub resolved: Option<String>,
    /// It may be missing.
    pub optional: bool,
    /// What it asks for itself; only told to whoever reads the lock file.
    pub dependencies: Needs,
}

impl Lock {
    /// Reads a lock file of version 2 or 3. Packages for development and for other machines are left out.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let at = |reason: String| Problem::new(reason).at(LOCK);
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let json: Json = serde_json::from_str(text).map_err(|error| at(error.to_string()))?;
        match json["lockfileVersion"].as_u64() {
            Some(2 | 3) => {}
            Some(version) => {
                return Err(at(format!("lockfileVersion {version} is not supported; npm 7 or later writes 3")));
            }
            None => return Err(at("has no lockfileVersion".to_owned())),
        }
        let Some(listed) = json["packages"].as_object() else { return Err(at("has no 'packages'".to_owned())) };
        if listed.len() > PACKAGES_MAX {
            return Err(at(format!("holds more than {PACKAGES_MAX} packages")));
        }
        let mut packages = BTreeMap::new();
        for (place, entry) in listed.iter().filter(|(place, _)| !place.is_empty()) {
            let flag = |key: &str| entry[key].as_bool().unwrap_or_default();
            let Some(own_name) = place_name(place) else {
                return Err(at(format!(
                    "'{place}' is no place in node_modules; workspaces and folders are not installed"
                )));
            };
            if flag("link") {
                return Err(at("is a link to a folder, which is not installed".to_owned()).of(own_name));
            }
            if flag("dev") || flag("inBundle") {
                continue;
            }
            let name = entry["name"].as_str().unwrap_or(own_name);
            if !is_name(name) {
                return Err(at(format!("'{name}' is no name of a package")));
            }
            let optional = flag("optional") || flag("devOptional");
            let only = |key: &str| serde_json::from_value::<Only>(entry[key].clone()).unwrap_or_default();
            if optional && !(only("os").allows("linux") && only("cpu").allows("x64")) {
                continue;
            }
            let version = entry["version"].as_str().unwrap_or_default();
            if Version::parse(version).is_err() {
                let resolved = entry["resolved"].as_str().unwrap_or(version);
                return Err(at(format!("'{resolved}' is not a version in the registry")).of(name));
            }
            let dependencies = entry["dependencies"].as_object().into_iter().flatten();
            let dependencies =
                dependencies.filter_map(|(name, asked)| Some((name.clone(), asked.as_str()?.to_owned())));
            packages.insert(
                place.clone(),
                Locked {
                    name: name.to_owned(),
                    version: version.to_owned(),
                    integrity: entry["integrity"].as_str().and_then(Integrity::parse),
                    resolved: entry["resolved"].as_str().map(str::to_owned),
                    optional,
                    dependencies: dependencies.collect(),
                },
            );
        }
        Ok(Self { packages })
    }

    /// Whether the lock file still is that of `manifest`; names the first package it does not fit.
    pub fn fits(&self, manifest: &Manifest) -> Result<(), Problem> {
        for (name, asked, optional) in manifest.all() {
            let stale = |reason: String| {
                Err(Problem::new(format!("{reason}; renew the lock file with `npm install`")).of(name).at(LOCK))
            };
            match self.packages.get(&format!("node_modules/{name}")) {
                None if optional => {}
                None => return stale(format!("is asked for by {MANIFEST} and not locked")),
                Some(locked) => {
                    let version = &locked.version;
                    if Range::parse(asked).is_ok() && !allows(asked, version) {
                        return stale(format!("{MANIFEST} asks for {asked} and {version} is locked"));
                    }
                }
            }
        }
        Ok(())
    }

    /// The lock file's text, in npm's version 3 and without addresses, so that it serves with any registry.
    pub fn write(&self, manifest: &Manifest) -> String {
        let mut packages = Map::new();
        let mut root = Map::new();
        for (key, needs) in [("dependencies", &manifest.dependencies), ("optionalDependencies", &manifest.optional)] {
            if !needs.is_empty() {
                root.insert(key.to_owned(), json!(needs));
            }
        }
        packages.insert(String::new(), Json::Object(root));
        for (place, locked) in &self.packages {
            let mut entry = Map::new();
            if place_name(place) != Some(&locked.name) {
                entry.insert("name".to_owned(), locked.name.clone().into());
            }
            entry.insert("version".to_owned(), locked.version.clone().into());
            if let Some(integrity) = &locked.integrity {
                entry.insert("integrity".to_owned(), integrity.to_string().into());
            }
            if locked.optional {
                entry.insert("optional".to_owned(), true.into());
            }
            if !locked.dependencies.is_empty() {
                entry.insert("dependencies".to_owned(), json!(locked.dependencies));
            }
            packages.insert(place.clone(), Json::Object(entry));
        }
        let lock = json!({ "lockfileVersion": 3, "requires": true, "packages": packages });
        serde_json::to_string_pretty(&lock).unwrap_or_default() + "\n"
    }
}

/// Whether a version will do for what is asked for. A tag's name, which only the registry knows, does not say so.
pub fn allows(asked: &str, version: &str) -> bool {
    match (Range::parse(asked), Version::parse(version)) {
        (Ok(range), Ok(version)) => range.satisfies_with_prerelease(&version, true),
        _ => false,
    }
}

/// Whether this can be a package's name, and so a folder's: `lodash`, `@scope/name`.
pub fn is_name(name: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~!'()*".contains(&byte))
    };
    let good = match name.strip_prefix('@') {
        Some(scoped) => scoped.split_once('/').is_some_and(|(scope, name)| part(scope) && part(name)),
        None => part(name),
    };
    good && name.len() <= 214 && name != "node_modules"
}

/// The last name of a place such as `node_modules/a/node_modules/@b/c`; `None` when it is no such place.
fn place_name(place: &str) -> Option<&str> {
    let mut last = None;
    for part in place.strip_prefix("node_modules/")?.split("/node_modules/") {
        last = Some(part).filter(|part| is_name(part));
        last?;
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST_TEXT: &str = r#"{"dependencies": {"a": "^1.0.0"}, "optionalDependencies": {"o": "1"}}"#;

    #[test]
    fn a_lock_file_comes_back_as_it_was_written() {
        let manifest = Manifest::parse(MANIFEST_TEXT).unwrap();
        let digest = "sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==";
        let locked = |name: &str, version: &str| Locked {
            name: name.to_owned(),
            version: version.to_owned(),
            integrity: Integrity::parse(digest),
            resolved: None,
            optional: name == "o",
            dependencies: Needs::from([("b".to_owned(), "2".to_owned())]),
        };
        let lock = Lock {
            packages: BTreeMap::from([
                ("node_modules/a".to_owned(), locked("a", "1.2.0")),
                ("node_modules/a/node_modules/@s/b".to_owned(), locked("other", "2.0.0")),
                ("node_modules/o".to_owned(), locked("o", "1.0.0")),
            ]),
        };
        assert_eq!(Lock::parse(&lock.write(&manifest)).unwrap(), lock);
        lock.fits(&manifest).unwrap();
    }

    #[test]
    fn a_lock_file_cannot_say_where_on_the_disk_to_write() {
        for place in ["../x", "node_modules/../x", "node_modules/a/../../x", "/etc", "node_modules/a/b/c", "packages/a"]
        {
            let text = json!({ "lockfileVersion": 3, "packages": { place: { "version": "1.0.0" } } }).to_string();
            assert!(Lock::parse(&text).unwrap_err().reason.contains("no place"), "{place}");
        }
    }

    #[test]
    fn a_lock_file_of_another_manifest_is_refused_and_names_the_package() {
        let manifest = Manifest::parse(MANIFEST_TEXT).unwrap();
        let text = |version: &str| {
            json!({ "lockfileVersion": 3, "packages": { "node_modules/a": { "version": version } } }).to_string()
        };
        assert!(Lock::parse(&text("1.9.0")).unwrap().fits(&manifest).is_ok());
        let stale = Lock::parse(&text("2.0.0")).unwrap().fits(&manifest).unwrap_err();
        assert_eq!(stale.package, "a");
        assert!(stale.reason.contains("^1.0.0") && stale.reason.contains("2.0.0"), "{stale}");
        assert!(Lock::parse(&json!({ "lockfileVersion": 1 }).to_string()).unwrap_err().reason.contains("npm 7"));
    }

    #[test]
    fn a_manifest_that_makes_no_sense_is_named() {
        for (text, named) in [
            ("{", "line 1"),
            ("[]", "object"),
            (r#"{"dependencies": []}"#, "dependencies"),
            (r#"{"dependencies": {"a": 1}}"#, "a: must be"),
            (r#"{"dependencies": {"../a": "1"}}"#, "'../a'"),
        ] {
            let problem = Manifest::parse(text).unwrap_err();
            assert!(problem.to_string().contains(named) && problem.file == "package.json", "{text}: {problem}");
        }
    }
}
