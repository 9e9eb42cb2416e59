//! `/backups`: copies of everything that is stored, made while it is used. For the operator alone.
//!
//! A backup lies in the data directory's `backups/`, under the time at which it was begun; where it goes from there, and
//! when it is removed, is the operator's business.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::{Value as Json, json};

use storage::backup::Progress;

use super::error::{ApiError, accepted, ok};
use super::request::{Caller, Item};
use crate::ControlPlane;

pub fn routes() -> Router<Arc<ControlPlane>> {
    Router::new().route("/backups", post(begin)).route("/backups/{id}", get(one))
}

/// The last backup this process made or is making.
pub struct Backups {
    dir: PathBuf,
    last: Mutex<Option<Backup>>,
}

#[derive(Clone)]
struct Backup {
    id: String,
    path: PathBuf,
    progress: Arc<Progress>,
    /// How it ended, once it has.
    ended: Option<Result<(), String>>,
}

impl Backups {
    pub fn new(dir: PathBuf) -> Self {
        Self { dir, last: Mutex::default() }
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Option<Backup>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backup {
    fn json(&self) -> Json {
        let count = |number: &std::sync::atomic::AtomicU64| number.load(Ordering::Relaxed);
        let state = match &self.ended {
            None => "in_progress",
            Some(Ok(())) => "done",
            Some(Err(_)) => "failed",
        };
        let mut json = json!({
            "_id": self.id, "path": self.path, "state": state, "files": count(&self.progress.files),
            "files_done": count(&self.progress.files_done), "bytes": count(&self.progress.bytes),
        });
        if let Some(Err(why)) = &self.ended {
            json["error"] = why.as_str().into();
        }
        json
    }
}

/// Begins one. 409 while another is being made.
async fn begin(State(control): State<Arc<ControlPlane>>, Caller(admin): Caller) -> Result<Response, ApiError> {
    only_operator(&control, &admin.user_id)?;
    let begun = {
        let mut last = control.backups.last();
        if last.as_ref().is_some_and(|backup| backup.ended.is_none()) {
            return Err(ApiError::conflict("BackupInProgress", "a backup is being made already"));
        }
        let id = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S%3fZ").to_string();
        let backup = Backup { path: control.backups.dir.join(&id), id, progress: Arc::default(), ended: None };
        *last = Some(backup.clone());
        backup
    };
    let json = begun.json();
    tokio::spawn(async move {
        let made = control.sources.usual().backup(begun.path.clone(), begun.progress.clone()).await;
        match &made {
            Ok(()) => tracing::info!(path = %begun.path.display(), "a backup was made"),
            Err(error) => tracing::error!(path = %begun.path.display(), %error, "a backup could not be made"),
        }
        let ended = Some(made.map_err(|error| error.message));
        *control.backups.last() = Some(Backup { ended, ..begun });
    });
    Ok(accepted(&json))
}

async fn one(
    State(control): State<Arc<ControlPlane>>,
    Caller(admin): Caller,
    Item(id): Item<String>,
) -> Result<Response, ApiError> {
    only_operator(&control, &admin.user_id)?;
    let last = control.backups.last().clone();
    let missing = || ApiError::not_found("BackupNotFound", format!("no backup of this process: '{id}'"));
    Ok(ok(&last.filter(|backup| backup.id == id).ok_or_else(missing)?.json()))
}

fn only_operator(control: &ControlPlane, user_id: &str) -> Result<(), ApiError> {
    match control.is_operator(user_id) {
        true => Ok(()),
        false => {
            Err(ApiError::forbidden("backups hold everybody's documents: only the operator's key pair makes them"))
        }
    }
}
