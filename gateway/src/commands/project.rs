//! The app's directory a command is run in: where it begins, and which app of which server it was last pushed to.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use control_plane::layout::Layout;
use serde_json::{Value as Json, json};

use super::Failure;
use super::limits::PARENTS_MAX;

/// `.mdb/app_meta.json`, which other command lines of the platform read and write too.
const META: &str = ".mdb/app_meta.json";

/// Which app a directory belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    pub group_id: String,
    pub app_id: String,
}

/// The nearest directory from `start` upwards that holds an app in any layout.
pub fn find_root(start: &Path) -> Option<PathBuf> {
    let start = start.canonicalize().ok()?;
    let near = || start.ancestors().take(PARENTS_MAX + 1);
    let holds = |dir: &Path, layout: Layout| dir.join(layout.root_file()).is_file();
    let newer = near().find(|dir| holds(dir, Layout::Current) || holds(dir, Layout::V20210101));
    // `functions/config.json` is no root file, so the old name counts only where the old layout's neighbours are.
    let old = || {
        near().find(|dir| {
            holds(dir, Layout::V20180301) || (holds(dir, Layout::V20200603) && dir.join("functions").is_dir())
        })
    };
    newer.or_else(old).map(Path::to_owned)
}

/// [`find_root`] for a command that cannot do without.
pub fn need_root(start: &Path) -> Result<PathBuf, Failure> {
    find_root(start).ok_or_else(|| {
        let at = start.display();
        let names = Layout::ALL.map(Layout::root_file).join(", ");
        Failure::failed(format!("{at} is not in an app: none of {names} is there or above"))
            .advise("name the app's directory, or fetch an app with `portico pull --app NAME`")
    })
}

/// `None` when the directory has never been pushed or pulled.
pub fn meta(root: &Path) -> Result<Option<Meta>, Failure> {
    let path = root.join(META);
    let broken = |reason: String| {
        Failure::failed(format!("{}: {reason}", path.display())).advise("remove the file, or name the app with --app")
    };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(broken(error.to_string())),
    };
    let json: Json = serde_json::from_str(&text).map_err(|error| broken(error.to_string()))?;
    let field = |key: &str| json.get(key).and_then(Json::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
    Ok(field("group_id").zip(field("app_id")).map(|(group_id, app_id)| Meta { group_id, app_id }))
}

pub fn remember(root: &Path, meta: &Meta) -> Result<(), Failure> {
    let path = root.join(META);
    let content = json!({ "group_id": meta.group_id, "app_id": meta.app_id, "config_version": 20210101 });
    let mut text = serde_json::to_string_pretty(&content).expect("strings and numbers are always JSON");
    text.push('\n');
    let written = fs::create_dir_all(root.join(".mdb")).and_then(|()| fs::write(&path, text));
    written.map_err(|error| Failure::failed(format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_found_from_inside_the_app() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let inside = root.join("functions/deep");
        fs::create_dir_all(&inside).unwrap();
        fs::write(root.join("functions/config.json"), "[]").unwrap();
        assert_eq!(find_root(&inside), None, "a functions' config.json is not a root file");
        fs::write(root.join(Layout::V20210101.root_file()), "{}").unwrap();
        assert_eq!(find_root(&inside), Some(root));
    }

    #[test]
    fn a_directory_remembers_its_app() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(meta(dir.path()).unwrap(), None);
        let remembered = Meta { group_id: "g".to_owned(), app_id: "a".to_owned() };
        remember(dir.path(), &remembered).unwrap();
        assert_eq!(meta(dir.path()).unwrap(), Some(remembered));
        fs::write(dir.path().join(META), "{").unwrap();
        assert!(meta(dir.path()).unwrap_err().message.contains("app_meta.json"));
    }
}
