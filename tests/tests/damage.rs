//! A damaged journal: what was never acknowledged is cut off, told and kept aside; what was durable
//! is never cut: the node does not start, and says where the damage is and what to do.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use takt_client::Client;
use takt_storage::journal::layout::BLOCK;
use takt_tests::check::read_all;
use takt_tests::events::events;
use takt_tests::process::Process;
use takt_tests::site::{Site, TOPIC};
use takt_tests::within;

async fn publish(client: &Client, ids: std::ops::Range<u64>) {
    let producer = client.producer(TOPIC).name("mes").batch_records(20).build().unwrap();
    let receipts = producer.send_batch(events(ids, 5, 0)).await.unwrap();
    assert!(within("receipts", receipts).await.iter().all(Result::is_ok));
    producer.close().await.unwrap();
}

/// The journal files, in their order.
fn journal_files(dir: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
    let is_journal = |path: &PathBuf| path.extension().is_some_and(|end| end == "log");
    let mut files: Vec<PathBuf> = files.filter(is_journal).collect();
    files.sort();
    files
}

/// The newest journal file.
fn journal_file(dir: &Path) -> PathBuf {
    journal_files(dir).pop().unwrap()
}

/// Turns a bit in the middle of what is written of a file.
fn turn_bit(path: &Path) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let at = written_end(path) / 2;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    byte[0] ^= 1;
    file.write_all_at(&byte, at).unwrap();
}

/// Where the zeros at a file's end begin, in whole blocks.
fn written_end(path: &Path) -> u64 {
    let bytes = std::fs::read(path).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    used.next_multiple_of(BLOCK) as u64
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_tail_is_cut_told_and_kept() {
    let site = Site::new(&["munich"]);
    let mut node = site.start("munich").await;
    publish(&site.client("munich").await, 0..200).await;
    let before = read_all(&site.client("munich").await, TOPIC, None).await;
    node.kill();
    let dir = site.data_dir("munich");
    let path = journal_file(&dir);
    let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let end = written_end(&path);
    let mut garbage = vec![0; 2 * BLOCK];
    // What a torn write may leave: the beginning of a commit that is another's end.
    file.read_exact_at(&mut garbage, end - BLOCK as u64).unwrap();
    garbage.rotate_right(17);
    garbage.fill(0x5a);
    file.write_all_at(&garbage, end).unwrap();

    let mut node = site.start("munich").await;
    let said = node.said("cut off").await;
    println!("{said}");
    assert!(said.contains("kept_in") && said.contains("cut-"), "{said}");
    let kept = std::fs::read_dir(&dir).unwrap().map(|file| file.unwrap().path());
    let kept: Vec<_> = kept.filter(|path| path.extension().is_some_and(|e| e == "bin")).collect();
    assert_eq!(kept.len(), 1);
    assert!(std::fs::read(&kept[0]).unwrap().starts_with(&garbage), "what was cut is kept");
    let client = site.client("munich").await;
    assert_eq!(read_all(&client, TOPIC, None).await, before);
    publish(&client, 200..210).await;
    assert_eq!(read_all(&client, TOPIC, None).await.len(), 210);
    assert!(node.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_below_what_was_durable_stops_the_start() {
    let site = Site::new(&["munich"]);
    let node = site.start("munich").await;
    let client = site.client("munich").await;
    for round in 0..10 {
        publish(&client, round * 20..round * 20 + 20).await;
    }
    drop(client);
    assert!(node.stop().await.success());
    let path = journal_file(&site.data_dir("munich"));
    turn_bit(&path);
    let bytes = std::fs::read(&path).unwrap();

    for _ in 0..2 {
        let mut node = Process::spawn(&mut site.command("munich"));
        assert_eq!(node.ended().await.code(), Some(1));
        let said = node.said("damaged").await;
        println!("{said}");
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(said.contains(name), "it names the file: {said}");
        assert!(said.contains("position") && said.contains("offset"), "and where: {said}");
        assert!(said.contains("Restore"), "and what to do: {said}");
        assert!(std::fs::read(&path).unwrap() == bytes, "nothing is changed");
    }
    // With the damage mended, as from a backup, all is there.
    turn_bit(&path);
    let node = site.start("munich").await;
    assert_eq!(read_all(&site.client("munich").await, TOPIC, None).await.len(), 200);
    assert!(node.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_in_an_older_file_stops_a_start() {
    let mut site = Site::new(&["munich"]);
    for round in 0..2 {
        let node = site.start("munich").await;
        publish(&site.client("munich").await, round * 200..round * 200 + 200).await;
        assert!(node.stop().await.success());
    }
    let path = journal_files(&site.data_dir("munich")).remove(0);
    let name = path.file_name().unwrap().to_str().unwrap();
    turn_bit(&path);

    let mut node = Process::spawn(&mut site.command("munich"));
    assert_eq!(node.ended().await.code(), Some(1));
    let said = node.said("damaged").await;
    println!("{said}");
    assert!(said.contains(name) && said.contains("position"), "where: {said}");
    assert!(said.contains("restore") && said.contains("check_at_start"), "what to do: {said}");

    // A start that reads the tail does not meet it, but readers do, and the node says so.
    site.set("munich", "journal.check_at_start", "tail");
    let node = site.start("munich").await;
    let client = site.client("munich").await;
    // The node may have met it itself by now, as it makes what is read from older files.
    let status = site.operator("munich").await.admin().status().await.unwrap();
    let met = status.counters["damaged_reads"];
    let mut consumer = client.consumer(TOPIC).build().unwrap();
    let error = loop {
        match within("the damage", consumer.next()).await.unwrap() {
            Ok(event) => assert!(event.offset.get() < 200, "served from behind the damage"),
            Err(error) => break error.to_string(),
        }
    };
    println!("{error}");
    assert!(error.contains(name) && error.contains("restore"), "{error}");
    let status = site.operator("munich").await.admin().status().await.unwrap();
    assert!(status.counters["damaged_reads"] > met, "{met} before");
    publish(&client, 400..410).await;
    assert!(node.stop().await.success());

    turn_bit(&path);
    site.set("munich", "journal.check_at_start", "all");
    let node = site.start("munich").await;
    assert_eq!(read_all(&site.client("munich").await, TOPIC, None).await.len(), 410);
    assert!(node.stop().await.success());
}
