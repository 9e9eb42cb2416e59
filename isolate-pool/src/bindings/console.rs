//! `console(call, level, text)`: one line of the call's log, within its budget.

use super::{call_of, desk};
use crate::limits;
use crate::outcome::ConsoleLevel;

pub fn console<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    arguments: v8::FunctionCallbackArguments<'s>,
    _: v8::ReturnValue<'s, v8::Value>,
) {
    let call = call_of(scope, &arguments);
    let level = arguments.get(1).uint32_value(scope).and_then(|level| ConsoleLevel::from_u8(level as u8));
    let text = arguments.get(2).to_rust_string_lossy(scope);
    line(&mut desk(scope).borrow_mut(), call, level.unwrap_or(ConsoleLevel::Log), text);
}

/// Adds a line to a call's log.
pub fn line(desk: &mut super::Desk, call: u32, level: ConsoleLevel, mut text: String) {
    let Some(open) = desk.calls.get_mut(&call) else { return };
    if text.len() > limits::CONSOLE_LINE_BYTES_MAX {
        text.truncate(text.floor_char_boundary(limits::CONSOLE_LINE_BYTES_MAX - '…'.len_utf8()));
        text.push('…');
    }
    if open.console.take(text.len()) {
        desk.lines.push((call, level, text));
    }
}
