//! Where the documents of data sources lie: in the store of this Portico, on a cluster its operator named, or in a database
//! of the tenant's own.
//!
//! In: an app's configuration and secrets; then, operation by operation, the name of a data source. Out: the store. On the
//! operator's clusters apps are kept apart by prefix. A tenant's own connection string is used as it is, but leads only
//! where functions may go (`outbound::guard`).
//!
//! Not here: how MongoDB is spoken to (`storage::mongo`), and what a caller may do there (`storage::access`).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use futures_util::future::BoxFuture;
use serde_json::Value as Json;

use storage::model::{ActiveApp, AppConfig, AppId, DataSource, SecretText, SourcePlace};
use storage::mongo::{Clusters, Hosts, Mongo, Times};
use storage::{Store, StoreError, Tenant};

use crate::outbound::{Guard, Names, SystemNames, restricted_words};

/// Portico's own records on a cluster of the operator's that is for documents only: there are none.
const NO_RECORDS: &str = "portico";

/// A cluster of the operator's, by the name that data sources give in `config.clusterName`.
#[derive(Debug, Clone)]
pub struct NamedCluster {
    pub name: String,
    pub uri: SecretText,
}

pub struct Sources {
    usual: Arc<dyn Store>,
    named: HashMap<String, SecretText>,
    hosts: Arc<dyn Hosts>,
    /// Started by the first data source that needs them; most Porticos have none.
    clusters: OnceLock<Result<Arc<Clusters>, StoreError>>,
}

impl Sources {
    pub fn new(usual: Arc<dyn Store>, named: Vec<NamedCluster>, guard: Arc<Guard>) -> Arc<Self> {
        let named = named.into_iter().map(|cluster| (cluster.name, cluster.uri)).collect();
        Arc::new(Self { usual, named, hosts: Arc::new(TenantHosts(guard)), clusters: OnceLock::new() })
    }

    /// The store of this Portico, where documents lie unless a data source says otherwise.
    pub fn usual(&self) -> &Arc<dyn Store> {
        &self.usual
    }

    /// Where a data source's documents lie, when it is not in the store of this Portico.
    pub fn elsewhere(&self, app: &ActiveApp, source: &str) -> Result<Option<Arc<dyn Store>>, StoreError> {
        self.at(source, app.sources.get(source))
    }

    /// The same for a place that is known already.
    pub fn at(&self, source: &str, place: Option<&SourcePlace>) -> Result<Option<Arc<dyn Store>>, StoreError> {
        match place {
            None => Ok(None),
            Some(SourcePlace::Cluster(name)) => match self.named.get(name) {
                None => Ok(None),
                Some(uri) => Ok(Some(Arc::new(self.shared(uri)?))),
            },
            Some(SourcePlace::Own(uri)) => Ok(Some(Arc::new(self.clusters()?.own(uri.reveal())?))),
            Some(SourcePlace::Missing(what)) => {
                Err(StoreError::caller(6, "HostUnreachable", format!("data source '{source}': {what}")))
            }
        }
    }

    pub fn of(&self, app: &ActiveApp, source: &str) -> Result<Arc<dyn Store>, StoreError> {
        Ok(self.elsewhere(app, source)?.unwrap_or_else(|| self.usual.clone()))
    }

    /// Removes a deleted app's documents from the operator's clusters. What it kept in databases of its own stays there.
    pub async fn drop_app(&self, app: AppId) -> Result<(), StoreError> {
        for uri in self.named.values() {
            self.shared(uri)?.drop_tenant(Tenant::App(app)).await?;
        }
        Ok(())
    }

    fn shared(&self, uri: &SecretText) -> Result<Mongo, StoreError> {
        self.clusters()?.shared(uri.reveal(), NO_RECORDS)
    }

    fn clusters(&self) -> Result<&Arc<Clusters>, StoreError> {
        let started = self.clusters.get_or_init(|| Clusters::start(self.hosts.clone(), Times::default()));
        started.as_ref().map_err(StoreError::clone)
    }
}

/// A tenant's connection string leads where functions may go. Every address of a host must be open, since the driver may
/// take any of them.
struct TenantHosts(Arc<Guard>);

impl Hosts for TenantHosts {
    fn permitted(&self, host: String) -> BoxFuture<'static, Result<Vec<IpAddr>, String>> {
        let guard = self.0.clone();
        Box::pin(async move {
            let found = match host.trim_matches(['[', ']']).parse::<IpAddr>() {
                Ok(literal) => vec![literal],
                Err(_) => SystemNames.addresses(host.clone()).await.unwrap_or_default(),
            };
            if found.is_empty() {
                return Err(format!("the name of its host '{host}' cannot be resolved"));
            }
            match found.iter().find_map(|address| guard.check(*address).err()) {
                Some(restricted) => Err(restricted_words(&host, restricted)),
                None => Ok(found),
            }
        })
    }
}

/// The places of an app's data sources that are not simply in the store of this Portico.
pub fn places(config: &AppConfig, secrets: &HashMap<String, SecretText>) -> HashMap<String, SourcePlace> {
    let placed = |source: &DataSource| Some((source.name.clone(), place(source, secrets)?));
    config.data_sources.iter().filter_map(placed).collect()
}

fn place(source: &DataSource, secrets: &HashMap<String, SecretText>) -> Option<SourcePlace> {
    let text = |part: &str, key: &str| text(&source.config, part, key);
    match source.kind.as_str() {
        "mongodb" => match (text("config", "uri"), text("secret_config", "uri")) {
            (Some(uri), _) => Some(SourcePlace::Own(SecretText::new(uri.to_owned()))),
            (None, Some(name)) => Some(match secrets.get(name) {
                Some(uri) => SourcePlace::Own(uri.clone()),
                None => SourcePlace::Missing(format!("secret \"{name}\", which holds its URI, cannot be read")),
            }),
            (None, None) => None,
        },
        "mongodb-atlas" => text("config", "clusterName").map(|name| SourcePlace::Cluster(name.to_owned())),
        _ => None,
    }
}

/// `part.key` of a data source's `config.json`, unless it is empty.
pub fn text<'a>(config: &'a Json, part: &str, key: &str) -> Option<&'a str> {
    config.get(part)?.get(key)?.as_str().filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_data_source_says_where_its_documents_lie() {
        let secrets = HashMap::from([("uri".to_owned(), SecretText::new("mongodb://kept.example/".to_owned()))]);
        let own = |uri: &str| Some(SourcePlace::Own(SecretText::new(uri.to_owned())));
        let shown = |place: Option<SourcePlace>| match place {
            Some(SourcePlace::Own(uri)) => format!("own {}", uri.reveal()),
            other => format!("{other:?}"),
        };
        for (config, expected) in [
            (json!({ "type": "mongodb", "config": { "uri": "mongodb://h/" } }), own("mongodb://h/")),
            (json!({ "type": "mongodb", "secret_config": { "uri": "uri" } }), own("mongodb://kept.example/")),
            (
                json!({ "type": "mongodb", "config": {}, "secret_config": { "uri": "gone" } }),
                Some(SourcePlace::Missing("secret \"gone\", which holds its URI, cannot be read".to_owned())),
            ),
            (json!({ "type": "mongodb", "config": { "uri": "" } }), None),
            (
                json!({ "type": "mongodb-atlas", "config": { "clusterName": "Cluster0" } }),
                Some(SourcePlace::Cluster("Cluster0".to_owned())),
            ),
            (json!({ "type": "mongodb-atlas", "config": { "uri": "mongodb://h/" } }), None),
            (json!({ "type": "datalake", "config": { "dataLakeName": "Lake" } }), None),
        ] {
            let source = DataSource {
                id: storage::model::ServiceId::new(),
                name: "s".to_owned(),
                kind: config["type"].as_str().unwrap().to_owned(),
                config: config.clone(),
                default_rule: None,
                rules: Vec::new(),
            };
            assert_eq!(shown(place(&source, &secrets)), shown(expected), "{config}");
        }
    }

    #[tokio::test]
    async fn a_tenants_string_leads_only_where_functions_may_go() {
        let closed = TenantHosts(Arc::default());
        for host in ["127.0.0.1", "[::1]", "10.1.2.3", "169.254.169.254", "localhost"] {
            let why = closed.permitted(host.to_owned()).await.expect_err(host);
            assert!(why.contains("cannot be reached from functions"), "{why}");
        }
        assert!(closed.permitted("8.8.8.8".to_owned()).await.is_ok());
        let open = TenantHosts(Arc::new(Guard { allow_private: true, ..Guard::default() }));
        assert_eq!(open.permitted("127.0.0.1".to_owned()).await, Ok(vec![IpAddr::from([127, 0, 0, 1])]));
    }
}
