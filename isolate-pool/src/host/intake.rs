//! What a frame from the gateway sets in motion.

use super::call::{Call, State, kind};
use super::clock::now_ns;
use super::run::Host;
use super::tenant::{self, Key, Tenant};
use crate::bundle::{Bundle, Packages};
use crate::engine::error::Stop;
use crate::engine::isolate::Isolate;
use crate::engine::reading::{self, Doubles};
use crate::engine::script;
use crate::limits;
use crate::link::frame::{self, BadFrame, Down, Invoke};
use crate::outcome::{Failure, FailureKind};
use crate::services::Refusal;
use storage::model::{AppId, BundleId};

impl Host {
    pub(super) fn handle(&mut self, link: usize, body: &[u8]) -> Result<(), BadFrame> {
        match frame::read_down(body)? {
            Down::Invoke { id, invocation } => self.invoke(link, id, &invocation),
            Down::Cancel { id } => {
                if let Some(handle) = self.handles.get(&(link, id)) {
                    self.forget(*handle);
                }
            }
            Down::HostReply { id, call, answer } => {
                if let Some(handle) = self.handles.get(&(link, id)).copied() {
                    self.answer_operation(handle, call, answer);
                }
            }
            Down::Load { app, bundle, encoded } => {
                if !self.homes.keys().any(|key| key.app == app && key.bundle == bundle) {
                    self.arrived.insert((app, bundle), encoded.to_vec());
                }
            }
            Down::Compile { id, path, source } => self.compile(link, id, path, source),
        }
        Ok(())
    }

    /// Starts a call, unless the gateway took it back or its app is not loaded. A call whose app is not loaded is sent back
    /// unclaimed: were it to wait here, an endless loop of another app could keep it waiting, begun in name only.
    fn invoke(&mut self, link: usize, id: u64, invocation: &Invoke<'_>) {
        let claimed = self.links[link].claimed;
        // Ids grow; what was taken back lies at or below the last one known.
        if id <= claimed || id <= self.page.claimed(link) {
            return;
        }
        let key = Key {
            app: invocation.app,
            bundle: invocation.bundle,
            heap_mib: invocation.heap_mib.clamp(limits::HEAP_MIB_MIN, limits::HEAP_MIB),
        };
        let home = self.homes.get(&key).copied();
        if home.is_none() && !self.arrived.contains_key(&(key.app, key.bundle)) {
            self.links[link].wire.out.put(|out| frame::write_not_loaded(out, id));
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
        let deadline_ns = now + u64::from(invocation.run_time_ms) * 1_000_000;
        let tenant = home.unwrap_or_else(|| self.next_tenant());
        let state = State::Starting { tenant };
        self.handles.insert((link, id), handle);
        self.calls.insert(handle, Call { link, id, app: key.app, deadline_ns, cpu_ns: 0, state });
        if home.is_none()
            && let Err(message) = self.settle_in(key, tenant, handle)
        {
            let message = format!("the app's code could not be loaded: {message}");
            return self.finish(handle, Err(Failure::new(FailureKind::Platform, message)));
        }
        self.start(handle, tenant, invocation);
    }

    fn next_tenant(&mut self) -> u32 {
        self.last_tenant = self.last_tenant.wrapping_add(1);
        self.last_tenant
    }

    /// Gives an app its isolate.
    fn settle_in(&mut self, key: Key, number: u32, asker: u32) -> Result<(), String> {
        let encoded = self.arrived.remove(&(key.app, key.bundle)).ok_or("its bundle is not here")?;
        let mut bundle = Bundle::decode(&encoded).map_err(|error| error.0)?;
        let isolate = match self.blanks.pop() {
            Some(blank) => blank,
            None => Isolate::new(self.snapshot, limits::HEAP_MIB.max(key.heap_mib))?,
        };
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
        self.homes.insert(key, number);
        self.loads += 1;
        Ok(())
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
        home.isolate.globals().open(handle);
        self.begin(handle, tenant, kind(invocation), invocation);
    }

    /// The answer to an operation settles the promise it was given.
    fn answer_operation(&mut self, handle: u32, operation: u32, answer: Result<&[u8], Refusal>) {
        let Some(tenant) = self.calls.get(&handle).map(Call::tenant) else { return };
        let Some(home) = self.tenants.get(&tenant) else { return };
        let resolver = home.desk.borrow_mut().calls.get_mut(&handle).and_then(|open| open.answered(operation));
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
                            Refusal { code: "InternalServerError".to_owned(), message, number: 0, label: None }
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
            let label = match refusal.label {
                None => undefined,
                Some(label) => crate::engine::error::string(scope, label.as_str()).into(),
            };
            if let Some(error) = make.call(scope, undefined, &[code, message, number, label]) {
                resolver.reject(scope, error);
            }
        });
    }

    /// Compiling functions runs no code of the tenant's, so one isolate serves for many sources until one of them breaks
    /// it. Packages are run as well and get an isolate of their own.
    fn compile(&mut self, link: usize, id: u64, path: &str, source: &str) {
        if path == script::PACKAGES {
            let result = self.warm(source);
            self.links[link].wire.out.put(|out| frame::write_compiled(out, id, result.as_deref()));
            return;
        }
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
        self.links[link].wire.out.put(|out| frame::write_compiled(out, id, result.as_deref()));
    }

    /// V8's code of an app's packages after those that functions require have run once: what runs on every first call is
    /// in it, what nobody uses is not. No code when running them takes too much; only a script that does not compile is an
    /// error.
    fn warm(&mut self, source: &str) -> Result<Vec<u8>, frame::CompileError> {
        let failed = |message: String| frame::CompileError { message, line: 0, column: 0, source_line: String::new() };
        let isolate = Isolate::new(self.snapshot, limits::HEAP_MIB).map_err(failed)?;
        let packages = Packages { source: source.to_owned(), ..Packages::default() };
        let mut bundle = Bundle {
            app_json: "{}".to_owned(),
            values_json: "{}".to_owned(),
            environment_json: "{}".to_owned(),
            packages: Some(packages),
            ..Bundle::default()
        };
        let key = Key { app: AppId::new(), bundle: BundleId::new(), heap_mib: limits::HEAP_MIB };
        let now = now_ns();
        let mut tenant = Tenant::new(key, isolate, &mut bundle, now);
        let deadline = now + limits::WARM_PACKAGES_MS * 1_000_000;
        self.watchdog.enter(tenant.isolate.handle(), tenant.isolate.fence(), deadline, now);
        let warmed = tenant.isolate.enter(|scope, runtime| {
            tenant::boot(scope, runtime, &bundle).map_err(|failure| Some(failure.message))?;
            tenant::warm_packages(scope, runtime)
        });
        let late = self.watchdog.leave();
        if late || tenant.isolate.fence().tripped_at_ms().is_some() {
            return Ok(Vec::new());
        }
        warmed.or_else(|message| message.map_or(Ok(Vec::new()), |message| Err(failed(message))))
    }

    /// Nobody waits for a call any more.
    pub(super) fn forget(&mut self, handle: u32) {
        let Some(call) = self.calls.remove(&handle) else { return };
        self.handles.remove(&(call.link, call.id));
        self.leave(handle, call.tenant());
    }
}

/// A call whose isolate another one brought down.
pub(super) fn recycled() -> Failure {
    Failure::new(
        FailureKind::Recycled,
        "another call of this app used up the isolate's memory, so this one was ended with it; it can be tried again",
    )
}
