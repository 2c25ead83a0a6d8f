//! The state is a fold over the journal: without the index for reading, after files were dropped,
//! and after any number of recoveries it is the same.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::Path;
use std::sync::Arc;

use takt_protocol::batch::Verdict;
use takt_storage::disk::{Disk, RealDisk};
use takt_storage::entry::TopicSettings;
use takt_storage::store::{Answer, OpenReport, StoreOptions};
use takt_tests::driver::{self, Driver};
use takt_tests::events::events;

fn open(path: &Path, options: &StoreOptions, seed: u64) -> (Driver, OpenReport) {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::open(path).unwrap());
    Driver::open(disk, options.clone(), seed, "t").unwrap()
}

/// Takes away what is there for reading only.
fn delete_index(path: &Path) {
    for file in std::fs::read_dir(path).unwrap() {
        let file = file.unwrap().path();
        if file.file_name().unwrap().to_str().unwrap().starts_with("index") {
            std::fs::remove_file(file).unwrap();
        }
    }
}

#[test]
fn the_state_is_the_same_without_its_index_and_after_every_recovery() {
    let home = tempfile::tempdir().unwrap();
    let options = StoreOptions { retention_bytes: 256 << 10, ..driver::options("munich") };
    let (mut driver, _) = open(home.path(), &options, 1);
    driver.begin(TopicSettings::default());
    let mut dropped = 0;
    let mut start = driver.store.view().status().journal_start;
    for round in 0..60_u64 {
        let batch = events(round * 20..round * 20 + 20, 7, 0);
        assert!(matches!(driver.publish(&batch), Answer::Receipt(_)));
        // Every third time a conflict, which stays open.
        if round % 3 == 0 {
            assert!(matches!(
                driver.publish(&events(round * 20..round * 20 + 1, 7, 1)),
                Answer::Receipt(_)
            ));
        }
        driver.settle();
        let now = driver.store.view().status().journal_start;
        dropped += u32::from(now != start);
        start = now;
    }
    assert!(dropped >= 3, "{dropped} files were dropped");
    let (digest, status) = (driver.store.state_digest(), driver.store.view().status());
    assert!(status.conflicts > 0);
    // As after kill -9: nothing is closed.
    drop(driver);

    for seed in 2..5 {
        delete_index(home.path());
        let (driver, report) = open(home.path(), &options, seed);
        assert_eq!(driver.store.state_digest(), digest, "recovery {seed}");
        assert!(!report.created && report.cut.is_none());
        let now = driver.store.view().status();
        assert_eq!(
            (now.keys, now.orders, now.conflicts),
            (status.keys, status.orders, status.conflicts)
        );
    }
    let (driver, _) = open(home.path(), &options, 5);
    driver.close();
    delete_index(home.path());
    let (mut driver, _) = open(home.path(), &options, 6);
    // What every id and order stands at is known: repeats are told from events that are new.
    driver.begin(TopicSettings::default());
    let Answer::Receipt(receipt) = driver.publish(&events(0..1_000, 7, 0)) else { panic!() };
    for (receipt, id) in receipt.receipts().zip(0..) {
        let Verdict::Duplicate { of, .. } = receipt.verdict else { panic!("{id}: {receipt:?}") };
        assert_eq!(of.offset.get(), id);
    }
    let Answer::Receipt(receipt) = driver.publish(&events(1_200..1_201, 7, 0)) else { panic!() };
    let receipt = receipt.receipts().next().unwrap();
    assert_eq!(receipt.place.unwrap().offset.get(), 1_200);
}
