//! `portico pull`: what an app serves becomes a directory.
//!
//! The archive comes over a network: its size, its names and the kinds of its entries are all checked before the first
//! file is written.

use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use control_plane::directory;
use control_plane::layout::Layout;
use reqwest::Method;

use super::client::Client;
use super::limits::{UNPACKED_BYTES_MAX, UNPACKED_FILES_MAX};
use super::packages::{self, PackageArgs};
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
    /// Delete configuration files that the app does not have; other files always stay
    #[arg(long)]
    prune: bool,
    #[command(flatten)]
    packages: PackageArgs,
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

    let mut files = fetch(&mut client, &app, &dir).await?;
    files.extend(packages::fetch(&mut client, &app, &args.packages).await?);

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
    let failed = |error: directory::DirectoryError| Failure::failed(error.to_string());
    let before = directory::owned(&dir).map_err(failed)?;
    directory::write(&dir, &files).map_err(failed)?;
    push::remember(&dir, &app)?;
    for name in before.iter().filter(|name| !files.iter().any(|(file, _)| file == *name)) {
        if args.prune {
            std::fs::remove_file(dir.join(name)).map_err(|error| Failure::failed(format!("{name}: {error}")))?;
            terminal::note(&format!("deleted {name}, which the app does not have"));
        } else {
            terminal::warn(&format!("{name} is here but not in the app; a push would add it"));
        }
    }
    terminal::say(&dir.display().to_string());
    Ok(())
}

/// The app's files in the layout that `dir` has: the root files of two would contradict each other.
async fn fetch(client: &mut Client, app: &target::App, dir: &Path) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let layout = directory::layout(dir).unwrap_or(Layout::Current);
    if layout.is_old() {
        let reason = format!("{} has layout {layout}, which is read and not written any more", dir.display());
        return Err(Failure::failed(reason).advise("name a new directory"));
    }
    let progress = Progress::start(format!("fetching {}", app.client_app_id));
    let mut files = export(client, app, if layout == Layout::Current { "current" } else { "20210101" }).await?;
    // Newer endpoints under an older root file stay where they are.
    let (there, exported) = (Layout::Current.endpoints(), layout.endpoints());
    if there != exported && dir.join(there).exists() {
        for (name, _) in &mut files {
            if let Some(rest) = name.strip_prefix(exported).filter(|rest| rest.starts_with('/')) {
                *name = format!("{there}{rest}");
            }
        }
    }
    progress.done(&format!("{} files", files.len()));
    Ok(files)
}

/// An app's files as the server exports them.
pub async fn export(client: &mut Client, app: &target::App, version: &str) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let query = [("version", version), ("source_control", "true")];
    let archive = client.send(Method::GET, &app.path("/export"), &query, None).await?;
    unpack(&archive.body).map_err(|reason| Failure::failed(format!("the server's export is not usable: {reason}")))
}

/// The app that the directory was pushed to, or the one of its name.
async fn open_directory(target: &Target, root: &Path) -> Result<(Client, target::App), Failure> {
    let mut client = Client::connect(&target.place.connection).await?;
    let app = directory::open(root).map_err(|error| Failure::failed(error.to_string()))?;
    let local = push::Local { root: Some(root.to_owned()), payload: app.payload, packages: None };
    match push::find(&mut client, target, &local).await? {
        Some(app) => Ok((client, app)),
        None => Err(Failure::failed("the app of this directory is not on the server")
            .advise("name one with --app; `portico apps` lists yours")),
    }
}

/// The files of an archive. Links are refused: no export contains one, and one that does wants to be followed.
pub fn unpack(archive: &[u8]) -> Result<Vec<(String, Vec<u8>)>, String> {
    let mut zip = zip::ZipArchive::new(Cursor::new(archive)).map_err(|error| error.to_string())?;
    if zip.len() > UNPACKED_FILES_MAX {
        return Err(format!("it holds more than {UNPACKED_FILES_MAX} files"));
    }
    let mut files = Vec::new();
    let mut room = UNPACKED_BYTES_MAX;
    for index in 0..zip.len() {
        let entry = zip.by_index(index).map_err(|error| error.to_string())?;
        let name = entry.name().map_err(|error| error.to_string())?.into_owned();
        if entry.is_dir() {
            continue;
        }
        if entry.is_symlink() {
            return Err(format!("'{name}' is a link"));
        }
        let mut content = Vec::new();
        // What the archive says about sizes is a claim; what comes out is counted.
        entry.take(room + 1).read_to_end(&mut content).map_err(|error| format!("'{name}': {error}"))?;
        let Some(left) = room.checked_sub(content.len() as u64) else {
            return Err(format!("it unpacks to more than {} MiB", UNPACKED_BYTES_MAX / (1024 * 1024)));
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
        assert!(unpack(&link).unwrap_err().contains("'functions' is a link"));
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
