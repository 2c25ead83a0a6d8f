//! Merged runs, made here from the runs of the committed directory.

use std::collections::BTreeMap;

use super::{
    Files,
    build::{Draft, WIDTHS, commit, varint, words},
    directory,
    runs::{runs, why},
};
use crate::{
    ReadError, Run, RunsError, check_runs, journal::Journal, manifest::Manifest, read, snapshot,
};

/// Of the ledger's rows and the heads'.
type Change = fn(&mut [Vec<u8>; 6]);

const KEYS_MERGED: u8 = 15;

/// A run with the keys of the directory's first files, up to the end of one.
fn merge(files: &Files, end: u64) -> Draft {
    let runs = runs(files);
    let sections = [24, 16].map(|key_len| {
        let mut newest = BTreeMap::new();
        for (_, draft) in runs.iter().filter(|(file, _)| file.end <= end) {
            let section = usize::from(key_len == 16);
            for row in draft.sections[section].chunks(WIDTHS[section]) {
                let number = |at: usize, len: usize| {
                    let mut bytes = [0; 16];
                    bytes[..len].copy_from_slice(&row[at..at + len]);
                    u128::from_le_bytes(bytes)
                };
                newest.insert((number(0, 16), number(16, key_len - 16)), row.to_vec());
            }
        }
        newest.into_values().flatten().collect()
    });
    let [ledger, heads] = sections;
    let run = Run { start: 0, end, incarnation: 1, checksum: 0, rows: [0; 6] };
    let none = Vec::new;
    Draft::new(runs[0].1.journal, run, [ledger, heads, none(), none(), none(), none()])
}

/// Puts a merged run into the directory, and its entry at the journal's end.
fn name(files: &mut Files, draft: &Draft) -> Run {
    let (bytes, run) = draft.lay_out();
    files.insert(run.merged_name(), bytes);
    commit(files, &[(KEYS_MERGED, words(&run))]);
    run
}

/// Removes the files of runs that the manifest does not name.
fn clean(files: &mut Files) -> usize {
    let manifest = read(files).unwrap().manifest;
    let named: Vec<_> = manifest.holders().filter_map(|holder| Some(holder.run?.0)).collect();
    let before = files.len();
    files.retain(|name, _| {
        !(name.starts_with("run-") || name.starts_with("keys-")) || named.contains(name)
    });
    before - files.len()
}

#[test]
fn merged_runs_take_the_place_of_those_of_dropped_files() {
    let mut files = directory();
    let before = read(&files).unwrap().manifest;
    let all: Vec<_> = before.files.values().cloned().collect();
    let dropped = all.iter().filter(|file| file.is_dropped()).count();
    assert!(dropped > 5 && dropped + 1 < all.len(), "{dropped} of {}", all.len());

    // Some of the dropped ones; then those and one that is still there.
    let draft = merge(&files, all[3].end);
    let first = name(&mut files, &draft);
    let contents = read(&files).unwrap();
    assert_eq!(contents.manifest.files.keys().next(), Some(&all[4].start));
    assert_eq!(contents.manifest.merged, BTreeMap::from([(0, first)]));
    let report = check_runs(&files, &contents).unwrap();
    assert_eq!((report.merged, report.runs), (1, all.len() as u64 - 4 + 1));

    let draft = merge(&directory(), all[dropped].end);
    assert!(draft.sections[0].len() > 4 << 10, "more than one block");
    let second = name(&mut files, &draft);
    let contents = read(&files).unwrap();
    assert_eq!(contents.manifest.merged, BTreeMap::from([(0, second)]));
    let kept: Vec<_> = contents.manifest.files.values().cloned().collect();
    assert_eq!(kept, all[dropped..], "the one that is not dropped stays");
    check_runs(&files, &contents).unwrap();

    // Without what was merged there is less to compare with.
    assert_eq!(clean(&mut files), dropped + 1);
    let contents = read(&files).unwrap();
    check_runs(&files, &contents).unwrap();

    let file = second.merged_name();
    let mut damaged = files.clone();
    damaged.get_mut(&file).unwrap()[1_000] ^= 1;
    assert_eq!(why(check_runs(&damaged, &contents).map(drop)), "the checksum of a block is wrong");
    damaged.remove(&file);
    assert_eq!(check_runs(&damaged, &contents), Err(RunsError::Missing { file }));

    // A file that is dropped later goes at once; its open conflicts are said to be kept.
    let later = &all[dropped];
    let mut side = Vec::new();
    for number in [later.start, 1, 1, 1] {
        varint(&mut side, number);
    }
    side.extend_from_slice(&[0; 16]);
    let mut start = Vec::new();
    varint(&mut start, later.start);
    commit(&mut files, &[(13, side), (11, start)]);
    let mut contents = read(&files).unwrap();
    let kept: Vec<_> = contents.manifest.files.values().cloned().collect();
    assert_eq!(kept, all[dropped + 1..]);
    contents.manifest.sides.remove(&later.start);
    check_runs(&files, &contents).unwrap();
}

#[test]
fn a_merged_run_with_other_keys_is_told_while_its_sources_are_there() {
    let files = directory();
    let ends: Vec<u64> = read(&files).unwrap().manifest.files.values().map(|f| f.end).collect();
    let good = merge(&files, ends[5]);
    let known = |draft: &Draft| {
        let mut files = files.clone();
        name(&mut files, draft);
        let sources = check_runs(&files, &read(&files).unwrap()).map(drop);
        clean(&mut files);
        let alone = check_runs(&files, &read(&files).unwrap()).map(drop);
        (sources, alone)
    };
    assert_eq!(known(&good), (Ok(()), Ok(())));
    let changes: [(Change, &str); 5] = [
        (|rows| drop(rows[0].drain(480..528)), "it lacks a key of a run that it covers"),
        (|rows| drop(rows[1].drain(..32)), "it lacks a key of a run that it covers"),
        (|rows| rows[0][32] ^= 1, "a merged key is not what the newest file says"),
        (|rows| rows[1][20] ^= 1, "a merged key is not what the newest file says"),
        (
            |rows| {
                rows[0].splice(..0, [0; 48]);
            },
            "it has a key that no run that it covers has",
        ),
    ];
    for (change, expected) in changes {
        let mut sections = good.sections.clone();
        change(&mut sections);
        let draft = Draft::new(good.journal, good.run, sections);
        let (sources, alone) = known(&draft);
        assert_eq!(why(sources), expected);
        assert_eq!(alone, Ok(()), "nothing is left to tell it by");
    }
    // One of the sources alone is gone: its keys may be any, those of the others are known.
    let mut partly = files.clone();
    let gone = read(&files).unwrap().manifest.files.values().nth(2).unwrap().run.unwrap().name();
    partly.remove(&gone);
    let mut sections = good.sections.clone();
    sections[0].splice(..0, [0; 48]);
    name(&mut partly, &Draft::new(good.journal, good.run, sections.clone()));
    check_runs(&partly, &read(&partly).unwrap()).unwrap();
    let newest = runs(&files).swap_remove(5).1.sections[0][..48].to_vec();
    let at = sections[0].chunks(48).position(|row| row == newest).unwrap();
    sections[0].drain(at * 48..(at + 1) * 48);
    let mut partly = files.clone();
    partly.remove(&gone);
    name(&mut partly, &Draft::new(good.journal, good.run, sections));
    let result = check_runs(&partly, &read(&partly).unwrap()).map(drop);
    assert_eq!(why(result), "it lacks a key of a run that it covers");
}

#[test]
fn entries_of_merged_runs_that_do_not_fit_are_refused() {
    let mut files = directory();
    let all: Vec<_> = read(&files).unwrap().manifest.files.into_values().collect();
    name(&mut files, &merge(&directory(), all[3].end));
    let run = |start, end| Run { start, end, incarnation: 1, checksum: 0, rows: [0; 6] };
    let why = |run: &Run| {
        let mut files = files.clone();
        commit(&mut files, &[(KEYS_MERGED, words(run))]);
        match read(&files) {
            Err(ReadError::Entry { why, .. }) => why,
            Ok(contents) => panic!("{:?}", contents.manifest.merged),
            Err(error) => panic!("{error}"),
        }
    };
    let begins = "a merged run does not begin where another ends";
    let ends = "a merged run does not end where a file does";
    assert_eq!(why(&run(all[5].start, all[6].end)), begins);
    assert_eq!(why(&run(all[2].start, all[6].end)), begins);
    assert_eq!(why(&run(0, all[6].end - 4096)), ends);
    assert_eq!(why(&run(0, all[1].end)), ends);
    assert_eq!(why(&run(0, all.last().unwrap().end + 4096)), ends);
    assert_eq!(why(&run(all[3].end, all[3].end)), "a merged run covers nothing");
    assert_eq!(why(&Run { rows: [1, 1, 1, 0, 0, 0], ..run(0, all[6].end) }), {
        "a merged run has more than keys"
    });
    assert_eq!(why(&run(0, u64::MAX)), "a merged run's positions are none");
    for fits in [run(0, all[3].end), run(0, all[6].end), run(all[4].start, all[4].end)] {
        let mut files = files.clone();
        commit(&mut files, &[(KEYS_MERGED, words(&fits))]);
        assert_eq!(read(&files).unwrap().manifest.merged[&fits.start], fits);
    }
}

/// What ends a snapshot of version 1.
pub(super) fn manifest_bytes(manifest: &Manifest) -> Vec<u8> {
    let mut out = Vec::new();
    varint(&mut out, manifest.runs_upto);
    varint(&mut out, manifest.files.len() as u64);
    for file in manifest.files.values() {
        varint(&mut out, file.start);
        varint(&mut out, file.end);
        let time = file.append_time;
        varint(&mut out, (time << 1 ^ time >> 63).cast_unsigned());
        varint(&mut out, file.slots.len() as u64);
        for end in &file.slots {
            varint(&mut out, u64::from(end.slot));
            varint(&mut out, end.edge.offset);
            varint(&mut out, end.edge.batch);
            out.extend_from_slice(&end.edge.chain);
            varint(&mut out, end.edge.bytes);
        }
        out.push(u8::from(file.run.is_some()));
        out.extend(file.run.iter().flat_map(words));
    }
    varint(&mut out, manifest.sides.len() as u64);
    for side in manifest.sides.values() {
        for number in [side.start, u64::from(side.incarnation), side.batches, side.len_bytes] {
            varint(&mut out, number);
        }
        out.extend_from_slice(&side.checksum.to_le_bytes());
    }
    out
}

#[test]
fn snapshots_from_version_2_on_name_merged_runs() {
    let files = directory();
    let journal = Journal::collect(&files).unwrap();
    let bytes = journal.last().preamble.snapshot;
    let mut state = snapshot::read(bytes).unwrap();
    let tail = manifest_bytes(&state.manifest);
    let front = bytes.strip_suffix(&tail[..]).unwrap();
    let of_version = |version: u8, manifest: &Manifest| {
        let mut bytes = [front, &manifest_bytes(manifest)].concat();
        bytes[0] = version;
        varint(&mut bytes, manifest.merged.len() as u64);
        for (start, run) in &manifest.merged {
            bytes.extend(words(run));
            if version > 2 {
                let time = manifest.merged_times.get(start).copied().unwrap_or_default();
                varint(&mut bytes, (time << 1 ^ time >> 63).cast_unsigned());
            }
        }
        if version > 2 {
            varint(&mut bytes, manifest.keys_from);
        }
        bytes
    };
    let of = |manifest: &Manifest| of_version(3, manifest);
    assert_eq!(snapshot::read(&of(&state.manifest)), Ok(snapshot::read(bytes).unwrap()));

    let all: Vec<_> = state.manifest.files.values().cloned().collect();
    let run =
        |start, end| Run { start, end, incarnation: 1, checksum: 9, rows: [3, 2, 0, 0, 0, 0] };
    let before = state.manifest.clone();
    state.manifest.merge(run(0, all[2].end)).unwrap();
    state.manifest.merge(run(all[2].end, all[4].end)).unwrap();
    assert_eq!((state.manifest.merged.len(), state.manifest.files.len()), (2, all.len() - 5));
    let newest = |files: &[crate::manifest::SealedFile]| {
        files.iter().map(|file| file.append_time).max().unwrap()
    };
    let times = [(0, newest(&all[..3])), (all[2].end, newest(&all[3..5]))];
    assert_eq!(state.manifest.merged_times, BTreeMap::from(times));
    let good = of(&state.manifest);
    assert_eq!(snapshot::read(&good), Ok(state));
    let mut state = snapshot::read(&good).unwrap();
    // Version 2 says nothing of times.
    let timeless = of_version(2, &state.manifest);
    let mut timeless = snapshot::read(&timeless).unwrap().manifest;
    assert!(timeless.merged_times.is_empty());
    timeless.agree_on_times(&state.manifest);
    assert_eq!(timeless, state.manifest);

    let refused = |change: &dyn Fn(&mut Manifest)| {
        let mut manifest = state.manifest.clone();
        change(&mut manifest);
        snapshot::read(&of(&manifest)).unwrap_err().0
    };
    assert_eq!(refused(&|manifest| manifest.files.clone_from(&before.files)), {
        "a dropped file is kept beside the merged run with its keys"
    });
    let begins = "a merged run does not begin where another ends";
    assert_eq!(refused(&|manifest| manifest.merged.retain(|start, _| *start > 0)), begins);
    assert_eq!(refused(&|manifest| manifest.runs_upto = all[3].end), {
        "a merged run covers what no run covers yet"
    });
    assert_eq!(refused(&|manifest| manifest.merged.get_mut(&0).unwrap().start = 4096), begins);
    let within = "a merged run ends within a file";
    let last = all[2].end;
    assert_eq!(refused(&|manifest| manifest.merged.get_mut(&last).unwrap().end += 4096), within);
    for len in good.len() - 2 * 84 - 1..good.len() {
        assert!(snapshot::read(&good[..len]).is_err(), "{len}");
    }
    assert!(snapshot::read(&[&good[..], &[0]].concat()).is_err());
    let mut newer = good.clone();
    newer[0] = 5;
    assert!(snapshot::read(&newer).is_err());

    // Keys are forgotten from the front, by whole runs.
    let cut = "keys are dropped within a run";
    assert_eq!(state.manifest.forget(all[1].end).unwrap_err().0, cut);
    let turn = "keys are dropped out of turn";
    assert_eq!(state.manifest.forget(state.manifest.runs_upto + 1).unwrap_err().0, turn);
    state.manifest.forget(all[2].end).unwrap();
    assert_eq!(state.manifest.forget(all[2].end).unwrap_err().0, turn);
    assert_eq!(state.manifest.merged.keys().collect::<Vec<_>>(), [&all[2].end]);
    assert_eq!(snapshot::read(&of(&state.manifest)), Ok(state));
}
