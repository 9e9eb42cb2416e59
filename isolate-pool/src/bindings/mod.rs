//! Everything a function can reach beyond the language, one file a family.
//!
//! Natives are called by the runtime in `js/`, never by tenant code itself: the runtime keeps them in closures. They do
//! no work of their own beyond converting; what must be done outside the isolate they put on the [`Desk`], and the
//! host's loop takes it from there after each entry. So a native cannot block, and cannot re-enter the host.
//! Not here: the other side of a document operation, which lives in the gateway.

pub mod ask;
pub mod bytes;
pub mod console;
pub mod continuation;
pub mod crypto;
pub mod desk;
pub mod documents;
pub mod functions;
pub mod machine;
pub mod modules;
pub mod node;
pub mod outside;
pub mod packages;
pub mod rejections;
pub mod scopes;
pub mod text;
pub mod timers;
pub mod types;
pub mod url;
pub mod zlib;

use std::cell::RefCell;
use std::rc::Rc;

pub use desk::Desk;

use crate::engine::error::{Stop, string};
use crate::engine::global::Globals;
use crate::engine::isolate::Shapes;

/// The desk of one isolate, shared between its natives and the host's loop, which live on one thread.
pub type SharedDesk = Rc<RefCell<Desk>>;

/// The natives, as one object for the runtime's `boot`.
pub fn natives<'s>(scope: &mut v8::PinScope<'s, '_>) -> Result<v8::Local<'s, v8::Object>, Stop> {
    let object = v8::Object::new(scope);
    macro_rules! define {
        ($($name:literal: $function:path,)*) => {
            $({
                let key = string(scope, $name);
                let function = v8::Function::new(scope, $function).ok_or(Stop::Thrown)?;
                object.create_data_property(scope, key.into(), function.into()).ok_or(Stop::Thrown)?;
            })*
        };
    }
    define! {
        "load": functions::load,
        "runsAsSystem": functions::runs_as_system,
        "module": modules::module,
        "moduleRan": modules::module_ran,
        "node": node::node,
        "packages": packages::packages,
        "packageLines": packages::package_lines,
        "continuation": continuation::get,
        "setContinuation": continuation::set,
        "documents": documents::documents,
        "ask": ask::ask,
        "console": console::console,
        "timer": timers::timer,
        "clearTimer": timers::clear_timer,
        "currentCall": scopes::current_call,
        "share": scopes::share,
        "decode": text::decode,
        "urlParse": url::parse,
        "urlSet": url::set,
        "utf8Encode": bytes::utf8_encode,
        "utf8Decode": bytes::utf8_decode,
        "base64Encode": bytes::base64_encode,
        "base64Decode": bytes::base64_decode,
        "hexEncode": bytes::hex_encode,
        "hexDecode": bytes::hex_decode,
        "randomBytes": bytes::random_bytes,
        "bsonEncode": bytes::bson_encode,
        "bsonDecode": bytes::bson_decode,
    }
    Ok(object)
}

/// The desk of the isolate that is running.
pub(crate) fn desk(scope: &v8::PinScope<'_, '_>) -> SharedDesk {
    scope.get_slot::<SharedDesk>().expect("the host puts a desk into each isolate before it boots it").clone()
}

/// Which global names of the isolate that is running are whose.
pub(crate) fn globals(scope: &v8::PinScope<'_, '_>) -> Rc<Globals> {
    scope.get_slot::<Rc<Globals>>().expect("put there when the isolate was made").clone()
}

pub(crate) fn shapes(scope: &v8::PinScope<'_, '_>) -> Rc<Shapes> {
    scope.get_slot::<Rc<Shapes>>().expect("put there when the isolate was made").clone()
}

/// The first argument of most natives: on whose behalf.
fn call_of(scope: &v8::PinScope<'_, '_>, arguments: &v8::FunctionCallbackArguments<'_>) -> u32 {
    arguments.get(0).uint32_value(scope).unwrap_or(0)
}
