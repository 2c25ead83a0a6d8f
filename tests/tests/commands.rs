//! Commands of an operator at a node that serves.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fmt::Write as _;
use std::process::Output;

use takt_tests::site::{Site, TOPIC};

async fn operate(site: &Site, arguments: &[&str]) -> Output {
    let mut command = site.operate("munich", arguments);
    tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap()
}

fn event(id: u32, len: usize) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"s","type":"t","data":"{}"}}"#,
        "x".repeat(len)
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn pub_counts_what_was_stored_behind_a_line_that_is_refused() {
    let site = Site::new(&["munich"]);
    let node = site.start("munich").await;
    let mut lines = String::new();
    for id in 0..300 {
        writeln!(lines, "{}", event(id, if id == 150 { 2_000_000 } else { 10 })).unwrap();
    }
    let file = site.dir().join("events.jsonl");
    std::fs::write(&file, lines).unwrap();
    let said = operate(&site, &["pub", TOPIC, file.to_str().unwrap(), "--output", "json"]).await;
    assert_eq!(said.status.code(), Some(1));
    let error = String::from_utf8(said.stderr).unwrap();
    assert!(error.contains("line 151") && error.contains("2000"), "{error}");
    let counts: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap();
    let info = site.operator("munich").await.admin().topic_info(TOPIC).await.unwrap();
    let stored: u64 = info.partitions.iter().map(|partition| partition.end_offset).sum();
    assert!(stored >= 150);
    assert_eq!(counts["appended"], stored);
    assert!(node.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_does_not_end_a_hold() {
    let site = Site::new(&["munich"]);
    let node = site.start("munich").await;
    let file = site.dir().join("events.jsonl");
    std::fs::write(&file, format!("{}\n", event(1, 10))).unwrap();
    let done = |said: Output| assert!(said.status.success(), "{said:?}");
    let set = ["cursor", "set", "erp", "--topic", TOPIC, "--to", "earliest"];
    done(operate(&site, &["pub", TOPIC, file.to_str().unwrap()]).await);
    done(operate(&site, &[&set[..], &["--hold"]].concat()).await);
    let admin = site.operator("munich").await.admin();
    let hold = async || admin.cursors(None).await.unwrap()[0].clone();
    done(operate(&site, &["sub", TOPIC, "--cursor", "erp"]).await);
    let moved = hold().await;
    assert!(moved.hold && moved.positions[0].offset == 1, "{moved:?}");
    done(operate(&site, &set).await);
    assert!(hold().await.hold, "it was not told to end");
    done(operate(&site, &[&set[..], &["--no-hold"]].concat()).await);
    assert!(!hold().await.hold);
    assert!(node.stop().await.success());
}
