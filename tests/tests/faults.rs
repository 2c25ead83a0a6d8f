//! What `takt-tests faults` does, thinned out: a fault in every tenth system call of a node's
//! scripted life. The whole is the command's.

use takt_tests::faults::{Report, enumerate};
use takt_tests::strace::{self, Effect, Scope};

/// How thin; every call is the command's.
const EVERY: u32 = 10;

fn every_tenth(effect: Effect, always: &[&str]) {
    if let Err(why) = strace::usable() {
        eprintln!("SKIPPED: no fault ({effect:?}) was put into a system call: {why}");
        return;
    }
    let mut report = Report::default();
    enumerate(effect, EVERY, &mut report);
    println!("{report:#?}");
    assert_eq!(report.violations, [""; 0]);
    assert!(report.acknowledged > 1_000);
    for call in always {
        let hits = report.hits.get(&(effect, call, Scope::All));
        assert!(hits.is_some_and(|hits| *hits > 0), "no fault has hit {call}");
    }
    let hits = report.hits.get(&(effect, "pwrite64", Scope::Thread("takt-sync")));
    assert!(hits.is_some_and(|hits| *hits > 0), "no fault has hit the commits");
}

#[test]
fn a_kill_at_a_system_call_loses_nothing_that_was_acknowledged() {
    every_tenth(Effect::Kill, &["openat", "pwrite64", "write", "fdatasync", "fsync", "rename"]);
}

#[test]
fn an_error_of_the_disk_at_a_system_call_ends_the_node_or_does_nothing() {
    every_tenth(Effect::Eio, &["openat", "pwrite64", "pread64", "fdatasync", "fsync"]);
}

#[test]
fn a_full_disk_at_a_system_call_ends_the_node_or_does_nothing() {
    every_tenth(Effect::Enospc, &["openat", "pwrite64"]);
}
