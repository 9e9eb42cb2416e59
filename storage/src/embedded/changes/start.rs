//! Where in the log a stream begins.

use bson::Timestamp;
use bson::raw::RawDocument;
use redb::ReadableTable;

use super::super::collection::Stop;
use super::log::damaged;
use crate::changes::{Token, Watch};
use crate::error::StoreError;

/// As it was asked for.
#[derive(Debug, Clone, Copy)]
pub enum Start {
    /// With whatever comes.
    Now,
    /// Behind an event.
    Behind(Token),
    /// With the first event of a time or later. What is said of the future begins with whatever comes.
    At(Timestamp),
}

impl Start {
    pub fn parse(watch: &Watch) -> Result<Self, StoreError> {
        let token = |token: &Option<_>| token.as_deref().map(Token::read).transpose();
        let (resume, start) = (token(&watch.resume_after)?, token(&watch.start_after)?);
        match (resume, start, watch.start_at) {
            (None, None, None) => Ok(Self::Now),
            (Some(token), None, None) | (None, Some(token), None) => Ok(Self::Behind(token)),
            (None, None, Some(time)) => Ok(Self::At(time)),
            _ => {
                let text = "Only one type of resume option is allowed, but multiple were found.";
                Err(StoreError::caller(50674, "Location50674", text))
            }
        }
    }
}

/// The number of the first event of a time or later, among those from `first` to before `next`. Unless one from before is
/// there too, or one of exactly then, others may have been there that are gone.
pub fn number_at(
    events: &impl ReadableTable<&'static [u8], &'static [u8]>,
    first: u64,
    next: u64,
    time: Timestamp,
) -> Result<Option<u64>, Stop> {
    let time_of = |number: u64| -> Result<Timestamp, Stop> {
        let event = events.get(number.to_be_bytes().as_slice())?.ok_or_else(damaged)?;
        let event = RawDocument::from_bytes(event.value()).map_err(|_| damaged())?;
        event.get_timestamp("clusterTime").map_err(|_| damaged())
    };
    if first >= next || time_of(first)? > time {
        return Ok(None);
    }
    // Times rise with the numbers: `from` is not later than what is looked for, and what lies from `to` on is not earlier.
    let (mut from, mut to) = (first, next);
    while from < to {
        let middle = from + (to - from) / 2;
        if time_of(middle)? < time {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    Ok(Some(from))
}
