//! Packs, made here from the committed directory's journal files.

use std::collections::BTreeMap;

use super::{
    Dice, Files,
    build::{BlockDraft, PackDraft, commit, pack_words, seal_pack, varint},
    directory,
    merged::manifest_bytes,
    runs::{check_with, runs, why as why_of_run, with_new_orders},
};
use crate::{
    Contents, PackFile, Partition, ReadError, SealedFile, Unpacked, check_runs, journal::Journal,
    manifest::Manifest, pack_file, read, read_unpacked, snapshot,
};

type Change = fn(&mut PackDraft);

const CONFLICTS_KEPT: u8 = 13;
const FILE_DROPPED: u8 = 11;
const SLOTS_TRIMMED: u8 = 17;
const PACK_ADDED: u8 = 19;
const COMPACTED_PACK_ADDED: u8 = 20;

/// The sealed files that are kept.
pub(super) fn kept(files: &Files) -> Vec<SealedFile> {
    let files = read(files).unwrap().manifest.files.into_values();
    files.filter(|file| !file.is_dropped()).collect()
}

/// A pack of the directory's files within these positions.
fn pack(files: &Files, (start, end): (u64, u64), serial: u32) -> PackDraft {
    let contents = read(files).unwrap();
    let block = |partition: &Partition<'_>| {
        let within = partition.batches.iter();
        let within = within.filter(|batch| (start..end).contains(&batch.position.unwrap()));
        let batches = within.map(|batch| (batch.number, batch.bytes.to_vec())).collect();
        BlockDraft { slot: partition.slot, zstd: false, batches }
    };
    let blocks = contents.partitions.iter().map(block);
    let blocks = blocks.filter(|block| !block.batches.is_empty()).collect();
    let pack = PackFile {
        start,
        end,
        serial,
        blocks: 0,
        len_bytes: 0,
        batch_bytes: 0,
        compacted_upto: 0,
        checksum: 0,
    };
    PackDraft { journal: contents.journal, pack, blocks }
}

/// A pack of all sealed files that are kept.
pub(super) fn pack_all(files: &Files) -> PackDraft {
    let kept = kept(files);
    pack(files, (kept[0].start, kept.last().unwrap().end), 0)
}

/// Puts a pack into the directory, and its entry at the journal's end.
pub(super) fn name(files: &mut Files, draft: &PackDraft) -> PackFile {
    let (bytes, pack) = draft.lay_out();
    files.insert(pack.name(), bytes);
    commit(files, &[added(&pack)]);
    pack
}

/// The entry that names a pack.
pub(super) fn added(pack: &PackFile) -> (u8, Vec<u8>) {
    let mut words = pack_words(pack);
    if pack.compacted_upto == 0 {
        return (PACK_ADDED, words);
    }
    varint(&mut words, pack.compacted_upto);
    (COMPACTED_PACK_ADDED, words)
}

/// Removes the journal files that packs have taken the place of.
pub(super) fn give_back(files: &mut Files, pack: &PackFile) -> usize {
    let before = files.len();
    files.retain(|name, _| {
        let start = name.strip_prefix("journal-").and_then(|rest| rest.get(..16));
        let start = start.map(|start| u64::from_str_radix(start, 16).unwrap());
        start.is_none_or(|start| !(pack.start..pack.end).contains(&start))
    });
    before - files.len()
}

pub(super) fn why(result: Result<Contents<'_>, ReadError>) -> &'static str {
    match result {
        Err(ReadError::Pack { why, .. } | ReadError::Packed { why, .. }) => why,
        other => panic!("{other:?}"),
    }
}

/// The partitions, without where their batches lie.
fn partitions<'a>(contents: &Contents<'a>) -> Vec<Partition<'a>> {
    let mut partitions = contents.partitions.clone();
    partitions.iter_mut().flat_map(|partition| &mut partition.batches).for_each(|batch| {
        batch.position = None;
    });
    partitions
}

#[test]
fn what_is_packed_reads_as_the_journal_did() {
    let whole = directory();
    let before = read(&whole).unwrap();
    let kept = kept(&whole);
    assert_eq!(kept.len(), 2);
    let ranges = [(0, 1), (1, 2), (0, 2)].map(|(from, to)| (kept[from].start, kept[to - 1].end));
    for (range, zstd) in ranges.into_iter().flat_map(|range| [(range, false), (range, true)]) {
        let mut files = whole.clone();
        let mut draft = pack(&whole, range, 0);
        draft.blocks.iter_mut().for_each(|block| block.zstd = zstd);
        let pack = name(&mut files, &draft);
        for gone in [false, true] {
            if gone {
                let count = kept.iter().filter(|file| (range.0..range.1).contains(&file.start));
                assert_eq!(give_back(&mut files, &pack), count.count());
            }
            let unpacked = Unpacked::of(&files);
            let contents = read_unpacked(&files, &unpacked).unwrap();
            assert_eq!(contents.manifest.packs, BTreeMap::from([(range.0, pack)]));
            assert_eq!(partitions(&contents), partitions(&before));
            assert_eq!(contents.conflicts, before.conflicts);
            let mut batches = contents.partitions.iter().flat_map(|partition| &partition.batches);
            assert_eq!(batches.any(|batch| batch.position.is_none()), gone);
            check_runs(&files, &contents).unwrap();
            let plain = read(&files);
            if zstd {
                assert_eq!(why(plain), "a block does not decompress, or was not unpacked");
            } else {
                assert_eq!(plain, Ok(contents));
            }
        }
        let file = pack.name();
        files.remove(&file);
        assert_eq!(read(&files), Err(ReadError::PackMissing { file }));
    }
    // What is not packed is to be there.
    let mut files = whole.clone();
    let first = name(&mut files, &pack(&whole, ranges[0], 0));
    let both = PackFile { end: ranges[1].1, ..first };
    give_back(&mut files, &both);
    let (from, to) = ranges[1];
    assert_eq!(read(&files), Err(ReadError::Missing { from, to }));
}

#[test]
fn a_later_pack_takes_the_place_of_those_within_it() {
    let whole = directory();
    let kept = kept(&whole);
    let mut files = whole.clone();
    for file in &kept {
        name(&mut files, &pack(&whole, (file.start, file.end), 0));
    }
    assert_eq!(read(&files).unwrap().manifest.packs.len(), 2);
    let mut draft = pack_all(&whole);
    draft.pack.serial = 1;
    let all = name(&mut files, &draft);
    files.retain(|name, _| !name.starts_with("pack-") || *name == all.name());
    assert_eq!(give_back(&mut files, &all), 2);
    let contents = read(&files).unwrap();
    assert_eq!(contents.manifest.packs, BTreeMap::from([(all.start, all)]));
    check_runs(&files, &contents).unwrap();
    // One that was not named is of no account.
    files.insert(PackFile { serial: 2, ..all }.name(), vec![1; 300]);
    read(&files).unwrap();
}

#[test]
fn a_pack_leaves_with_the_last_of_its_files() {
    let mut files = directory();
    let kept = kept(&files);
    let pack = name(&mut files, &pack_all(&directory()));
    give_back(&mut files, &pack);
    // A partition leaves one of the files: the pack still has what it held.
    let slot = kept[0].slots[0].slot;
    let number = |number: u64| {
        let mut out = Vec::new();
        varint(&mut out, number);
        out
    };
    // Open conflicts are said to be kept.
    let side = |start: u64| [number(start), number(1), number(1), number(1), vec![0; 16]].concat();
    let trimmed = [number(kept[0].start), number(1), number(u64::from(slot))].concat();
    let start = kept[0].start;
    commit(&mut files, &[(CONFLICTS_KEPT, side(start)), (SLOTS_TRIMMED, trimmed)]);
    let mut contents = read(&files).unwrap();
    assert!(contents.manifest.packs.contains_key(&pack.start));
    contents.manifest.sides.remove(&start);
    check_runs(&files, &contents).unwrap();
    commit(&mut files, &[(FILE_DROPPED, number(start))]);
    assert!(read(&files).unwrap().manifest.packs.contains_key(&pack.start));

    let start = kept[1].start;
    commit(&mut files, &[(CONFLICTS_KEPT, side(start)), (FILE_DROPPED, number(start))]);
    files.remove(&pack.name());
    assert!(read(&files).unwrap().manifest.packs.is_empty());
}

#[test]
fn entries_of_packs_that_do_not_fit_are_refused() {
    let whole = directory();
    let kept = kept(&whole);
    let mut files = whole.clone();
    let first = name(&mut files, &pack(&whole, (kept[0].start, kept[0].end), 3));
    let why = |pack: PackFile| {
        let mut files = files.clone();
        commit(&mut files, &[(PACK_ADDED, pack_words(&pack))]);
        match read(&files) {
            Err(ReadError::Entry { why, .. }) => Some(why),
            // It fits, and there is no such file.
            Err(ReadError::PackMissing { file }) if file == pack.name() => None,
            other => panic!("{other:?}"),
        }
    };
    let of = |start, end, serial| PackFile { start, end, serial, ..first };
    let (start, middle, end) = (kept[0].start, kept[0].end, kept[1].end);
    let higher = "a pack's serial number is not higher than theirs whose place it takes";
    assert_eq!(why(of(start, end, 3)), Some(higher));
    assert_eq!(why(of(start, end, 2)), Some(higher));
    assert_eq!(why(of(start, end, 4)), None);
    assert_eq!(why(of(middle, end, 0)), None);
    assert_eq!(why(of(start, middle - 4096, 4)), Some("packs overlap"));
    assert_eq!(why(of(start + 4096, end, 4)), Some("packs overlap"));
    assert_eq!(why(of(middle, end - 4096, 0)), Some("a pack holds a part of a file"));
    assert_eq!(why(of(middle, end + 4096, 0)), Some("a pack holds what is not sealed"));
    assert_eq!(why(of(middle, middle, 0)), Some("a pack's positions are none"));
    assert_eq!(why(of(middle, u64::MAX, 0)), Some("a pack's positions are none"));
}

#[test]
fn every_byte_of_a_pack_counts() {
    let files = directory();
    for zstd in [false, true] {
        let mut draft = pack_all(&files);
        draft.blocks.iter_mut().for_each(|block| block.zstd = zstd);
        let (bytes, pack) = draft.lay_out();
        let mut dice = Dice(5);
        for round in 0..1_500 {
            let mut bytes = bytes.clone();
            let rows = bytes.len() - draft.blocks.len() * 48;
            let at = match round {
                ..112 => round,
                112..200 => rows + dice.below(bytes.len() - rows),
                _ => dice.below(bytes.len()),
            };
            bytes[at] ^= 1 << dice.below(8);
            let files = Files::from([(pack.name(), bytes)]);
            let unpacked = Unpacked::of(&files);
            let found = pack_file::read(&files[&pack.name()], &draft.journal, &pack, &unpacked);
            assert!(found.is_err(), "at {at}");
        }
        let unpacked = Unpacked::of(&Files::from([(pack.name(), bytes.clone())]));
        let found =
            |bytes: &[u8]| pack_file::read(bytes, &draft.journal, &pack, &unpacked).map(drop);
        assert!(found(&bytes).is_ok());
        assert!(found(&[&bytes[..], &[0]].concat()).is_err());
        for len in [0, 8, 100, 111, 112, 113, bytes.len() - 1] {
            assert!(found(&bytes[..len]).is_err(), "{len}");
        }
    }
}

/// Why a directory with this pack is refused; the entry names it as it is.
fn refused(draft: &PackDraft) -> &'static str {
    let mut files = directory();
    let pack = name(&mut files, draft);
    give_back(&mut files, &pack);
    let unpacked = Unpacked::of(&files);
    why(read_unpacked(&files, &unpacked))
}

#[test]
fn a_pack_that_breaks_a_rule_is_told_by_which() {
    let good = pack_all(&directory());
    let changes: [(Change, &str); 9] = [
        (|draft| draft.journal[0] ^= 1, "it is of another journal"),
        (|draft| draft.blocks.swap(0, 1), "its blocks are not sorted"),
        (|draft| drop(draft.blocks.pop()), "it lacks a batch of its files"),
        (
            |draft| {
                let rest = draft.blocks[0].batches.split_off(1);
                draft.blocks.insert(1, BlockDraft { slot: 0, zstd: false, batches: rest });
            },
            "a block is closed early",
        ),
        (|draft| draft.blocks[0].batches.clear(), "a block has no batch"),
        (
            |draft| draft.blocks[0].batches.swap(1, 2),
            "the batches of a block are not in their order",
        ),
        (|draft| draft.blocks[0].batches[1].0 += 1, "a batch is another one"),
        (|draft| drop(draft.blocks[1].batches.remove(1)), "it lacks a batch of its files"),
        (|draft| draft.blocks[1].batches[0].1.push(0), "a batch's length is wrong"),
    ];
    for (change, expected) in changes {
        let mut draft = good.clone();
        change(&mut draft);
        assert_eq!(refused(&draft), expected);
    }
    // Changes of the bytes, with good checksums.
    let (bytes, pack) = good.lay_out();
    let index = bytes.len() - good.blocks.len() * 48;
    let with = |at: usize, value: u8, pack: PackFile| {
        let mut bytes = bytes.clone();
        bytes[at] = value;
        let checksum = seal_pack(&mut bytes, good.blocks.len());
        let pack = PackFile { checksum, ..pack };
        let mut files = directory();
        files.insert(pack.name(), bytes);
        commit(&mut files, &[(PACK_ADDED, pack_words(&pack))]);
        why(read(&files))
    };
    assert_eq!(with(0, b'S', pack), "it is no pack");
    assert_eq!(with(8, 2, pack), "its format version is not known");
    assert_eq!(with(10, 1, pack), "a reserved field is used");
    for at in [12, 32, 40, 48, 56, 64, 72] {
        assert_eq!(with(at, bytes[at] ^ 1, pack), "it is another pack");
    }
    let another = PackFile { batch_bytes: pack.batch_bytes ^ 1, ..pack };
    let longer = with(64, bytes[64] ^ 1, another);
    assert_eq!(longer, "its batches are not as long as it says");
    assert_eq!(with(12, 7, PackFile { serial: 6, ..pack }), "it is another pack");
    assert_eq!(with(index + 4, 2, pack), "a block's compression is not known");
    assert_eq!(with(index + 4, 1, pack), "a block is compressed that does not get shorter");
    assert_eq!(with(index + 16, 113, pack), "its blocks do not lie one behind the other");
    assert_eq!(with(index + 28, bytes[index + 28] ^ 1, pack), "a block's length is wrong");
    assert_eq!(with(index + 31, 1, pack), "a block is too long");
    let named = PackFile { checksum: 1, ..pack };
    let mut files = directory();
    files.insert(named.name(), bytes.clone());
    commit(&mut files, &[(PACK_ADDED, pack_words(&named))]);
    assert_eq!(why(read(&files)), "it is not the pack that the manifest names");
    files.get_mut(&named.name()).unwrap()[96..112].copy_from_slice(&1_u128.to_le_bytes());
    assert_eq!(why(read(&files)), "the checksum of its header is wrong");
}

/// A stored batch with another number, and so much more payload.
fn forged(batch: &[u8], number: u64, more: usize) -> Vec<u8> {
    let mut batch = [batch, &vec![0; more]].concat();
    let grow = |field: &mut [u8]| {
        let old = u32::from_le_bytes((&*field).try_into().unwrap());
        field.copy_from_slice(&(old + u32::try_from(more).unwrap()).to_le_bytes());
    };
    let header = u32::from_le_bytes(batch[4..8].try_into().unwrap()) as usize;
    grow(&mut batch[8..12]);
    grow(&mut batch[header + 8..header + 12]);
    grow(&mut batch[header + 16..header + 20]);
    batch[16..24].copy_from_slice(&number.to_le_bytes());
    let mut crc = crc32fast::Hasher::new();
    crc.update(&batch[header..header + 4]);
    crc.update(&batch[header + 8..]);
    let crc = crc.finalize().to_le_bytes();
    batch[header + 4..header + 8].copy_from_slice(&crc);
    batch[64..68].copy_from_slice(&crc);
    batch
}

#[test]
fn a_pack_may_hold_more_of_what_is_gone_alone() {
    let whole = directory();
    let good = pack_all(&whole);
    let (first, batch) = good.blocks[0].batches[0].clone();
    assert!(first > 2);
    // As long as may be, and of more than one block.
    let room = (256 << 10) - 4 - 12 - batch.len();
    let block = |number, more| {
        let batches = vec![(number, forged(&batch, number, more))];
        BlockDraft { slot: 0, zstd: false, batches }
    };
    let mut draft = good.clone();
    draft.blocks.splice(..0, [block(0, room), block(1, room + 1)]);
    let mut files = whole.clone();
    let pack = name(&mut files, &draft);
    give_back(&mut files, &pack);
    let contents = read(&files).unwrap();
    assert_eq!(partitions(&contents), partitions(&read(&whole).unwrap()));
    // Several batches are not longer than a block.
    let mut draft = good.clone();
    let mut two = block(0, room);
    two.batches.extend(block(1, 0).batches);
    draft.blocks.splice(..0, [two]);
    assert_eq!(refused(&draft), "a block of several batches is too long");

    // Not of what is kept: another file has it.
    let last = good.blocks[0].batches.last().unwrap().0 + 1;
    let mut draft = good.clone();
    draft.blocks[0].batches.push((last, forged(&batch, last, 0)));
    assert_eq!(refused(&draft), "it holds a batch that its files do not hold");
    let mut draft = good.clone();
    draft.blocks.push(BlockDraft { slot: 900, ..block(0, 0) });
    assert_eq!(refused(&draft), "it names a partition that is not there");
}

#[test]
fn packed_batches_are_to_continue_each_other() {
    let good = pack_all(&directory());
    let at = good.blocks[0].batches.len() / 2;
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut draft = good.clone();
        change(&mut draft.blocks[0].batches[at].1);
        refused(&draft)
    };
    assert_eq!(with(&|batch| batch[24] ^= 1), "its offset does not follow");
    assert_eq!(with(&|batch| batch[40] ^= 1), "its chain does not follow");
    // Before it is known that the chain is none: one of another payload, with a good CRC.
    let exchanged = with(&|batch| *batch = forged(batch, good.blocks[0].batches[at].0, 1));
    assert_eq!(exchanged, "the payload is not all of its records' data");
    // A listed conflict becomes another one, which is in no list.
    let mut draft = good.clone();
    let mut batches = draft.blocks.iter_mut().flat_map(|block| &mut block.batches);
    let verdict = batches.find_map(|(_, batch)| {
        let at = 73 + usize::from(batch[72]);
        Some(&mut batch[at]).filter(|code| **code == 5)
    });
    *verdict.unwrap() = 6;
    assert_eq!(refused(&draft), "its open conflicts are not those that it lists");

    // While the journal file is there, it is what the pack must hold.
    let mut draft = good.clone();
    draft.blocks[0].batches[at].1[40] ^= 1;
    let mut files = directory();
    name(&mut files, &draft);
    assert_eq!(why(read(&files)), "it is not the one that the journal has");
}

#[test]
fn runs_of_packed_files_say_where_their_batches_lay() {
    let mut files = directory();
    let pack = name(&mut files, &pack_all(&directory()));
    give_back(&mut files, &pack);
    let runs = runs(&files);
    let (file, draft) = runs.iter().find(|(file, _)| !file.is_dropped()).unwrap();
    let good = with_new_orders(&files, draft.clone());
    let with = |at: usize, number: u64| {
        let mut draft = good.clone();
        draft.sections[2][at..at + 8].copy_from_slice(&number.to_le_bytes());
        why_of_run(check_with(&files, &draft))
    };
    let apart = "its extents do not lie in its file";
    assert_eq!(with(40, file.start - 1), apart);
    assert_eq!(with(40, file.end - 1), apart);
    let second = u64::from_le_bytes(good.sections[2][88..96].try_into().unwrap());
    assert_eq!(with(40, second + 1), apart);
    assert_eq!(with(24, 1), "its extents are not the journal's");
    let mut fewer = good.clone();
    fewer.sections[2].drain(..48);
    assert_eq!(why_of_run(check_with(&files, &fewer)), "its extents are not the journal's");
    let mut more = good.clone();
    let last = more.sections[2].len() - 48;
    let mut row = more.sections[2][last..].to_vec();
    row[15] = 1;
    more.sections[2].extend(row);
    assert_eq!(why_of_run(check_with(&files, &more)), "its extents are not the journal's");
}

/// A snapshot behind `front`, which ends with its packs.
pub(super) fn snapshot_of(
    version: u8,
    front: &[u8],
    manifest: &Manifest,
    packs: &[Vec<u8>],
) -> Vec<u8> {
    let mut bytes = [front, &manifest_bytes(manifest)].concat();
    bytes[0] = version;
    assert!(manifest.merged.is_empty());
    varint(&mut bytes, 0);
    varint(&mut bytes, manifest.keys_from);
    varint(&mut bytes, packs.len() as u64);
    bytes.extend(packs.concat());
    bytes
}

#[test]
fn snapshots_of_version_4_name_packs() {
    let files = directory();
    let journal = Journal::collect(&files).unwrap();
    let bytes = journal.last().preamble.snapshot;
    let mut state = snapshot::read(bytes).unwrap();
    let front = bytes.strip_suffix(&manifest_bytes(&state.manifest)[..]).unwrap();
    let of = |manifest: &Manifest, packs: &[PackFile]| {
        snapshot_of(4, front, manifest, &packs.iter().map(pack_words).collect::<Vec<_>>())
    };
    let why = |packs: &[PackFile]| snapshot::read(&of(&state.manifest, packs)).unwrap_err().0;
    let all: Vec<_> = state.manifest.files.values().cloned().collect();
    let [.., gone, first, second] = &all[..] else { panic!("{all:?}") };
    assert!(gone.is_dropped() && !first.is_dropped() && !second.is_dropped());
    let pack = |start, end| PackFile {
        start,
        end,
        serial: 5,
        blocks: 1,
        len_bytes: 2,
        batch_bytes: 3,
        compacted_upto: 0,
        checksum: 4,
    };
    let packs = [pack(gone.start, first.end), pack(second.start, second.end)];
    assert_eq!(why(&[]), "it is of version 4 and has no packs");
    assert_eq!(why(&[packs[1], packs[0]]), "its packs are not sorted");
    assert_eq!(why(&[pack(first.start, second.end), packs[1]]), "packs overlap");
    assert_eq!(why(&[pack(first.start, first.end - 1)]), "a pack holds a part of a file");
    assert_eq!(why(&[pack(first.start, second.end + 1)]), "a pack holds what is not sealed");
    assert_eq!(why(&[pack(gone.start, gone.end)]), "a pack is kept that no file needs");
    let good = of(&state.manifest, &packs);
    state.manifest.packs = packs.map(|pack| (pack.start, pack)).into();
    assert_eq!(snapshot::read(&good), Ok(state));
    for len in good.len() - 40..good.len() {
        assert!(snapshot::read(&good[..len]).is_err(), "{len}");
    }
    assert!(snapshot::read(&[&good[..], &[0]].concat()).is_err());
}
