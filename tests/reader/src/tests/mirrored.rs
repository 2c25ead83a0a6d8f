//! A mirror's batches that came compacted, at the end of the committed directory's journal; and side
//! files with compacted batches.

use xxhash_rust::xxh3::xxh3_128;

use super::{
    Files,
    batches::{BatchDraft, RecordDraft, compacted, event, record},
    build::commit,
    directory,
    world::check,
};
use crate::{ReadError, SideFile, check_runs, read};

const MIRROR_BATCH: u8 = 4;
const SLOT: u32 = 5;

/// Appends a batch to the mirror, of which these records came.
fn append(files: &mut Files, records: &[RecordDraft], kept: Option<&[usize]>) {
    let contents = read(files).unwrap();
    let partition = &contents.partitions[SLOT as usize];
    let draft = BatchDraft {
        number: partition.end.batch,
        base_offset: partition.end.offset,
        append_time: partition.append_time + 1,
        first_sequence: 1_000,
        previous: partition.end.chain,
        records: records.to_vec(),
    };
    let (mut stored, _) = draft.lay_out();
    if let Some(kept) = kept {
        stored = compacted(&stored, kept);
    }
    commit(files, &[(MIRROR_BATCH, [&SLOT.to_le_bytes()[..], &stored].concat())]);
}

/// Where an order stands at the mirror.
fn last_of(key: &str) -> u64 {
    let files = directory();
    let contents = read(&files).unwrap();
    let records = contents.partitions[SLOT as usize].records.iter().rev();
    let mut of_it = records.filter(|record| record.order_key == Some(key.as_bytes()));
    of_it.find_map(|record| record.order_sequence).unwrap()
}

const A: &str = "order-1";
const B: &str = "order-2";

#[test]
fn batches_that_came_compacted_are_read() {
    let mut files = directory();
    let (a, b) = (last_of(A), last_of(B));
    let masked: [&[u64]; 4] = [&[3, 0, 0], &[5, 0, 1], &[6, 0, 0], &[7, 5]];
    let [repeat, listed, conflict, failed] = masked;
    let records = [
        event(A, a + 1),
        record(None, repeat),
        record(Some(A), listed),
        event(B, b + 1),
        record(Some(B), conflict),
        record(Some(B), failed),
        event(A, a + 2),
        record(None, &[0]),
        event(B, b + 2),
    ];
    append(&mut files, &records, Some(&[2, 6, 7]));
    append(&mut files, &[event(B, b + 3)], Some(&[]));
    append(&mut files, &[event(A, a + 3), event(B, b + 4)], None);
    assert_eq!(check(&files), Ok(()));
    let contents = read(&files).unwrap();
    let partition = &contents.partitions[SLOT as usize];
    let [.., first, second, third] = &partition.batches[..] else { panic!() };
    assert_eq!((first.kept, second.kept, third.kept), (3, 0, 2));
    let places = |batch| {
        let there = partition.records_of(batch).iter().map(|r| (r.index, r.offset));
        let gone = partition.left_out_of(batch).iter().map(|g| (g.index, g.offset));
        (there.collect::<Vec<_>>(), gone.collect::<Vec<_>>())
    };
    let (there, gone) = places(first);
    assert_eq!(there, [(2, None), (6, Some(402)), (7, Some(403))]);
    assert_eq!(
        gone,
        [(0, Some(400)), (1, None), (3, Some(401)), (4, None), (5, None), (8, Some(404)),]
    );
    assert_eq!(places(second), (vec![], vec![(0, Some(405))]));
    assert_eq!(places(third), (vec![(0, Some(406)), (1, Some(407))], vec![]));
    assert!(first.position.is_some() && first.journal_bytes == first.bytes.len() as u64);
    assert_eq!(contents.conflicts.len(), read(&directory()).unwrap().conflicts.len() + 1);
}

#[test]
fn what_is_gone_explains_what_is_missed_in_an_order() {
    let (a, b) = (last_of(A), last_of(B));
    // What came compacted, and what came behind it.
    let follows = |gone: &[RecordDraft], next: RecordDraft| {
        let mut files = directory();
        append(&mut files, gone, Some(&[]));
        append(&mut files, &[next], None);
        match read(&files) {
            Ok(_) => true,
            Err(ReadError::Batch { why, .. }) => {
                assert_eq!(why, "an order sequence does not follow");
                false
            }
            Err(error) => panic!("{error}"),
        }
    };
    let two = [event(A, a + 1), event(A, a + 2)];
    assert!(follows(&two, event(A, a + 3)));
    assert!(!follows(&two, event(A, a + 4)), "there is none right before it");
    assert!(!follows(&two[1..], event(A, a + 3)), "one alone leaves no hole of two");
    assert!(!follows(&two, event(A, a)));
    assert!(follows(&two, event("new", 1)));
    assert!(follows(&[event("new", 1)], event("new", 2)));
    // Of which order it was that is gone, nothing says.
    assert!(follows(&[event(A, b + 1)], event(B, b + 2)));
    // It began again: not so soon.
    let again = record(Some(A), &[2, 1]);
    assert!(!follows(std::slice::from_ref(&again), event(A, 2)));
    assert!(!follows(&two, again));
}

#[test]
fn what_came_compacted_is_checked_as_any() {
    let a = last_of(A);
    let refused = |records: &[RecordDraft], kept: &[usize]| {
        let mut files = directory();
        append(&mut files, records, Some(kept));
        let Err(ReadError::Batch { batch, why, slot, .. }) = read(&files) else { panic!() };
        assert_eq!(slot, SLOT);
        assert_eq!(batch, read(&directory()).unwrap().partitions[SLOT as usize].end.batch);
        why
    };
    let always = "a record is left out that is always kept";
    assert_eq!(refused(&[record(Some(A), &[5, 0, 1]), event(A, a + 1)], &[1]), always);
    assert_eq!(refused(&[record(None, &[0]), event(A, a + 1)], &[1]), always);
    assert_eq!(refused(&[record(Some(A), &[8])], &[]), "a verdict is not known");
    let follow = "an order sequence does not follow";
    assert_eq!(refused(&[event(B, 3), event(A, a + 2)], &[1]), follow);
}

/// A side file with a batch, laid out.
fn side_file(journal: [u8; 16], start: u64, number: u64, stored: &[u8]) -> (Vec<u8>, SideFile) {
    let mut row = [SLOT, u32::try_from(stored.len()).unwrap()].map(u32::to_le_bytes).concat();
    row.extend([number, 96 + 40].into_iter().flat_map(u64::to_le_bytes));
    row.extend_from_slice(&xxh3_128(stored).to_le_bytes());
    let len_bytes = (96 + row.len() + stored.len()) as u64;
    let mut head = b"TAKTSID\n\x01\0\0\0\x01\0\0\0".to_vec();
    head.extend_from_slice(&journal);
    head.extend([start, 1, len_bytes, 0].into_iter().flat_map(u64::to_le_bytes));
    head.extend_from_slice(&xxh3_128(&row).to_le_bytes());
    let checksum = xxh3_128(&head);
    head.extend_from_slice(&checksum.to_le_bytes());
    let side = SideFile { start, incarnation: 1, batches: 1, len_bytes, checksum };
    ([&head, &row, stored].concat(), side)
}

#[test]
fn side_files_may_have_compacted_batches() {
    let check = |kept: &[usize], number| {
        let mut files = directory();
        let draft = BatchDraft {
            number: 3,
            base_offset: 9,
            append_time: 5,
            first_sequence: 1,
            previous: [0; 16],
            records: vec![event(A, 3), record(Some(A), &[5, 0, 1]), record(None, &[3, 0, 1])],
        };
        let stored = compacted(&draft.lay_out().0, kept);
        let whole = files.clone();
        let mut contents = read(&whole).unwrap();
        let start = *contents.manifest.sides.keys().next().unwrap();
        let (bytes, side) = side_file(contents.journal, start, number, &stored);
        files.insert(side.name(), bytes);
        contents.manifest.sides.insert(start, side);
        check_runs(&files, &contents).map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(check(&[1], 3), Ok(()));
    assert!(check(&[1], 4).is_err_and(|why| why.ends_with("a batch is another one")));
    let always = "a record is left out that is always kept";
    assert!(check(&[0, 2], 3).is_err_and(|why| why.ends_with(always)));
}
