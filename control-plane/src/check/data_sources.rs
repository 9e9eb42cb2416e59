//! `data_sources/*`: documented types of their settings, and the shape of roles and filters down to each expression.

use std::collections::HashSet;

use serde_json::Value as Json;

use storage::model::DataSource;

use super::object::Object;
use super::{Checker, entity_name};
use crate::documents::sources::text;
use crate::indexes::problems_of;
use crate::limits::{DATA_SOURCES_MAX, ROLE_DEPTH_MAX, ROLE_NAME_LENGTH_MAX};

const KINDS: &[&str] = &["mongodb-atlas", "mongodb", "datalake"];

const READ_PREFERENCES: &[&str] = &["primary", "primaryPreferred", "secondary", "secondaryPreferred", "nearest"];

impl Checker<'_> {
    pub(super) fn data_sources(&mut self) {
        let config = self.config;
        let places = self.against.places;
        if config.data_sources.len() > DATA_SOURCES_MAX {
            self.problems.add("data_sources", format!("more than {DATA_SOURCES_MAX} data sources"));
        }
        let mut seen = HashSet::new();
        for source in &config.data_sources {
            let file = places.data_source(&source.name);
            if let Err(reason) = entity_name("data source", &source.name) {
                self.problems.add(&file, reason);
            }
            if !seen.insert(&source.name) {
                self.problems.add(&file, format!("there are two data sources named '{}'", source.name));
            }
            if let Some(object) = Object::of(&source.config, &file, "", self.problems) {
                self.settings(&file, &object);
                self.own_database(&file, source);
            }
            if let Some(rule) = &source.default_rule {
                let file = places.default_rule(&source.name);
                if let Some(rule) = Object::of(rule, &file, "", self.problems) {
                    self.rule(&file, &rule);
                }
            }
            self.collections(&source.name, &source.rules);
        }
    }

    /// A database of the tenant's own needs a connection string, whose form is judged here. One that is kept as a secret is
    /// judged when it is used.
    fn own_database(&mut self, file: &str, source: &DataSource) {
        if source.kind != "mongodb" {
            return;
        }
        match (text(&source.config, "config", "uri"), text(&source.config, "secret_config", "uri")) {
            // A template that stands for nothing has been named.
            (Some(uri), _) if uri.starts_with("%(") => {}
            (Some(uri), _) => {
                if let Err(why) = storage::mongo::check_own(uri) {
                    self.problems.add(file, format_args!("config.uri: {why}"));
                }
            }
            (None, Some(_)) => {}
            (None, None) => {
                let reason = "config.uri: missing; a data source of type mongodb needs it, or secret_config.uri";
                self.problems.add(file, reason);
            }
        }
    }

    fn settings(&mut self, file: &str, source: &Object<'_>) {
        source.word("type", KINDS, self.problems);
        if let Some(config) = source.object("config", self.problems) {
            for key in ["clusterName", "dataLakeName", "uri"] {
                config.text(key, self.problems);
            }
            config.flag("wireProtocolEnabled", self.problems);
            let preference = config.word("readPreference", READ_PREFERENCES, self.problems);
            let tags = config.objects("readPreferenceTagSets", self.problems);
            if !tags.is_empty() && preference == Some("primary") {
                let reason = "cannot be combined with readPreference primary";
                config.problem("readPreferenceTagSets", reason, self.problems);
            }
        }
        if let Some(secrets) = source.object("secret_config", self.problems) {
            for key in secrets.keys() {
                if let Some(name) = secrets.text(key, self.problems) {
                    self.secret(file, name);
                }
            }
        }
    }

    fn collections(&mut self, source: &str, rules: &[Json]) {
        let mut seen = HashSet::new();
        for rule in rules {
            let text = |key: &str| rule.get(key).and_then(Json::as_str).unwrap_or_default();
            let (database, collection) = (text("database"), text("collection"));
            let file = self.against.places.rule(source, database, collection);
            let Some(rule) = Object::of(rule, &file, "", self.problems) else { continue };
            for key in ["database", "collection"] {
                if rule.text(key, self.problems).is_none() {
                    rule.problem(key, "missing", self.problems);
                }
            }
            if !seen.insert((database, collection)) {
                self.problems.add(&file, format!("there are two sets of rules for '{database}.{collection}'"));
            }
            rule.object("schema", self.problems);
            rule.object("relationships", self.problems);
            for (at, reason) in rule.get("indexes").map(problems_of).unwrap_or_default() {
                rule.problem(&at, reason, self.problems);
            }
            self.rule(&file, &rule);
        }
    }

    fn rule(&mut self, file: &str, rule: &Object<'_>) {
        let mut seen = HashSet::new();
        for role in rule.objects("roles", self.problems) {
            let Some(name) = role.text("name", self.problems) else {
                role.problem("name", "missing; a role needs a name", self.problems);
                continue;
            };
            if name.chars().count() > ROLE_NAME_LENGTH_MAX {
                role.problem("name", format_args!("more than {ROLE_NAME_LENGTH_MAX} characters"), self.problems);
            }
            if !seen.insert(name) {
                role.problem("name", format_args!("there are two roles named '{name}'"), self.problems);
            }
            self.expressions(file, &role, &["apply_when", "read", "write", "insert", "delete", "search"]);
            for key in ["document_filters", "additional_fields"] {
                if let Some(part) = role.object(key, self.problems) {
                    self.expressions(file, &part, &["read", "write"]);
                }
            }
            if let Some(fields) = role.object("fields", self.problems) {
                self.fields(file, &fields, 0);
            }
        }
        for filter in rule.objects("filters", self.problems) {
            if filter.text("name", self.problems).is_none() {
                filter.problem("name", "missing; a filter needs a name", self.problems);
            }
            self.expressions(file, &filter, &["apply_when"]);
            for key in ["query", "projection", "project"] {
                filter.object(key, self.problems);
            }
        }
    }

    /// Permissions by field, each of which may have fields of its own.
    fn fields(&mut self, file: &str, fields: &Object<'_>, depth: usize) {
        if depth > ROLE_DEPTH_MAX {
            self.problems.add(file, format!("fields: nested more than {ROLE_DEPTH_MAX} deep"));
            return;
        }
        for key in fields.keys() {
            let Some(field) = fields.object(key, self.problems) else { continue };
            self.expressions(file, &field, &["read", "write"]);
            if let Some(inner) = field.object("fields", self.problems) {
                self.fields(file, &inner, depth + 1);
            }
        }
    }

    fn expressions(&mut self, file: &str, object: &Object<'_>, keys: &[&str]) {
        for key in keys {
            if let Some(expression) = object.get(key) {
                self.expression(file, &object.at(key), expression);
            }
        }
    }
}
