//! Indexes of an app's collections: those that its configuration lists, and those there are.
//!
//! In: `indexes` of a collection's rules, which in a directory is `data_sources/<name>/<database>/<collection>/indexes.json`:
//! a list of `{ "key": { "email": 1 }, "unique": true, … }` as MongoDB's `createIndexes` takes them. Out: what is missing
//! is made at a deployment. Nothing is ever dropped for not being listed, since an index may have been made by hand and
//! takes long to make again; a deployment says which those are.
//!
//! Not here: what an index is (`storage::index`), and the addresses to manage them at (`api`).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bson::Bson;
use bson::raw::RawDocumentBuf;
use serde_json::{Map, Value as Json, json};

use storage::model::{App, AppConfig, AppId, SourcePlace};
use storage::{IndexInfo, Namespace, Store, StoreError, Tenant, index};

use crate::ControlPlane;
use crate::active::open_secrets;
use crate::documents::sources;
use crate::limits::{INDEX_FAILURES_KEPT, INDEX_WAIT, INDEX_WAIT_LEAST};
use crate::payload;

/// An index somebody wants: keys and options.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub name: String,
    keys: RawDocumentBuf,
    options: RawDocumentBuf,
}

impl Wanted {
    /// Of `{ key: {…}, …options }`.
    pub fn read(fields: &Json) -> Result<Self, StoreError> {
        let mut options = document(fields)?;
        let keys = match options.remove("key") {
            Some(Bson::Document(keys)) => raw(&keys)?,
            _ => return Err(StoreError::bad_value("key: missing; it is an object such as {\"email\": 1}")),
        };
        let options = raw(&options)?;
        let name = index::parse(&keys, &options)?.name;
        Ok(Self { name, keys, options })
    }
}

/// JSON with types as Extended JSON has them.
pub(crate) fn document(json: &Json) -> Result<bson::Document, StoreError> {
    match Bson::try_from(json.clone()) {
        Ok(Bson::Document(document)) => Ok(document),
        Ok(_) => Err(StoreError::bad_value("must be an object")),
        Err(error) => Err(StoreError::bad_value(error.to_string())),
    }
}

pub(crate) fn raw(document: &bson::Document) -> Result<RawDocumentBuf, StoreError> {
    RawDocumentBuf::try_from(document).map_err(|error| StoreError::bad_value(error.to_string()))
}

/// An index as the Admin API and files show it; `building` says how far it has come.
pub(crate) fn shown(index: &IndexInfo) -> Json {
    let specification = bson::Document::try_from(&index.specification).unwrap_or_default();
    let mut shown = Bson::Document(specification).into_relaxed_extjson();
    if let (Some(progress), Json::Object(fields)) = (&index.building, &mut shown) {
        fields.insert("building".to_owned(), json!({ "done": progress.done, "total": progress.total }));
    }
    shown
}

/// What became of a request for an index.
pub(crate) enum Made {
    Built,
    /// It goes on by itself.
    Building,
}

/// The last failures of builds that nobody waited for any more, for whoever asks about them.
#[derive(Debug, Default)]
pub(crate) struct Failures(Mutex<HashMap<(AppId, String, String), String>>);

impl Failures {
    pub fn of(&self, app: AppId, collection: &Namespace, name: &str) -> Option<String> {
        let failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failures.get(&(app, collection.to_string(), name.to_owned())).cloned()
    }

    fn note(&self, app: AppId, collection: &Namespace, name: &str, outcome: &Result<String, StoreError>) {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (app, collection.to_string(), name.to_owned());
        match outcome {
            Ok(_) => drop(failures.remove(&key)),
            Err(error) => {
                tracing::warn!(app = %app, %collection, index = name, %error, "an index could not be built");
                if failures.len() >= INDEX_FAILURES_KEPT {
                    failures.clear();
                }
                failures.insert(key, error.message.clone());
            }
        }
    }
}

impl ControlPlane {
    /// Where a configuration's data sources lie, by name.
    pub(crate) async fn places_of(
        &self,
        app: AppId,
        config: &AppConfig,
    ) -> Result<HashMap<String, SourcePlace>, StoreError> {
        let secrets = open_secrets(&self.vault, app, &self.catalog.secrets(app).await?);
        Ok(sources::places(&payload::filled(config), &secrets))
    }

    /// The store of one of them.
    pub(crate) fn store_of(
        &self,
        places: &HashMap<String, SourcePlace>,
        source: &str,
    ) -> Result<Arc<dyn Store>, StoreError> {
        let elsewhere = self.sources.at(source, places.get(source))?;
        Ok(elsewhere.unwrap_or_else(|| Arc::clone(self.sources.usual())))
    }

    /// Makes an index, and waits a while for it to be built.
    pub(crate) async fn make_index(
        &self,
        store: Arc<dyn Store>,
        app: AppId,
        at: &Namespace,
        wanted: Wanted,
        wait: Duration,
    ) -> Result<Made, StoreError> {
        let (at, failures) = (at.clone(), Arc::clone(&self.index_failures));
        let building = tokio::spawn(async move {
            let Wanted { name, keys, options } = wanted;
            let outcome = store.create_index(&at, keys, options).await;
            failures.note(app, &at, &name, &outcome);
            outcome
        });
        match tokio::time::timeout(wait, building).await {
            Err(_) => Ok(Made::Building),
            Ok(Ok(outcome)) => outcome.map(|_| Made::Built),
            Ok(Err(error)) => Err(StoreError::store(format!("an index could not be built: {error}"))),
        }
    }

    /// Makes the indexes a configuration lists that are not there. What it has to say is for the sender: what could not be
    /// made, what is still being built, and what is there without being listed.
    pub(crate) async fn bring_indexes(&self, app: &App, config: &AppConfig) -> Vec<String> {
        let mut said = Vec::new();
        let deadline = Instant::now() + INDEX_WAIT;
        let listed = listed(config);
        if listed.is_empty() {
            return said;
        }
        let places = match self.places_of(app.id, config).await {
            Ok(places) => places,
            Err(error) => return vec![format!("no index was made: {error}")],
        };
        for Listed { place, source, at, indexes } in listed {
            let at = Namespace { tenant: Tenant::App(app.id), ..at };
            let store = match self.store_of(&places, &source) {
                Ok(store) => store,
                Err(error) => {
                    said.push(format!("{place}: {error}"));
                    continue;
                }
            };
            let there = match store.list_indexes(&at).await {
                Ok(there) => there,
                Err(error) => {
                    said.push(format!("{place}: the indexes of {at} cannot be listed: {error}"));
                    continue;
                }
            };
            let mut names = vec![index::ID_INDEX.to_owned()];
            for wanted in indexes {
                let made = match wanted {
                    Ok(wanted) => {
                        names.push(wanted.name.clone());
                        // Small ones are built in no time, also behind a large one.
                        let wait = deadline.saturating_duration_since(Instant::now()).max(INDEX_WAIT_LEAST);
                        self.make_index(Arc::clone(&store), app.id, &at, wanted, wait).await
                    }
                    Err(error) => Err(error),
                };
                match made {
                    Ok(Made::Built) => {}
                    Ok(Made::Building) => {
                        let name = names.last().map_or("", String::as_str);
                        said.push(format!("{place}: the index {name} of {at} is being built and not used until it is"));
                    }
                    Err(error) => said.push(format!("{place}: an index of {at} was not made: {error}")),
                }
            }
            for index in &there {
                let name = index.specification.get_str("name").unwrap_or_default();
                if !names.iter().any(|listed| listed == name) {
                    said.push(format!(
                        "{place}: the index {name} of {at} is not listed and stays; `portico indexes drop` removes it"
                    ));
                }
            }
        }
        said
    }
}

/// What a configuration says about one collection.
struct Listed {
    /// Its file, in a directory.
    place: String,
    source: String,
    /// Its tenant is the app that the configuration is of.
    at: Namespace,
    indexes: Vec<Result<Wanted, StoreError>>,
}

fn listed(config: &AppConfig) -> Vec<Listed> {
    let mut all = Vec::new();
    for source in &config.data_sources {
        for rule in &source.rules {
            let Some(list) = rule.get("indexes").and_then(Json::as_array) else { continue };
            let text = |key: &str| rule.get(key).and_then(Json::as_str).unwrap_or_default().to_owned();
            let (database, collection) = (text("database"), text("collection"));
            let place = format!("data_sources/{}/{database}/{collection}/indexes.json", source.name);
            let at = Namespace::new(Tenant::System, database, collection);
            let indexes = list.iter().map(Wanted::read).collect();
            all.push(Listed { place, source: source.name.clone(), at, indexes });
        }
    }
    all
}

/// What a file of indexes may hold: names of the lists' members and why they cannot be.
pub(crate) fn problems_of(list: &Json) -> Vec<(String, String)> {
    let Json::Array(list) = list else {
        return vec![("indexes".to_owned(), "must be a list of objects such as {\"key\": {\"email\": 1}}".to_owned())];
    };
    let bad = list.iter().enumerate().filter_map(|(at, fields)| {
        let error = Wanted::read(fields).err()?;
        Some((format!("indexes[{at}]"), error.message))
    });
    bad.collect()
}

/// The fields of a request that name a collection, taken out of it.
pub(crate) fn take_namespace(fields: &mut Map<String, Json>) -> Result<(String, String), &'static str> {
    let mut take = |key: &'static str| match fields.shift_remove(key) {
        Some(Json::String(text)) if !text.is_empty() => Ok(text),
        _ => Err(key),
    };
    Ok((take("database")?, take("collection")?))
}
