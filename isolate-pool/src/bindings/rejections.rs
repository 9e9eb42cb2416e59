//! Promises that are rejected with nobody listening: they become a line in the log, not the end of a call.

use super::SharedDesk;
use super::desk::Rejection;
use crate::engine::rejection::Notice;
use crate::limits::REJECTIONS_MAX;

/// Keeps a rejection on the desk until the host's loop looks, unless somebody listens before that.
pub fn note(scope: &mut v8::PinScope<'_, '_>, notice: Notice<'_>) {
    let Some(desk) = scope.get_slot::<SharedDesk>().cloned() else { return };
    let call = super::globals(scope).running(scope);
    // Natives hold the desk only while no JavaScript runs; should that ever be untrue, a log line is not worth a panic.
    let Ok(mut desk) = desk.try_borrow_mut() else { return };
    match notice {
        Notice::Unheard(promise, value) => {
            if desk.rejections.len() < REJECTIONS_MAX {
                let (promise, reason) = (v8::Global::new(scope, promise), v8::Global::new(scope, value));
                desk.rejections.push(Rejection { call, promise, reason });
            }
        }
        Notice::Heard(promise) => {
            desk.rejections.retain(|rejection| v8::Local::new(scope, &rejection.promise) != promise);
        }
    }
}
