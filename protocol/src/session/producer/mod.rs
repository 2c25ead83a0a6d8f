//! The producer's session: batches in, receipts out, in order, each answered exactly once.
//!
//! At most 64 batches wait for an answer. The server answers every batch, in the order in which
//! they came: with a receipt or with an error. After `Full` or `Gap` the client takes all answers
//! that are still due, waits a little, and sends again from the sequence that was expected. Any
//! other error ends the session.

mod client;
mod server;

use crate::wire::BatchReceipt;
use crate::words::{Epoch, ProducerId, Sequence};

pub use client::{ProducerClient, ProducerConfig, ProducerEvent, SubmitError};
pub use server::{ProducerRequest, ProducerServer, ServerLimits};

/// A receipt that the node keeps so that an outbox can go on behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptReceipt {
    /// The CRC of the batch that it answers.
    pub crc: u32,
    /// The receipt.
    pub receipt: BatchReceipt,
}

/// Where a producer stands when its session opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerOpened {
    /// Who it is.
    pub producer: ProducerId,
    /// Its new incarnation.
    pub epoch: Epoch,
    /// The last sequence that the topic holds of it; 0 for none.
    pub last_sequence: Sequence,
    /// The topic's partitions, at least 1.
    pub partitions: u16,
    /// The newest receipts, at most 64, oldest first.
    pub kept: Vec<KeptReceipt>,
}
