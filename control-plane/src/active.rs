//! From records to what requests are checked against.
//!
//! In: an app's record, its live configuration, secrets, keys and settings. Out: an [`ActiveApp`], published in the
//! snapshot. Whatever changes one of the inputs calls [`ControlPlane::changed`] afterwards, and `fleet` calls this, here
//! and on every other node; there is no other way into the snapshot, so what is served is always what the catalog says.
//!
//! Not here: code. A host that needs it asks `bundles`.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use storage::StoreError;
use storage::catalog::{ServedRecords, StoredApiKey, StoredSecret};
use storage::model::{
    ActiveApp, ActiveEndpoint, ActiveFunction, ApiKeyIdentity, App, AppConfig, AppId, AppLimits, BundleId, CallCount,
    DeploymentId, EndpointRate, FunctionConfig, OperationCount, SecretText, SharedCell, Validation,
};

use crate::documents::sources;
use crate::fleet::shelf::MadeOf;
use crate::settings::AppSettings;
use crate::users::providers;
use crate::vault::Vault;
use crate::{ControlPlane, cors, guard, payload, rate, rules, signature};

/// Why an app could not be published.
#[derive(Debug)]
pub(crate) enum ActivateError {
    Store(StoreError),
    /// A record cannot be read; the text names it.
    Damaged(String),
}

impl fmt::Display for ActivateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Damaged(what) => f.write_str(what),
        }
    }
}

impl From<StoreError> for ActivateError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl ControlPlane {
    /// Makes the snapshot say what one app's records say; `new_code` says whether hosts must load it anew. Calls for one app
    /// must follow one another.
    pub(crate) fn activate(
        &self,
        records: &ServedRecords,
        made_of: &MadeOf,
        new_code: bool,
    ) -> Result<(), ActivateError> {
        let ServedRecords { app, deployment, secrets, api_keys, settings } = records;
        let config = payload::recall(&deployment.config).map_err(ActivateError::Damaged)?.config;
        let mut config = payload::filled(&config);
        let secrets = open_secrets(&self.vault, app.id, secrets);
        let settings = AppSettings::recall(settings);
        let kept = self.snapshots.load().find(app.client_app_id.as_str()).map(|active| active.bundle);
        let bundle =
            kept.filter(|_| !new_code).unwrap_or_else(|| self.bundles.announce(app.id, deployment.id, made_of));
        if self.imports.undeclared_private {
            config.functions.iter_mut().for_each(|function| function.private |= !function.declared);
        }
        let active = active_app(app, deployment.id, bundle, &config, &secrets, api_keys, &settings, self.limits)
            .map_err(ActivateError::Damaged)?;
        self.logs.hide(app.id, secrets.into_values().collect());
        self.snapshots.publish(active);
        self.follower.tell(app.id);
        Ok(())
    }
}

/// The app's secrets by name. One that does not open is left out and named in the operator's log; whatever needs it is
/// refused there.
pub(crate) fn open_secrets(vault: &Vault, app: AppId, stored: &[StoredSecret]) -> HashMap<String, SecretText> {
    let mut secrets = HashMap::new();
    for secret in stored {
        match vault.unseal(app, secret.id, &secret.sealed) {
            Ok(text) => {
                secrets.insert(secret.name.clone(), text);
            }
            Err(_) => tracing::error!(%app, secret = secret.name, "this secret does not open with the vault's key"),
        }
    }
    secrets
}

#[expect(
    clippy::too_many_arguments,
    reason = "each is one record; a struct of them would be made and taken apart here only"
)]
fn active_app(
    app: &App,
    deployment: DeploymentId,
    bundle: BundleId,
    config: &AppConfig,
    secrets: &HashMap<String, SecretText>,
    api_keys: &[StoredApiKey],
    settings: &AppSettings,
    limits: AppLimits,
) -> Result<ActiveApp, String> {
    let mut functions: HashMap<String, Arc<ActiveFunction>> = HashMap::new();
    for function in &config.functions {
        functions.insert(function.name.clone(), Arc::new(active_function(function)?));
    }
    let mut routes: HashMap<String, Vec<Arc<ActiveEndpoint>>> = HashMap::new();
    for endpoint in config.endpoints.iter().filter(|endpoint| !endpoint.disabled) {
        let missing = |what: &str| format!("endpoint '{}': {what} does not exist", endpoint.route);
        let function = functions
            .get(&endpoint.function_name)
            .cloned()
            .ok_or_else(|| missing(&format!("function '{}'", endpoint.function_name)))?;
        let secret = match (endpoint.validation, &endpoint.secret_name) {
            (Validation::None, _) => None,
            (_, Some(name)) => Some(secrets.get(name).cloned().ok_or_else(|| missing(&format!("secret \"{name}\"")))?),
            (_, None) => return Err(missing("its secret")),
        };
        routes.entry(endpoint.route.clone()).or_default().push(Arc::new(ActiveEndpoint {
            id: endpoint.id,
            route: endpoint.route.clone(),
            method: endpoint.method,
            function,
            validation: endpoint.validation,
            secret,
            signature: signature::form(endpoint)?,
            respond_result: endpoint.respond_result,
            return_type: endpoint.return_type,
            fetch_custom_user_data: endpoint.fetch_custom_user_data,
            create_user_on_auth: endpoint.create_user_on_auth,
            guard: guard::of(endpoint.can_evaluate.as_ref())
                .map_err(|error| format!("endpoint '{}': can_evaluate{error}", endpoint.route))?,
            rate: rate::of(endpoint)?.map(|rate| EndpointRate { rate, cell: SharedCell::default() }),
        }));
    }
    let api_keys = api_keys
        .iter()
        .map(|key| (key.hash, ApiKeyIdentity { id: key.id, name: key.name.clone(), disabled: key.disabled }))
        .collect();
    Ok(ActiveApp {
        id: app.id,
        client_app_id: app.client_app_id.clone(),
        group: app.group,
        domain: app.domain,
        name: app.name.clone(),
        deployment,
        bundle,
        deployment_model: app.deployment_model,
        provider_region: app.provider_region.clone(),
        location: app.location.clone(),
        routes,
        functions,
        auth: Arc::new(providers::read(app, config, secrets, settings)),
        expansions: guard::expansions(config, secrets),
        api_keys: Arc::new(api_keys),
        allowed_request_origins: config.allowed_request_origins.clone(),
        cors: cors::policy(config)?,
        access_list: settings.networks(),
        limits: settings.limits(limits),
        calls: CallCount::default(),
        operations: OperationCount::default(),
        rate: SharedCell::default(),
        rules: rules::reduce(config),
        sources: sources::places(config, secrets),
    })
}

fn active_function(function: &FunctionConfig) -> Result<ActiveFunction, String> {
    let guard = guard::of(Some(&function.can_evaluate));
    Ok(ActiveFunction {
        id: function.id,
        name: function.name.clone(),
        private: function.private,
        run_as: function.run_as(),
        guard: guard.map_err(|error| format!("function '{}': can_evaluate{error}", function.name))?,
        disable_arg_logs: function.disable_arg_logs,
    })
}
