//! One V8 isolate with the runtime's context in it, ready to be entered.
//!
//! In: the start-up snapshot and a heap limit. Out: an isolate that is entered only while it is used, so that many can
//! live on one thread, and the runtime's entry points, taken off the global before tenant code could see them.
//! Not here: what the natives do (`bindings`), when an isolate is used (`host`).

use std::mem::ManuallyDrop;
use std::rc::Rc;
use std::sync::Arc;

use super::error::string;
use super::fence::Fence;
use super::global::{self, Globals};
use crate::limits::YOUNG_BYTES_MAX;

/// Globals that tenants do not get: shared memory and a way to block the thread, and WebAssembly, whose memories lie
/// outside the heap's limit. Taken away here because V8 itself wants to find them when it sets up a context.
const REMOVED: [&str; 3] = ["SharedArrayBuffer", "Atomics", "WebAssembly"];

/// An isolate and the entry points of the runtime in it.
pub struct Isolate {
    inner: ManuallyDrop<v8::OwnedIsolate>,
    runtime: ManuallyDrop<Runtime>,
    globals: Rc<Globals>,
    fence: Arc<Fence>,
    handle: v8::IsolateHandle,
    heap_mib: u32,
}

/// What the host calls in JavaScript.
pub struct Runtime {
    context: v8::Global<v8::Context>,
    pub boot: v8::Global<v8::Function>,
    pub endpoint: v8::Global<v8::Function>,
    pub call_function: v8::Global<v8::Function>,
    pub describe: v8::Global<v8::Function>,
    pub refusal: v8::Global<v8::Function>,
    pub warm_packages: v8::Global<v8::Function>,
}

/// What BSON values look like in JavaScript; kept with the isolate for natives to find.
pub struct Shapes {
    /// The symbol under which a prototype tells its kind.
    pub kind: v8::Global<v8::Symbol>,
    /// The symbol under which a date that JavaScript cannot tell keeps its milliseconds.
    pub time: v8::Global<v8::Symbol>,
    /// By kind.
    pub prototypes: Vec<Option<v8::Global<v8::Object>>>,
}

impl Isolate {
    /// Makes an isolate from the snapshot. `Err` when the snapshot is not one of ours.
    pub fn new(snapshot: &'static [u8], heap_mib: u32) -> Result<Self, String> {
        super::start();
        let heap_bytes = heap_mib as usize * 1024 * 1024;
        let fence = Fence::new(heap_bytes);
        let params = v8::CreateParams::default()
            .snapshot_blob(v8::StartupData::from(snapshot))
            .heap_limits(0, heap_bytes)
            .set_max_young_generation_size_in_bytes(YOUNG_BYTES_MAX.min(heap_bytes / 4))
            .allow_atomics_wait(false)
            .array_buffer_allocator(fence.allocator());
        let mut inner = v8::Isolate::new(params);
        inner.set_microtasks_policy(v8::MicrotasksPolicy::Explicit);
        inner.set_allow_wasm_code_generation_callback(no_wasm);
        fence.guard(&mut inner);
        let taken = take_runtime(&mut inner);
        let handle = inner.thread_safe_handle();
        match taken {
            Ok((runtime, shapes)) => {
                let globals = Rc::new(Globals::default());
                inner.set_slot(globals.clone());
                inner.set_slot(Rc::new(shapes));
                inner.set_slot(fence.clone());
                // SAFETY: entered when it was made, on this thread, with nothing entered since.
                unsafe { inner.exit() };
                let runtime = ManuallyDrop::new(runtime);
                Ok(Self { inner: ManuallyDrop::new(inner), runtime, globals, fence, handle, heap_mib })
            }
            Err(error) => Err(error),
        }
    }

    /// Does `work` inside the isolate and its context.
    pub fn enter<R>(&mut self, work: impl FnOnce(&mut v8::PinScope<'_, '_>, &Runtime) -> R) -> R {
        let runtime: &Runtime = &self.runtime;
        let entered = Entered::new(&mut self.inner);
        v8::scope!(let scope, &mut *entered.0);
        let context = v8::Local::new(scope, &runtime.context);
        let scope = &mut v8::ContextScope::new(scope, context);
        work(scope, runtime)
    }

    /// Does `work` on behalf of a call: what it and the reactions it causes do to the global object is that call's.
    pub fn enter_for<R>(&mut self, call: u32, work: impl FnOnce(&mut v8::PinScope<'_, '_>, &Runtime) -> R) -> R {
        let globals = self.globals.clone();
        self.enter(|scope, runtime| {
            globals.enter(scope, call);
            work(scope, runtime)
        })
    }

    /// Which global names are whose.
    pub fn globals(&self) -> &Rc<Globals> {
        &self.globals
    }

    /// Lets another thread stop what runs here.
    pub fn handle(&self) -> &v8::IsolateHandle {
        &self.handle
    }

    pub fn fence(&self) -> &Arc<Fence> {
        &self.fence
    }

    pub fn heap_mib(&self) -> u32 {
        self.heap_mib
    }

    /// Lowers the heap limit; an isolate cannot be given more than it was made with.
    pub fn lower_heap(&mut self, heap_mib: u32) {
        debug_assert!(heap_mib <= self.heap_mib);
        if heap_mib < self.heap_mib {
            self.fence.lower(&mut self.inner, heap_mib as usize * 1024 * 1024);
            self.heap_mib = heap_mib;
        }
    }

    /// Something for natives to find, one per type.
    pub fn set_slot<T: 'static>(&mut self, value: T) {
        self.inner.set_slot(value);
    }

    /// Tells `listener` of promises rejected with nobody listening.
    pub fn listen(&mut self, listener: super::rejection::Listener) {
        super::rejection::listen(&mut self.inner, listener);
    }

    /// Bytes V8 uses for the heap now, and array buffers.
    pub fn heap_bytes(&mut self) -> u64 {
        self.inner.get_heap_statistics().used_heap_size() as u64 + self.fence.buffer_bytes() as u64
    }

    /// Bytes of memory behind this isolate, used or not.
    pub fn resident_bytes(&mut self) -> u64 {
        let statistics = self.inner.get_heap_statistics();
        (statistics.total_physical_size() + statistics.malloced_memory() + self.fence.buffer_bytes()) as u64
    }

    /// Lets V8 do what it postponed.
    pub fn settle(&mut self) {
        let entered = Entered::new(&mut self.inner);
        super::settle(entered.0);
    }

    /// Gives back what memory can be given back. Takes milliseconds; for isolates that have nothing to do.
    pub fn shrink(&mut self) {
        let entered = Entered::new(&mut self.inner);
        entered.0.low_memory_notification();
    }
}

impl Drop for Isolate {
    fn drop(&mut self) {
        // SAFETY: neither is used again. V8 wants an isolate entered when it is disposed of; disposing leaves it.
        unsafe {
            ManuallyDrop::drop(&mut self.runtime);
            self.inner.enter();
            ManuallyDrop::drop(&mut self.inner);
        }
    }
}

/// Entered until dropped, also when the work inside panics.
struct Entered<'a>(&'a mut v8::OwnedIsolate);

impl<'a> Entered<'a> {
    fn new(isolate: &'a mut v8::OwnedIsolate) -> Self {
        // SAFETY: left again by drop, in reverse order since the guard is a local.
        unsafe { isolate.enter() };
        Self(isolate)
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        // SAFETY: entered by `new` on this thread.
        unsafe { self.0.exit() };
    }
}

unsafe extern "C" fn no_wasm(_: v8::Local<'_, v8::Context>, _: v8::Local<'_, v8::String>) -> bool {
    false
}

/// Takes the runtime's handle off the global of a fresh context.
fn take_runtime(isolate: &mut v8::OwnedIsolate) -> Result<(Runtime, Shapes), String> {
    v8::scope!(let scope, isolate);
    let template = global::template(scope);
    let options = v8::ContextOptions { global_template: Some(template), ..v8::ContextOptions::default() };
    let context = v8::Context::new(scope, options);
    let scope = &mut v8::ContextScope::new(scope, context);
    // Validators and template engines from npm write functions as text. It gives a tenant nothing it has not: code in this
    // isolate is that app's own, and what fences it (no natives in reach, limits, the process) does not look at sources.
    context.set_allow_generation_from_strings(true);
    let global = context.global(scope);
    for name in REMOVED {
        let name = string(scope, name);
        if global.delete(scope, name.into()) != Some(true) {
            return Err("a global could not be taken away".to_owned());
        }
    }
    hide_constructors(scope, global);
    let name = string(scope, "__portico");
    let portico = global
        .get(scope, name.into())
        .and_then(|value| v8::Local::<v8::Object>::try_from(value).ok())
        .ok_or("the snapshot holds no runtime")?;
    if global.delete(scope, name.into()) != Some(true) {
        return Err("the runtime's handle could not be taken off the global".to_owned());
    }
    let member = |scope: &mut v8::PinScope<'_, '_>, name: &str| -> Result<v8::Global<v8::Function>, String> {
        let key = string(scope, name);
        let value = portico.get(scope, key.into());
        let function = value.and_then(|value| v8::Local::<v8::Function>::try_from(value).ok());
        let function = function.ok_or_else(|| format!("the runtime has no function {name}"))?;
        Ok(v8::Global::new(scope, function))
    };
    let runtime = Runtime {
        boot: member(scope, "boot")?,
        endpoint: member(scope, "endpoint")?,
        call_function: member(scope, "callFunction")?,
        describe: member(scope, "describe")?,
        refusal: member(scope, "refusal")?,
        warm_packages: member(scope, "warmPackages")?,
        context: v8::Global::new(scope, context),
    };
    let symbol = |name: &str| {
        let key = string(scope, name);
        let value = portico.get(scope, key.into());
        let symbol = value.and_then(|value| v8::Local::<v8::Symbol>::try_from(value).ok());
        symbol.ok_or_else(|| format!("the runtime has no symbol {name}"))
    };
    let (kind, time) = (symbol("kind")?, symbol("time")?);
    let key = string(scope, "prototypes");
    let list = portico
        .get(scope, key.into())
        .and_then(|value| v8::Local::<v8::Array>::try_from(value).ok())
        .ok_or("the runtime has no prototypes")?;
    let mut prototypes = Vec::new();
    for index in 0..list.length() {
        let prototype = list.get_index(scope, index).and_then(|value| v8::Local::<v8::Object>::try_from(value).ok());
        prototypes.push(prototype.map(|prototype| v8::Global::new(scope, prototype)));
    }
    Ok((runtime, Shapes { kind: v8::Global::new(scope, kind), time: v8::Global::new(scope, time), prototypes }))
}

/// The objects behind the global one name the constructors of its template, which are nobody's to call.
fn hide_constructors(scope: &v8::PinScope<'_, '_>, global: v8::Local<'_, v8::Object>) {
    let mut behind = Vec::new();
    let mut at = global.get_prototype(scope);
    while let Some(object) = at.and_then(|value| v8::Local::<v8::Object>::try_from(value).ok()) {
        behind.push(object);
        at = object.get_prototype(scope);
    }
    // The last is `Object.prototype`.
    behind.pop();
    let name = string(scope, "constructor");
    for object in behind {
        object.delete(scope, name.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::tests::snapshot;

    fn evaluate(isolate: &mut Isolate, source: &str) -> String {
        isolate.enter(|scope, _| {
            let source = string(scope, source);
            let script = v8::Script::compile(scope, source, None).unwrap();
            script.run(scope).unwrap().to_rust_string_lossy(scope)
        })
    }

    #[test]
    fn isolates_are_made_used_and_dropped_in_any_order() {
        let mut isolates: Vec<Isolate> = (0..6).map(|_| Isolate::new(snapshot(), 64).unwrap()).collect();
        for (number, isolate) in isolates.iter_mut().enumerate() {
            evaluate(isolate, &format!("globalThis.mine = {number}"));
        }
        drop(isolates.remove(2));
        drop(isolates.remove(0));
        isolates.push(Isolate::new(snapshot(), 64).unwrap());
        let kept: Vec<String> =
            isolates.iter_mut().map(|isolate| evaluate(isolate, "String(globalThis.mine)")).collect();
        assert_eq!(kept, ["1", "3", "4", "5", "undefined"]);
    }

    #[test]
    fn isolates_of_one_snapshot_do_not_share_their_randomness() {
        let draw = || evaluate(&mut Isolate::new(snapshot(), 64).unwrap(), "String(Math.random())");
        assert_ne!(draw(), draw());
    }
}
