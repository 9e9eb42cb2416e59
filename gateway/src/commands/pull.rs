//! `portico pull`: what an app serves becomes a directory.
//!
//! The archive comes over a network: its size, its names and the kinds of its entries are all checked before the first
//! file is written.

use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use control_plane::directory;
use reqwest::Method;

use super::client::Client;
use super::limits::{UNPACKED_BYTES_MAX, UNPACKED_FILES_MAX};
use super::target::{self, Target};
use super::terminal::{self, Progress};
use super::{Failure, project, push};

/// Fetch an app's configuration into a directory.
///
/// Without a directory it goes to the one this command is run in if that is the app's, else to a new one named after
/// the app. Secrets are never part of it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portico pull --app hello
  portico pull my-copy --app hello-abcde --yes")]
pub struct PullArgs {
    /// Where to
    dir: Option<PathBuf>,
    /// Replace files that are there without asking
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    target: Target,
}

pub async fn run(args: PullArgs) -> Result<(), Failure> {
    let here = args.dir.clone().unwrap_or_else(|| PathBuf::from("."));
    // An app named outright is not necessarily the one that this directory holds.
    let root = project::find_root(&here).filter(|_| args.dir.is_some() || args.target.app.is_none());
    let (mut client, app) = match (&args.target.app, &root) {
        (None, Some(root)) => open_directory(&args.target, root).await?,
        _ => args.target.open(&here).await?,
    };
    let dir = match (&args.dir, root) {
        (Some(dir), _) => dir.clone(),
        (None, Some(root)) => root,
        (None, None) => PathBuf::from(&app.name),
    };

    let progress = Progress::start(format!("fetching {}", app.client_app_id));
    // A directory keeps its layout: the root files of two would contradict each other.
    let layout = if dir.join(directory::ROOT_20210101).exists() { "20210101" } else { "current" };
    let query = [("version", layout), ("source_control", "true")];
    let archive = client.send(Method::GET, &app.path("/export"), &query, None).await?;
    let files = unpack(&archive.body)?;
    progress.done(&format!("{} files", files.len()));

    let present = files.iter().filter(|(name, _)| dir.join(name).exists()).count();
    if present > 0 && !args.yes {
        let question = format!("replace {present} files in {}?", dir.display());
        if !terminal::is_interactive() {
            return Err(Failure::failed(format!("{present} of the files are in {} already", dir.display()))
                .advise("replace them with --yes, or name another directory"));
        }
        if !terminal::ask(&question) {
            return Err(Failure::failed("nothing was written"));
        }
    }
    let before = local_functions(&dir);
    directory::write(&dir, &files).map_err(|error| Failure::failed(error.to_string()))?;
    push::remember(&dir, &app)?;
    for name in before.iter().filter(|name| !files.iter().any(|(file, _)| file == *name)) {
        terminal::warn(&format!("{name} is here but not in the app; a push would add it"));
    }
    terminal::say(&dir.display().to_string());
    Ok(())
}

/// The app that the directory was pushed to, or the one of its name.
async fn open_directory(target: &Target, root: &Path) -> Result<(Client, target::App), Failure> {
    let mut client = Client::connect(&target.place.connection).await?;
    let payload = directory::read(root).map_err(|error| Failure::failed(error.to_string()))?;
    match push::find(&mut client, target, root, &payload).await? {
        Some(app) => Ok((client, app)),
        None => Err(Failure::failed("the app of this directory is not on the server")
            .advise("name one with --app; `portico apps` lists yours")),
    }
}

/// The function files of a directory that may not be an app yet.
fn local_functions(dir: &Path) -> Vec<String> {
    let payload = directory::read(dir).unwrap_or_default();
    let sources = payload.pointer("/functions/sources").and_then(|sources| sources.as_object());
    sources.map(|sources| sources.keys().map(|name| format!("functions/{name}")).collect()).unwrap_or_default()
}

/// The files of an archive. Links are refused: no export contains one, and one that does wants to be followed.
fn unpack(archive: &[u8]) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let bad = |reason: String| Failure::failed(format!("the server's export is not usable: {reason}"));
    let mut zip = zip::ZipArchive::new(Cursor::new(archive)).map_err(|error| bad(error.to_string()))?;
    if zip.len() > UNPACKED_FILES_MAX {
        return Err(bad(format!("it holds more than {UNPACKED_FILES_MAX} files")));
    }
    let mut files = Vec::new();
    let mut room = UNPACKED_BYTES_MAX;
    for index in 0..zip.len() {
        let entry = zip.by_index(index).map_err(|error| bad(error.to_string()))?;
        let name = entry.name().map_err(|error| bad(error.to_string()))?.into_owned();
        if entry.is_dir() {
            continue;
        }
        if entry.is_symlink() {
            return Err(bad(format!("'{name}' is a link")));
        }
        let mut content = Vec::new();
        // What the archive says about sizes is a claim; what comes out is counted.
        entry.take(room + 1).read_to_end(&mut content).map_err(|error| bad(format!("'{name}': {error}")))?;
        let Some(left) = room.checked_sub(content.len() as u64) else {
            return Err(bad(format!("it unpacks to more than {} MiB", UNPACKED_BYTES_MAX / (1024 * 1024))));
        };
        room = left;
        files.push((name, content));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use zip::write::SimpleFileOptions;

    use super::*;

    fn archive(fill: impl FnOnce(&mut zip::ZipWriter<Cursor<Vec<u8>>>)) -> Vec<u8> {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        fill(&mut writer);
        writer.finish().unwrap().into_inner()
    }

    #[test]
    fn an_export_unpacks_to_its_files() {
        let bytes = archive(|zip| {
            zip.add_directory("functions", SimpleFileOptions::default()).unwrap();
            zip.start_file("functions/a.js", SimpleFileOptions::default()).unwrap();
            zip.write_all(b"exports = 1;").unwrap();
        });
        assert_eq!(unpack(&bytes).unwrap(), [("functions/a.js".to_owned(), b"exports = 1;".to_vec())]);
    }

    #[test]
    fn an_archive_that_wants_out_is_refused() {
        let link = archive(|zip| {
            zip.add_symlink("functions", "/etc", SimpleFileOptions::default()).unwrap();
        });
        assert!(unpack(&link).unwrap_err().message.contains("'functions' is a link"));
        let outside = archive(|zip| {
            zip.start_file("../outside.js", SimpleFileOptions::default()).unwrap();
        });
        let dir = tempfile::tempdir().unwrap();
        let files = unpack(&outside).unwrap();
        assert!(directory::write(&dir.path().join("app"), &files).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(unpack(b"not a zip").is_err());
    }
}
