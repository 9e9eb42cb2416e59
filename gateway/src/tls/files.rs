//! Certificates in files that somebody else renews: read at the start, and again when one of them changes.
//!
//! In: paths. Out: certificates on the [`Shelf`]. Times of change are looked at every little while: that sees every way in
//! which files get replaced (in place, by renaming, by turning a symbolic link above them), on every file system.
//!
//! A pair that cannot be used leaves the one before in service and is told in the log and in
//! `portico_tls_reloads_total`. At the start there is none before: then the server does not start, since it would look
//! whole and answer nobody.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use metrics::counter;
use rustls::crypto::CryptoProvider;

use super::certificate::{Certificate, Fault, FaultKind};
use super::epoch_s;
use super::shelf::{Shelf, Source};
use crate::limits;

/// A certificate and its key, as the settings name them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// What tells a file from the one that was there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    changed: Option<SystemTime>,
    bytes: u64,
    inode: u64,
}

/// All pairs, and what was made of them.
pub struct Files {
    pairs: Vec<Watched>,
    provider: Arc<CryptoProvider>,
}

struct Watched {
    pair: Pair,
    /// The files as they were last read; `None` where there was none.
    seen: [Option<Stamp>; 2],
    serving: Arc<Certificate>,
    /// One of the two has changed and does not fit the other, which may be about to change as well.
    halfway: bool,
    told_expired: bool,
}

impl Files {
    /// Reads every pair. The first that cannot be served is an error, except that one whose time is over is served and
    /// complained about: clients that do not mind are better off, and the others are told what is wrong.
    pub fn read(pairs: &[Pair], provider: Arc<CryptoProvider>) -> Result<Self, String> {
        let mut read = Vec::new();
        for pair in pairs {
            let seen = stamps(pair);
            let certificate = load(pair, &provider).map_err(|fault| format!("tls.certificate: {fault}"))?;
            let serving = Arc::new(certificate);
            read.push(Watched { pair: pair.clone(), seen, serving, halfway: false, told_expired: false });
        }
        let mut files = Self { pairs: read, provider };
        files.tell_expired(epoch_s());
        Ok(files)
    }

    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    pub fn serving(&self) -> Vec<Arc<Certificate>> {
        self.pairs.iter().map(|watched| watched.serving.clone()).collect()
    }

    /// Reads again what has changed. True when something else is to be served now.
    fn look(&mut self, now: i64) -> bool {
        let mut changed = false;
        for watched in &mut self.pairs {
            let seen = stamps(&watched.pair);
            if seen == watched.seen {
                continue;
            }
            let read = load(&watched.pair, &self.provider).and_then(|certificate| {
                certificate.check_time(now)?;
                Ok(certificate)
            });
            if matches!(&read, Err(fault) if fault.kind == FaultKind::Mismatched) && !watched.halfway {
                // Files change one after the other; the next look will tell whether this is what happens here.
                watched.halfway = true;
                continue;
            }
            watched.halfway = false;
            watched.seen = seen;
            let path = watched.pair.certificate.display();
            match read {
                Ok(certificate) => {
                    counter!("portico_tls_reloads_total", "outcome" => "loaded").increment(1);
                    tracing::info!(file = %path, names = ?certificate.names, fingerprint = certificate.fingerprint,
                        "a certificate was replaced");
                    watched.serving = Arc::new(certificate);
                    watched.told_expired = false;
                    changed = true;
                }
                Err(fault) => {
                    counter!("portico_tls_reloads_total", "outcome" => fault.kind.name()).increment(1);
                    tracing::error!(file = %path, error = %fault,
                        "a certificate file changed and cannot be used; the certificate before it stays in service");
                }
            }
        }
        self.tell_expired(now);
        changed
    }

    fn tell_expired(&mut self, now: i64) {
        for watched in &mut self.pairs {
            if let Err(fault) = watched.serving.check_time(now)
                && !std::mem::replace(&mut watched.told_expired, true)
            {
                let file = watched.pair.certificate.display();
                tracing::error!(%file, error = %fault, "clients will refuse a certificate that is being served");
            }
        }
    }
}

/// Keeps the shelf up to date, for ever.
pub async fn watch(mut files: Files, shelf: Arc<Shelf>) {
    let mut every = tokio::time::interval(limits::RELOAD_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        // A file system may take its time, or forget to answer.
        let looked = tokio::task::spawn_blocking(move || {
            let changed = files.look(epoch_s());
            (files, changed)
        });
        let Ok((back, changed)) = looked.await else { return };
        files = back;
        if changed {
            shelf.put(Source::Files, files.serving());
        }
    }
}

fn stamps(pair: &Pair) -> [Option<Stamp>; 2] {
    let stamp = |path: &Path| fs::metadata(path).ok().map(|file| Stamp::of(&file));
    [stamp(&pair.certificate), stamp(&pair.key)]
}

impl Stamp {
    fn of(file: &Metadata) -> Self {
        Self { changed: file.modified().ok(), bytes: file.len(), inode: file.ino() }
    }
}

fn load(pair: &Pair, provider: &CryptoProvider) -> Result<Certificate, Fault> {
    let read = |path: &Path| {
        let read = bounded(path).map_err(|error| format!("{}: {error}", path.display()));
        read.map_err(|sentence| Fault::new(FaultKind::Unreadable, sentence))
    };
    let (chain, key) = (read(&pair.certificate)?, read(&pair.key)?);
    Certificate::from_pem(&chain, &key, provider).map_err(|fault| {
        let (certificate, key) = (pair.certificate.display(), pair.key.display());
        Fault::new(fault.kind, format!("{certificate} with {key}: {fault}"))
    })
}

/// A file's content, unless it is far too large to hold certificates.
fn bounded(path: &Path) -> io::Result<Vec<u8>> {
    use io::Read;
    let mut content = Vec::new();
    fs::File::open(path)?.take(limits::PEM_BYTES_MAX + 1).read_to_end(&mut content)?;
    if content.len() as u64 > limits::PEM_BYTES_MAX {
        return Err(io::Error::other(format!("it has more than {} bytes", limits::PEM_BYTES_MAX)));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::super::certificate::tests::{made, made_until, provider};
    use super::*;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn pair(&self) -> Pair {
            Pair { certificate: self.0.path().join("cert.pem"), key: self.0.path().join("key.pem") }
        }

        fn write(&self, name: &str, content: &str) {
            // By renaming, which gives another inode whatever the clock's grain is.
            let path = self.0.path().join("new");
            fs::write(&path, content).unwrap();
            fs::rename(path, self.0.path().join(name)).unwrap();
        }

        fn read(&self) -> Result<Files, String> {
            Files::read(&[self.pair()], Arc::new(provider()))
        }
    }

    #[test]
    fn both_files_may_be_replaced_in_any_order() {
        for order in [["cert.pem", "key.pem"], ["key.pem", "cert.pem"]] {
            let folder = Folder::new();
            let (chain, key) = made(&["old.example"]);
            folder.write("cert.pem", &chain);
            folder.write("key.pem", &key);
            let mut files = folder.read().unwrap();
            assert!(!files.look(epoch_s()), "nothing has changed");
            let (chain, key) = made(&["new.example"]);
            for name in order {
                assert_eq!(files.serving()[0].names, ["old.example"]);
                folder.write(name, if name == "cert.pem" { &chain } else { &key });
                let changed = files.look(epoch_s());
                assert_eq!(changed, name == order[1], "after {name}");
            }
            assert_eq!(files.serving()[0].names, ["new.example"]);
        }
    }

    #[test]
    fn what_cannot_be_used_leaves_the_old_one_in_service() {
        let folder = Folder::new();
        let (chain, key) = made(&["old.example"]);
        folder.write("cert.pem", &chain);
        folder.write("key.pem", &key);
        let mut files = folder.read().unwrap();
        let (expired, expired_key) = made_until(&["late.example"], 2001);
        for (chain, key) in [("rubbish", "rubbish"), (&expired, &expired_key), (&chain, &expired_key)] {
            folder.write("cert.pem", chain);
            folder.write("key.pem", key);
            for _ in 0..3 {
                assert!(!files.look(epoch_s()));
                assert_eq!(files.serving()[0].names, ["old.example"]);
            }
        }
        fs::remove_file(folder.pair().key).unwrap();
        assert!(!files.look(epoch_s()));
        folder.write("cert.pem", &chain);
        folder.write("key.pem", &key);
        assert!(files.look(epoch_s()), "what is whole again is taken");
    }

    #[test]
    fn a_server_without_its_certificate_does_not_start() {
        let folder = Folder::new();
        let missing = folder.read().map(drop).unwrap_err();
        assert!(missing.contains("tls.certificate: ") && missing.contains("cert.pem: "), "{missing}");
        let (chain, _) = made(&["a.example"]);
        let (_, key) = made(&["a.example"]);
        folder.write("cert.pem", &chain);
        folder.write("key.pem", &key);
        let mismatched = folder.read().map(drop).unwrap_err();
        assert!(mismatched.contains("does not belong"), "{mismatched}");
        folder.write("key.pem", &"x".repeat(limits::PEM_BYTES_MAX as usize + 1));
        assert!(folder.read().map(drop).unwrap_err().contains("more than"));
    }
}
