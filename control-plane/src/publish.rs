//! Putting a configuration into service.
//!
//! In: a configuration, and who sends it. Out: a deployment, successful or failed; in both cases it is on record. The
//! steps are check, compile, store, flip one field of the app's record, publish; until the flip the old deployment is
//! live, whatever happens, and calls in progress end with the code they began with.
//!
//! Not here: how a change is made (`change`), and what requests see (`active`).

use std::collections::HashSet;
use std::fmt;

use bson::raw::RawDocumentBuf;
use bson::spec::BinarySubtype;

use isolate_pool::compiler::{CompileError, Source};
use storage::StoreError;
use storage::catalog::{Deployment, DeploymentStatus};
use storage::model::{App, AppConfig, DeploymentId, DraftId, Environment, RunAs, script_function};

use crate::ControlPlane;
use crate::active::ActivateError;
use crate::check::{Against, check};
use crate::dependencies::Built;
use crate::layout::Places;
use crate::limits::{CODE_CACHE_BYTES_MAX, COMPILE_TIME_MAX, DEPLOYMENTS_KEPT};
use crate::payload::{self, Problems, Stored};

/// Why a change is not live.
#[derive(Debug)]
pub enum PublishError {
    /// The sender's mistakes, all of them.
    Invalid(Problems),
    /// Functions that do not compile, each with its place and line.
    DoesNotCompile(String),
    /// npm packages that cannot be installed or bundled, with package and file.
    DoesNotInstall(String),
    /// Ours: the compiler could not be asked, a record is damaged.
    Platform(String),
    Store(StoreError),
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(problems) => problems.fmt(f),
            Self::DoesNotCompile(text) | Self::DoesNotInstall(text) | Self::Platform(text) => f.write_str(text),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for PublishError {}

impl From<StoreError> for PublishError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<ActivateError> for PublishError {
    fn from(error: ActivateError) -> Self {
        match error {
            ActivateError::Store(error) => Self::Store(error),
            ActivateError::Damaged(what) => Self::Platform(what),
        }
    }
}

/// On whose behalf something is deployed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sender {
    pub user_id: String,
    /// What the client called itself.
    pub origin: String,
}

/// What a configuration becomes before it can be served.
struct Prepared {
    code_cache: RawDocumentBuf,
    packages: Built,
}

/// A deployment, and why it failed if it did.
pub(crate) struct Deployed {
    pub deployment: Deployment,
    pub failure: Option<PublishError>,
}

impl ControlPlane {
    /// Deploys. The caller holds the app's change lock. `Err` is the store's; everything else is a failed deployment.
    pub(crate) async fn deploy(
        &self,
        app: &App,
        stored: &Stored,
        sender: &Sender,
        draft: Option<DraftId>,
        name: &str,
    ) -> Result<Deployed, StoreError> {
        let id = DeploymentId::new();
        let mut deployment = Deployment {
            id,
            app: app.id,
            name: if name.is_empty() { id.to_hex() } else { name.to_owned() },
            draft,
            user_id: sender.user_id.clone(),
            deployed_at: now_seconds(),
            origin: sender.origin.clone(),
            status: DeploymentStatus::Successful,
            status_error_message: String::new(),
            config: payload::keep(stored),
            code_cache: RawDocumentBuf::new(),
            packages: None,
        };
        let failure = match self.prepare(app, stored).await {
            Ok(Prepared { code_cache, packages }) => {
                deployment.code_cache = code_cache;
                deployment.packages = packages.script;
                let new = [packages.warnings, self.bring_indexes(app, &stored.config).await].concat();
                for warning in &new {
                    tracing::warn!(app = %app.client_app_id, deployment = %id, "{warning}");
                }
                if !new.is_empty() {
                    let warnings = [stored.warnings.clone(), new].concat();
                    deployment.config = payload::keep(&Stored { warnings, ..stored.clone() });
                }
                None
            }
            Err(failure) => Some(failure),
        };
        if let Some(failure) = failure {
            deployment.status = DeploymentStatus::Failed;
            deployment.status_error_message = failure.to_string();
            tracing::info!(app = %app.client_app_id, deployment = %id, %failure, "deployment failed");
            self.catalog.put_deployment(&deployment).await?;
            self.catalog.prune_deployments(app.id, DEPLOYMENTS_KEPT).await?;
            return Ok(Deployed { deployment, failure: Some(failure) });
        }
        self.catalog.put_deployment(&deployment).await?;
        self.catalog.put_app(&live_with(app, id, stored.config.environment)).await?;
        let failure = self.changed(app.id).await.err().map(PublishError::from);
        self.catalog.prune_deployments(app.id, DEPLOYMENTS_KEPT).await?;
        for warning in &stored.warnings {
            tracing::warn!(app = %app.client_app_id, deployment = %id, "{warning}");
        }
        tracing::info!(app = %app.client_app_id, deployment = %id, "deployed");
        Ok(Deployed { deployment, failure })
    }

    /// Everything that can refuse a configuration. Gives what is made of it.
    async fn prepare(&self, app: &App, stored: &Stored) -> Result<Prepared, PublishError> {
        self.checked(app, &stored.config).await?;
        let code_cache = self.compiled(&stored.config).await?;
        let packages = match &stored.dependencies {
            Some(dependencies) => self.build_packages(app.id, &stored.config, dependencies).await?,
            None => Built::default(),
        };
        Ok(Prepared { code_cache, packages })
    }

    pub(crate) async fn checked(&self, app: &App, config: &AppConfig) -> Result<(), PublishError> {
        let secrets: HashSet<String> =
            self.catalog.secrets(app.id).await?.into_iter().map(|secret| secret.name).collect();
        let places = Places::of(config);
        let against = Against { secrets: &secrets, places: &places, source_bytes_max: self.imports.source_bytes_max };
        check(config, against).into_result().map_err(PublishError::Invalid)
    }

    async fn compiled(&self, config: &AppConfig) -> Result<RawDocumentBuf, PublishError> {
        let mut cache = RawDocumentBuf::new();
        if config.functions.is_empty() {
            return Ok(cache);
        }
        let units = units(config);
        let sources: Vec<Source> =
            units.iter().map(|one| Source { path: one.path.clone(), text: one.source.to_owned() }).collect();
        let answer = tokio::time::timeout(COMPILE_TIME_MAX, self.compiler.compile(sources));
        let compiled = answer
            .await
            .map_err(|_| {
                let seconds = COMPILE_TIME_MAX.as_secs();
                PublishError::DoesNotCompile(format!("the functions could not be compiled within {seconds} s"))
            })?
            .map_err(|error| PublishError::Platform(format!("the compiler failed: {error}")))?;
        if compiled.len() != units.len() {
            return Err(PublishError::Platform("the compiler did not answer for every function".to_owned()));
        }
        let mut errors = Vec::new();
        let mut bytes = 0;
        for (unit, result) in units.iter().zip(compiled) {
            match result {
                Err(error) => errors.push(described(&unit.path, &error)),
                Ok(code) => {
                    bytes += code.len();
                    let Ok(key) = bson::raw::CString::try_from(unit.name.as_str()) else { continue };
                    if bytes <= CODE_CACHE_BYTES_MAX {
                        cache.append(key, bson::Binary { subtype: BinarySubtype::Generic, bytes: code });
                    }
                }
            }
        }
        if errors.is_empty() { Ok(cache) } else { Err(PublishError::DoesNotCompile(errors.join("\n"))) }
    }
}

/// Something of an app that is compiled by itself.
struct Unit<'a> {
    name: String,
    /// As errors name it.
    path: String,
    source: &'a str,
}

/// The functions, and the scripts that decide as whom some of them run.
fn units(config: &AppConfig) -> Vec<Unit<'_>> {
    let functions = config.functions.iter().map(|function| Unit {
        name: function.name.clone(),
        path: function.path(),
        source: &function.source,
    });
    let scripts = config.functions.iter().filter(|function| matches!(function.run_as(), RunAs::Script(_)));
    let scripts = scripts.map(|function| Unit {
        name: script_function(&function.name),
        path: format!("functions/config.json ({}.run_as_user_id_script_source)", function.name),
        source: &function.run_as_user_id_script_source,
    });
    functions.chain(scripts).collect()
}

/// `functions/x.js:3:7: SyntaxError: …` and the line it is about.
pub(crate) fn described(path: &str, error: &CompileError) -> String {
    let place = format!("{path}:{}:{}: {}", error.line, error.column, error.message);
    match error.source_line.trim_end() {
        "" => place,
        line => format!("{place}\n    {line}"),
    }
}

fn live_with(app: &App, deployment: DeploymentId, environment: Environment) -> App {
    App { live: Some(deployment), environment, last_modified: now_seconds(), ..app.clone() }
}

pub(crate) fn now_seconds() -> i64 {
    jiff::Timestamp::now().as_second()
}
