//! The readers of strangers' bytes under one roof, for whoever wants to try them with bytes that nobody sends
//! (`tests/fuzz`). Each is used where it lives; nothing of the product goes through here.

use isolate_pool::services::Refusal;
use url::Url;

use crate::documents::command::Command;
use crate::outbound::{Guard, exchange, fields::Fields};

pub use crate::api::documents::{document, write_line};
pub use crate::users::sessions::{UserSessions, app_of};
pub use crate::users::signers::Signers;
pub use crate::users::tokens::{Proven, verify};
pub use crate::vault::{Purpose, Vault};

/// A document operation as a host asks for it; only whether it was understood.
pub fn command(bytes: &[u8]) -> Result<(), Refusal> {
    Command::read(bytes).map(drop)
}

/// An exchange over HTTP as a host asks for it. Gives the address that would be asked, after what is judged before a
/// connection is made.
pub fn exchange(guard: &Guard, bytes: &[u8]) -> Result<Url, Refusal> {
    let request = exchange::Request::read(&Fields::of("the request", bytes)?)?;
    exchange::check(guard, request.url())?;
    Ok(request.url().clone())
}
