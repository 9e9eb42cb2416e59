//! What a frame from the gateway sets in motion.

use super::call::{Call, State, kind};
use super::clock::now_ns;
use super::run::Host;
use super::tenant::{self, Home, Key, Tenant};
use crate::bundle::Bundle;
use crate::engine::error::Stop;
use crate::engine::isolate::Isolate;
use crate::engine::reading::{self, Doubles};
use crate::engine::script;
use crate::limits;
use crate::link::frame::{self, BadFrame, Down, Invoke};
use crate::outcome::{Failure, FailureKind};
use crate::services::{HostCall, Refusal};

/// The question every first call of an app asks: for its bundle. Operations count from 1.
const BUNDLE: u32 = 0;

impl Host {
    pub(super) fn handle(&mut self, link: usize, body: &[u8]) -> Result<(), BadFrame> {
        match frame::read_down(body)? {
            Down::Invoke { id, invocation } => self.invoke(link, id, invocation, body),
            Down::Cancel { id } => {
                if let Some(handle) = self.handles.get(&(link, id)) {
                    self.forget(*handle);
                }
            }
            Down::HostReply { id, call, answer } => {
                if let Some(handle) = self.handles.get(&(link, id)).copied() {
                    if call == BUNDLE {
                        self.load(handle, answer);
                    } else {
                        self.answer_operation(handle, call, answer);
                    }
                }
            }
            Down::Compile { id, path, source } => self.compile(link, id, path, source),
        }
        Ok(())
    }

    fn invoke(&mut self, link: usize, id: u64, invocation: Invoke<'_>, body: &[u8]) {
        let claimed = self.links[link].claimed;
        // Ids grow; what was taken back lies at or below the last one known.
        if id <= claimed {
            return;
        }
        match self.page.claim(link, claimed, id) {
            Ok(()) => self.links[link].claimed = id,
            Err(through) => {
                self.links[link].claimed = through;
                return;
            }
        }
        let now = now_ns();
        self.last_handle = self.last_handle.wrapping_add(1).max(1);
        let handle = self.last_handle;
        let key = Key {
            app: invocation.app,
            bundle: invocation.bundle,
            heap_mib: invocation.heap_mib.clamp(limits::HEAP_MIB_MIN, limits::HEAP_MIB),
        };
        let deadline_ns = now + u64::from(invocation.run_time_ms) * 1_000_000;
        let mut call = Call { link, id, app: key.app, deadline_ns, cpu_ns: 0, state: State::Waiting(Vec::new()) };
        self.handles.insert((link, id), handle);
        match self.homes.get_mut(&key) {
            Some(Home::Here(tenant)) => {
                let tenant = *tenant;
                self.calls.insert(handle, call);
                self.start(handle, tenant, &invocation);
            }
            Some(Home::Loading { waiting, .. }) => {
                waiting.push(handle);
                call.state = State::Waiting(body.to_vec());
                self.calls.insert(handle, call);
            }
            None => {
                call.state = State::Waiting(body.to_vec());
                self.calls.insert(handle, call);
                self.ask_for_bundle(handle, key);
            }
        }
    }

    fn ask_for_bundle(&mut self, handle: u32, key: Key) {
        let Some(call) = self.calls.get(&handle) else { return };
        frame::write_host_call(&mut self.links[call.link].wire.out, call.id, BUNDLE, &HostCall::Bundle);
        self.homes.insert(key, Home::Loading { asker: handle, waiting: vec![handle] });
    }

    /// The bundle of `asker`'s app has come, or will not.
    fn load(&mut self, asker: u32, answer: Result<&[u8], Refusal>) {
        let Some((key, waiting)) = self.take_loading(asker) else { return };
        let loaded = match answer {
            Ok(bytes) => Bundle::decode(bytes).map_err(|error| error.0),
            Err(refusal) => Err(refusal.message),
        };
        let booted = loaded.and_then(|bundle| self.settle_in(key, bundle, asker));
        match booted {
            Ok(tenant) => {
                for handle in waiting {
                    // One of those before it may have brought the isolate down: then the rest wait for another.
                    match self.homes.get_mut(&key) {
                        Some(Home::Here(here)) if *here == tenant => {}
                        Some(Home::Loading { waiting, .. }) => {
                            waiting.push(handle);
                            continue;
                        }
                        _ => {
                            self.ask_for_bundle(handle, key);
                            continue;
                        }
                    }
                    let Some(call) = self.calls.get_mut(&handle) else { continue };
                    let State::Waiting(body) = std::mem::replace(&mut call.state, State::Starting { tenant }) else {
                        continue;
                    };
                    // It was a good frame when it came.
                    if let Ok(Down::Invoke { invocation, .. }) = frame::read_down(&body) {
                        self.start(handle, tenant, &invocation);
                    }
                }
            }
            Err(message) => {
                for handle in waiting {
                    let failure =
                        Failure::new(FailureKind::Platform, format!("the app's code could not be loaded: {message}"));
                    self.finish(handle, Err(failure));
                }
            }
        }
    }

    fn take_loading(&mut self, asked_by: u32) -> Option<(Key, Vec<u32>)> {
        let key =
            *self.homes.iter().find(|(_, home)| matches!(home, Home::Loading { asker, .. } if *asker == asked_by))?.0;
        match self.homes.remove(&key)? {
            Home::Loading { waiting, .. } => Some((key, waiting)),
            Home::Here(_) => None,
        }
    }

    /// Gives an app its isolate.
    fn settle_in(&mut self, key: Key, mut bundle: Bundle, asker: u32) -> Result<u32, String> {
        let isolate = match self.blanks.pop() {
            Some(blank) => blank,
            None => Isolate::new(self.snapshot, limits::HEAP_MIB.max(key.heap_mib))?,
        };
        self.last_tenant = self.last_tenant.wrapping_add(1);
        let number = self.last_tenant;
        let tenant = Tenant::new(key, isolate, &mut bundle, now_ns());
        self.tenants.insert(number, tenant);
        let (booted, ended) = self.enter(asker, number, |scope, runtime| tenant::boot(scope, runtime, &bundle));
        if let Err(failure) = booted {
            self.tenants.remove(&number);
            return Err(failure.message);
        }
        if ended.is_some() {
            self.tenants.remove(&number);
            return Err("the isolate was stopped while it took its app".to_owned());
        }
        for other in self.tenants.values_mut() {
            other.superseded |= other.key.app == key.app && other.key.bundle != key.bundle;
        }
        self.homes.insert(key, Home::Here(number));
        self.loads += 1;
        Ok(number)
    }

    fn start(&mut self, handle: u32, tenant: u32, invocation: &Invoke<'_>) {
        let Some(home) = self.tenants.get_mut(&tenant) else { return };
        if !home.desk.borrow().functions.contains_key(invocation.function) {
            let message = format!("function not found: '{}'", invocation.function);
            return self.finish(handle, Err(Failure::new(FailureKind::NotFound, message)));
        }
        home.calls.push(handle);
        home.superseded = false;
        home.desk.borrow_mut().calls.insert(handle, Default::default());
        if let Some(call) = self.calls.get_mut(&handle) {
            call.state = State::Starting { tenant };
        }
        self.begin(handle, tenant, kind(invocation), invocation);
    }

    /// The answer to a document operation settles the promise it was given.
    fn answer_operation(&mut self, handle: u32, operation: u32, answer: Result<&[u8], Refusal>) {
        let Some(tenant) = self.calls.get(&handle).and_then(Call::tenant) else { return };
        let Some(home) = self.tenants.get(&tenant) else { return };
        let resolver =
            home.desk.borrow_mut().calls.get_mut(&handle).and_then(|open| open.operations.remove(&operation));
        let Some(resolver) = resolver else { return };
        self.proceed(handle, tenant, move |scope, runtime| {
            v8::tc_scope!(let scope, scope);
            let resolver = v8::Local::new(scope, resolver);
            let refusal = match answer {
                Ok(bytes) => {
                    let shapes = tenant::shapes(scope);
                    let read = bson::raw::RawDocument::from_bytes(bytes)
                        .map_err(|error| Stop::refused(format!("not BSON: {error}")))
                        .and_then(|document| reading::document(scope, &shapes, document, Doubles::Plain));
                    match read {
                        Ok(object) => {
                            resolver.resolve(scope, object.into());
                            return;
                        }
                        Err(Stop::Thrown) => return,
                        Err(Stop::Refused(message)) => {
                            Refusal { code: "InternalServerError".to_owned(), message, number: 0 }
                        }
                    }
                }
                Err(refusal) => refusal,
            };
            let make = v8::Local::new(scope, &runtime.refusal);
            let undefined = v8::undefined(scope).into();
            let number: v8::Local<v8::Value> = match refusal.number {
                0 => undefined,
                number => v8::Integer::new(scope, number).into(),
            };
            let code = crate::engine::error::string(scope, &refusal.code).into();
            let message = crate::engine::error::string(scope, &refusal.message).into();
            if let Some(error) = make.call(scope, undefined, &[code, message, number]) {
                resolver.reject(scope, error);
            }
        });
    }

    /// Compiling runs no code of the tenant's, so one isolate serves for many sources until one of them breaks it.
    fn compile(&mut self, link: usize, id: u64, path: &str, source: &str) {
        let isolate = match self.compiler.take() {
            Some(isolate) => Ok(isolate),
            None => Isolate::new(self.snapshot, limits::HEAP_MIB),
        };
        let failed = |message: String| frame::CompileError { message, line: 0, column: 0, source_line: String::new() };
        let result = match isolate {
            Ok(mut isolate) => {
                let now = now_ns();
                let deadline = now + limits::COMPILE_MS * 1_000_000;
                self.watchdog.enter(isolate.handle(), isolate.fence(), deadline, now);
                let result = isolate.enter(|scope, _| script::code_cache(scope, path, source));
                let late = self.watchdog.leave();
                if late || isolate.fence().tripped_at_ms().is_some() {
                    Err(failed("SyntaxError: the source takes too much time or memory to compile".to_owned()))
                } else {
                    self.compiler = Some(isolate);
                    result
                }
            }
            Err(error) => Err(failed(error)),
        };
        frame::write_compiled(&mut self.links[link].wire.out, id, result.as_deref());
    }

    /// Nobody waits for a call any more.
    pub(super) fn forget(&mut self, handle: u32) {
        let Some(call) = self.calls.remove(&handle) else { return };
        self.handles.remove(&(call.link, call.id));
        match call.tenant() {
            Some(tenant) => {
                self.leave(handle, tenant);
            }
            None => self.forget_waiting(handle),
        }
    }

    /// A call that waits for its bundle is forgotten; when it was the one that asked, another asks.
    pub(super) fn forget_waiting(&mut self, handle: u32) {
        let mut empty = None;
        for (key, home) in &mut self.homes {
            let Home::Loading { asker, waiting } = home else { continue };
            waiting.retain(|waiting| *waiting != handle);
            if *asker != handle {
                continue;
            }
            let Some(next) = waiting.first().copied() else {
                empty = Some(*key);
                break;
            };
            *asker = next;
            if let Some(call) = self.calls.get(&next) {
                let out = &mut self.links[call.link].wire.out;
                frame::write_host_call(out, call.id, BUNDLE, &HostCall::Bundle);
            }
        }
        if let Some(key) = empty {
            self.homes.remove(&key);
        }
    }
}

/// A call whose isolate another one brought down.
pub(super) fn recycled() -> Failure {
    Failure::new(
        FailureKind::Recycled,
        "another call of this app used up the isolate's memory, so this one was ended with it; it can be tried again",
    )
}
