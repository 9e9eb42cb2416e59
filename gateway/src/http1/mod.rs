//! HTTP/1.1 as a server speaks it: bytes in, requests out; answers in, bytes out. No sockets, no runtime, no clock.
//!
//! The connection loop owns one contiguous receive buffer and does three things with it, over and over:
//! [`Head::parse`] until a head is there, [`Intake::receive`] until its body is there (or [`Decoder::step`] to hand the
//! body on as it comes), then [`encode`] into an output buffer that is sent once for all pipelined answers.
//!
//! One stream of bytes has one meaning, or it is refused. A [`Refusal`] names the reason and the offset of the byte that
//! decided; after one, where the next request would begin is unknown, so the connection answers and closes. What a
//! stream means never depends on how it was cut into packets: the corpus in `tests/corpus/http1.txt` is run in every
//! split to hold us to that.
//!
//! Not here: deadlines (the connection's), status codes of refusals (`respond`'s), what a path means (`route`'s).

pub mod body;
pub mod date;
pub mod encode;
pub mod fields;
pub mod head;
mod line;
pub mod refusal;
pub mod target;
#[cfg(test)]
mod tests;

pub use body::{Decoder, Framing, Intake, Progress, Step};
pub use date::HttpDate;
pub use fields::{Fields, Known, Span};
pub use head::{Head, Method};
pub use refusal::{Reason, Refusal};
