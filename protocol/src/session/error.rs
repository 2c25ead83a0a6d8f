//! What a peer did wrong.

use crate::batch::StoredError;
use crate::codes::ErrorCode;
use crate::wire::{BodyError, ControlError, EventMessageError, FrameError, ReceiptError};
use crate::words::NameError;

use super::refusal::Refusal;

/// What the peer did wrong. The session is closed on this stream; [`SessionError::code`] says to
/// the peer why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The stream does not cut into frames.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A control message does not decode.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// A body does not decode.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// A receipt does not decode.
    #[error(transparent)]
    Receipt(#[from] ReceiptError),
    /// A stored batch does not pass its checks.
    #[error(transparent)]
    Stored(#[from] StoredError),
    /// An event in an answer does not decode.
    #[error(transparent)]
    Event(#[from] EventMessageError),
    /// A name is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The peer speaks a version that this program does not.
    #[error("the peer speaks version {major} of the protocol, this program speaks 1")]
    Version {
        /// The peer's version.
        major: u32,
    },
    /// Something that does not belong here.
    #[error("{what}")]
    Unexpected {
        /// What was wrong.
        what: &'static str,
    },
    /// More in flight than allowed.
    #[error("more batches are in flight than allowed")]
    TooManyInFlight,
    /// Records or batches are missing in between.
    #[error("{expected} was expected, {found} came: there is a hole")]
    Hole {
        /// The next offset or batch number.
        expected: u64,
        /// The one that came.
        found: u64,
    },
    /// Records or batches came again.
    #[error("{expected} was expected, {found} came again")]
    Back {
        /// The next offset or batch number.
        expected: u64,
        /// The one that came.
        found: u64,
    },
}

impl SessionError {
    pub(super) const fn unexpected(what: &'static str) -> Self {
        Self::Unexpected { what }
    }

    /// The code to close the stream with.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Frame(error) => error.code(),
            Self::Body(BodyError::Batch(_)) => ErrorCode::BadBatch,
            Self::Body(BodyError::Stored(error)) | Self::Stored(error) => match error {
                StoredError::Chain => ErrorCode::Diverged,
                StoredError::Header | StoredError::Mismatch | StoredError::Batch(_) => {
                    ErrorCode::BadBatch
                }
            },
            Self::Body(BodyError::TooManyBatches) | Self::TooManyInFlight => {
                ErrorCode::TooManyInFlight
            }
            Self::Name(_) => ErrorCode::BadRequest,
            Self::Version { .. } => ErrorCode::Version,
            Self::Body(BodyError::Truncated | BodyError::Surplus)
            | Self::Control(_)
            | Self::Receipt(_)
            | Self::Event(_)
            | Self::Unexpected { .. }
            | Self::Hole { .. }
            | Self::Back { .. } => ErrorCode::Protocol,
        }
    }

    /// What to tell the peer.
    pub fn refusal(&self) -> Refusal {
        Refusal::new(self.code(), self.to_string())
    }
}
