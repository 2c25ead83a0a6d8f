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

/// The newest journal file.
fn journal_file(dir: &Path) -> PathBuf {
    let files = std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
    let is_journal = |path: &PathBuf| path.extension().is_some_and(|end| end == "log");
    files.filter(is_journal).max().unwrap()
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
    let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let at = written_end(&path) / 2;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    byte[0] ^= 1;
    file.write_all_at(&byte, at).unwrap();
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
    byte[0] ^= 1;
    file.write_all_at(&byte, at).unwrap();
    let node = site.start("munich").await;
    assert_eq!(read_all(&site.client("munich").await, TOPIC, None).await.len(), 200);
    assert!(node.stop().await.success());
}
