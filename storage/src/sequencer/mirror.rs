//! Batches that another node judged: only whether they continue the mirror is decided here.

use takt_protocol::batch::StoredBatch;
use takt_protocol::codes::ErrorCode;
use takt_protocol::session::Refusal;
use takt_protocol::words::JournalId;

use crate::runs::Slot;
use crate::state::{Partition, State};
use crate::store::MirrorPoint;

/// What a mirrored batch came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MirrorJudged {
    /// It continues the mirror: it is to be appended.
    Next,
    /// The mirror has it already and ends there.
    Known(MirrorPoint),
    /// Nothing changes.
    Refused(Refusal),
}

impl Partition {
    /// Whether nothing says yet where the mirror begins.
    pub(crate) fn is_empty_mirror(&self) -> bool {
        self.mirror_of.is_some() && self.end.batch.get() == 0
    }

    /// Where the mirror ends; `None` where it is empty.
    pub(crate) fn mirror_end(&self) -> Option<MirrorPoint> {
        let end = self.end;
        (!self.is_empty_mirror()).then_some(MirrorPoint {
            next_batch: end.batch,
            chain: end.chain,
            next_offset: end.offset,
        })
    }
}

impl State {
    /// Judges a batch of the origin's `journal` for mirror `slot`; its content was checked.
    pub fn judge_mirror(
        &self,
        slot: Slot,
        journal: JournalId,
        batch: &StoredBatch,
    ) -> MirrorJudged {
        let header = batch.header();
        let refuse = |code, detail: String| MirrorJudged::Refused(Refusal::new(code, detail));
        let Some((partition, mirrored)) =
            self.partition(slot).and_then(|found| Some((found, found.mirror_of?)))
        else {
            return refuse(ErrorCode::BadRequest, format!("partition {slot} is no mirror"));
        };
        let id = &partition.id;
        if mirrored != journal {
            return refuse(ErrorCode::Diverged, format!("{id} mirrors journal {mirrored}"));
        }
        let end = partition.end;
        if header.batch_number < end.batch {
            return partition.mirror_end().map_or_else(
                || refuse(ErrorCode::Internal, format!("{id} is empty")),
                MirrorJudged::Known,
            );
        }
        if header.batch_number > end.batch {
            let (sent, next) = (header.batch_number, end.batch);
            return refuse(
                ErrorCode::Gap,
                format!("batch {sent} of {id} was sent, {next} is next"),
            );
        }
        if batch.batch().header().partition != id.number {
            return refuse(ErrorCode::BadBatch, format!("the batch is not of {id}"));
        }
        if header.base_offset != end.offset || !batch.continues(end.chain) {
            let number = header.batch_number;
            return refuse(ErrorCode::Diverged, format!("batch {number} does not continue {id}"));
        }
        MirrorJudged::Next
    }
}
