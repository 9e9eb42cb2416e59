//! Restart without notice: a new process of the program, which may be another version of it with other settings, takes over
//! from the one that serves.
//!
//! The old one starts the new one, which prepares itself completely while the old one serves: it gets the very listening
//! sockets (closing one would break off what waits in its queue), reads the catalog through the old one's store, starts
//! hosts. Then, in the order in which nobody notices:
//!
//! 1. the new one stops asking the old one's store; the old one lets its writes finish and closes the store;
//! 2. the new one opens it, and accepts connections; calls that are still with the old one ask the new one's store from
//!    here on, so that one of ten seconds holds nobody up;
//! 3. the old one stops accepting, lets connections go to the new one whenever they are between two requests, finishes
//!    what it has, and ends.
//!
//! Until the new one has said that it serves, the old one can go on as if nothing had been: it still accepts, and opens
//! the store again. If the old one dies after the new one was ready, the new one serves.
//!
//! What does not go along: TLS and HTTP/2 connections (they are told to come again, by `Connection: close` and `GOAWAY`),
//! open transactions (they are told to run again), counts that are kept in memory.

pub mod control;
pub mod link;
pub mod new;
pub mod old;
