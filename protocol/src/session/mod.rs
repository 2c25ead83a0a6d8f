//! The sessions, both halves of each, as state machines without IO.
//!
//! A session lives on one stream at a time and survives it: after a reconnect it opens again,
//! learns where it stands, and sends again, under the same identity, what has no answer. The side
//! that opens the stream (a client half: [`producer::ProducerClient`],
//! [`subscriber::SubscriberClient`], [`mirror::MirrorOrigin`], [`admin::AdminClient`]) sends a
//! hello first; the other side gives the stream's first frame to [`accept`] and every further one
//! to the server half of the kind that it names. A server half lives as long as its stream.
//!
//! The shell hands in what arrives (`handle_frame`, and `handle_timeout` once `poll_timeout` has
//! come), tells what it did (`on_*`), and after each call sends what `poll_transmit` gives and acts
//! on what `poll_event` gives, each until there is no more. A half that has failed or is closed
//! (`is_closed`) may still have an error to send: send it, then close the stream.

pub mod admin;
mod credit;
mod error;
mod hello;
pub mod mirror;
mod outbox;
pub mod producer;
mod refusal;
pub mod subscriber;

pub use error::SessionError;
pub use hello::{StreamKind, VERSION_MAJOR, VERSION_MINOR, accept};
pub use refusal::{Refusal, refusal_frame};
