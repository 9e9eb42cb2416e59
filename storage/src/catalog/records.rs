//! What the catalog keeps about an app beside the app itself. Configurations are kept as the documents the control plane
//! made of them; nothing here looks inside.

use bson::oid::ObjectId;
use bson::raw::RawDocumentBuf;

use crate::model::{ApiKeyId, AppId, DeploymentId, DraftId, SecretId};

/// A change in preparation: at most one per app.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    pub id: DraftId,
    pub app: AppId,
    pub user_id: String,
    /// The configuration as changed so far.
    pub config: RawDocumentBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeploymentStatus {
    Created,
    Pending,
    Successful,
    Failed,
}

impl DeploymentStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Pending => "pending",
            Self::Successful => "successful",
            Self::Failed => "failed",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Created, Self::Pending, Self::Successful, Self::Failed]
            .into_iter()
            .find(|status| status.as_str() == text)
    }
}

/// A configuration that went live, or tried to.
#[derive(Debug, Clone, PartialEq)]
pub struct Deployment {
    pub id: DeploymentId,
    pub app: AppId,
    pub name: String,
    pub draft: Option<DraftId>,
    pub user_id: String,
    /// Epoch seconds.
    pub deployed_at: i64,
    /// What the client called itself in `X-BAAS-Request-Origin`.
    pub origin: String,
    pub status: DeploymentStatus,
    pub status_error_message: String,
    pub config: RawDocumentBuf,
    /// Function name to V8 code cache, made when the deployment was checked; may be empty.
    pub code_cache: RawDocumentBuf,
    /// The script of its npm packages, kept as a blob of the app; none when its functions require none.
    pub packages: Option<ObjectId>,
}

/// A deployment without what it deployed: what lists show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeploymentSummary {
    pub id: DeploymentId,
    pub app: AppId,
    pub name: String,
    pub draft: Option<DraftId>,
    pub user_id: String,
    /// Epoch seconds.
    pub deployed_at: i64,
    pub origin: String,
    pub status: DeploymentStatus,
    pub status_error_message: String,
}

impl Deployment {
    pub fn summary(&self) -> DeploymentSummary {
        DeploymentSummary {
            id: self.id,
            app: self.app,
            name: self.name.clone(),
            draft: self.draft,
            user_id: self.user_id.clone(),
            deployed_at: self.deployed_at,
            origin: self.origin.clone(),
            status: self.status,
            status_error_message: self.status_error_message.clone(),
        }
    }
}

/// A secret as it lies on disk: sealed by the control plane's vault.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredSecret {
    pub id: SecretId,
    pub app: AppId,
    pub name: String,
    pub sealed: Vec<u8>,
}

/// A server API key as it lies on disk: SHA-256 of its text, which is shown once and never kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredApiKey {
    pub id: ApiKeyId,
    pub app: AppId,
    pub name: String,
    pub hash: [u8; 32],
    pub disabled: bool,
}
