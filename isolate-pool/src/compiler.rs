//! Compiling a deployment before it goes live: which functions do not compile and where, and V8's code cache of those
//! that do.
//!
//! In: sources with the paths errors should name. Out: one answer per source, in order. The source whose path is
//! [`PACKAGES_PATH`] is the script of an app's npm packages, which is run as well.
//! Not here: what a broken source means for the deployment (control-plane).

use futures_util::future::BoxFuture;

pub use crate::engine::script::PACKAGES as PACKAGES_PATH;
pub use crate::link::frame::CompileError;

/// One source to compile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// As errors and stacks name it: `functions/<name>.js`.
    pub path: String,
    pub text: String,
}

/// A code cache or an error for each source, in order; or what failed on the platform's side.
pub type Compiled = Result<Vec<Result<Vec<u8>, CompileError>>, String>;

/// Someone who compiles. The real one is a host process of its own.
pub trait Compile: Send + Sync + 'static {
    fn compile(&self, sources: Vec<Source>) -> BoxFuture<'static, Compiled>;
}
