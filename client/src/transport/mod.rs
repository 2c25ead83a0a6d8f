//! Frames over a stream: QUIC between machines, a pipe within a process, one type for both sides.
//!
//! Nothing is copied: what leaves is written slice by slice, what arrives stays as the packets
//! brought it. [`SendHalf::flush`] and [`RecvHalf::recv`] may be dropped at any moment without
//! losing or repeating a byte, so a session's task can select over both.

mod error;
mod halves;
mod pipe;

#[cfg(test)]
mod tests;

pub use error::TransportError;
pub use halves::{FrameStream, RecvHalf, SendHalf};
pub use pipe::{PipeClosed, PipeConnector, PipeListener, pipe};
