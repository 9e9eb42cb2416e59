//! Packages from a registry or an archive, bundled into one script.
//!
//! In: what an app's functions ask for (a `package.json`, a lock file, an archive of `node_modules`, their own sources).
//! Out: packages on disk ([`install`]), and one script of those that are required ([`bundle`]). Everything that comes in
//! was written by strangers; nothing of it is run, and errors name the package and the file.
//!
//! Not here: apps, deployments, HTTP servers, V8. This crate stands alone because what it is built on is large, and
//! nothing that can do without should wait for it.
#![forbid(unsafe_code)]

pub mod archive;
pub mod builtins;
pub mod bundle;
pub mod install;
mod integrity;
pub mod limits;
pub mod manifest;
mod module;
mod problem;
mod registry;
pub mod requires;
mod resolve;

pub use problem::Problem;
pub use registry::RegistrySettings;
