//! The words all rooms share, one noun a file. Plain values: no I/O, no wire formats, no behaviour beyond telling what
//! they are.
//!
//! Not here: how any of them is written to disk (catalog), to JSON (control-plane) or to a frame (isolate-pool).

pub mod app;
pub mod auth;
pub mod calls;
pub mod config;
pub mod cors;
pub mod id;
pub mod operations;
pub mod rate;
pub mod region;
pub mod secret;
pub mod signature;
pub mod snapshot;
pub mod user;

pub use app::{App, Environment};
pub use auth::{AuthProviders, CustomToken, CustomUserData, MetadataField, TokenKeys, Userpass};
pub use calls::{CallCount, CallPlace};
pub use config::{
    AppConfig, DataSource, EndpointConfig, FunctionConfig, MethodFilter, ReturnType, RunAs, Validation, Value,
    script_function,
};
pub use cors::CorsPolicy;
pub use id::*;
pub use operations::{OperationCount, Operations};
pub use rate::{EndpointRate, Rate, RateLimits, SharedCell};
pub use region::{DeploymentModel, ProviderRegion};
pub use secret::SecretText;
pub use signature::{SignatureForm, SignatureScheme};
pub use snapshot::{
    ActiveApp, ActiveEndpoint, ActiveFunction, ApiKeyIdentity, AppLimits, DataRules, Expansions, RoleRule, Snapshot,
    Snapshots, SourcePlace,
};
pub use user::{User, UserIdentity, UserKey, UserState};
