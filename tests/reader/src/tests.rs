//! Bytes that carry good checksums and are wrong: each is read or refused, never a panic; and a batch
//! that contradicts what is before it is told by its contradiction.

use std::{collections::BTreeMap, path::Path};

use xxhash_rust::xxh3::xxh3_128;

use crate::{ReadError, journal::Journal, read};

mod batches;
mod build;
mod compacted;
mod compacted_packs;
mod compaction;
mod filters;
mod merged;
mod mirrored;
mod packs;
mod runs;
mod world;

type Files = BTreeMap<String, Vec<u8>>;

/// The committed directory.
fn directory() -> Files {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden/data-v1");
    let files = std::fs::read_dir(directory).unwrap().map(|file| {
        let file = file.unwrap();
        let name = file.file_name().into_string().unwrap();
        (name, std::fs::read(file.path()).unwrap())
    });
    files.collect()
}

/// Its journal.
fn golden() -> Files {
    directory().into_iter().filter(|(name, _)| name.starts_with("journal-")).collect()
}

/// Numbers that look random (Marsaglia's xorshift64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }

    /// Changes a few bytes, the small ones among them often.
    fn spoil(&mut self, bytes: &mut [u8]) {
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len());
            let new = [0, 1, 0x7f, 0x80, 0xff, bytes[at] ^ 1, bytes[at].wrapping_add(1)];
            bytes[at] = new[self.below(new.len())];
        }
    }
}

fn seal_preamble(file: &mut [u8]) {
    let blocks = u32::from_le_bytes(file[68..72].try_into().unwrap()) as usize;
    let hash = xxh3_128(&file[4096..blocks * 4096]).to_le_bytes();
    file[96..112].copy_from_slice(&hash);
    file[128..144].fill(0);
    let seal = xxh3_128(&file[..4096]).to_le_bytes();
    file[128..144].copy_from_slice(&seal);
}

fn seal_commit(commit: &mut [u8], salt: &[u8]) {
    let hash = xxh3_128(&commit[112..]).to_le_bytes();
    commit[80..96].copy_from_slice(&hash);
    let seal = xxh3_128(&[salt, &commit[..96]].concat()).to_le_bytes();
    commit[96..112].copy_from_slice(&seal);
}

#[test]
fn snapshots_with_good_checksums_are_read_or_refused() {
    let golden = golden();
    let mut dice = Dice(7);
    for _ in 0..6_000 {
        let mut files = golden.clone();
        let file = files.values_mut().last().unwrap();
        let len = usize::try_from(u64::from_le_bytes(file[72..80].try_into().unwrap())).unwrap();
        dice.spoil(&mut file[4096..4096 + len]);
        seal_preamble(file);
        // It is the fold of what is before it, or it is refused: all that it holds counts.
        let untouched = files == golden;
        assert_eq!(read(&files).is_ok(), untouched);
    }
}

#[test]
fn commits_with_good_checksums_are_read_or_refused() {
    let golden = golden();
    let journal = Journal::collect(&golden).unwrap();
    let last = journal.files.last().unwrap();
    let bodies = last.commits.iter().map(|commit| {
        let position = commit.header.position;
        let at = last.preamble.len + usize::try_from(position - last.preamble.start).unwrap();
        (at, at + usize::try_from(commit.header.end - position).unwrap())
    });
    let mut dice = Dice(9);
    let (mut refused, mut tried) = (0, 0);
    for (at, end) in bodies {
        for _ in 0..800 {
            // The commit is the newest one: no chain behind it tells that it was changed.
            let mut files = golden.clone();
            let file = files.values_mut().last().unwrap();
            let salt = file[32..48].to_vec();
            file[end..].fill(0);
            let body = u32::from_le_bytes(file[at + 8..at + 12].try_into().unwrap()) as usize;
            if body > 0 {
                dice.spoil(&mut file[at + 112..at + 112 + body.min(400)]);
            }
            seal_commit(&mut file[at..end], &salt);
            refused += u64::from(read(&files).is_err());
            tried += 1;
        }
    }
    assert!(refused * 2 > tried && tried > 2_000, "{refused} of {tried}");
}

#[test]
fn a_commit_that_was_exchanged_is_found_by_the_one_behind_it() {
    let mut files = golden();
    let file = files.values_mut().next().unwrap();
    let first = u32::from_le_bytes(file[68..72].try_into().unwrap()) as usize * 4096;
    let len = u32::from_le_bytes(file[first + 12..first + 16].try_into().unwrap()) as usize;
    let salt = file[32..48].to_vec();
    file[first + len - 1] ^= 1;
    seal_commit(&mut file[first..first + len], &salt);
    let why = "a commit does not continue the ones before it";
    assert!(matches!(read(&files), Err(ReadError::Damaged { why: found, .. }) if found == why));
}

#[test]
fn headers_with_good_checksums_are_read_or_refused() {
    let golden = golden();
    let mut dice = Dice(11);
    for _ in 0..4_000 {
        let mut files = golden.clone();
        let file = files.values_mut().last().unwrap();
        let len = u32::from_le_bytes(file[68..72].try_into().unwrap()) as usize * 4096;
        let salt = file[32..48].to_vec();
        if dice.below(2) == 0 {
            dice.spoil(&mut file[8..128]);
            file[128..144].fill(0);
            let seal = xxh3_128(&file[..4096]).to_le_bytes();
            file[128..144].copy_from_slice(&seal);
        } else {
            dice.spoil(&mut file[len..len + 96]);
            let seal = xxh3_128(&[&salt, &file[len..len + 96]].concat()).to_le_bytes();
            file[len + 96..len + 112].copy_from_slice(&seal);
        }
        let _ = read(&files);
    }
}

/// The newest batch of the node's own partition, alone at the journal's end, laid open.
struct Forgery {
    files: Files,
    commit: std::ops::Range<usize>,
    /// The stored batch.
    at: usize,
    header_len: usize,
    len: usize,
    previous: [u8; 16],
    producer_len: usize,
}

impl Forgery {
    fn new() -> Self {
        let mut files = golden();
        let contents = read(&files).unwrap();
        let own = contents.partitions.iter().find(|p| p.id.origin == contents.node).unwrap();
        let wanted = |index: &usize| {
            let batch = &own.batches[*index];
            let records = &own.records[batch.first_record..][..batch.records as usize];
            batch.position.unwrap() > contents.files.last().unwrap().start
                && records.iter().all(|record| record.data.is_some() && record.is_visible())
        };
        let index = (1..own.batches.len()).rev().find(wanted).unwrap();
        let (batch, previous) = (own.batches[index], own.batches[index - 1].chain);
        let journal = Journal::collect(&files).unwrap();
        let last = journal.files.last().unwrap();
        let offset = |position: u64| {
            last.preamble.len + usize::try_from(position - last.preamble.start).unwrap()
        };
        let holds = |header: &crate::commit::Header<'_>| {
            (header.position..header.end).contains(&batch.position.unwrap())
        };
        let commit = last.commits.iter().find(|commit| holds(&commit.header)).unwrap();
        let commit = offset(commit.header.position)..offset(commit.header.end);
        let header_len = u32::from_le_bytes(batch.bytes[4..8].try_into().unwrap()) as usize;
        let (at, len, producer_len) =
            (offset(batch.position.unwrap()), batch.bytes.len(), batch.producer.len());
        let file = files.values_mut().last().unwrap();
        file[commit.end..].fill(0);
        Self { files, commit, at, header_len, len, previous, producer_len }
    }

    fn stored(&mut self) -> &mut [u8] {
        let range = self.at..self.at + self.len;
        &mut self.files.values_mut().last().unwrap()[range]
    }

    /// Computes all again that who changes a batch can compute.
    fn seal(&mut self) {
        let (header_len, previous) = (self.header_len, self.previous);
        let stored = self.stored();
        let client = &mut stored[header_len..];
        let mut crc = crc32fast::Hasher::new();
        crc.update(&client[..4]);
        crc.update(&client[8..]);
        let crc = crc.finalize().to_le_bytes();
        client[4..8].copy_from_slice(&crc);
        stored[64..68].copy_from_slice(&crc);
        stored[40..56].fill(0);
        let chain = xxh3_128(&[&previous, &stored[..header_len]].concat()).to_le_bytes();
        stored[40..56].copy_from_slice(&chain);
        self.seal_commit();
    }

    fn seal_commit(&mut self) {
        let range = self.commit.clone();
        let file = self.files.values_mut().last().unwrap();
        let salt = file[32..48].to_vec();
        seal_commit(&mut file[range], &salt);
    }

    /// Why it is refused.
    fn why(&self) -> &'static str {
        match read(&self.files) {
            Err(ReadError::Batch { why, .. }) => why,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_batch_that_does_not_follow_is_told_by_why() {
    type Change = fn(&mut Forgery);
    let at_header: fn(&mut Forgery, usize) = |forgery, at| forgery.stored()[at] += 1;
    let at_client: fn(&mut Forgery, usize) = |forgery, at| {
        let at = forgery.header_len + at;
        forgery.stored()[at] += 1;
    };
    let mut whole = Forgery::new();
    whole.seal();
    read(&whole.files).unwrap();
    for (at, why) in [
        (16, "its number does not follow"),
        (24, "its offset does not follow"),
        (14, "visible records are not as many as it says"),
        (56, "its producer is at another epoch"),
    ] {
        let mut forgery = Forgery::new();
        at_header(&mut forgery, at);
        if at == 14 {
            // One more than there are would be no header.
            forgery.stored()[14] -= 2;
        }
        forgery.seal();
        assert_eq!(forgery.why(), why);
    }
    for (at, why) in [
        (32, "a producer's sequence does not follow"),
        (26, "an order key belongs to another partition"),
    ] {
        let mut forgery = Forgery::new();
        at_client(&mut forgery, at);
        forgery.seal();
        assert_eq!(forgery.why(), why);
    }
    let changes: [(Change, &str); 3] = [
        (|forgery| *forgery.stored().last_mut().unwrap() ^= 1, "a digest does not fit its record"),
        (
            |forgery| {
                let at = 73 + forgery.producer_len;
                assert_eq!(forgery.stored()[at], 1, "a verdict with an order sequence");
                forgery.stored()[at + 1] ^= 2;
            },
            "an order sequence does not follow",
        ),
        (|forgery| forgery.stored()[32..40].fill(0), "its append time goes back"),
    ];
    for (change, why) in changes {
        let mut forgery = Forgery::new();
        change(&mut forgery);
        forgery.seal();
        assert_eq!(forgery.why(), why);
    }
    for (at, why) in
        [(40, "its chain does not follow"), (64, "a stored batch's header is of another batch")]
    {
        let mut forgery = Forgery::new();
        forgery.stored()[at] ^= 1;
        forgery.seal_commit();
        assert_eq!(forgery.why(), why);
    }
    let mut forgery = Forgery::new();
    *forgery.stored().last_mut().unwrap() ^= 1;
    forgery.seal_commit();
    assert_eq!(forgery.why(), "a batch's CRC is wrong");
}
