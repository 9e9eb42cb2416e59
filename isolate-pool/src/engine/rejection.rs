//! V8's notices of promises rejected with nobody listening, handed to a safe function.

/// What V8 noticed.
pub enum Notice<'s> {
    /// Rejected, and nobody listens.
    Unheard(v8::Local<'s, v8::Promise>, v8::Local<'s, v8::Value>),
    /// A listener came after all.
    Heard(v8::Local<'s, v8::Promise>),
}

/// Who is told. May be called in the middle of any JavaScript, so it must not run any.
pub type Listener = fn(&mut v8::PinScope<'_, '_>, Notice<'_>);

struct Listening(Listener);

/// Tells `listener` from now on.
pub fn listen(isolate: &mut v8::Isolate, listener: Listener) {
    isolate.set_slot(Listening(listener));
    isolate.set_promise_reject_callback(noticed);
}

unsafe extern "C" fn noticed(message: v8::PromiseRejectMessage<'_>) {
    // SAFETY: V8 calls this with the isolate entered and its context current; the message lives for the call.
    v8::callback_scope!(unsafe scope, &message);
    let Some(Listening(listener)) = scope.get_slot::<Listening>() else { return };
    let listener = *listener;
    match message.get_event() {
        v8::PromiseRejectEvent::PromiseRejectWithNoHandler => {
            if let Some(value) = message.get_value() {
                listener(scope, Notice::Unheard(message.get_promise(), value));
            }
        }
        v8::PromiseRejectEvent::PromiseHandlerAddedAfterReject => listener(scope, Notice::Heard(message.get_promise())),
        _ => {}
    }
}
