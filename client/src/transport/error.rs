//! Why a stream ended.

use quinn::{ConnectionError, ReadError, VarInt, WriteError};
use takt_protocol::codes::ErrorCode;
use takt_protocol::wire::FrameError;

/// Why nothing more comes over a stream. The session can go on over the next one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The connection is gone, or the other side dropped the stream.
    #[error("the connection is lost: {detail}")]
    Lost {
        /// What is known of the cause.
        detail: String,
    },
    /// The other side has ended the stream or the connection at once, with a reason.
    #[error("the other side ended the stream: {code}")]
    Reset {
        /// Its reason.
        code: ErrorCode,
    },
    /// The stream ended within a frame.
    #[error("the stream ended within a frame")]
    Cut,
    /// What came is no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

impl TransportError {
    /// Whether the connection is gone and the other side has not said why: it may come back.
    pub const fn is_lost(&self) -> bool {
        matches!(self, Self::Lost { .. })
    }

    pub(super) fn lost(detail: &(impl ToString + ?Sized)) -> Self {
        Self::Lost { detail: detail.to_string() }
    }

    fn reset(code: VarInt) -> Self {
        let number = u32::try_from(code.into_inner()).unwrap_or(u32::MAX);
        Self::Reset { code: ErrorCode::from_number(number) }
    }
}

impl From<ConnectionError> for TransportError {
    fn from(error: ConnectionError) -> Self {
        if let ConnectionError::ApplicationClosed(close) = &error {
            return Self::reset(close.error_code);
        }
        Self::lost(&error)
    }
}

impl From<WriteError> for TransportError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Stopped(code) => Self::reset(code),
            WriteError::ConnectionLost(error) => error.into(),
            WriteError::ClosedStream | WriteError::ZeroRttRejected => Self::lost(&error),
        }
    }
}

impl From<ReadError> for TransportError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Reset(code) => Self::reset(code),
            ReadError::ConnectionLost(error) => error.into(),
            ReadError::ClosedStream
            | ReadError::IllegalOrderedRead
            | ReadError::ZeroRttRejected => Self::lost(&error),
        }
    }
}
