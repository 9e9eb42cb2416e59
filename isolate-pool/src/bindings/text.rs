//! `decode(label, bytes, fatal, keepMark)`: text of bytes in any encoding the Encoding standard knows. `decode(label)` gives
//! the standard's name of the encoding, or undefined when there is none.
//!
//! A whole text at a time; what belongs to the next piece is the runtime's to keep.

use encoding_rs::Encoding;

use crate::engine::error::Stop;
use crate::engine::fence;
use crate::engine::writing::contents;

pub fn decode<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    arguments: v8::FunctionCallbackArguments<'s>,
    mut answer: v8::ReturnValue<'s, v8::Value>,
) {
    let label = arguments.get(0).to_rust_string_lossy(scope);
    let Some(encoding) = Encoding::for_label_no_replacement(label.as_bytes()) else { return };
    if arguments.length() < 2 {
        let name = encoding.name().to_ascii_lowercase();
        return answer.set(crate::engine::error::string(scope, &name).into());
    }
    let fatal = arguments.get(2).is_true();
    let keep_mark = arguments.get(3).is_true();
    let bytes = contents(arguments.get(1));
    if !fence::room_for(scope, bytes.len()) {
        return Stop::refused("memory limit exceeded").throw(scope);
    }
    let (text, wrong) =
        if keep_mark { encoding.decode_without_bom_handling(&bytes) } else { encoding.decode_with_bom_removal(&bytes) };
    if fatal && wrong {
        let name = encoding.name().to_ascii_lowercase();
        return Stop::refused(format!("The encoded data was not valid for encoding {name}")).throw(scope);
    }
    match v8::String::new(scope, &text) {
        Some(text) => answer.set(text.into()),
        None => Stop::refused("the text is longer than a string may be").throw(scope),
    }
}
