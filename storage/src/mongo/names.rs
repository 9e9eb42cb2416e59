//! How a tenant's databases are called on the server.
//!
//! In: a [`Namespace`]. Out: the names to use there, and the prefix to take out of whatever the server says.
//!
//! On a cluster that apps share, an app's database `shop` is `<app id>_shop`, so that no app can name another's. Portico's
//! own records lie in one database, and an app's users in `<app id>-users`, which no app can name either, since its own
//! names have an underscore there.

use crate::embedded::check_namespace;
use crate::error::StoreError;
use crate::limits::{DATABASE_NAME_BYTES_MAX, SHARED_DATABASE_NAME_BYTES_MAX};
use crate::namespace::{Namespace, Tenant};

#[derive(Debug, Clone)]
pub enum Names {
    /// As they are: the whole cluster is one tenant's.
    Plain,
    /// Under a prefix for each tenant; `system` is the database of Portico's own records.
    Shared { system: String },
}

/// Where an operation goes.
#[derive(Debug, Clone)]
pub struct At {
    pub database: String,
    pub collection: String,
    /// What stands before names in the server's words and is none of the tenant's business.
    pub prefix: String,
}

impl Names {
    pub fn at(&self, namespace: &Namespace) -> Result<At, StoreError> {
        check_namespace(namespace)?;
        let Namespace { tenant, database, collection } = namespace;
        let prefix = self.prefix(*tenant);
        let database = match (self, tenant) {
            (Self::Plain, _) => database.clone(),
            (Self::Shared { system }, Tenant::System) => system.clone(),
            (Self::Shared { .. }, Tenant::Users(id)) => format!("{}-users", id.to_hex()),
            (Self::Shared { .. }, Tenant::App(_)) => {
                if database.len() > SHARED_DATABASE_NAME_BYTES_MAX {
                    let text = format!(
                        "Invalid namespace specified '{namespace}': the database's name must have 1 to \
                         {SHARED_DATABASE_NAME_BYTES_MAX} bytes on a cluster that apps share"
                    );
                    return Err(StoreError::caller(73, "InvalidNamespace", text));
                }
                format!("{prefix}{database}")
            }
        };
        debug_assert!(database.len() <= DATABASE_NAME_BYTES_MAX);
        Ok(At { database, collection: collection.clone(), prefix })
    }

    /// What stands before the names of a tenant's databases.
    pub fn prefix(&self, tenant: Tenant) -> String {
        match (self, tenant) {
            (Self::Shared { .. }, Tenant::App(id)) => app_prefix(&id),
            _ => String::new(),
        }
    }

    /// Which databases are a tenant's.
    pub fn owned(&self, tenant: Tenant) -> Owned {
        match (self, tenant) {
            (Self::Plain, _) => Owned::Everything,
            (Self::Shared { system }, Tenant::System) => Owned::Named(system.clone()),
            (Self::Shared { .. }, Tenant::App(id)) => Owned::Under(app_prefix(&id)),
            (Self::Shared { .. }, Tenant::Users(id)) => Owned::Named(format!("{}-users", id.to_hex())),
        }
    }
}

/// The databases of one tenant.
pub enum Owned {
    /// The whole cluster, but what is the server's own.
    Everything,
    Named(String),
    Under(String),
}

impl Owned {
    /// What the tenant calls a database of the server's, if it is theirs.
    pub fn database<'a>(&self, name: &'a str) -> Option<&'a str> {
        match self {
            Self::Everything => (!["admin", "config", "local"].contains(&name)).then_some(name),
            Self::Named(own) => (name == own).then_some(name),
            Self::Under(prefix) => name.strip_prefix(prefix.as_str()),
        }
    }
}

fn app_prefix(id: &crate::model::AppId) -> String {
    format!("{}_", id.to_hex())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::AppId;

    #[test]
    fn tenants_of_a_shared_cluster_cannot_name_each_other() {
        let names = Names::Shared { system: "portico".to_owned() };
        let (app, other) = (AppId::new(), AppId::new());
        let at = |tenant, database: &str| names.at(&Namespace::new(tenant, database, "c")).map(|at| at.database);
        let app_database = at(Tenant::App(app), "shop").unwrap();
        assert_eq!(app_database, format!("{}_shop", app.to_hex()));
        assert_ne!(at(Tenant::App(other), "shop").unwrap(), app_database);
        assert_eq!(at(Tenant::Users(app), "portico").unwrap(), format!("{}-users", app.to_hex()));
        assert_ne!(at(Tenant::App(app), "users").unwrap(), at(Tenant::Users(app), "portico").unwrap());
        assert_eq!(at(Tenant::System, "portico").unwrap(), "portico");
        assert_ne!(at(Tenant::App(app), "portico").unwrap(), "portico");
        let longest = "d".repeat(SHARED_DATABASE_NAME_BYTES_MAX);
        assert_eq!(at(Tenant::App(app), &longest).unwrap().len(), DATABASE_NAME_BYTES_MAX);
        let error = at(Tenant::App(app), &format!("{longest}d")).unwrap_err();
        assert_eq!(error.code_name, "InvalidNamespace");
        assert!(!error.message.contains(&app.to_hex()), "{error}");
        assert!(at(Tenant::App(app), "a.b").is_err());
        let owned = names.owned(Tenant::App(app));
        assert_eq!(owned.database(&app_database), Some("shop"));
        let others = [at(Tenant::Users(app), "portico"), at(Tenant::App(other), "shop"), at(Tenant::System, "portico")];
        assert!(others.into_iter().all(|name| owned.database(&name.unwrap()).is_none()));
    }

    #[test]
    fn a_cluster_of_ones_own_is_named_as_it_is() {
        let (names, app) = (Names::Plain, AppId::new());
        let at = names.at(&Namespace::new(Tenant::App(app), "shop", "orders")).unwrap();
        assert_eq!((at.database.as_str(), at.prefix.as_str()), ("shop", ""));
        let owned = names.owned(Tenant::App(app));
        assert_eq!((owned.database("shop"), owned.database("admin")), (Some("shop"), None));
    }
}
