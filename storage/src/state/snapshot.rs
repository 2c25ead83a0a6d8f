//! The control part as bytes: what a journal file's preamble carries.
//!
//! ```text
//! version           u8: 5; 4 where no pack is compacted, 3 where there are no packs
//! node              name
//! secret            16 bytes
//! append time       signed varint
//! topics            count, then each: name, origin, first slot, mirrored (u8), origin's journal
//!                   (16 bytes, where mirrored), settings
//! partitions        as many as the topics have, by slot: start, end, append time (signed)
//! producers         count, then each: topic, producer, epoch, last sequence, transient (u8),
//!                   receipts: count, then each: crc (u32), receipt
//! cursors           count, then each: name, topic, hold (u8), positions: count, slot and offset
//! conflicts         count, then each: slot, batch number, index, first's partition and offset,
//!                   append time (signed)
//! manifest          runs' position, files: count, then each as in `RunAdded`; side files: count,
//!                   then each as in `ConflictsKept`; merged runs: count, then each as in
//!                   `KeysMerged`, newest append time (signed); forgotten keys' end; from
//!                   version 4 on packs: count, then each as in `PackAdded`; in version 5 as of a
//!                   compacted one
//! ```
//! A start and an end are offset, batch number, chain (16 bytes), bytes. Everything is in the order
//! of its keys, so equal states have equal bytes.
//!
//! Still read: version 2, without the times of merged runs and what is behind them, and version 1,
//! which has no merged runs at all.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use takt_protocol::batch::Place;
use takt_protocol::varint::{self, Cursor, Truncated};
use takt_protocol::wire::{BatchReceipt, ReceiptError};
use takt_protocol::words::{
    BatchNumber, CursorName, Epoch, NameError, NodeName, Offset, PartitionChain, PartitionId,
    PartitionNumber, ProducerId, Sequence, Timestamp, TopicName,
};

use super::{Control, Edge, Kept, Manifest, MergedRun, OpenConflict, Partition, Producer, Topic};
use crate::entry::{
    PackFile, SealedFile, SideFile, TopicSettings, get_journal, get_name, get_slot, put_name,
};
use crate::journal::Position;
use crate::runs::{MaskedAddress, RunInfo};

const VERSION: u8 = 5;
/// Without compacted packs. Who has none writes it.
const VERSION_4: u8 = 4;
/// Without packs. Who has none writes it, so that an older node can still open the directory.
const VERSION_3: u8 = 3;
/// Without the age of merged runs, none of which was ever forgotten.
const VERSION_2: u8 = 2;
/// Without merged runs.
const VERSION_1: u8 = 1;

/// Why bytes are no snapshot, although the preamble around them verifies.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Of a newer version.
    #[error("snapshots of version {0} are not known; use the version of takt that wrote it")]
    Version(u8),
    /// The bytes end early, have some left, or hold no valid number.
    #[error("the snapshot is not well formed")]
    Malformed,
    /// A name is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A receipt is none.
    #[error(transparent)]
    Receipt(#[from] ReceiptError),
}

impl From<Truncated> for SnapshotError {
    fn from(_: Truncated) -> Self {
        Self::Malformed
    }
}

impl Control {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(4096);
        let packs = &self.manifest.packs;
        let compacted = packs.values().any(PackFile::is_compacted);
        out.push(match (packs.is_empty(), compacted) {
            (true, _) => VERSION_3,
            (false, false) => VERSION_4,
            (false, true) => VERSION,
        });
        put_name(&mut out, self.node.as_str());
        out.extend_from_slice(&self.secret);
        varint::put_signed(&mut out, self.append_time.as_micros());
        self.encode_topics(&mut out);
        for partition in &self.partitions {
            encode_edge(&mut out, &partition.start);
            encode_edge(&mut out, &partition.end);
            varint::put_signed(&mut out, partition.append_time.as_micros());
        }
        varint::put(&mut out, self.producers.len() as u64);
        for ((topic, id), producer) in &self.producers {
            put_name(&mut out, topic.as_str());
            put_name(&mut out, id.as_str());
            varint::put(&mut out, producer.epoch.get());
            varint::put(&mut out, producer.last.get());
            out.push(u8::from(producer.transient));
            varint::put(&mut out, producer.kept.len() as u64);
            for kept in &producer.kept {
                out.extend_from_slice(&kept.crc.to_le_bytes());
                kept.receipt.encode(&mut out);
            }
        }
        varint::put(&mut out, self.cursors.len() as u64);
        for (name, cursor) in &self.cursors {
            put_name(&mut out, name.as_str());
            put_name(&mut out, cursor.topic.as_str());
            out.push(u8::from(cursor.hold));
            varint::put(&mut out, cursor.positions.len() as u64);
            for (slot, offset) in &cursor.positions {
                varint::put(&mut out, u64::from(slot.get()));
                varint::put(&mut out, offset.get());
            }
        }
        varint::put(&mut out, self.conflicts.len() as u64);
        for (address, conflict) in &self.conflicts {
            varint::put(&mut out, u64::from(address.slot.get()));
            varint::put(&mut out, address.batch_number.get());
            varint::put(&mut out, u64::from(address.index));
            varint::put(&mut out, u64::from(conflict.with.partition.get()));
            varint::put(&mut out, conflict.with.offset.get());
            varint::put_signed(&mut out, conflict.append_time.as_micros());
        }
        varint::put(&mut out, self.manifest.runs_upto.get());
        varint::put(&mut out, self.manifest.files.len() as u64);
        self.manifest.files.values().for_each(|file| file.encode(&mut out));
        varint::put(&mut out, self.manifest.sides.len() as u64);
        self.manifest.sides.values().for_each(|side| side.encode(&mut out));
        varint::put(&mut out, self.manifest.merged.len() as u64);
        for merged in self.manifest.merged.values() {
            merged.run.encode(&mut out);
            varint::put_signed(&mut out, merged.append_time.as_micros());
        }
        varint::put(&mut out, self.manifest.keys_from.get());
        if !packs.is_empty() {
            varint::put(&mut out, packs.len() as u64);
            for pack in packs.values() {
                if compacted { pack.encode_compacted(&mut out) } else { pack.encode(&mut out) }
            }
        }
        out
    }

    fn encode_topics(&self, out: &mut Vec<u8>) {
        varint::put(out, self.topics.len() as u64);
        for ((name, origin), topic) in &self.topics {
            put_name(out, name.as_str());
            put_name(out, origin.as_str());
            varint::put(out, u64::from(topic.first_slot.get()));
            let first = &self.partitions[topic.first_slot.get() as usize];
            match first.mirror_of {
                None => out.push(0),
                Some(journal) => {
                    out.push(1);
                    out.extend_from_slice(journal.as_bytes());
                }
            }
            topic.settings.encode(out);
        }
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let cursor = &mut Cursor::new(bytes);
        let version = cursor.u8()?;
        match version {
            VERSION | VERSION_4 | VERSION_3 | VERSION_2 | VERSION_1 => {}
            version => return Err(SnapshotError::Version(version)),
        }
        let node = NodeName::new(get_name(cursor)?)?;
        let secret = cursor.array()?;
        let append_time = time(cursor)?;
        let (topics, partitions) = decode_topics(cursor)?;
        let mut producers = BTreeMap::new();
        for _ in 0..cursor.varint_usize()? {
            let topic = TopicName::new(get_name(cursor)?)?;
            let id = ProducerId::from_text(get_name(cursor)?)?;
            producers.insert((topic, id), decode_producer(cursor)?);
        }
        let mut cursors = BTreeMap::new();
        for _ in 0..cursor.varint_usize()? {
            let name = CursorName::new(get_name(cursor)?)?;
            let topic = TopicName::new(get_name(cursor)?)?;
            let hold = cursor.u8()? != 0;
            let mut positions = BTreeMap::new();
            for _ in 0..cursor.varint_usize()? {
                positions.insert(get_slot(cursor)?, Offset::new(cursor.varint()?));
            }
            cursors.insert(name, super::Cursor { topic, hold, positions });
        }
        let mut conflicts = BTreeMap::new();
        for _ in 0..cursor.varint_usize()? {
            let slot = get_slot(cursor)?;
            let batch_number = BatchNumber::new(cursor.varint()?);
            let index = small(cursor)?;
            let partition = PartitionNumber::new(small(cursor)?);
            let with = Place { partition, offset: Offset::new(cursor.varint()?) };
            let conflict = OpenConflict { with, append_time: time(cursor)? };
            conflicts.insert(MaskedAddress { slot, batch_number, index }, conflict);
        }
        let runs_upto = Position::new(cursor.varint()?);
        let mut files = BTreeMap::new();
        for _ in 0..cursor.varint_usize()? {
            let file = SealedFile::decode(cursor)?;
            files.insert(file.start, file);
        }
        let mut sides = BTreeMap::new();
        for _ in 0..cursor.varint_usize()? {
            let side = SideFile::decode(cursor)?;
            sides.insert(side.start, side);
        }
        let mut merged = BTreeMap::new();
        let runs = if version == VERSION_1 { 0 } else { cursor.varint_usize()? };
        for _ in 0..runs {
            let run = RunInfo::decode(cursor)?;
            // Nothing was appended later than this, and nothing tells more.
            let append_time = if version >= VERSION_3 { time(cursor)? } else { append_time };
            merged.insert(run.start, MergedRun { run, append_time });
        }
        let keys_from = if version >= VERSION_3 { cursor.varint()? } else { 0 };
        let keys_from = Position::new(keys_from);
        let mut packs = BTreeMap::new();
        let count = if version >= VERSION_4 { cursor.varint_usize()? } else { 0 };
        for _ in 0..count {
            let pack = if version == VERSION {
                PackFile::decode_compacted(cursor)?
            } else {
                PackFile::decode(cursor)?
            };
            packs.insert(pack.start, pack);
        }
        if !cursor.is_empty() {
            return Err(SnapshotError::Malformed);
        }
        let manifest = Manifest { files, merged, sides, packs, runs_upto, keys_from };
        Ok(Self {
            node,
            secret,
            append_time,
            topics,
            partitions,
            producers,
            cursors,
            conflicts,
            manifest,
        })
    }
}

type Topics = (BTreeMap<(TopicName, NodeName), Topic>, Vec<Partition>);

fn decode_topics(cursor: &mut Cursor<'_>) -> Result<Topics, SnapshotError> {
    let mut topics = BTreeMap::new();
    let mut by_slot = BTreeMap::new();
    for _ in 0..cursor.varint_usize()? {
        let name = TopicName::new(get_name(cursor)?)?;
        let origin = NodeName::new(get_name(cursor)?)?;
        let first_slot = get_slot(cursor)?;
        let mirror_of = match cursor.u8()? {
            0 => None,
            1 => Some(get_journal(cursor)?),
            _ => return Err(SnapshotError::Malformed),
        };
        let settings = TopicSettings::decode(cursor)?;
        let topic = Topic { settings, first_slot };
        by_slot.insert(first_slot, (name.clone(), origin.clone(), mirror_of, topic));
        topics.insert((name, origin), topic);
    }
    let mut partitions = Vec::new();
    for (first_slot, (name, origin, mirror_of, topic)) in by_slot {
        if first_slot.get() as usize != partitions.len() {
            return Err(SnapshotError::Malformed);
        }
        for number in 0..topic.settings.partitions {
            let number = PartitionNumber::new(number);
            partitions.push(Partition {
                id: PartitionId { origin: origin.clone(), topic: name.clone(), number },
                settings: topic.settings,
                mirror_of,
                start: decode_edge(cursor)?,
                end: decode_edge(cursor)?,
                append_time: time(cursor)?,
            });
        }
    }
    Ok((topics, partitions))
}

fn decode_producer(cursor: &mut Cursor<'_>) -> Result<Producer, SnapshotError> {
    let epoch = Epoch::new(cursor.varint()?);
    let last = Sequence::new(cursor.varint()?);
    let transient = cursor.u8()? != 0;
    let mut kept = VecDeque::new();
    for _ in 0..cursor.varint_usize()? {
        let crc = u32::from_le_bytes(cursor.array()?);
        kept.push_back(Kept { crc, receipt: decode_receipt(cursor)? });
    }
    Ok(Producer { epoch, last, transient, kept })
}

/// Each receipt gets memory of its own: none may keep a whole snapshot alive.
fn decode_receipt(cursor: &mut Cursor<'_>) -> Result<BatchReceipt, SnapshotError> {
    let rest = cursor.rest();
    let skip = &mut Cursor::new(rest);
    for _ in 0..5 {
        // Their values are read below; a signed number is a varint too.
        skip.varint()?;
    }
    skip.slice()?;
    let len = rest.len() - skip.rest().len();
    let mut bytes = Bytes::copy_from_slice(cursor.take(len)?);
    Ok(BatchReceipt::decode(&mut bytes)?)
}

fn encode_edge(out: &mut Vec<u8>, edge: &Edge) {
    varint::put(out, edge.offset.get());
    varint::put(out, edge.batch.get());
    out.extend_from_slice(edge.chain.as_bytes());
    varint::put(out, edge.bytes);
}

fn decode_edge(cursor: &mut Cursor<'_>) -> Result<Edge, Truncated> {
    Ok(Edge {
        offset: Offset::new(cursor.varint()?),
        batch: BatchNumber::new(cursor.varint()?),
        chain: PartitionChain::new(cursor.array()?),
        bytes: cursor.varint()?,
    })
}

fn time(cursor: &mut Cursor<'_>) -> Result<Timestamp, Truncated> {
    cursor.varint_signed().map(Timestamp::from_micros)
}

fn small(cursor: &mut Cursor<'_>) -> Result<u16, Truncated> {
    u16::try_from(cursor.varint()?).map_err(|_| Truncated)
}
