//! Why a peer was refused.

use crate::codes::ErrorCode;
use crate::wire::{ControlBody, OutFrame, proto};
use crate::words::Sequence;

use super::outbox::small;

/// The longest detail that goes over the wire.
const DETAIL_BYTES_MAX: usize = 1_024;

/// Why a request, a batch or a whole session was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Refusal {
    /// What kind of refusal it is.
    pub code: ErrorCode,
    /// What happened here, in words.
    pub detail: String,
    /// Where [`Refusal::is_resend`]: the sequence from which to send again.
    pub expected: Option<Sequence>,
}

impl Refusal {
    /// A refusal that names no sequence.
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), expected: None }
    }

    /// A refusal after which the batches from `expected` on are to be sent again.
    pub fn resend(code: ErrorCode, detail: impl Into<String>, expected: Sequence) -> Self {
        Self { code, detail: detail.into(), expected: Some(expected) }
    }

    /// Whether a producer's session goes on behind it on the same stream.
    pub fn is_resend(&self) -> bool {
        matches!(self.code, ErrorCode::Full | ErrorCode::Gap | ErrorCode::Unreadable)
    }

    pub(super) fn into_error(self, batch: Option<Sequence>) -> proto::Error {
        proto::Error {
            code: self.code.number(),
            detail: shortened(self.detail),
            expected_sequence: self.expected.map(Sequence::get),
            batch_sequence: batch.map(Sequence::get),
        }
    }
}

impl From<proto::Error> for Refusal {
    fn from(error: proto::Error) -> Self {
        Self {
            code: ErrorCode::from_number(error.code),
            detail: shortened(error.detail),
            expected: error.expected_sequence.map(Sequence::new),
        }
    }
}

/// The last frame of a stream that is refused.
pub fn refusal_frame(refusal: Refusal) -> OutFrame {
    small(ControlBody::Error(refusal.into_error(None)))
}

pub(super) fn shortened(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(DETAIL_BYTES_MAX));
    text
}
