//! An npm registry on loopback: what the public one would answer, with every request written down.
//!
//! In: packages of a few files made up by a test, or folders that npm installed. Out: metadata with integrities of the
//! tarballs that it packs itself when it is first asked for them. It can be told to lie.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Map, Value as Json, json};
use sha2::{Digest, Sha512};

/// A running registry. It lives as long as the test process.
#[derive(Debug, Clone)]
pub struct Registry {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Name, then version.
    packages: BTreeMap<String, BTreeMap<String, Release>>,
    asked: Vec<String>,
}

#[derive(Debug, Clone)]
struct Release {
    manifest: Json,
    content: Content,
    packed: Option<Arc<[u8]>>,
    /// Instead of the true one.
    integrity: Option<String>,
}

#[derive(Debug, Clone)]
enum Content {
    Files(Vec<(String, Vec<u8>)>),
    Folder(PathBuf),
}

impl Default for Registry {
    fn default() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port of ours");
        let address = listener.local_addr().expect("it is bound");
        let registry = Self { address, state: Arc::default() };
        let serving = registry.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let registry = serving.clone();
                thread::spawn(move || registry.serve(stream));
            }
        });
        registry
    }
}

impl Registry {
    /// The packages that `tests/run` installed for tests.
    pub fn of_test_packages() -> Self {
        let registry = Self::default();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("packages");
        let lock = fs::read_to_string(root.join("package-lock.json")).expect("the lock file is committed");
        let lock: Json = serde_json::from_str(&lock).expect("npm wrote it");
        for place in lock["packages"].as_object().expect("it has packages").keys().filter(|place| !place.is_empty()) {
            let folder = root.join(place);
            let manifest = fs::read_to_string(folder.join("package.json"));
            let manifest = manifest.unwrap_or_else(|error| {
                panic!(
                    "{}: {error}; tests/run installs it: npm ci --ignore-scripts in tests/packages",
                    folder.display()
                )
            });
            registry.add(serde_json::from_str(&manifest).expect("a package.json"), Content::Folder(folder));
        }
        registry
    }

    /// Adds a package made of files beside its `package.json`.
    pub fn publish(&self, manifest: Json, files: &[(&str, &str)]) {
        let mut all = vec![("package.json".to_owned(), manifest.to_string().into_bytes())];
        all.extend(files.iter().map(|(name, content)| ((*name).to_owned(), content.as_bytes().to_vec())));
        self.add(manifest, Content::Files(all));
    }

    /// From now on says that a version's bytes are others.
    pub fn lie_about(&self, name: &str, version: &str) {
        let integrity = format!("sha512-{}", STANDARD.encode(Sha512::digest(b"other bytes")));
        let mut state = self.lock();
        let release = state.packages.get_mut(name).and_then(|versions| versions.get_mut(version));
        release.expect("it was published").integrity = Some(integrity);
    }

    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// The paths that were asked for, since the last time somebody looked.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().asked)
    }

    fn add(&self, manifest: Json, content: Content) {
        let part = |key: &str| manifest[key].as_str().expect("a package has a name and a version").to_owned();
        let (name, version) = (part("name"), part("version"));
        let release = Release { manifest, content, packed: None, integrity: None };
        self.lock().packages.entry(name).or_default().insert(version, release);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().expect("a descriptor"));
        let mut stream = stream;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            let path = line.split(' ').nth(1).unwrap_or("/").replace("%2f", "/").replace("%2F", "/");
            let mut head = String::new();
            while reader.read_line(&mut head).unwrap_or(0) > 2 {
                head.clear();
            }
            self.lock().asked.push(path.clone());
            let found = self.answer(path.trim_start_matches('/'));
            let (status, body) = found.map_or(("404 Not Found", b"{}".to_vec()), |body| ("200 OK", body));
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
            if stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body)).is_err() {
                return;
            }
        }
    }

    fn answer(&self, path: &str) -> Option<Vec<u8>> {
        if let Some((name, file)) = path.split_once("/-/") {
            let stem = file.strip_suffix(".tgz")?;
            let version = stem.strip_prefix(name.rsplit('/').next()?)?.strip_prefix('-')?;
            return Some(self.packed(name, version)?.to_vec());
        }
        let versions: Vec<String> = self.lock().packages.get(path)?.keys().cloned().collect();
        let mut all = Map::new();
        for version in &versions {
            let packed = self.packed(path, version)?;
            let (mut manifest, lie) = {
                let state = self.lock();
                let release = state.packages.get(path)?.get(version)?;
                (release.manifest.clone(), release.integrity.clone())
            };
            let integrity = format!("sha512-{}", STANDARD.encode(Sha512::digest(&packed)));
            manifest["dist"] = json!({ "integrity": lie.unwrap_or(integrity) });
            all.insert(version.clone(), manifest);
        }
        // The newest by number, as far as these versions need it.
        let number =
            |version: &String| -> Vec<u64> { version.split('.').filter_map(|part| part.parse().ok()).collect() };
        let latest = versions.iter().max_by_key(|version| number(version))?;
        Some(json!({ "name": path, "dist-tags": { "latest": latest }, "versions": all }).to_string().into_bytes())
    }

    fn packed(&self, name: &str, version: &str) -> Option<Arc<[u8]>> {
        let content = {
            let state = self.lock();
            let release = state.packages.get(name)?.get(version)?;
            if let Some(packed) = &release.packed {
                return Some(packed.clone());
            }
            release.content.clone()
        };
        let files = match content {
            Content::Files(files) => files,
            Content::Folder(folder) => files_of(&folder),
        };
        let named: Vec<(String, &[u8])> =
            files.iter().map(|(name, content)| (format!("package/{name}"), content.as_slice())).collect();
        let packed: Arc<[u8]> = gzip(&tar(&named)).into();
        let mut state = self.lock();
        state.packages.get_mut(name)?.get_mut(version)?.packed = Some(packed.clone());
        Some(packed)
    }
}

/// A folder's files by relative name, without the packages inside it.
pub fn files_of(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut below = vec![folder.to_owned()];
    while let Some(at) = below.pop() {
        for entry in fs::read_dir(&at).unwrap_or_else(|error| panic!("{}: {error}", at.display())).flatten() {
            let path = entry.path();
            let kind = entry.file_type().expect("it has a kind");
            if kind.is_dir() && entry.file_name() != "node_modules" {
                below.push(path);
            } else if kind.is_file() {
                let mut content = Vec::new();
                fs::File::open(&path).and_then(|mut file| file.read_to_end(&mut content)).expect("a readable file");
                let name = path.strip_prefix(folder).expect("it is below").display().to_string();
                files.push((name, content));
            }
        }
    }
    files.sort();
    files
}

/// A tar archive of files, names as they are given.
pub fn tar(files: &[(String, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, name, *content).expect("it is written to memory");
    }
    archive.into_inner().expect("it is written to memory")
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("it is written to memory");
    encoder.finish().expect("it is written to memory")
}
