//! The link of an origin to its upstream: the origin dials, tells what it has, hears where the
//! mirror of each partition ends, verifies that it holds exactly that, and only then sends.
//!
//! Batches of a partition go in order of their numbers, each with the chain over those before. The
//! target checks both as they arrive; acknowledgements name the end of what is durable there.

mod origin;
mod target;

use crate::wire::proto;
use crate::words::{BatchNumber, JournalId, PartitionChain, PartitionNumber, TopicName};

use super::error::SessionError;

pub use origin::{MirrorOrigin, MirrorOriginEvent};
pub use target::{MirrorTarget, MirrorTargetEvent};

/// A topic that is mirrored. Sessions name it by its place in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorTopic {
    /// Its name.
    pub name: TopicName,
    /// Its settings at the origin, with its partitions.
    pub settings: proto::TopicSettings,
}

impl MirrorTopic {
    fn partitions(&self) -> u32 {
        self.settings.partitions
    }
}

/// A point between two batches of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainPoint {
    /// The origin's journal.
    pub journal: JournalId,
    /// The batch behind the point.
    pub next_batch: BatchNumber,
    /// The chain up to and with the batch before it; zeros at the beginning of a partition.
    pub chain: PartitionChain,
}

/// Where a mirror of a partition ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MirrorEnd {
    /// The topic's place in the list of the session.
    pub topic: u16,
    /// The partition.
    pub partition: PartitionNumber,
    /// The end; `None` where the mirror is empty.
    pub end: Option<ChainPoint>,
}

impl MirrorEnd {
    fn to_wire(self) -> proto::MirrorEnd {
        let point = |point: ChainPoint| proto::ChainPoint {
            journal_id: point.journal.as_bytes().to_vec().into(),
            next_batch: point.next_batch.get(),
            chain: point.chain.as_bytes().to_vec().into(),
        };
        proto::MirrorEnd {
            topic: u32::from(self.topic),
            partition: u32::from(self.partition.get()),
            end: self.end.map(point),
        }
    }

    fn from_wire(wire: &proto::MirrorEnd, topics: &[MirrorTopic]) -> Result<Self, SessionError> {
        let (topic, partition) = place(wire.topic, wire.partition, topics)?;
        let end = match &wire.end {
            None => None,
            Some(point) => Some(ChainPoint {
                journal: JournalId::new(sixteen(&point.journal_id)?),
                next_batch: BatchNumber::new(point.next_batch),
                chain: PartitionChain::new(sixteen(&point.chain)?),
            }),
        };
        Ok(Self { topic, partition, end })
    }
}

fn place(
    topic: u32,
    partition: u32,
    topics: &[MirrorTopic],
) -> Result<(u16, PartitionNumber), SessionError> {
    let partitions = usize::try_from(topic).ok().and_then(|at| topics.get(at));
    let partitions = partitions.map_or(0, MirrorTopic::partitions);
    match (u16::try_from(topic), u16::try_from(partition)) {
        (Ok(topic), Ok(number)) if partition < partitions => {
            Ok((topic, PartitionNumber::new(number)))
        }
        _ => Err(SessionError::unexpected("a partition that was not told at the opening")),
    }
}

fn sixteen(bytes: &[u8]) -> Result<[u8; 16], SessionError> {
    bytes.try_into().map_err(|_| SessionError::unexpected("an id or a chain is not of 16 bytes"))
}
