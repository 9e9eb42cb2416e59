//! The only way to address data: whose, which database, which collection. No call can forget the tenant, since there is
//! no other way to name a collection.

use std::fmt;

use crate::model::AppId;

/// Whose data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tenant {
    /// Portico's own catalog.
    System,
    App(AppId),
    /// The users of an app: Portico's own records, which no function can address.
    Users(AppId),
}

/// One collection of one tenant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Namespace {
    pub tenant: Tenant,
    pub database: String,
    pub collection: String,
}

impl Namespace {
    pub fn new(tenant: Tenant, database: impl Into<String>, collection: impl Into<String>) -> Self {
        Self { tenant, database: database.into(), collection: collection.into() }
    }
}

/// `database.collection`, as error texts name it; the tenant is never shown.
impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.database, self.collection)
    }
}
