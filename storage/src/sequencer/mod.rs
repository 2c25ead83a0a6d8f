//! The sequencer: what becomes of a batch. It judges with `&self` and returns a value; the one
//! function that replays, [`State::apply`], applies it.

mod mirror;
mod scratch;

use bytes::Bytes;
use takt_protocol::batch::{Batch, Place, StoredBatch, StoredHeader, StoredKind, Verdict};
use takt_protocol::chunks::Chunks;
use takt_protocol::codes::ErrorCode;
use takt_protocol::session::Refusal;
use takt_protocol::words::{Epoch, OrderSequence, ProducerId, Timestamp, TopicName};

use crate::entry::{BatchReceipt, Entry, OnConflict};
use crate::keys::{KeyHashes, RecordKeys};
use crate::ledger::{Known, LedgerEntry, MaskedPlace};
use crate::runs::{RunError, Slot};
use crate::state::{Partition, Producer, State};

pub use mirror::MirrorJudged;
use scratch::OrderSoFar;
pub use scratch::Scratch;

/// A batch that a producer sends.
#[derive(Debug, Clone, Copy)]
pub struct Publication<'a> {
    /// Who sends it.
    pub producer: &'a ProducerId,
    /// To which topic.
    pub topic: &'a TopicName,
    /// In which incarnation.
    pub epoch: Epoch,
    /// What is sent.
    pub batch: &'a Batch,
    /// Of this batch and topic.
    pub keys: &'a KeyHashes,
}

/// What time it is.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// By the wall clock: what is appended gets it, where it does not go back.
    pub wall: Timestamp,
    /// By which ages are judged: the wall clock, as far as it is credible.
    pub of_ages: Timestamp,
}

/// What a batch came to.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it is matched where it is returned")]
pub enum Judged {
    /// It is new: the entry is to be applied.
    Fresh {
        /// What changes the state.
        entry: Entry,
        /// What the producer gets once the entry is durable.
        receipt: BatchReceipt,
        /// For the figures.
        tally: Tally,
    },
    /// It was judged before: its receipt of then.
    Known(BatchReceipt),
    /// Nothing changes.
    Refused(Refusal),
    /// Nothing changes: a run that may know its keys does not answer.
    Unreadable(RunError),
}

/// Records of a batch by what they came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Events.
    pub visible: u64,
    /// Repeats.
    pub duplicates: u64,
    /// Other content under a known key.
    pub conflicts: u64,
    /// Conflicts that are kept and listed.
    pub listed: u64,
    /// Records without a dedup key.
    pub no_identity: u64,
}

/// A content that the ledger knows.
#[derive(Debug, Clone, Copy)]
struct Content {
    place: Place,
    order_sequence: Option<OrderSequence>,
}

impl State {
    /// Judges a batch, whose form and routing were checked, at time `now`.
    ///
    /// # Panics
    /// If `keys` are not of the batch.
    pub fn judge(&self, publication: &Publication<'_>, now: Now, scratch: &mut Scratch) -> Judged {
        let header = publication.batch.header();
        assert_eq!(publication.keys.records().len(), header.records, "keys are of the batch");
        match self.judge_sequence(publication) {
            Ok(None) => {}
            Ok(Some(kept)) => return Judged::Known(kept),
            Err(refusal) => return Judged::Refused(refusal),
        }
        let topic = self.own_topic(publication.topic);
        let slot = topic.and_then(|topic| topic.slot(header.partition));
        let Some((slot, partition)) = slot.and_then(|slot| Some((slot, self.partition(slot)?)))
        else {
            let detail = format!("the topic has no partition {}", header.partition);
            return Judged::Refused(Refusal::new(ErrorCode::BadBatch, detail));
        };
        if let Err(error) = self.look_up(partition, publication.keys, now.of_ages, scratch) {
            return Judged::Unreadable(error);
        }
        let tally = Self::judge_records(partition, publication.keys, scratch);
        if !self.tables.have_room(scratch.learned(), scratch.new_orders()) {
            let detail = format!("{} keys are known", self.tables.keys());
            let refusal = Refusal::resend(ErrorCode::LedgerFull, detail, header.first_sequence);
            return Judged::Refused(refusal);
        }
        let append_time = self.control.append_time.max(now.wall);
        self.lay_out(publication, slot, append_time, tally, scratch)
    }

    /// Whether the batch is the producer's next; else its kept receipt.
    fn judge_sequence(
        &self,
        publication: &Publication<'_>,
    ) -> Result<Option<BatchReceipt>, Refusal> {
        let header = publication.batch.header();
        if self.own_topic(publication.topic).is_none() {
            return Err(Refusal::new(ErrorCode::UnknownTopic, publication.topic.as_str()));
        }
        let Some(producer) = self.producer(publication.topic, publication.producer) else {
            return Err(Refusal::new(ErrorCode::Fenced, "the producer was dropped; open it again"));
        };
        #[cfg(takt_planted)]
        let producer = &Producer {
            epoch: if takt_protocol::planted::is("epoch_unchecked") {
                publication.epoch
            } else {
                producer.epoch
            },
            ..producer.clone()
        };
        if producer.epoch != publication.epoch {
            let detail = format!("epoch {} is open, not {}", producer.epoch, publication.epoch);
            return Err(Refusal::new(ErrorCode::Fenced, detail));
        }
        let expected = producer.last.advance(1);
        if header.first_sequence > expected {
            let detail = format!("{} was sent, {expected} is next", header.first_sequence);
            return Err(Refusal::resend(ErrorCode::Gap, detail, expected));
        }
        if header.first_sequence == expected {
            return Ok(None);
        }
        kept_receipt(producer, publication.batch).map(Some).ok_or_else(|| {
            let detail = format!("sequence {} was used before", header.first_sequence);
            Refusal::resend(ErrorCode::SequenceReused, detail, expected)
        })
    }

    /// Gathers what is known of a batch's keys, many at a time: so that look-ups do not wait for
    /// memory one after the other, and judging the records reads no file.
    fn look_up(
        &self,
        partition: &Partition,
        keys: &KeyHashes,
        now: Timestamp,
        scratch: &mut Scratch,
    ) -> Result<(), RunError> {
        let tables = &self.tables;
        scratch.hashes.clear();
        if partition.settings.dedup {
            scratch.hashes.extend(keys.records().iter().flat_map(RecordKeys::dedup));
        }
        scratch.begin(keys.orders().len());
        let Scratch { hashes, hits, heads, found, orders, .. } = scratch;
        tables.known(hashes, hits, |entry| found.push(entry))?;
        found.sort();
        // A head expires a horizon after its order's last event.
        let horizon_us = partition.settings.horizon_us();
        #[cfg(takt_planted)]
        let horizon_us = if takt_protocol::planted::is("heads_expire_early") {
            horizon_us / 4
        } else {
            horizon_us
        };
        let alive_from = now.as_micros().saturating_sub(horizon_us);
        for head in tables.heads(keys.orders(), heads)? {
            let alive = head.filter(|head| head.last_append_time.as_micros() >= alive_from);
            let expired = head.is_some() && alive.is_none();
            orders.push(OrderSoFar { last: alive.map(|head| head.last), expired });
        }
        Ok(())
    }

    fn judge_records(partition: &Partition, keys: &KeyHashes, scratch: &mut Scratch) -> Tally {
        let mut tally = Tally::default();
        let mut offset = partition.end.offset;
        for (index, record) in (0..).zip(keys.records()) {
            tally.no_identity += u64::from(!record.has_identity());
            let masked = MaskedPlace {
                partition: partition.id.number,
                batch_number: partition.end.batch,
                index,
            };
            let known = if partition.settings.dedup {
                Self::judge_identity(partition, record, masked, scratch)
            } else {
                None
            };
            let verdict = known.unwrap_or_else(|| {
                let in_order = record.order().map(|i| scratch.next_in_order(i));
                let (order_sequence, restarted) = in_order.unzip();
                let place = Place { partition: partition.id.number, offset };
                offset = offset.advance(1);
                for hash in record.dedup().iter().filter(|_| partition.settings.dedup) {
                    let known = Known::First { place, order_sequence };
                    #[cfg(takt_planted)]
                    if takt_protocol::planted::is("dedup_within_batch_forgotten") {
                        continue;
                    }
                    scratch.learned.push(LedgerEntry::new(*hash, record.digest64, known));
                }
                Verdict::Visible { order_sequence, restarted: restarted.unwrap_or_default() }
            });
            match verdict {
                Verdict::Visible { .. } => tally.visible += 1,
                Verdict::Duplicate { .. } => tally.duplicates += 1,
                Verdict::Conflict { listed, .. } => {
                    tally.conflicts += 1;
                    tally.listed += u64::from(listed);
                }
                Verdict::PreconditionFailed { .. } => {}
            }
            verdict.encode(&mut scratch.verdicts);
        }
        tally
    }

    /// What the record's keys say of it; `None` where they are all fresh.
    fn judge_identity(
        partition: &Partition,
        record: &RecordKeys,
        masked: MaskedPlace,
        scratch: &mut Scratch,
    ) -> Option<Verdict> {
        let mut firsts = [None; 2];
        let mut same: Option<Content> = None;
        let mut set_aside = false;
        for (first, hash) in firsts.iter_mut().zip(record.dedup()) {
            for entry in scratch.found.get(*hash).iter().chain(scratch.learned.get(*hash)) {
                let same_content = entry.digest64() == record.digest64;
                #[cfg(takt_planted)]
                let same_content =
                    same_content || takt_protocol::planted::is("conflict_taken_for_repeat");
                match entry.known() {
                    Known::First { place, order_sequence } => {
                        *first = Some(place);
                        if same_content {
                            same = same.or(Some(Content { place, order_sequence }));
                        }
                    }
                    Known::Revision { place, order_sequence } if same_content => {
                        same = same.or(Some(Content { place, order_sequence }));
                    }
                    Known::OpenConflict { .. } | Known::Rejected { .. } => {
                        set_aside |= same_content;
                    }
                    Known::Revision { .. } => {}
                }
            }
        }
        let with = firsts[0].or(firsts[1])?;
        let of_two = firsts[1].is_some_and(|second| second != with);
        if let Some(Content { place, order_sequence }) = same.filter(|_| !of_two) {
            return Some(Verdict::Duplicate { of: place, order_sequence });
        }
        let listed = !set_aside && partition.settings.on_conflict == OnConflict::Quarantine;
        if listed {
            for hash in record.dedup() {
                let known = Known::OpenConflict { at: masked };
                scratch.learned.push(LedgerEntry::new(*hash, record.digest64, known));
            }
        }
        Some(Verdict::Conflict { with, listed })
    }

    fn lay_out(
        &self,
        publication: &Publication<'_>,
        slot: Slot,
        append_time: Timestamp,
        tally: Tally,
        scratch: &mut Scratch,
    ) -> Judged {
        let header = publication.batch.header();
        let partition = &self.control.partitions[slot.get() as usize];
        let receipt = BatchReceipt {
            first_sequence: header.first_sequence,
            records: header.records,
            partition: header.partition,
            base_offset: partition.end.offset,
            append_time,
            verdicts: Bytes::copy_from_slice(&scratch.verdicts),
        };
        if tally.visible == 0 && tally.listed == 0 {
            let entry = Entry::SequenceAdvanced {
                producer: publication.producer.clone(),
                topic: publication.topic.clone(),
                crc: header.crc,
                receipt: receipt.clone(),
            };
            return Judged::Fresh { entry, receipt, tally };
        }
        let stored = StoredHeader {
            kind: StoredKind::Data,
            batch_number: partition.end.batch,
            base_offset: partition.end.offset,
            visible: usize::try_from(tally.visible).expect("at most 4,096 records"),
            records: header.records,
            append_time,
            producer: publication.producer.clone(),
            epoch: publication.epoch,
            crc: header.crc,
            chain: partition.end.chain,
            batch_len: header.len,
        };
        let mut bytes = Vec::with_capacity(512 + scratch.verdicts.len());
        stored.encode(partition.end.chain, &scratch.verdicts, &mut bytes);
        let mut pieces = Chunks::from(Bytes::from(bytes));
        publication.batch.pieces().for_each(|piece| pieces.push(piece.clone()));
        let batch = StoredBatch::take(&mut pieces).expect("what was laid out is a stored batch");
        Judged::Fresh { entry: Entry::Batch { slot, batch }, receipt, tally }
    }
}

/// The receipt that the very same batch got, if it is among those kept.
fn kept_receipt(producer: &Producer, batch: &Batch) -> Option<BatchReceipt> {
    let header = batch.header();
    #[cfg(takt_planted)]
    if takt_protocol::planted::is("sequence_reused_answered") {
        let first = header.first_sequence;
        let mut kept = producer.kept.iter();
        return kept
            .find(|kept| kept.receipt.first_sequence == first)
            .map(|kept| kept.receipt.clone());
    }
    let same = producer.kept.iter().find(|kept| {
        kept.receipt.first_sequence == header.first_sequence
            && kept.receipt.records == header.records
            && kept.crc == header.crc
    });
    same.map(|kept| kept.receipt.clone())
}
