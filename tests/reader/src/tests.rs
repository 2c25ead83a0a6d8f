//! Bytes that carry good checksums and are wrong: each is read or refused, never a panic.

use std::{collections::BTreeMap, path::Path};

use xxhash_rust::xxh3::xxh3_128;

use crate::{journal::Journal, read};

type Files = BTreeMap<String, Vec<u8>>;

/// The committed directory.
fn golden() -> Files {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden/data-v1");
    let files = std::fs::read_dir(directory).unwrap().map(|file| {
        let file = file.unwrap();
        let name = file.file_name().into_string().unwrap();
        (name, std::fs::read(file.path()).unwrap())
    });
    files.filter(|(name, _)| name.starts_with("journal-")).collect()
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
