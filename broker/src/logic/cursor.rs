//! What moving a cursor asks of the writer.

use std::collections::BTreeMap;

use takt_protocol::codes::ErrorCode;
use takt_protocol::session::Refusal;
use takt_protocol::words::{CursorName, Offset, PartitionId, TopicName};
use takt_storage::store::Operation;
use takt_storage::view::{PartitionView, View};

/// The operation that moves a cursor, or makes it, if all positions are there.
pub(crate) fn set_cursor(
    view: &View,
    name: CursorName,
    topic: &TopicName,
    hold: Option<bool>,
    positions: &[(PartitionId, Offset)],
) -> Result<Operation, Refusal> {
    let known: BTreeMap<PartitionId, PartitionView> =
        view.partitions(topic).into_iter().map(|p| (p.id.clone(), p)).collect();
    let mut slots = Vec::with_capacity(positions.len());
    for (id, offset) in positions {
        let Some(partition) = known.get(id) else {
            let detail = format!("there is no partition {id}");
            return Err(Refusal::new(ErrorCode::NotFound, detail));
        };
        if *offset > partition.end {
            let detail = format!("{id} ends at {}, before {offset}", partition.end);
            return Err(Refusal::new(ErrorCode::BadRequest, detail));
        }
        slots.push((partition.slot, *offset));
    }
    Ok(Operation::SetCursor { name, topic: topic.clone(), hold, positions: slots })
}
