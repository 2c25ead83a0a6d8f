//! The subscriber's session: stored batches out, each partition in order and without a hole, under
//! credit; positions back into a cursor.
//!
//! The server names a partition by a slot, in the order in which it told them. A batch that holds
//! the start is delivered whole: the client says from which offset on its records count.

mod client;
mod server;

use crate::wire::proto;
use crate::words::{
    CursorName, NodeName, Offset, PartitionId, PartitionNumber, Timestamp, TopicName,
};

use super::error::SessionError;

pub use client::{SubscriberClient, SubscriberEvent};
pub use server::{SubscriberOpened, SubscriberRequest, SubscriberServer};

/// Where a subscription begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// With the oldest record that is kept.
    Earliest,
    /// With the next record.
    Latest,
    /// With the first record appended at or after this.
    Time(Timestamp),
    /// At these offsets; a partition that is not named begins at its start.
    Offsets(Vec<(PartitionId, Offset)>),
    /// Where the subscription's cursor stands; earliest where it stands nowhere yet.
    Cursor,
}

/// What a subscriber wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// The topic.
    pub topic: TopicName,
    /// Where to begin.
    pub start: Start,
    /// The durable position that commits go to.
    pub cursor: Option<CursorName>,
    /// Whether the cursor holds retention back; `None`: as it is, and a new one does not.
    pub hold: Option<bool>,
    /// Bytes of stored batches on their way or held by the application; one batch more may be.
    pub credit_bytes: usize,
    /// Only the partitions of this origin.
    pub origin: Option<NodeName>,
}

impl Subscription {
    fn to_wire(&self, credit_bytes: u64) -> proto::Subscribe {
        use proto::subscribe::Start as Wire;
        let start = match &self.start {
            Start::Earliest => Wire::Earliest(proto::Unit {}),
            Start::Latest => Wire::Latest(proto::Unit {}),
            Start::Time(time) => Wire::TimeUs(time.as_micros()),
            Start::Offsets(offsets) => {
                Wire::Offsets(proto::PartitionPositions { positions: to_positions(offsets) })
            }
            Start::Cursor => Wire::AtCursor(proto::Unit {}),
        };
        proto::Subscribe {
            topic: self.topic.as_str().to_owned(),
            start: Some(start),
            cursor: self.cursor.as_ref().map(|name| name.as_str().to_owned()).unwrap_or_default(),
            hold: self.hold,
            credit_bytes,
            origin: self.origin.as_ref().map(|name| name.as_str().to_owned()).unwrap_or_default(),
        }
    }

    fn from_wire(wire: proto::Subscribe) -> Result<Self, SessionError> {
        use proto::subscribe::Start as Wire;
        let topic = TopicName::new(&wire.topic)?;
        let start = match wire.start {
            Some(Wire::Earliest(_)) => Start::Earliest,
            Some(Wire::Latest(_)) => Start::Latest,
            Some(Wire::TimeUs(micros)) => Start::Time(Timestamp::from_micros(micros)),
            Some(Wire::Offsets(offsets)) => {
                Start::Offsets(from_positions(&topic, &offsets.positions)?)
            }
            Some(Wire::AtCursor(_)) => Start::Cursor,
            None => return Err(SessionError::unexpected("a subscription without a start")),
        };
        let named = |name: &str| !name.is_empty();
        let cursor = Some(wire.cursor).filter(|name| named(name));
        let origin = Some(wire.origin).filter(|name| named(name));
        Ok(Self {
            topic,
            start,
            cursor: cursor.map(|name| CursorName::new(&name)).transpose()?,
            hold: wire.hold,
            credit_bytes: usize::try_from(wire.credit_bytes).unwrap_or(usize::MAX),
            origin: origin.map(|name| NodeName::new(&name)).transpose()?,
        })
    }
}

fn to_position(partition: &PartitionId, offset: Offset) -> proto::PartitionPosition {
    proto::PartitionPosition {
        origin: partition.origin.as_str().to_owned(),
        number: u32::from(partition.number.get()),
        offset: offset.get(),
    }
}

fn to_positions(positions: &[(PartitionId, Offset)]) -> Vec<proto::PartitionPosition> {
    positions.iter().map(|(partition, offset)| to_position(partition, *offset)).collect()
}

fn from_position(
    topic: &TopicName,
    wire: &proto::PartitionPosition,
) -> Result<(PartitionId, Offset), SessionError> {
    let number = u16::try_from(wire.number)
        .map_err(|_| SessionError::unexpected("a partition's number is over 65,535"))?;
    let partition = PartitionId {
        origin: NodeName::new(&wire.origin)?,
        topic: topic.clone(),
        number: PartitionNumber::new(number),
    };
    Ok((partition, Offset::new(wire.offset)))
}

fn from_positions(
    topic: &TopicName,
    wire: &[proto::PartitionPosition],
) -> Result<Vec<(PartitionId, Offset)>, SessionError> {
    wire.iter().map(|position| from_position(topic, position)).collect()
}
