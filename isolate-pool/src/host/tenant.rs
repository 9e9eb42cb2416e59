//! One app's code in one isolate, and the calls in it.
//!
//! In: a blank isolate and a bundle. Out: an isolate that runs that app's functions. Never another's: an isolate is given
//! up, not reused.

use std::cell::RefCell;
use std::rc::Rc;

use v8::{Local, PinScope};

use super::call;
use crate::bindings::{self, Desk, SharedDesk};
use crate::bundle::Bundle;
use crate::engine::error::string;
use crate::engine::isolate::{Isolate, Runtime, Shapes};
use crate::outcome::Failure;
use storage::model::{AppId, BundleId};

/// What an isolate is for. A changed heap limit needs another isolate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    pub app: AppId,
    pub bundle: BundleId,
    pub heap_mib: u32,
}

pub struct Tenant {
    pub key: Key,
    pub isolate: Isolate,
    pub desk: SharedDesk,
    /// In flight, in the order they came.
    pub calls: Vec<u32>,
    /// Takes no new calls, and goes when it has none left.
    pub condemned: bool,
    /// Another deployment of the same app is here.
    pub superseded: bool,
    pub used_at_ns: u64,
    /// Heap when last looked at.
    pub heap_bytes: u64,
    pub measured_at_ns: u64,
    /// When its first timer is due, as the host's queue has it.
    pub due_ns: Option<u64>,
    /// Given back what it could since it was last used.
    pub shrunk: bool,
    /// In the list of those to be looked at when the turn ends.
    pub touched: bool,
}

impl Tenant {
    /// Puts a desk into a blank isolate. It becomes an app's with [`boot`].
    pub fn new(key: Key, mut isolate: Isolate, bundle: &mut Bundle, now_ns: u64) -> Self {
        let functions = std::mem::take(&mut bundle.functions);
        let functions = functions.into_iter().map(|function| (function.name.clone(), function)).collect();
        let packages = bundle.packages.take();
        let desk: SharedDesk = Rc::new(RefCell::new(Desk { functions, packages, ..Desk::default() }));
        isolate.set_slot(desk.clone());
        isolate.listen(bindings::rejections::note);
        if key.heap_mib < isolate.heap_mib() {
            isolate.lower_heap(key.heap_mib);
        }
        Self {
            key,
            isolate,
            desk,
            calls: Vec::new(),
            condemned: false,
            superseded: false,
            used_at_ns: now_ns,
            heap_bytes: 0,
            measured_at_ns: 0,
            due_ns: None,
            shrunk: false,
            touched: false,
        }
    }

    pub fn is_idle(&self) -> bool {
        self.calls.is_empty()
    }
}

/// Gives the runtime its natives and the app's texts.
pub fn boot(scope: &mut PinScope<'_, '_>, runtime: &Runtime, bundle: &Bundle) -> Result<(), Failure> {
    v8::tc_scope!(let scope, scope);
    // What the runtime sets up now is not the asking call's alone.
    let globals = bindings::globals(scope);
    globals.share(true);
    let booted = match bindings::natives(scope) {
        Ok(natives) => {
            let boot = Local::new(scope, &runtime.boot);
            let texts =
                [&bundle.app_json, &bundle.values_json, &bundle.environment_json].map(|text| string(scope, text));
            let undefined = v8::undefined(scope).into();
            boot.call(scope, undefined, &[natives.into(), texts[0].into(), texts[1].into(), texts[2].into()])
        }
        Err(_) => None,
    };
    globals.share(false);
    if booted.is_some() {
        return Ok(());
    }
    let exception = scope.exception();
    scope.reset();
    Err(match exception {
        Some(exception) => call::failure(scope, runtime, exception),
        None => Failure::new(crate::FailureKind::Platform, "the isolate was stopped while it took its app"),
    })
}

/// Runs the app's packages once and gives V8's code of them. `Err` is what the script does not compile for, or nothing when
/// it was stopped.
pub fn warm_packages(scope: &mut PinScope<'_, '_>, runtime: &Runtime) -> Result<Vec<u8>, Option<String>> {
    v8::tc_scope!(let scope, scope);
    let warm = Local::new(scope, &runtime.warm_packages);
    let undefined = v8::undefined(scope).into();
    match warm.call(scope, undefined, &[]) {
        Some(script) => {
            let cache = Local::<v8::Function>::try_from(script).ok().and_then(|script| script.create_code_cache());
            Ok(cache.map(|cache| cache.to_vec()).unwrap_or_default())
        }
        None => Err(scope.exception().map(|exception| exception.to_rust_string_lossy(scope))),
    }
}

/// The shapes kept with the isolate.
pub fn shapes(scope: &PinScope<'_, '_>) -> Rc<Shapes> {
    bindings::shapes(scope)
}
