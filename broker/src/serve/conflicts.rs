//! Conflicts, as an operator lists and looks at them.

use std::sync::Arc;

use takt_protocol::codes::ErrorCode;
use takt_protocol::session::Refusal;
use takt_protocol::wire::proto;
use takt_protocol::words::BatchNumber;
use takt_storage::index::ConflictRow;
use takt_storage::runs::MaskedAddress;
use takt_storage::view::{PartitionView, ReadError};

use super::admin::{ROWS_MAX, blocking, event_of, read_failed, record, topic_name, visible};
use super::refusal;
use crate::node::Inner;

/// Open conflicts, a page at a time.
pub(super) async fn list(
    node: &Arc<Inner>,
    list: proto::ListConflicts,
) -> Result<proto::ConflictList, Refusal> {
    let topic = if list.topic.is_empty() { None } else { Some(topic_name(&list.topic)?) };
    let after = match &list.after {
        Some(after) => Some(address(node, after)?),
        None => None,
    };
    let max = usize::try_from(list.max).unwrap_or(ROWS_MAX).clamp(1, ROWS_MAX);
    let view = node.view.clone();
    blocking(move || {
        let rows = view.conflict_rows(topic.as_ref(), after, max + 1);
        let mut rows = rows.map_err(|e| read_failed(&e))?;
        let more = rows.len() > max;
        rows.truncate(max);
        let conflicts = rows
            .into_iter()
            .map(|row| {
                let partition = view.partition(row.address.slot);
                let partition = partition.ok_or_else(|| read_failed(&ReadError::NotFound))?;
                Ok(summary(row, &partition))
            })
            .collect::<Result<_, Refusal>>()?;
        Ok(proto::ConflictList { conflicts, more })
    })
    .await
}

/// One conflict with both contents.
pub(super) async fn show(
    node: &Arc<Inner>,
    at: proto::ConflictAddress,
) -> Result<proto::ConflictDetail, Refusal> {
    let address = address(node, &at)?;
    let view = node.view.clone();
    blocking(move || {
        let content = view.conflict(address).map_err(|e| read_failed(&e))?;
        let partition = view.partition(address.slot);
        let partition = partition.ok_or_else(|| read_failed(&ReadError::NotFound))?;
        let masked = record(&content.batch, address.index.into())?;
        let event = event_of(&content.batch, &masked)?;
        // The first may be in another partition of the same topic and origin.
        let with = content.row.first;
        let first = view
            .partitions(&partition.id.topic)
            .into_iter()
            .find(|p| p.id.origin == partition.id.origin && p.id.number == with.partition);
        let first = match first.map(|p| view.read(p.slot, with.offset, 1)) {
            Some(Ok(batches)) => batches.into_iter().next(),
            // Retention has dropped it.
            Some(Err(ReadError::Trimmed { .. })) | None => None,
            Some(Err(error)) => return Err(read_failed(&error)),
        };
        let mut detail = proto::ConflictDetail {
            summary: Some(summary(content.row, &partition)),
            event: Some(event),
            ..proto::ConflictDetail::default()
        };
        if let Some(batch) = first
            && let Some(found) = visible(&batch, with.offset)?
        {
            let first = found.record;
            detail.first_digest = first.digest.as_bytes().to_vec().into();
            detail.first = Some(event_of(&batch, &first)?);
        }
        Ok(detail)
    })
    .await
}

fn address(node: &Inner, address: &proto::ConflictAddress) -> Result<MaskedAddress, Refusal> {
    let none = || refusal(ErrorCode::NotFound, "there is no such conflict");
    let topic = topic_name(&address.topic)?;
    let partitions = node.view.partitions(&topic);
    let named = partitions.into_iter().find(|p| {
        p.id.origin.as_str() == address.origin && u32::from(p.id.number.get()) == address.partition
    });
    Ok(MaskedAddress {
        slot: named.ok_or_else(none)?.slot,
        batch_number: BatchNumber::new(address.batch_number),
        index: u16::try_from(address.index).map_err(|_| none())?,
    })
}

fn summary(row: ConflictRow, partition: &PartitionView) -> proto::ConflictSummary {
    proto::ConflictSummary {
        address: Some(proto::ConflictAddress {
            topic: partition.id.topic.to_string(),
            origin: partition.id.origin.to_string(),
            partition: u32::from(partition.id.number.get()),
            batch_number: row.address.batch_number.get(),
            index: row.address.index.into(),
        }),
        first_partition: u32::from(row.first.partition.get()),
        first_offset: row.first.offset.get(),
        append_time_us: row.append_time.as_micros(),
        producer_id: row.producer,
        source: row.source,
        id: row.id,
        r#type: row.kind,
        order_key: row.order_key.unwrap_or_default(),
        digest: row.digest.as_bytes().to_vec().into(),
    }
}
