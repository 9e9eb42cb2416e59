//! What somebody uploads, to dependencies of the app.
//!
//! In: the file's name and bytes, with or without a lock file. Out: dependencies in the draft, or live when there is none;
//! or a status that says what is wrong. The sender does not wait: it asks for the status.

use std::sync::Arc;

use bson::oid::ObjectId;
use bson::raw::{RawDocument, RawDocumentBuf};
use bson::spec::BinarySubtype;

use bundler::Problem;
use bundler::archive::Packing;
use bundler::install::{Installed, Installer};
use storage::StoreError;
use storage::model::AppId;

use super::{Dependencies, MANIFEST, Status, blob_id, failure};
use crate::ControlPlane;
use crate::change::ChangeError;
use crate::payload;
use crate::publish::{PublishError, Sender};

/// What packages are installed from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Upload {
    /// `package.json` or `node_modules.{zip,tar,tar.gz,tgz}`.
    pub file: String,
    pub bytes: Vec<u8>,
    /// `package-lock.json`, for a manifest that came with one.
    pub lock: Option<String>,
}

impl Upload {
    /// Installs on this node's disk.
    pub async fn install(&self, installer: &Installer) -> Result<Installed, Problem> {
        if self.file == MANIFEST {
            let manifest = std::str::from_utf8(&self.bytes)
                .map_err(|error| Problem::new(format!("is not UTF-8: {error}")).at(MANIFEST))?;
            return installer.install(manifest, self.lock.as_deref()).await;
        }
        let packing = Packing::of(&self.file).filter(|_| self.file.starts_with("node_modules."));
        let packing = packing.ok_or_else(|| {
            Problem::new(
                "must be package.json, node_modules.zip, node_modules.tar, node_modules.tar.gz or node_modules.tgz",
            )
            .at(&self.file)
        })?;
        let installed = installer.unpack(packing, self.bytes.clone()).await;
        installed.map_err(|problem| match problem.file.is_empty() {
            true => problem.at(&self.file),
            false => problem,
        })
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut record = RawDocumentBuf::new();
        record.append(bson::raw::cstr!("file"), self.file.as_str());
        let bytes = bson::Binary { subtype: BinarySubtype::Generic, bytes: self.bytes.clone() };
        record.append(bson::raw::cstr!("bytes"), bytes);
        if let Some(lock) = &self.lock {
            record.append(bson::raw::cstr!("lock"), lock.as_str());
        }
        record.into_bytes()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let damaged = |error: String| format!("what packages were installed from is damaged: {error}");
        let record = RawDocument::from_bytes(bytes).map_err(|error| damaged(error.to_string()))?;
        Ok(Self {
            file: record.get_str("file").map_err(|error| damaged(error.to_string()))?.to_owned(),
            bytes: record.get_binary("bytes").map_err(|error| damaged(error.to_string()))?.bytes.to_vec(),
            lock: record.get_str("lock").ok().map(str::to_owned),
        })
    }
}

impl ControlPlane {
    /// Begins to install what was uploaded. How it goes is told by the status.
    pub(crate) fn begin_install(self: &Arc<Self>, app: AppId, sender: Sender, upload: Upload) {
        self.packages.set_status(app, Status::Created);
        let control = self.clone();
        tokio::spawn(async move {
            let _alone = control.packages.installing.of(app).await;
            let status = match control.install(app, &sender, upload).await {
                Ok(()) => Status::Successful,
                Err(reason) => {
                    tracing::info!(%app, reason, "dependencies were not installed");
                    Status::Failed(reason)
                }
            };
            control.packages.set_status(app, status);
            let tidying = control.clone();
            let _ = tokio::task::spawn_blocking(move || tidying.packages.installer.tidy()).await;
        });
    }

    async fn install(&self, app: AppId, sender: &Sender, mut upload: Upload) -> Result<(), String> {
        let installed = upload.install(&self.packages.installer).await.map_err(|problem| failure(&problem))?;
        for warning in &installed.warnings {
            tracing::warn!(%app, "{warning}");
        }
        // The lock file is kept, given or made, so that the same versions come again wherever this is deployed.
        upload.lock = (upload.file == MANIFEST).then_some(installed.lock);
        let encoded = upload.encode();
        let source = blob_id(&[&encoded]);
        let ours = |error: StoreError| failure(&Problem::ours(error));
        self.catalog.put_blob(app, source, &encoded).await.map_err(ours)?;
        let dependencies = Dependencies { source, file: upload.file, packages: installed.packages };
        let changed: Result<(), ChangeError<std::convert::Infallible>> = self
            .change(app, sender, |stored| {
                stored.dependencies = Some(dependencies);
                Ok(())
            })
            .await;
        match changed {
            Ok(()) => {}
            Err(ChangeError::Publish(PublishError::DoesNotInstall(text))) => return Err(text),
            Err(ChangeError::Publish(error)) => return Err(failure(&Problem::new(error.to_string()))),
            Err(ChangeError::Edit(never)) => match never {},
        }
        self.forget_unused_blobs(app).await.map_err(ours)
    }

    /// Takes the app's packages away.
    pub(crate) async fn uninstall(
        &self,
        app: AppId,
        sender: &Sender,
    ) -> Result<(), ChangeError<std::convert::Infallible>> {
        self.change(app, sender, |stored| {
            stored.dependencies = None;
            Ok(())
        })
        .await
    }

    /// What an app's packages were installed from.
    pub(crate) async fn upload_of(&self, app: AppId, source: ObjectId) -> Result<Upload, String> {
        let bytes = self.catalog.blob(app, source).await.map_err(|error| error.to_string())?;
        Upload::decode(&bytes.ok_or("what packages were installed from is gone")?)
    }

    /// Forgets bytes that no deployment and no draft refers to any more. Whoever writes some holds one of the two locks that
    /// are held here until a record refers to them.
    async fn forget_unused_blobs(&self, app: AppId) -> Result<(), StoreError> {
        let _alone = self.fleet.alone(app).await?;
        let mut kept = Vec::new();
        let mut keep = |config: &RawDocument| {
            if let Ok(stored) = payload::recall(config) {
                kept.extend(stored.dependencies.map(|dependencies| dependencies.source));
            }
        };
        if let Some(draft) = self.catalog.draft(app).await? {
            keep(&draft.config);
        }
        let mut scripts = Vec::new();
        for listed in self.catalog.deployments(app, usize::MAX).await? {
            let Some(deployment) = self.catalog.deployment(listed.id).await? else { continue };
            keep(&deployment.config);
            scripts.extend(deployment.packages);
        }
        kept.append(&mut scripts);
        self.catalog.keep_blobs(app, &kept).await
    }
}
