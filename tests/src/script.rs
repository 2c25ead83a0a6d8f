//! A node's life of a few hundred system calls, in a process of its own: small files, so that it
//! rolls, makes runs and drops old files, and a restart in the middle. It says on its output what
//! it sends and what it is told, one line at a time, for [`crate::strace`].

use std::io::{BufRead, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use takt_broker::node::{Node, NodeOptions};
use takt_client::admin::CursorTo;
use takt_client::{Producer, TopicName};
use takt_storage::entry::TopicSettings;
use takt_storage::journal::JournalOptions;

use crate::account::made;

/// The topic that is published to.
pub const TOPIC: &str = "t";
/// The source, the producer, and the node.
pub const SOURCE: &str = "script";
/// The node's name.
pub const NODE: &str = "munich";
/// The script has come to its end.
pub const ENDED: u8 = 0;
/// The node has said that its journal failed.
pub const FAILED: u8 = 3;
/// The node did not open.
pub const NOT_OPENED: u8 = 4;
/// An event was refused for good by a node that had not failed.
pub const REFUSED: u8 = 5;
/// How many events a batch has.
const BATCH: u64 = 20;
/// How many batches each life of the node takes.
const LIVES: [u64; 2] = [16, 6];
/// How long an event that must not be acknowledged any more is waited for.
const LATE: Duration = Duration::from_millis(50);
/// How long a node may take to say that it failed.
const TELL: Duration = Duration::from_secs(10);

/// A node with files of 64 KiB that keeps about half a MiB.
///
/// # Panics
/// Never: its names hold.
pub fn options(dir: &Path) -> NodeOptions {
    let options = NodeOptions::embedded(NODE, dir).expect("a name");
    NodeOptions {
        journal: JournalOptions {
            file_bytes: 64 << 10,
            commit_bytes_max: 16 << 10,
            reserve_chunks: 2,
            reserve_chunk_bytes: 32 << 10,
        },
        mark_after: Duration::from_millis(5),
        retention_bytes: 512 << 10,
        keys_max: 100_000,
        topics: vec![(TopicName::new(TOPIC).expect("a name"), TopicSettings::default())],
        ..options
    }
}

/// Plays the script: `DIRECTORY FIRST-ID [wait]`; with `wait` it stands still behind the first
/// opening until it is given a line.
///
/// # Panics
/// If its arguments do not hold.
pub fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let dir = args.next().expect("a directory");
    let from = args.next().and_then(|from| from.parse().ok()).expect("the first event's number");
    let wait = args.next().is_some();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let code = runtime.expect("a runtime").block_on(play(dir.as_ref(), from, wait));
    // Without waiting for threads that a failed node may have left behind.
    std::process::exit(code.into())
}

fn say(line: &str) {
    // Who started this may be gone: then nobody is told.
    let _ = writeln!(std::io::stdout(), "{line}");
}

async fn play(dir: &Path, from: u64, wait: bool) -> u8 {
    let mut next = from;
    for (life, batches) in LIVES.into_iter().enumerate() {
        let node = match Node::open(options(dir)).await {
            Ok(node) => node,
            Err(error) => {
                say(&format!("not opened: {error}"));
                return NOT_OPENED;
            }
        };
        if wait && life == 0 {
            say("opened");
            let _ = std::io::stdin().lock().read_line(&mut String::new());
        }
        let client = node.client();
        let producer = client.producer(TOPIC).name(SOURCE).build().expect("names that hold");
        for batch in 0..batches {
            tokio::select! {
                biased;
                good = publish(&producer, next) => if !good {
                    // The node tells its clients first.
                    let failed = tokio::time::timeout(TELL, node.failed()).await;
                    return if failed.is_ok() { FAILED } else { REFUSED };
                },
                reason = node.failed() => return failed(&producer, &reason, next + BATCH).await,
            }
            next += BATCH;
            if batch == batches / 2 {
                let admin = client.admin();
                tokio::select! {
                    set = admin.set_cursor(TOPIC, "erp", None, CursorTo::Latest) => {
                        say(&format!("cursor {}", set.is_ok()));
                    }
                    reason = node.failed() => return failed(&producer, &reason, next).await,
                }
            }
        }
        drop((producer, client));
        if let Err(reason) = node.close().await {
            say(&format!("failed: {reason}"));
            return FAILED;
        }
    }
    ENDED
}

/// Publishes a batch, and says what becomes of it; whether it was acknowledged.
async fn publish(producer: &Producer, from: u64) -> bool {
    let ids = from..from + BATCH;
    say(&format!("sending {}", ids.end - 1));
    let events = ids.clone().map(|id| made(SOURCE, id)).collect();
    let receipts = match producer.send_batch(events).await {
        Ok(receipts) => receipts.await,
        Err(error) => {
            say(&format!("refused: {error}"));
            return false;
        }
    };
    let mut good = true;
    for (id, receipt) in ids.zip(receipts) {
        match receipt.map(|receipt| (receipt, receipt.place())) {
            Ok((_, Some(place))) => {
                say(&format!("ack {id} {} {}", place.partition.get(), place.offset.get()));
            }
            other => {
                good = false;
                say(&format!("refused: {id} {other:?}"));
            }
        }
    }
    good
}

/// The node has failed: what is published from now on must not be acknowledged.
async fn failed(producer: &Producer, reason: &str, next: u64) -> u8 {
    say(&format!("failed: {reason}"));
    if let Ok(true) = tokio::time::timeout(LATE, publish(producer, next)).await {
        say("late: a failed node has acknowledged an event");
    }
    FAILED
}
