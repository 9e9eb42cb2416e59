//! An app as the catalog knows it: whose it is, where it lives, which deployment is live.

use super::{AppId, ClientAppId, DeploymentId, DeploymentModel, DomainId, GroupId, ProviderRegion};

/// The catalog's record of one app, with the fields the Admin API shows. Its configuration is a deployment's, not the app's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    pub id: AppId,
    pub client_app_id: ClientAppId,
    pub group: GroupId,
    pub domain: DomainId,
    pub name: String,
    /// Legacy region code such as `US-VA`; echoed.
    pub location: String,
    pub provider_region: ProviderRegion,
    pub deployment_model: DeploymentModel,
    pub environment: Environment,
    /// `standard`, `atlas`, `data-api` or `device-sync`.
    pub product: String,
    /// Epoch seconds.
    pub created_at: i64,
    /// Epoch seconds.
    pub last_modified: i64,
    /// What is served now; none until the first deployment.
    pub live: Option<DeploymentId>,
}

/// Which set of environment values an app sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Environment {
    #[default]
    None,
    Development,
    Testing,
    Qa,
    Production,
}

impl Environment {
    pub const ALL: [Self; 5] = [Self::None, Self::Development, Self::Testing, Self::Qa, Self::Production];

    /// The tag as configuration and `context.environment.tag` spell it; empty for none.
    pub fn tag(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Development => "development",
            Self::Testing => "testing",
            Self::Qa => "qa",
            Self::Production => "production",
        }
    }

    /// The stem of the file in `environments/`.
    pub fn file_stem(self) -> &'static str {
        match self {
            Self::None => "no-environment",
            other => other.tag(),
        }
    }

    pub fn parse(tag: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|environment| environment.tag() == tag)
    }
}
