//! Bytes as changes to a node's directory whose checksums are made good again, as only a malicious
//! or broken writer could leave it: neither the store nor the second reader panics, and what opens
//! opens again.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use takt_fuzz::directory::{closed, disk, killed, open};
use takt_fuzz::input::{Files, Input, change_one};
use takt_fuzz::repair::repair;

static KILLED: LazyLock<Files> = LazyLock::new(|| untouched(killed()));
static CLOSED: LazyLock<Files> = LazyLock::new(|| untouched(closed()));

/// What is whole stays as it is: so the checksums are made as the store makes them.
fn untouched(files: Files) -> Files {
    let mut repaired = files.clone();
    repair(&files, &mut repaired);
    for (name, bytes) in &files {
        assert!(repaired[name] == *bytes, "{name} is changed");
    }
    files
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let before = if input.byte().unwrap_or(0) % 2 == 0 { &*KILLED } else { &*CLOSED };
    let mut files = before.clone();
    while let Some(change) = input.byte() {
        change_one(&mut files, change, &mut input);
    }
    repair(before, &mut files);
    if let Ok(contents) = takt_reader::read(&files) {
        let _ = takt_reader::check_runs(&files, &contents);
    }
    let disk = disk(&files);
    if let Some((digest, _)) = open(&disk, 2) {
        let again = open(&disk, 3).expect("what was recovered opens again");
        assert_eq!(again.0, digest, "recovering twice is recovering once");
    }
});
