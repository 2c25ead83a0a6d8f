//! Bytes as changes to a node's directory: opening it never panics, whatever is there; recovering
//! twice gives the state of recovering once; what is read is a part of what was written, each record
//! at its offset; and the second reader does not panic either.
#![no_main]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use takt_fuzz::directory::{closed, disk, killed, open};
use takt_fuzz::input::{Files, Input, change_one};

/// A directory that a node was killed in, and all that it held.
static KILLED: LazyLock<(Files, BTreeMap<u64, Vec<u8>>)> = LazyLock::new(|| with_records(killed()));
/// One that a node was stopped in.
static CLOSED: LazyLock<(Files, BTreeMap<u64, Vec<u8>>)> = LazyLock::new(|| with_records(closed()));

fuzz_target!(|data: &[u8]| {
    // Both kinds are reached by one more byte at the end, so that the corpus keeps its meaning.
    let is_closed = data.len() % 2 == 1;
    let (files, written) = if is_closed { &*CLOSED } else { &*KILLED };
    let mut files = files.clone();
    let mut input = Input(data);
    while let Some(change) = input.byte() {
        change_one(&mut files, change, &mut input);
    }
    recover(&files, written);
    if let Ok(contents) = takt_reader::read(&files) {
        let _ = takt_reader::check_runs(&files, &contents);
    }
});

fn with_records(files: Files) -> (Files, BTreeMap<u64, Vec<u8>>) {
    let (_, records) = open(&disk(&files), 2).expect("what is whole opens");
    assert!(!records.is_empty());
    (files, records)
}

fn recover(files: &Files, written: &BTreeMap<u64, Vec<u8>>) {
    let disk = disk(files);
    let Some(once) = open(&disk, 2) else {
        assert!(open(&disk, 3).is_none(), "what was refused is refused again");
        return;
    };
    for (offset, data) in &once.1 {
        assert_eq!(written.get(offset), Some(data), "offset {offset} is not what was written");
    }
    for seed in 3..5 {
        let again = open(&disk, seed).expect("what was recovered opens again");
        assert_eq!(again, once, "recovering twice is recovering once");
    }
}
