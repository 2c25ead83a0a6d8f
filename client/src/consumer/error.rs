//! Why a consumer stops or stumbles.

use takt_protocol::batch::StoredError;
use takt_protocol::codes::ErrorCode;
use takt_protocol::session::Refusal;
use takt_protocol::words::{NameError, Offset, PartitionId};

/// Why a consumer has no event now. Only [`ConsumeError::Trimmed`] is followed by more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConsumeError {
    /// Retention has dropped records that were not delivered yet; it goes on behind them.
    #[error(
        "retention has dropped the records {from} up to {to} of {partition} before they were read"
    )]
    Trimmed {
        /// The partition.
        partition: PartitionId,
        /// The first that is gone.
        from: Offset,
        /// The first behind them.
        to: Offset,
    },
    /// The node refuses, for good.
    #[error("{code}: {detail}")]
    Refused {
        /// Why.
        code: ErrorCode,
        /// More about it, from the node.
        detail: String,
    },
    /// A batch does not hold what its headers say.
    #[error("a batch of {partition} is damaged: {source}")]
    Damaged {
        /// The partition.
        partition: PartitionId,
        /// What is wrong with it.
        source: StoredError,
    },
    /// There is no way to the node any more.
    #[error("the node cannot be reached any more: {detail}")]
    Unreachable {
        /// Why.
        detail: String,
    },
}

impl From<Refusal> for ConsumeError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused { code: refusal.code, detail: refusal.detail }
    }
}

/// Why a position was not kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// The consumer has no cursor.
    #[error("the consumer has no cursor; name one with `cursor`")]
    NoCursor,
    /// The node refused.
    #[error("{code}: {detail}")]
    Refused {
        /// Why.
        code: ErrorCode,
        /// More about it, from the node.
        detail: String,
    },
    /// The consumer has stopped.
    #[error("the consumer has stopped")]
    Stopped,
}

impl From<Refusal> for CommitError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused { code: refusal.code, detail: refusal.detail }
    }
}

/// Why a consumer cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The topic, the cursor or the origin has no proper name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The window is out of its bounds.
    #[error("credit_bytes is {value}; it must be 1 to 2^30")]
    Credit {
        /// What it is.
        value: usize,
    },
    /// It is to start at a cursor and commit to another.
    #[error("it starts at cursor {start} and commits to {cursor}; use one cursor")]
    TwoCursors {
        /// Where it starts.
        start: String,
        /// Where it commits.
        cursor: String,
    },
}
