//! The systems that are compared, each as its user would use it: its own server, its own client, and
//! the id and the order key of an event where that system has a place for them.

mod error;
mod kind;
mod nats;
mod programs;
mod redis;
mod takt;

#[cfg(test)]
pub mod tests;

use std::future::Future;
use std::path::Path;

use futures_util::future::BoxFuture;

pub use error::ContenderError;
pub use kind::{Kind, System};
pub use nats::Nats;
pub use programs::{Programs, ProgramsError};
pub use redis::Redis;
pub use takt::Takt;

use crate::event::Event;

/// The one stream, topic or key that all producers publish to.
const STREAM: &str = "events";

/// A server of a system, running in a directory of its own.
pub trait Contender: Sized + Send {
    /// What publishes to it.
    type Producer: Producer;

    /// Starts it with an empty `dir` for its data and makes its stream.
    ///
    /// # Errors
    /// [`ContenderError`]; then nothing of it is running.
    fn start(
        kind: Kind,
        programs: &Programs,
        dir: &Path,
    ) -> impl Future<Output = Result<Self, ContenderError>> + Send;

    /// The process id of its server.
    fn pid(&self) -> u32;

    /// Connects one more producer, which has a connection of its own.
    ///
    /// # Errors
    /// [`ContenderError`].
    fn producer(&self) -> impl Future<Output = Result<Self::Producer, ContenderError>> + Send;

    /// How many events its stream holds.
    ///
    /// # Errors
    /// [`ContenderError`].
    fn stored(&self) -> impl Future<Output = Result<u64, ContenderError>> + Send;

    /// Ends it.
    ///
    /// # Errors
    /// [`ContenderError`] where it does not end cleanly; it has ended all the same.
    fn stop(self) -> impl Future<Output = Result<(), ContenderError>> + Send;
}

/// Resolves once all events of a call are acknowledged, each as a new one, with how many they are.
pub type Ack = BoxFuture<'static, Result<usize, ContenderError>>;

/// One connection that publishes. An [`Ack`] must be polled for the call to get on its way.
pub trait Producer: Send + 'static {
    /// Hands one event over, by the call that this system has for one. Waits for nothing but room.
    ///
    /// # Errors
    /// [`ContenderError`].
    fn publish(&mut self, event: Event)
    -> impl Future<Output = Result<Ack, ContenderError>> + Send;

    /// Hands a batch over, in the form that this system has for many events.
    ///
    /// # Errors
    /// [`ContenderError`].
    fn publish_batch(
        &mut self,
        events: Vec<Event>,
    ) -> impl Future<Output = Result<Ack, ContenderError>> + Send;
}
