//! `timer(call, delayMs, repeat, callback)` and `clearTimer(id)`.
//!
//! The host's loop keeps the clock; a timer belongs to a call and goes with it.

use super::ask::overflow;
use super::desk::{Desk, Timer};
use super::{call_of, desk};
use crate::engine::error::Stop;
use crate::host::clock;

pub fn timer<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    arguments: v8::FunctionCallbackArguments<'s>,
    mut answer: v8::ReturnValue<'s, v8::Value>,
) {
    let call = call_of(scope, &arguments);
    let delay_ns = u64::from(arguments.get(1).uint32_value(scope).unwrap_or(0)) * 1_000_000;
    let repeat = arguments.get(2).is_true();
    let Ok(callback) = v8::Local::<v8::Function>::try_from(arguments.get(3)) else {
        return Stop::refused("a timer needs a function to call").throw(scope);
    };
    let callback = v8::Global::new(scope, callback);
    let desk = desk(scope);
    let mut desk = desk.borrow_mut();
    // A function that kept a timer function past its call gets a number and nothing else.
    let Some(open) = desk.calls.get_mut(&call) else { return answer.set_uint32(0) };
    if !open.has_room() {
        drop(desk);
        return Stop::refused(overflow()).throw(scope);
    }
    open.timers += 1;
    // An interval of nothing would keep the loop to itself.
    let repeat_ns = repeat.then_some(delay_ns.max(1_000_000));
    let id = desk.timers.set(clock::now_ns() + delay_ns, Timer { call, callback, repeat_ns });
    answer.set_uint32(id);
}

pub fn clear_timer<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    arguments: v8::FunctionCallbackArguments<'s>,
    _: v8::ReturnValue<'s, v8::Value>,
) {
    let id = arguments.get(0).uint32_value(scope).unwrap_or(0);
    let desk = desk(scope);
    let mut desk = desk.borrow_mut();
    let removed = desk.timers.remove(id);
    if let Some(timer) = removed
        && let Some(open) = desk.calls.get_mut(&timer.call)
    {
        open.timers -= 1;
    }
}

/// Takes the first timer that is due: whose it is, and what to call. An interval is set anew.
pub fn take_due(desk: &mut Desk, now_ns: u64) -> Option<(u32, v8::Global<v8::Function>)> {
    let (id, timer) = desk.timers.take_due(now_ns)?;
    let (call, callback) = (timer.call, timer.callback.clone());
    match timer.repeat_ns {
        Some(repeat_ns) => desk.timers.put(id, now_ns + repeat_ns, timer),
        None => {
            if let Some(open) = desk.calls.get_mut(&call) {
                open.timers -= 1;
            }
        }
    }
    Some((call, callback))
}
