//! What `takt-tests faults` does, thinned out: a fault in every tenth system call of a node's
//! scripted life. The whole is the command's.
#![allow(clippy::unwrap_used, reason = "a test")]

use takt_client::Offset;
use takt_tests::account::Stored;
use takt_tests::check::read_all;
use takt_tests::faults::{Report, enumerate};
use takt_tests::outbox::{Outbox, SharedAccount, lock};
use takt_tests::site::{Site, TOPIC};
use takt_tests::strace::{self, Effect, Fault, Scope};
use takt_tests::within;

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
    let of = |thread| report.hits.get(&(effect, "pwrite64", Scope::Thread(thread)));
    let killed = of("takt-writer").into_iter().chain(of("takt-sync")).sum();
    let commits = if effect == Effect::Kill { killed } else { report.commits };
    assert!(commits > 0, "no fault has hit the commits");
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

/// The process itself, with its network: it says what has failed, and its exit code is not 0.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_sync_fails_ends_and_says_so() {
    if let Err(why) = strace::usable() {
        eprintln!("SKIPPED: no sync of a node has failed: {why}");
        return;
    }
    let site = Site::new(&["munich"]);
    let account = SharedAccount::default();
    let mut node = site.start("munich").await;
    let client = site.client("munich").await;
    let outbox = Outbox::start(&client, TOPIC, "press", 20, &account);
    for (call, when) in [("fdatasync", 1), ("fdatasync", 20), ("pwrite64", 1), ("pwrite64", 20)] {
        // The next commit may be written by either.
        let threads = ["takt-writer", "takt-sync"];
        let scope = Scope::Thread("takt-writer or takt-sync");
        let fault = Fault { call, scope, when, effect: Effect::Eio };
        let log = site.dir().join("strace.log");
        let mut tracer = strace::attach(node.id(), &threads, &fault, &log).unwrap();
        assert_eq!(node.ended().await.code(), Some(1), "{fault}");
        tracer.wait().unwrap();
        let said = node.said("nothing more is acknowledged").await;
        assert!(said.contains("has failed"), "{said}");
        let known = lock(&account).clone();
        assert_eq!(known.check_files(&site.data_dir("munich"), "munich", TOPIC), []);
        node = site.start("munich").await;
    }
    within("the last receipts", outbox.finish()).await;
    let stored: Vec<Stored> =
        read_all(&client, TOPIC, None).await.iter().map(Stored::from).collect();
    let known = lock(&account).clone();
    assert!(known.acknowledged() > 20);
    assert_eq!(known.check(TOPIC, &stored, Offset::new(0)), []);
    assert!(node.stop().await.success());
}
