//! The bodies that carry batches.

use bytes::Bytes;

use crate::batch::{Batch, BatchError, StoredBatch, StoredError};
use crate::chunks::Chunks;
use crate::limits::FRAME_BATCHES_MAX;
use crate::words::PartitionNumber;

use super::frame::{FrameError, FrameKind, OutFrame};

/// Why the body of a frame does not decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It is too short for what every body of its kind begins with, or empty.
    #[error("the body of a frame is cut off")]
    Truncated,
    /// More batches than a frame may carry.
    #[error("a frame of more than {FRAME_BATCHES_MAX} batches")]
    TooManyBatches,
    /// Bytes behind the end, or a part that this version does not know.
    #[error("the body of a frame has bytes that do not belong to it")]
    Surplus,
    /// A producer's batch is none.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// A stored batch is none.
    #[error(transparent)]
    Stored(#[from] StoredError),
}

/// Lays out a publish frame of whole batches.
///
/// # Errors
/// [`FrameError::TooLarge`] where they are over the limit of a frame.
pub fn publish_frame(batches: impl IntoIterator<Item = Bytes>) -> Result<OutFrame, FrameError> {
    OutFrame::new(FrameKind::Publish, &[], batches)
}

/// Reads the body of a publish frame: 1 to 64 batches. Only their headers are checked.
///
/// # Errors
/// [`BodyError`] with the first rule that is broken.
pub fn take_batches(mut body: Chunks) -> Result<Vec<Batch>, BodyError> {
    let mut batches = Vec::new();
    while !body.is_empty() || batches.is_empty() {
        if batches.len() == FRAME_BATCHES_MAX {
            return Err(BodyError::TooManyBatches);
        }
        batches.push(Batch::take(&mut body)?);
    }
    Ok(batches)
}

/// Lays out a deliver frame of stored batches, given in pieces.
///
/// # Errors
/// [`FrameError::TooLarge`] where they are over the limit of a frame.
pub fn deliver_frame(
    slot: u32,
    pieces: impl IntoIterator<Item = Bytes>,
) -> Result<OutFrame, FrameError> {
    OutFrame::new(FrameKind::Deliver, &slot.to_le_bytes(), pieces)
}

/// Reads the body of a deliver frame. Only structure is checked.
///
/// # Errors
/// [`BodyError`] with the first rule that is broken.
pub fn take_deliver(mut body: Chunks) -> Result<(u32, Vec<StoredBatch>), BodyError> {
    let slot = u32::from_le_bytes(take_array(&mut body)?);
    let mut batches = Vec::new();
    while !body.is_empty() || batches.is_empty() {
        batches.push(StoredBatch::take(&mut body)?);
    }
    Ok((slot, batches))
}

/// What stands in front of the stored batch in a mirror frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MirrorHead {
    /// The topic's place in the list that opened the link.
    pub topic: u16,
    /// The partition.
    pub partition: PartitionNumber,
}

/// Lays out a mirror frame of one stored batch, given in pieces.
///
/// # Errors
/// [`FrameError::TooLarge`] where it is over the limit of a frame.
pub fn mirror_frame(
    head: MirrorHead,
    pieces: impl IntoIterator<Item = Bytes>,
) -> Result<OutFrame, FrameError> {
    let mut bytes = [0; 6];
    bytes[..2].copy_from_slice(&head.topic.to_le_bytes());
    bytes[2..4].copy_from_slice(&head.partition.get().to_le_bytes());
    OutFrame::new(FrameKind::Mirror, &bytes, pieces)
}

/// Reads the body of a mirror frame. Only structure is checked.
///
/// # Errors
/// [`BodyError`] with the first rule that is broken.
pub fn take_mirror(mut body: Chunks) -> Result<(MirrorHead, StoredBatch), BodyError> {
    let topic = u16::from_le_bytes(take_array(&mut body)?);
    let partition = PartitionNumber::new(u16::from_le_bytes(take_array(&mut body)?));
    let bitmap_len = u16::from_le_bytes(take_array(&mut body)?);
    let batch = if bitmap_len == 0 {
        StoredBatch::take(&mut body)?
    } else {
        return Err(BodyError::Surplus);
    };
    if body.is_empty() {
        Ok((MirrorHead { topic, partition }, batch))
    } else {
        Err(BodyError::Surplus)
    }
}

fn take_array<const N: usize>(body: &mut Chunks) -> Result<[u8; N], BodyError> {
    let bytes = body.take_contiguous(N).ok_or(BodyError::Truncated)?;
    bytes[..].try_into().map_err(|_| BodyError::Truncated)
}
