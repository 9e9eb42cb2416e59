//! The npm packages of an app's functions: `…/dependencies`.
//!
//! Uploads are multipart forms, as command lines send them: `file` is `package.json` or `node_modules.{zip,tar,tar.gz,tgz}`,
//! and a `package.json` may bring its `package-lock.json` in `lock`. They are installed while nobody waits; `status` says
//! how it went. Of the three ways (by name, `package.json`, archive) the last one used holds.

use std::io::{self, Cursor, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path as InPath, Request, State};
use axum::response::Response;
use axum::routing::{delete, get, post};
use http::{HeaderMap, header};
use serde_json::{Map, Value as Json, json};
use zip::write::SimpleFileOptions;

use bundler::install::Package;
use bundler::manifest::{Lock, Manifest, is_name};

use super::error::{ApiError, archive, attachment, no_content, ok};
use super::request::{InApp, Payload};
use crate::ControlPlane;
use crate::change::ChangeError;
use crate::dependencies::{Dependencies, MANIFEST, Status, Upload, difference, failure, package_json};
use crate::limits::{EXPORTED_MODULES_BYTES_MAX, MULTIPART_OVERHEAD_BYTES};

pub fn routes() -> Router<Arc<ControlPlane>> {
    Router::new()
        .route("/groups/{group}/apps/{app}/dependencies", get(list).put(put).post(add).delete(remove_all))
        .route("/groups/{group}/apps/{app}/dependencies/diff", post(diff))
        .route("/groups/{group}/apps/{app}/dependencies/status", get(status))
        .route("/groups/{group}/apps/{app}/dependencies/export", get(export))
        .route("/groups/{group}/apps/{app}/dependencies/lock", get(lock))
        .route("/groups/{group}/apps/{app}/dependencies/archive", get(modules))
        .route("/groups/{group}/apps/{app}/dependencies/{package}", delete(remove))
        .route("/groups/{group}/apps/{app}/dependencies/{scope}/{package}", delete(remove_scoped))
}

impl ControlPlane {
    async fn dependencies_of(&self, within: &InApp) -> Result<Option<Dependencies>, ApiError> {
        Ok(self.working_config(&within.app).await?.dependencies)
    }

    async fn installed(&self, within: &InApp) -> Result<Dependencies, ApiError> {
        let missing = || ApiError::not_found("DependenciesNotFound", "this app has no dependencies");
        self.dependencies_of(within).await?.ok_or_else(missing)
    }

    async fn upload(&self, within: &InApp, dependencies: &Dependencies) -> Result<Upload, ApiError> {
        self.upload_of(within.app.id, dependencies.source).await.map_err(ApiError::internal)
    }

    /// The `package.json` that is installed; of an archive one that asks for what is in it.
    async fn manifest_text(&self, within: &InApp, dependencies: &Dependencies) -> Result<String, ApiError> {
        if !dependencies.is_archive() {
            let upload = self.upload(within, dependencies).await?;
            return String::from_utf8(upload.bytes).map_err(ApiError::internal);
        }
        let asked = dependencies.packages.iter().map(|package| (package.name.clone(), package.version.clone().into()));
        Ok(pretty(&json!({ "dependencies": asked.collect::<Map<String, Json>>() })))
    }
}

async fn list(State(control): State<Arc<ControlPlane>>, within: InApp) -> Result<Response, ApiError> {
    let packages = control.dependencies_of(&within).await?.map(|found| found.packages).unwrap_or_default();
    Ok(ok(&json!({ "dependencies_list": packages.iter().map(package_json).collect::<Vec<_>>() })))
}

async fn status(State(control): State<Arc<ControlPlane>>, within: InApp) -> Result<Response, ApiError> {
    let (status, message) = match control.packages.status(within.app.id) {
        Status::Created => ("created", String::new()),
        Status::Successful => ("successful", String::new()),
        Status::Failed(reason) => ("failed", reason),
    };
    Ok(ok(&json!({ "status": status, "status_message": message })))
}

async fn put(State(control): State<Arc<ControlPlane>>, within: InApp, request: Request) -> Result<Response, ApiError> {
    let upload = received(&control, request).await?;
    check(&upload)?;
    control.begin_install(within.app.id, within.sender, upload);
    Ok(no_content())
}

/// `{"name": …, "version": …}`: one package by name, beside those that are asked for by name already.
async fn add(State(control): State<Arc<ControlPlane>>, within: InApp, body: Payload) -> Result<Response, ApiError> {
    let fields = body.object()?;
    let text = |key: &str| fields.get(key).and_then(Json::as_str).map(str::trim).filter(|text| !text.is_empty());
    let name = text("name").ok_or_else(|| ApiError::missing("name"))?;
    if !is_name(name) {
        return Err(ApiError::invalid(format!("name: '{name}' is no name of a package")));
    }
    let version = text("version").unwrap_or("latest");
    edit(&control, within, |asked| {
        asked.insert(name.to_owned(), version.into());
        true
    })
    .await
}

async fn remove(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    InPath((_, _, package)): InPath<(String, String, String)>,
) -> Result<Response, ApiError> {
    edit(&control, within, |asked| asked.shift_remove(&package).is_some()).await
}

async fn remove_scoped(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    InPath((_, _, scope, package)): InPath<(String, String, String, String)>,
) -> Result<Response, ApiError> {
    edit(&control, within, |asked| asked.shift_remove(&format!("{scope}/{package}")).is_some()).await
}

/// Changes what the `package.json` asks for, and installs it anew. An archive is no longer used then.
async fn edit(
    control: &Arc<ControlPlane>,
    within: InApp,
    change: impl FnOnce(&mut Map<String, Json>) -> bool,
) -> Result<Response, ApiError> {
    let mut manifest: Map<String, Json> = match control.dependencies_of(&within).await? {
        Some(dependencies) if !dependencies.is_archive() => {
            let text = control.manifest_text(&within, &dependencies).await?;
            serde_json::from_str(&text).map_err(ApiError::internal)?
        }
        _ => Map::new(),
    };
    let asked = manifest.entry("dependencies").or_insert_with(|| Json::Object(Map::new()));
    let Json::Object(asked) = asked else { return Err(ApiError::invalid("package.json: dependencies: no object")) };
    if !change(asked) {
        return Err(ApiError::not_found("DependencyNotFound", "this app does not ask for that package by name"));
    }
    let bytes = pretty(&Json::Object(manifest)).into_bytes();
    control.begin_install(within.app.id, within.sender, Upload { file: MANIFEST.to_owned(), bytes, lock: None });
    Ok(no_content())
}

async fn remove_all(State(control): State<Arc<ControlPlane>>, within: InApp) -> Result<Response, ApiError> {
    match control.uninstall(within.app.id, &within.sender).await {
        Ok(()) => Ok(no_content()),
        Err(ChangeError::Publish(error)) => Err(error.into()),
        Err(ChangeError::Edit(never)) => match never {},
    }
}

async fn diff(State(control): State<Arc<ControlPlane>>, within: InApp, request: Request) -> Result<Response, ApiError> {
    let upload = received(&control, request).await?;
    check(&upload)?;
    let before = control.dependencies_of(&within).await?.map(|found| found.packages).unwrap_or_default();
    let refused = |problem: bundler::Problem| match problem.ours {
        true => ApiError::internal(problem),
        false => ApiError::invalid(failure(&problem)),
    };
    let after = if upload.file == MANIFEST && upload.lock.is_none() {
        // Nothing is asked of the registry for this: what is installed and still fits stays.
        let text = String::from_utf8_lossy(&upload.bytes);
        asked_for(&Manifest::parse(&text).map_err(refused)?, &before)
    } else if upload.file == MANIFEST {
        let lock = Lock::parse(upload.lock.as_deref().unwrap_or_default()).map_err(refused)?;
        let text = String::from_utf8_lossy(&upload.bytes);
        let manifest = Manifest::parse(&text).map_err(refused)?;
        let locked = |(name, ..): (&str, &str, bool)| {
            let locked = lock.packages.get(&format!("node_modules/{name}"))?;
            Some(Package { name: name.to_owned(), version: locked.version.clone() })
        };
        manifest.all().filter_map(locked).collect()
    } else {
        upload.install(&control.packages.installer).await.map_err(refused)?.packages
    };
    Ok(ok(&difference(&before, &after)))
}

/// What a `package.json` asks for, each in the version that is installed where that will do.
fn asked_for(manifest: &Manifest, installed: &[Package]) -> Vec<Package> {
    let version = |name: &str, asked: &str| {
        let former = installed.iter().find(|package| package.name == name)?;
        bundler::manifest::allows(asked, &former.version).then(|| former.version.clone())
    };
    let package = |(name, asked, _): (&str, &str, bool)| Package {
        name: name.to_owned(),
        version: version(name, asked).unwrap_or_else(|| asked.to_owned()),
    };
    manifest.all().map(package).collect()
}

async fn export(State(control): State<Arc<ControlPlane>>, within: InApp) -> Result<Response, ApiError> {
    let dependencies = control.installed(&within).await?;
    let text = control.manifest_text(&within, &dependencies).await?;
    Ok(attachment(MANIFEST, "application/json", text.into_bytes()))
}

/// The lock file of what is installed.
async fn lock(State(control): State<Arc<ControlPlane>>, within: InApp) -> Result<Response, ApiError> {
    let dependencies = control.installed(&within).await?;
    let upload = control.upload(&within, &dependencies).await?;
    let missing = || ApiError::not_found("DependenciesNotFound", "an archive of packages has no lock file");
    Ok(attachment("package-lock.json", "application/json", upload.lock.ok_or_else(missing)?.into_bytes()))
}

/// Everything that is installed, as a zip archive.
async fn modules(State(control): State<Arc<ControlPlane>>, within: InApp) -> Result<Response, ApiError> {
    let dependencies = control.installed(&within).await?;
    let upload = control.upload(&within, &dependencies).await?;
    if upload.file == "node_modules.zip" {
        return Ok(archive(&upload.file, upload.bytes));
    }
    let installed = upload.install(&control.packages.installer).await;
    let root = installed.map_err(|problem| ApiError::internal(failure(&problem)))?.tree.root;
    let zipped = tokio::task::spawn_blocking(move || zip_modules(&root)).await.map_err(ApiError::internal)?;
    match zipped {
        Ok(bytes) => Ok(archive("node_modules.zip", bytes)),
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Err(ApiError::invalid(error.to_string())),
        Err(error) => Err(ApiError::internal(error)),
    }
}

fn zip_modules(root: &Path) -> io::Result<Vec<u8>> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let mut bytes = 0;
    let mut below = vec![PathBuf::from("node_modules")];
    while let Some(at) = below.pop() {
        let mut entries = std::fs::read_dir(root.join(&at))?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let path = at.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                below.push(path);
                continue;
            }
            let content = std::fs::read(root.join(&path))?;
            bytes += content.len();
            if bytes > EXPORTED_MODULES_BYTES_MAX {
                let mib = EXPORTED_MODULES_BYTES_MAX / (1024 * 1024);
                let what = format!("the packages come to more than {mib} MiB; export package.json instead");
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
            }
            archive.start_file(path.to_string_lossy().into_owned(), SimpleFileOptions::default())?;
            archive.write_all(&content)?;
        }
    }
    Ok(archive.finish()?.into_inner())
}

fn pretty(json: &Json) -> String {
    serde_json::to_string_pretty(json).unwrap_or_default() + "\n"
}

/// What can be seen of an upload before it is installed.
fn check(upload: &Upload) -> Result<(), ApiError> {
    let named = upload.file == MANIFEST
        || ["zip", "tar", "tar.gz", "tgz"].iter().any(|packing| upload.file == format!("node_modules.{packing}"));
    if named {
        return Ok(());
    }
    let file = &upload.file;
    Err(ApiError::invalid(format!(
        "file: '{file}' is none of package.json, node_modules.zip, node_modules.tar, node_modules.tar.gz, node_modules.tgz"
    )))
}

async fn received(control: &ControlPlane, request: Request) -> Result<Upload, ApiError> {
    let bytes_max = control.packages.archive_bytes_max + MULTIPART_OVERHEAD_BYTES;
    let (parts, body) = request.into_parts();
    let boundary = boundary(&parts.headers)
        .ok_or_else(|| ApiError::invalid("the body must be a multipart form with the part 'file'"))?;
    let body = axum::body::to_bytes(body, bytes_max).await.map_err(|_| ApiError::too_large(bytes_max))?;
    let mut upload = Upload { file: String::new(), bytes: Vec::new(), lock: None };
    for part in form(&body, &boundary).ok_or_else(|| ApiError::invalid("the multipart form cannot be read"))? {
        match part.name.as_str() {
            "file" => {
                // Some clients send the path they read it from.
                part.file.rsplit(['/', '\\']).next().unwrap_or_default().clone_into(&mut upload.file);
                upload.bytes = part.content.to_vec();
            }
            "lock" => {
                let text = std::str::from_utf8(part.content);
                let text = text.map_err(|error| ApiError::invalid(format!("package-lock.json: {error}")))?;
                upload.lock = Some(text.to_owned());
            }
            _ => {}
        }
    }
    if upload.file.is_empty() { Err(ApiError::missing("file")) } else { Ok(upload) }
}

fn boundary(headers: &HeaderMap) -> Option<String> {
    let content_type = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    if !content_type.to_ascii_lowercase().starts_with("multipart/form-data") {
        return None;
    }
    let named = content_type.split(';').find_map(|part| part.trim().strip_prefix("boundary="))?;
    Some(named.trim_matches('"').to_owned()).filter(|boundary| !boundary.is_empty() && boundary.len() <= 70)
}

/// One part of a form.
struct Part<'a> {
    name: String,
    file: String,
    content: &'a [u8],
}

/// The parts of a multipart form; `None` when it is none. The form is in memory, so nothing has to be streamed.
fn form<'a>(body: &'a [u8], boundary: &str) -> Option<Vec<Part<'a>>> {
    let delimiter = format!("\r\n--{boundary}").into_bytes();
    let mut rest = body.strip_prefix(&delimiter[2..])?;
    let mut parts = Vec::new();
    loop {
        if rest.starts_with(b"--") {
            return Some(parts);
        }
        let begin = find(rest, b"\r\n")? + 2;
        rest = &rest[begin..];
        let head_end = find(rest, b"\r\n\r\n")?;
        let head = std::str::from_utf8(&rest[..head_end]).ok()?;
        rest = &rest[head_end + 4..];
        let end = find(rest, &delimiter)?;
        let disposition = head.split("\r\n").find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.trim().eq_ignore_ascii_case("content-disposition").then_some(value)
        })?;
        let parameter = |key: &str| {
            let value = disposition.split(';').find_map(|part| part.trim().strip_prefix(key)?.strip_prefix('='))?;
            Some(value.trim_matches('"').to_owned())
        };
        parts.push(Part {
            name: parameter("name").unwrap_or_default(),
            file: parameter("filename").unwrap_or_default(),
            content: &rest[..end],
        });
        rest = &rest[end + delimiter.len()..];
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    // By its first byte, since an archive of megabytes is searched for a boundary.
    let first = *needle.first()?;
    let mut from = 0;
    while let Some(at) = haystack[from..].iter().position(|byte| *byte == first) {
        if haystack[from + at..].starts_with(needle) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_part_by_part_and_nonsense_is_none() {
        let body = b"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.zip\"\r\nContent-Type: x/y\r\n\r\n\r\n--c\r\n\0\r\n--b\r\ncontent-disposition: form-data; name=lock\r\n\r\n{}\r\n--b--\r\n";
        let parts = form(body, "b").unwrap();
        assert_eq!(
            (parts[0].name.as_str(), parts[0].file.as_str(), parts[0].content),
            ("file", "a.zip", &b"\r\n--c\r\n\0"[..])
        );
        assert_eq!((parts[1].name.as_str(), parts[1].content), ("lock", &b"{}"[..]));
        for nonsense in [&b""[..], b"--b", b"--b\r\n\r\n", b"--b\r\nx: y\r\n\r\nz\r\n--b--", b"--c\r\n\r\n--c--"] {
            assert!(form(nonsense, "b").is_none(), "{}", String::from_utf8_lossy(nonsense));
        }
    }
}
