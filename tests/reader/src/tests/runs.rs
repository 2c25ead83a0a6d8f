//! Runs of version 2, made here from the committed directory's of version 1.

use super::{
    Dice, Files,
    build::{Draft, filter},
    directory,
    filters::hashes,
};
use crate::{RunsError, SealedFile, check_runs, read, run_file::RunFile};

type Change = fn(&mut Draft);

/// The runs of a directory that are of journal files.
pub(super) fn runs(files: &Files) -> Vec<(SealedFile, Draft)> {
    let contents = read(files).unwrap();
    let sealed = contents.manifest.files.values().filter_map(|file| Some((file, file.run?)));
    let drafts = sealed.map(|(file, run)| {
        let read = RunFile::read(&files[&run.name()], &contents.journal, &run).unwrap();
        let sections = read.sections.map(<[u8]>::to_vec);
        (file.clone(), Draft::new(contents.journal, run, sections))
    });
    drafts.collect()
}

/// Checks the directory with the run exchanged, for the manifest too.
pub(super) fn check_with(files: &Files, draft: &Draft) -> Result<(), RunsError> {
    let mut contents = read(files).unwrap();
    let (bytes, run) = draft.lay_out();
    let mut files = files.clone();
    files.insert(run.name(), bytes);
    contents.manifest.files.get_mut(&run.start).unwrap().run = Some(run);
    check_runs(&files, &contents).map(drop)
}

pub(super) fn why(result: Result<(), RunsError>) -> &'static str {
    match result {
        Err(RunsError::Damaged { why, .. }) => why,
        other => panic!("{other:?}"),
    }
}

/// How many order keys begin in it, as the check of a wrong number tells.
pub(super) fn with_new_orders(files: &Files, mut draft: Draft) -> Draft {
    let known = (0..1_000).find(|count| {
        draft.new_orders = *count;
        check_with(files, &draft).is_ok()
    });
    assert!(known.is_some(), "{:?}", check_with(files, &draft));
    draft
}

#[test]
fn runs_of_version_2_are_read_and_told_from_others() {
    let files = directory();
    let runs = runs(&files);
    for (_, draft) in &runs {
        with_new_orders(&files, draft.clone());
    }
    let (_, kept) = runs.iter().find(|(file, _)| !file.is_dropped()).unwrap();
    let good = with_new_orders(&files, kept.clone());
    let changes: [(Change, &str); 7] = [
        (|draft| draft.new_orders += 1_000, "its new orders are not the journal's"),
        (
            |draft| draft.filters[0].clear(),
            "a section has rows and no filter, or a filter and no rows",
        ),
        (|draft| draft.filters[0].push(0), "bytes are left behind its end"),
        (
            |draft| draft.filters[1] = filter(&hashes(30, 5), 1),
            "a filter does not let a row of its section pass",
        ),
        (|draft| draft.filters.swap(0, 1), "a filter does not let a row of its section pass"),
        (
            |draft| {
                let row = draft.sections[0][..48].to_vec();
                draft.sections[0].splice(..0, row);
            },
            "its rows are not sorted",
        ),
        (|draft| draft.sections[0][44] = 4, "a dedup key is of no known kind"),
    ];
    for (change, expected) in changes {
        let mut draft = good.clone();
        change(&mut draft);
        assert_eq!(why(check_with(&files, &draft)), expected);
    }
}

#[test]
fn every_byte_of_a_run_counts() {
    let files = directory();
    let runs = runs(&files);
    let (_, draft) = runs.iter().find(|(file, _)| !file.is_dropped()).unwrap();
    let (bytes, run) = with_new_orders(&files, draft.clone()).lay_out();
    RunFile::read(&bytes, &draft.journal, &run).unwrap();
    let mut dice = Dice(5);
    for round in 0..4_000 {
        let mut bytes = bytes.clone();
        let at = if round < 168 { round } else { dice.below(bytes.len()) };
        bytes[at] ^= 1 << dice.below(8);
        assert!(RunFile::read(&bytes, &draft.journal, &run).is_err(), "at {at}");
    }
    assert!(RunFile::read(&[&bytes[..], &[0]].concat(), &draft.journal, &run).is_err());
    for len in [0, 8, 100, 150, 167, 168, bytes.len() - 1] {
        assert!(RunFile::read(&bytes[..len], &draft.journal, &run).is_err(), "{len}");
    }
}
