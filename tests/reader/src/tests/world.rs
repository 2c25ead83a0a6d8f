//! A directory that is built by hand: a node with one partition, of whose journal the sealed files are
//! in a pack and the newest has nothing yet.

use std::collections::BTreeMap;

use super::{
    Files,
    batches::{BatchDraft, PRODUCER, RecordDraft, compacted, event, record},
    build::{BlockDraft, Draft, PackDraft, pack_words, varint},
    merged::manifest_bytes,
    seal_preamble,
};
use crate::{
    Edge, PackFile, Run, SealedFile, SlotEnd, check_runs, journal::name_of, manifest::Manifest,
    read,
};

/// Positions of a sealed file.
pub(super) const FILE: u64 = 1 << 16;
/// Where the newest file starts.
pub(super) const SEALED: u64 = 2 * FILE;
const JOURNAL: [u8; 16] = [7; 16];

/// A batch, and which of its records the pack has, where that is not all.
#[derive(Debug, Clone)]
pub(super) struct BatchOf {
    pub(super) file: usize,
    pub(super) records: Vec<RecordDraft>,
    pub(super) kept: Option<Vec<usize>>,
}

/// What the directory is made of; the rest follows from it.
#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) batches: Vec<BatchOf>,
    /// Up to which position the pack says that it is compacted.
    pub(super) compacted_upto: u64,
    /// The partition is a mirror, and its batches came as they are.
    pub(super) mirror: bool,
    /// Of the topic.
    pub(super) flags: u8,
    /// In seconds; 0 for the default.
    pub(super) horizon_s: u64,
    /// By the numbers of batches.
    pub(super) append_times: fn(usize) -> i64,
    /// The hash in the row of an event with this offset and order key.
    pub(super) hash: fn(u64, &str) -> u128,
    /// How many order keys the run of each file says too few.
    pub(super) fewer_new_orders: u64,
    /// What is changed of the bytes in the pack, of batches by their numbers.
    pub(super) change: fn(usize, &mut Vec<u8>),
    /// What is changed of the sections of the run of each file.
    pub(super) change_run: fn(usize, &mut [Vec<u8>; 6]),
}

/// A batch as it lies in the places that it has.
struct LaidOut {
    file: usize,
    draft: BatchDraft,
    /// In the journal.
    stored: Vec<u8>,
    position: u64,
    packed: Vec<u8>,
    chain: [u8; 16],
    kept: Option<Vec<usize>>,
}

pub(super) fn hash(_: u64, key: &str) -> u128 {
    xxhash_rust::xxh3::xxh3_128(key.as_bytes())
}

pub(super) fn signed(out: &mut Vec<u8>, value: i64) {
    varint(out, (value << 1 ^ value >> 63).cast_unsigned());
}

pub(super) fn text(out: &mut Vec<u8>, text: &str) {
    varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

impl World {
    /// With all that compaction may leave out left out, up to the end of the sealed files.
    pub(super) fn new() -> Self {
        let batch = |file, records: &[RecordDraft], kept: Option<&[usize]>| BatchOf {
            file,
            records: records.to_vec(),
            kept: kept.map(<[usize]>::to_vec),
        };
        let masked: [&[u64]; 5] = [&[4, 0, 1, 1], &[3, 0, 2], &[5, 0, 0], &[6, 0, 0], &[7, 2]];
        let [again, repeat, listed, conflict, failed] = masked;
        Self {
            batches: vec![
                batch(0, &[event("a", 1), event("b", 1), record(None, &[0])], Some(&[2])),
                batch(
                    0,
                    &[
                        event("a", 2),
                        record(Some("b"), again),
                        record(None, repeat),
                        record(Some("a"), listed),
                        record(Some("a"), conflict),
                        record(Some("a"), failed),
                    ],
                    Some(&[3]),
                ),
                batch(0, &[event("a", 3)], Some(&[])),
                batch(1, &[event("a", 4), event("b", 2), event("c", 1)], Some(&[1, 2])),
                batch(1, &[event("a", 5)], None),
            ],
            compacted_upto: SEALED,
            mirror: false,
            flags: 3,
            horizon_s: 0,
            append_times: |number| 100 + i64::try_from(number).unwrap(),
            hash,
            fewer_new_orders: 0,
            change: |_, _| {},
            change_run: |_, _| {},
        }
    }

    fn lay_out_batches(&self) -> Vec<LaidOut> {
        let (mut offset, mut sequence, mut previous) = (0, 1, [0; 16]);
        let mut places = [0x100, FILE + 0x100];
        let batches = self.batches.iter().enumerate().map(|(number, batch)| {
            let draft = BatchDraft {
                number: number as u64,
                base_offset: offset,
                append_time: (self.append_times)(number),
                first_sequence: sequence,
                previous,
                records: batch.records.clone(),
            };
            let (whole, chain) = draft.lay_out();
            let mut packed = match &batch.kept {
                Some(kept) => compacted(&whole, kept),
                None => whole.clone(),
            };
            let stored = if self.mirror { packed.clone() } else { whole };
            (self.change)(number, &mut packed);
            let position = places[batch.file];
            places[batch.file] += stored.len() as u64;
            previous = chain;
            offset += draft.visible();
            sequence += draft.records.len() as u64;
            let (file, kept) = (batch.file, batch.kept.clone());
            LaidOut { file, draft, stored, position, packed, chain, kept }
        });
        batches.collect()
    }

    /// The run of a file, and what the manifest says of the file.
    fn seal(&self, file: usize, all: &[LaidOut]) -> (Vec<u8>, SealedFile) {
        let batches: Vec<_> = all.iter().filter(|batch| batch.file == file).collect();
        let (first, last) = (&batches[0].draft, batches.last().unwrap());
        let (mut extents, mut orders, mut conflicts) = (Vec::new(), Vec::new(), Vec::new());
        let mut new_orders = 0_u64;
        for batch in &batches {
            let draft = &batch.draft;
            let end = draft.base_offset + draft.visible();
            let len = u32::try_from(batch.stored.len()).unwrap();
            extents.extend([0_u32, len].into_iter().flat_map(u32::to_le_bytes));
            let time = draft.append_time.cast_unsigned();
            let numbers = [draft.number, draft.base_offset, end, time, batch.position];
            extents.extend(numbers.into_iter().flat_map(u64::to_le_bytes));
            let mut offset = draft.base_offset;
            for (index, record) in draft.records.iter().enumerate() {
                let gone = self.mirror && batch.kept.as_ref().is_some_and(|k| !k.contains(&index));
                if let Some(key) = record.key.filter(|_| record.is_visible() && !gone) {
                    orders.push(((self.hash)(offset, key), offset));
                    new_orders += u64::from(record.verdict[1] == 1);
                }
                if record.is_listed() {
                    conflicts.extend_from_slice(&[0; 4]);
                    conflicts.extend_from_slice(&draft.number.to_le_bytes());
                    conflicts.extend_from_slice(&u16::try_from(index).unwrap().to_le_bytes());
                }
                offset += u64::from(record.is_visible());
            }
        }
        orders.sort_unstable();
        let orders = orders.into_iter().flat_map(|(hash, offset)| {
            [&hash.to_le_bytes()[..], &[0; 4], &offset.to_le_bytes()].concat()
        });
        let mut slots = [0, u32::try_from(batches.len()).unwrap()].map(u32::to_le_bytes).concat();
        let end = last.draft.base_offset + last.draft.visible();
        let numbers = [first.number, last.draft.number + 1, first.base_offset, end];
        slots.extend(numbers.into_iter().flat_map(u64::to_le_bytes));
        let times = [first.append_time, last.draft.append_time];
        slots.extend(times.into_iter().flat_map(i64::to_le_bytes));
        slots.extend_from_slice(&first.previous);
        let mut sections = [Vec::new(), Vec::new(), extents, orders.collect(), conflicts, slots];
        (self.change_run)(file, &mut sections);
        let start = file as u64 * FILE;
        let run = Run { start, end: start + FILE, incarnation: 1, checksum: 0, rows: [0; 6] };
        let new_orders = new_orders.saturating_sub(self.fewer_new_orders);
        let draft = Draft { new_orders, ..Draft::new(JOURNAL, run, sections) };
        let (bytes, run) = draft.lay_out();
        let file = SealedFile {
            start,
            end: run.end,
            append_time: last.draft.append_time,
            slots: vec![SlotEnd { slot: 0, edge: edge_behind(all, last.draft.number + 1) }],
            run: Some(run),
        };
        (bytes, file)
    }

    fn pack(&self, batches: &[LaidOut]) -> PackDraft {
        let batches = batches.iter().map(|batch| (batch.draft.number, batch.packed.clone()));
        let block = BlockDraft { slot: 0, zstd: false, batches: batches.collect() };
        let pack = PackFile {
            start: 0,
            end: SEALED,
            serial: 0,
            blocks: 0,
            len_bytes: 0,
            batch_bytes: 0,
            compacted_upto: self.compacted_upto,
            checksum: 0,
        };
        PackDraft { journal: JOURNAL, pack, blocks: vec![block] }
    }

    fn snapshot(&self, batches: &[LaidOut], manifest: &Manifest) -> Vec<u8> {
        let mut out = vec![if self.compacted_upto > 0 { 5 } else { 4 }];
        text(&mut out, "hub");
        out.extend_from_slice(&[9; 16]);
        let last = &batches.last().unwrap().draft;
        signed(&mut out, last.append_time);
        varint(&mut out, 1);
        text(&mut out, "t");
        text(&mut out, if self.mirror { "lyon" } else { "hub" });
        out.extend_from_slice(&[0, u8::from(self.mirror)]);
        out.extend_from_slice(if self.mirror { &[3; 16] } else { &[] });
        out.extend_from_slice(&[1, self.flags]);
        varint(&mut out, self.horizon_s);
        out.extend_from_slice(&[0; 4]);
        for edge in [Edge::default(), edge_behind(batches, last.number + 1)] {
            varint(&mut out, edge.offset);
            varint(&mut out, edge.batch);
            out.extend_from_slice(&edge.chain);
            varint(&mut out, edge.bytes);
        }
        signed(&mut out, last.append_time);
        if self.mirror {
            varint(&mut out, 0);
        } else {
            varint(&mut out, 1);
            text(&mut out, "t");
            text(&mut out, PRODUCER);
            varint(&mut out, 1);
            varint(&mut out, last.first_sequence + last.records.len() as u64 - 1);
            out.push(0);
            varint(&mut out, batches.len() as u64);
            for batch in batches {
                put_receipt(&mut out, batch);
            }
        }
        varint(&mut out, 0);
        let listed = batches.iter().flat_map(|batch| {
            let records = batch.draft.records.iter().enumerate();
            records.filter(|(_, record)| record.is_listed()).map(move |listed| (batch, listed))
        });
        let listed: Vec<_> = listed.collect();
        varint(&mut out, listed.len() as u64);
        for (batch, (index, record)) in listed {
            let with = [record.verdict[1], record.verdict[2]];
            for number in [0, batch.draft.number, index as u64].into_iter().chain(with) {
                varint(&mut out, number);
            }
            signed(&mut out, batch.draft.append_time);
        }
        out.extend(manifest_bytes(manifest));
        // No merged runs; nothing is forgotten; one pack.
        out.extend_from_slice(&[0, 0, 1]);
        for pack in manifest.packs.values() {
            out.extend(pack_words(pack));
            if self.compacted_upto > 0 {
                varint(&mut out, pack.compacted_upto);
            }
        }
        out
    }

    /// The batches as the pack has them.
    pub(super) fn packed(&self) -> Vec<Vec<u8>> {
        self.lay_out_batches().into_iter().map(|batch| batch.packed).collect()
    }

    pub(super) fn lay_out(&self) -> Files {
        self.lay_out_with(&self.packed())
    }

    /// With these batches in the pack.
    pub(super) fn lay_out_with(&self, packed: &[Vec<u8>]) -> Files {
        let mut files = Files::new();
        let mut batches = self.lay_out_batches();
        for (batch, packed) in batches.iter_mut().zip(packed) {
            batch.packed.clone_from(packed);
        }
        let (bytes, pack) = self.pack(&batches).lay_out();
        files.insert(pack.name(), bytes);
        let packs = BTreeMap::from([(pack.start, pack)]);
        let mut manifest = Manifest { runs_upto: SEALED, packs, ..Manifest::default() };
        for file in 0..2 {
            let (bytes, sealed) = self.seal(file, &batches);
            files.insert(sealed.run.unwrap().name(), bytes);
            manifest.files.insert(sealed.start, sealed);
        }
        let snapshot = self.snapshot(&batches, &manifest);
        files.insert(name_of("journal", SEALED, 1, "log"), journal_file(&snapshot));
        files
    }

    /// What is wrong with it, if anything is.
    pub(super) fn check(&self) -> Result<(), String> {
        check(&self.lay_out())
    }
}

/// What is wrong with a directory, if anything is.
pub(super) fn check(files: &Files) -> Result<(), String> {
    let contents = read(files).map_err(|error| error.to_string())?;
    check_runs(files, &contents).map(drop).map_err(|error| error.to_string())
}

/// Where a partition stands behind its first batches.
fn edge_behind(batches: &[LaidOut], batch: u64) -> Edge {
    let of_it = &batches[..usize::try_from(batch).unwrap()];
    let last = of_it.last().unwrap();
    let offset = last.draft.base_offset + last.draft.visible();
    let bytes = of_it.iter().map(|batch| batch.stored.len() as u64).sum();
    Edge { offset, batch, chain: last.chain, bytes }
}

fn put_receipt(out: &mut Vec<u8>, batch: &LaidOut) {
    let draft = &batch.draft;
    out.extend_from_slice(&batch.stored[64..68]);
    for number in [draft.first_sequence, draft.records.len() as u64, 0, draft.base_offset] {
        varint(out, number);
    }
    signed(out, draft.append_time);
    let verdicts = draft.verdicts();
    varint(out, verdicts.len() as u64);
    out.extend(verdicts);
}

/// The newest journal file, without a commit.
fn journal_file(snapshot: &[u8]) -> Vec<u8> {
    let padded = snapshot.len().next_multiple_of(4096);
    let mut file = b"TaktJrnl\x01\0\0\0".to_vec();
    file.extend_from_slice(&1_u32.to_le_bytes());
    file.extend_from_slice(&JOURNAL);
    // Salt.
    file.extend_from_slice(&[5; 16]);
    file.extend_from_slice(&SEALED.to_le_bytes());
    file.extend_from_slice(&FILE.to_le_bytes());
    file.extend_from_slice(&1_u32.to_le_bytes());
    file.extend_from_slice(&u32::try_from(1 + padded / 4096).unwrap().to_le_bytes());
    file.extend_from_slice(&(snapshot.len() as u64).to_le_bytes());
    file.resize(4096, 0);
    file.extend_from_slice(snapshot);
    file.resize(4096 + padded, 0);
    seal_preamble(&mut file);
    file
}
