//! What a node decides, without IO: no socket, file, thread, clock or randomness is in here. The
//! shells around it ([`crate::node`], the writer's threads, a task for each stream, the task of
//! the uplink) carry values between these types and the world, and a simulation can drive the same
//! types in one thread.
//!
//! - [`WriterCore`] judges what sessions ask for, fills commits, and says when to write them.
//! - A [`Session`] is the node's side of one stream: [`ProducerSession`], [`SubscriberSession`] or
//!   [`MirrorSession`].
//! - [`UplinkSession`] is a plant's side of one connection to its hub; [`Backoff`] says how long to
//!   wait for the next.
//!
//! All take what arrives (`handle_*`, `on_*`) and then give what is to be done (`poll_*`), each
//! until there is no more. Time is an argument.

mod age;
mod backoff;
pub(crate) mod convert;
mod cursor;
pub mod mirror;
pub mod producer;
mod read;
mod said;
pub mod session;
pub mod subscriber;
pub mod uplink;
pub mod writer;

pub(crate) use cursor::set_cursor;
pub use mirror::MirrorSession;
pub use producer::ProducerSession;
pub use read::{Read, ReadFrom};
pub use session::{Context, Request, Session, SessionEvent};
pub use subscriber::SubscriberSession;
pub use uplink::{Backoff, UplinkSession};
pub(crate) use writer::not_done;
pub use writer::{TicketError, WriterCore};

#[cfg(test)]
mod tests;
