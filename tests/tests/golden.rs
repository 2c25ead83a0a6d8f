//! A data directory that an earlier build wrote opens, and holds what it held.
#![allow(clippy::unwrap_used, reason = "a test")]

use takt_protocol::words::TopicName;
use takt_storage::store::Answer;
use takt_tests::events::events;
use takt_tests::golden::{NAMES, copy, describe, description, open, open_with_report};

#[test]
fn the_golden_directories_open_and_hold_what_they_held() {
    for name in NAMES {
        opens_and_holds(name);
    }
}

fn opens_and_holds(name: &str) {
    let home = copy(name);
    let expected = std::fs::read_to_string(description(name)).unwrap();
    for what in ["topic t of lyon", "cursor erp", "conflict", "partition hub/t/0", "lyon/t/0"] {
        assert!(expected.contains(what), "the golden directory has no {what}");
    }
    assert!(!expected.contains("hub/t/0 0.."), "files were dropped");
    for seed in 10..13 {
        let driver = open(home.path(), seed);
        let found = describe(&driver);
        for (found, expected) in found.lines().zip(expected.lines()) {
            assert_eq!(found, expected, "{name} after start {seed}");
        }
        assert_eq!(found.len(), expected.len());
    }
    let mut driver = open(home.path(), 13);
    let settings = driver.store.view().topic(&TopicName::new("t").unwrap()).unwrap();
    driver.begin(settings);
    let Answer::Receipt(receipt) = driver.publish(&events(0..400, 7, 0)) else { panic!() };
    let repeats = |verdict: takt_protocol::batch::Verdict| !verdict.is_visible();
    assert!(receipt.receipts().all(|receipt| repeats(receipt.verdict)), "all are known");
    let Answer::Receipt(receipt) = driver.publish(&events(400..401, 7, 0)) else { panic!() };
    assert_eq!(receipt.receipts().next().unwrap().place.unwrap().offset.get(), 400);
}

/// A run of format 1 that is made again is of the format of today, and the manifest says so.
#[test]
fn a_damaged_run_of_an_old_format_is_made_again_once() {
    let home = copy("data-v1");
    let run = home.path().join("run-0000000000082000-00000001.run");
    let mut bytes = std::fs::read(&run).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&run, bytes).unwrap();
    let rebuilt = |seed| {
        let (mut driver, report) = open_with_report(home.path(), seed);
        driver.settle();
        report.runs_rebuilt
    };
    assert!(rebuilt(10) > 0);
    assert_eq!(rebuilt(11), 0);
}
