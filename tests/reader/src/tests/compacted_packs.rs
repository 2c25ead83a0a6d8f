//! Compacted packs, made here from the committed directory's journal files, some of which are still
//! there.

use super::{
    batches::{client_at, compacted, seal_compacted},
    build::{PackDraft, commit, pack_words, varint},
    compaction::OVERTAKEN,
    directory,
    merged::manifest_bytes,
    packs::{added, give_back, kept, name, pack_all, snapshot_of, why},
    runs::{check_with, runs, why as why_of_run, with_new_orders},
    world::check,
};
use crate::{
    PackFile, ReadError, Unpacked, check_runs, journal::Journal, manifest::Manifest, read,
    read_unpacked, snapshot,
};

const FILE_DROPPED: u8 = 11;
const CONFLICTS_KEPT: u8 = 13;
const PACK_ADDED: u8 = 19;
const COMPACTED_PACK_ADDED: u8 = 20;

/// What may be kept of the node's own batches, by their numbers: the last of each order and the listed
/// conflicts are among it.
const KEPT: [(u64, &[usize]); 5] =
    [(37, &[]), (38, &[9]), (39, &[0, 3]), (40, &[1, 9]), (42, &[3, 4, 5, 6, 7, 8, 9])];

/// A pack of all sealed files that are kept, with what may be left out left out.
fn pack_compacted() -> PackDraft {
    let mut draft = pack_all(&directory());
    draft.pack.compacted_upto = draft.pack.end;
    for (number, kept) in KEPT {
        compact(&mut draft, 0, number, kept);
    }
    draft
}

fn batch(draft: &mut PackDraft, slot: u32, number: u64) -> &mut Vec<u8> {
    let block = draft.blocks.iter_mut().find(|block| block.slot == slot).unwrap();
    &mut block.batches.iter_mut().find(|(found, _)| *found == number).unwrap().1
}

fn compact(draft: &mut PackDraft, slot: u32, number: u64, kept: &[usize]) {
    let batch = batch(draft, slot, number);
    *batch = compacted(batch, kept);
}

/// Why a directory with this pack is refused while the journal files are there, and when they are gone.
fn both(draft: &PackDraft) -> [Result<(), String>; 2] {
    let mut files = directory();
    let pack = name(&mut files, draft);
    let there = check(&files);
    give_back(&mut files, &pack);
    [there, check(&files)]
}

fn assert_ends(found: &Result<(), String>, expected: &str) {
    assert!(found.as_ref().is_err_and(|why| why.ends_with(expected)), "{found:?}, not {expected}");
}

#[test]
fn what_is_compacted_reads_as_the_journal_did_but_for_what_is_gone() {
    let whole = directory();
    let before = read(&whole).unwrap();
    for zstd in [false, true] {
        let mut files = whole.clone();
        let mut draft = pack_compacted();
        draft.blocks.iter_mut().for_each(|block| block.zstd = zstd);
        let pack = name(&mut files, &draft);
        for gone in [false, true] {
            if gone {
                assert_eq!(give_back(&mut files, &pack), 2);
            }
            let unpacked = Unpacked::of(&files);
            let contents = read_unpacked(&files, &unpacked).unwrap();
            check_runs(&files, &contents).unwrap();
            assert_eq!(contents.conflicts, before.conflicts);
            assert_eq!(contents.manifest.packs[&pack.start], pack);
            let (found, was) = (&contents.partitions[0], &before.partitions[0]);
            assert_eq!((found.start, found.end), (was.start, was.end));
            assert_eq!(found.left_out.len(), 10 + 9 + 8 + 8 + 3);
            for (batch, was) in found.batches.iter().zip(&was.batches) {
                assert_eq!(batch.position.is_none(), gone && batch.number < 43);
                assert_eq!((batch.number, batch.chain), (was.number, was.chain));
                assert_eq!(batch.journal_bytes, was.bytes.len() as u64);
            }
            let gone = |index: &u32, batch: u64| {
                found.left_out.iter().any(|gone| (gone.batch, &gone.index) == (batch, index))
            };
            let left = was.records.iter().filter(|record| !gone(&record.index, record.batch));
            assert!(left.eq(&found.records));
            for (found, was) in contents.partitions.iter().zip(&before.partitions).skip(1) {
                assert_eq!(found.records, was.records);
                assert!(found.left_out.is_empty());
            }
        }
    }
}

#[test]
fn what_the_journal_still_has_tells_what_is_wrong() {
    let good = pack_compacted();
    let change = |number, change: &dyn Fn(&mut Vec<u8>, usize)| {
        let mut draft = good.clone();
        let batch = batch(&mut draft, 0, number);
        let client = client_at(batch);
        change(batch, client);
        seal_compacted(batch);
        both(&draft)
    };
    let another = "it is not of the one that the journal has";
    // Times from another base: no time is left, or all are.
    let [there, gone] = change(37, &|batch, at| batch[at + 40] ^= 1);
    assert_ends(&there, another);
    assert_eq!(gone, Ok(()), "nothing tells it any more");
    let [there, gone] = change(37, &|batch, at| batch[at + 32] ^= 1);
    assert_ends(&there, another);
    assert_ends(&gone, "its first sequence is not the one that was answered");
    let [there, _] = change(37, &|batch, _| batch[16 + 24] ^= 1);
    assert_ends(&there, another);
    // The id of a record: no digest covers it.
    let whole = directory();
    let contents = read(&whole).unwrap();
    let mut records = contents.partitions[0].records.iter();
    let id = records.find(|record| record.offset == Some(359)).unwrap().id.as_bytes();
    let [there, gone] = change(38, &|batch, _| {
        let at = batch.windows(id.len()).position(|found| found == id).unwrap();
        batch[at + id.len() - 1] ^= 1;
    });
    assert_ends(&there, "a record in it is not the one that the journal has");
    assert_eq!(gone, Ok(()), "nothing tells it any more");
    // It has taken another's place.
    let [there, gone] = change(38, &|batch, at| batch[at - 2..at].copy_from_slice(&[0, 1]));
    assert_ends(&there, "a record in it is not the one that the journal has");
    assert_ends(&gone, "its orders are not those of the events that are there");
    // A whole one that is another.
    let mut draft = good.clone();
    batch(&mut draft, 0, 41)[40] ^= 1;
    let [there, gone] = both(&draft);
    assert_ends(&there, "it is not the one that the journal has");
    assert_ends(&gone, "its chain does not follow");
}

#[test]
fn mirrors_are_not_compacted_here() {
    let mut draft = pack_compacted();
    compact(&mut draft, 5, 38, &[9]);
    let [there, gone] = both(&draft);
    assert_ends(&there, "it is not the one that the journal has");
    assert_ends(&gone, "the partition does not end with it");
}

/// It leaves out what is the latest of its order, as far as it is known.
fn assert_overtaken(draft: &PackDraft) {
    for found in both(draft) {
        assert_ends(&found, OVERTAKEN);
    }
}

#[test]
fn the_latest_of_each_order_is_there() {
    for kept in [&[4, 5, 6, 7, 8, 9][..], &[3, 4, 5, 6, 7, 8], &[]] {
        let mut draft = pack_all(&directory());
        draft.pack.compacted_upto = draft.pack.end;
        compact(&mut draft, 0, 42, kept);
        assert_overtaken(&draft);
    }
    // Up to the end of the first file.
    let middle = kept(&directory())[0].end;
    let mut draft = pack_all(&directory());
    draft.pack.compacted_upto = middle;
    compact(&mut draft, 0, 37, &[]);
    compact(&mut draft, 0, 38, &[3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(both(&draft), [Ok(()), Ok(())]);
    draft.pack.compacted_upto -= 1;
    assert_overtaken(&draft);
    let mut draft = pack_all(&directory());
    draft.pack.compacted_upto = middle;
    compact(&mut draft, 0, 38, &[4, 5, 6, 7, 8, 9]);
    assert_overtaken(&draft);
}

#[test]
fn entries_of_compacted_packs_that_do_not_fit_are_refused() {
    let mut files = directory();
    let pack = name(&mut files, &pack_compacted());
    let of = |serial, compacted_upto| PackFile { serial, compacted_upto, ..pack };
    let why = |(kind, words): (u8, Vec<u8>)| {
        let mut files = files.clone();
        commit(&mut files, &[(kind, words)]);
        match read(&files) {
            Err(ReadError::Entry { why, .. }) => Some(why),
            // It fits, and there is no such file.
            Err(ReadError::PackMissing { .. }) => None,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(why(added(&of(1, pack.end))), None);
    let less = "a pack is compacted up to less than those whose place it takes";
    assert_eq!(why(added(&of(1, pack.end - 1))), Some(less));
    assert_eq!(why(added(&of(1, 0))), Some(less));
    let known = "a pack is compacted for what is not sealed";
    assert_eq!(why(added(&of(1, pack.end + 1))), Some(known));
    assert_eq!(why(added(&of(1, u64::MAX))), Some(known));
    let none = "a pack is said to be compacted up to no position";
    assert_eq!(
        why((COMPACTED_PACK_ADDED, [&pack_words(&of(1, 0))[..], &[0]].concat())),
        Some(none)
    );
    let short = "its bytes end early";
    assert_eq!(why((COMPACTED_PACK_ADDED, pack_words(&of(1, 0)))), Some(short));
}

#[test]
fn its_header_says_what_the_manifest_says() {
    let draft = pack_compacted();
    let (bytes, pack) = draft.lay_out();
    let with = |said: PackFile| {
        let mut files = directory();
        files.insert(said.name(), bytes.clone());
        commit(&mut files, &[added(&said)]);
        why(read(&files))
    };
    assert_eq!(with(PackFile { compacted_upto: 0, ..pack }), "it is another pack");
    let less = PackFile { compacted_upto: pack.compacted_upto - 4096, ..pack };
    assert_eq!(with(less), "it is another pack");
    let mut draft = draft;
    draft.pack.compacted_upto = 0;
    let mut files = directory();
    let (bytes, pack) = draft.lay_out();
    files.insert(pack.name(), bytes);
    commit(&mut files, &[(PACK_ADDED, pack_words(&pack))]);
    let says = "it says that it is not compacted, and has a compacted batch";
    assert_eq!(why(read(&files)), says);
}

#[test]
fn runs_of_compacted_files_say_what_was_there() {
    let mut files = directory();
    let pack = name(&mut files, &pack_compacted());
    give_back(&mut files, &pack);
    let contents = read(&files).unwrap();
    let kept = runs(&files).into_iter().filter(|(file, _)| !file.is_dropped());
    for (_, draft) in kept {
        let good = with_new_orders(&files, draft);
        let with = |section: usize, change: &dyn Fn(&mut Vec<u8>)| {
            let mut draft = good.clone();
            change(&mut draft.sections[section]);
            why_of_run(check_with(&files, &draft))
        };
        let fewer = with(3, &|rows| drop(rows.drain(..28)));
        assert_eq!(fewer, "its orders are not the journal's");
        let extents = &good.sections[2];
        let number = u64::from_le_bytes(extents[8..16].try_into().unwrap());
        let mut batches = contents.partitions[0].batches.iter();
        let len = batches.find(|batch| batch.number == number).unwrap().bytes.len();
        let len = u32::try_from(len).unwrap().to_le_bytes();
        assert_ne!(len, extents[4..8]);
        let as_it_lies = with(2, &|rows| rows[4..8].copy_from_slice(&len));
        assert_eq!(as_it_lies, "its extents are not the journal's");
    }
}

#[test]
fn what_is_left_out_leaves_with_its_file() {
    let mut files = directory();
    let pack = name(&mut files, &pack_compacted());
    give_back(&mut files, &pack);
    let start = kept(&directory())[0].start;
    let number = |number: u64| {
        let mut out = Vec::new();
        varint(&mut out, number);
        out
    };
    let side = [number(start), number(1), number(1), number(1), vec![0; 16]].concat();
    commit(&mut files, &[(CONFLICTS_KEPT, side), (FILE_DROPPED, number(start))]);
    let mut contents = read(&files).unwrap();
    contents.manifest.sides.remove(&start);
    check_runs(&files, &contents).unwrap();
    let partition = &contents.partitions[0];
    assert_eq!((partition.start.batch, partition.left_out.len()), (39, 8 + 8 + 3));
}

#[test]
fn snapshots_of_version_5_name_compacted_packs() {
    let files = directory();
    let journal = Journal::collect(&files).unwrap();
    let bytes = journal.last().preamble.snapshot;
    let mut state = snapshot::read(bytes).unwrap();
    let front = bytes.strip_suffix(&manifest_bytes(&state.manifest)[..]).unwrap();
    let of = |manifest: &Manifest, packs: &[PackFile]| {
        let words = |pack: &PackFile| {
            let mut words = pack_words(pack);
            varint(&mut words, pack.compacted_upto);
            words
        };
        snapshot_of(5, front, manifest, &packs.iter().map(words).collect::<Vec<_>>())
    };
    let why = |packs: &[PackFile]| snapshot::read(&of(&state.manifest, packs)).unwrap_err().0;
    let all: Vec<_> = state.manifest.files.values().filter(|file| !file.is_dropped()).collect();
    let end = state.manifest.runs_upto;
    let packs = [(all[0], 0), (all[1], end)].map(|(file, compacted_upto)| PackFile {
        start: file.start,
        end: file.end,
        serial: 5,
        blocks: 1,
        len_bytes: 2,
        batch_bytes: 3,
        compacted_upto,
        checksum: 4,
    });
    assert_eq!(why(&[]), "it is of version 5 and has no compacted pack");
    assert_eq!(why(&packs[..1]), "it is of version 5 and has no compacted pack");
    assert_eq!(why(&[packs[1], packs[0]]), "its packs are not sorted");
    let further = PackFile { compacted_upto: end + 1, ..packs[1] };
    assert_eq!(why(&[packs[0], further]), "a pack is compacted for what is not sealed");
    let good = of(&state.manifest, &packs);
    state.manifest.packs = packs.map(|pack| (pack.start, pack)).into();
    assert_eq!(snapshot::read(&good), Ok(state));
    for len in good.len() - 40..good.len() {
        assert!(snapshot::read(&good[..len]).is_err(), "{len}");
    }
    let mut newer = good.clone();
    newer[0] = 6;
    assert_eq!(snapshot::read(&newer).unwrap_err().0, "its version is not known");
}
