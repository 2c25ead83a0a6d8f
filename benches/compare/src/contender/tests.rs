//! Each system that is installed does what its row of the table says. Takt is built where it is not.

use std::process::Command;

use serde_json::Value;

use super::*;
use crate::event::EventMaker;
use crate::machine::{empty_dir, random};

/// Where the servers are, as far as they are installed.
pub fn programs() -> Programs {
    match Programs::find(None, None, None) {
        Ok(programs) => programs,
        Err(_) => Programs::find(Some(&built()), None, None).unwrap(),
    }
}

/// Builds Takt as this program's tests are built, and gives where it is.
fn built() -> std::path::PathBuf {
    let output = Command::new(env!("CARGO"))
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
        .args(["build", "--locked", "--package", "takt-broker", "--bin", "takt"])
        .arg("--message-format=json-render-diagnostics")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let messages = String::from_utf8(output.stdout).unwrap();
    let mut message = messages.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let executable = message.find_map(|m| Some(m["executable"].as_str()?.to_owned()));
    executable.expect("a program was built").into()
}

/// Publishes an event, the same again, a batch, and the same batch again; gives what was said of
/// both repeats, and how many events there are then.
async fn repeats<C: Contender>(kind: Kind) -> Option<(bool, bool, u64)> {
    let programs = programs();
    if programs.of(kind.system()).is_none() {
        eprintln!("SKIPPED {}: {}", kind.title(), kind.system().hint());
        return None;
    }
    let dir = empty_dir(&std::env::temp_dir()).unwrap();
    let contender = C::start(kind, &programs, dir.path()).await.unwrap();
    let mut producer = contender.producer().await.unwrap();
    let events = EventMaker::new(random(), 0, 10, 256).make(11);
    let (one, batch) = (events[0].clone(), events[1..].to_vec());

    assert_eq!(producer.publish(one.clone()).await.unwrap().await.unwrap(), 1);
    let one_again = producer.publish(one).await.unwrap().await;
    assert_eq!(producer.publish_batch(batch.clone()).await.unwrap().await.unwrap(), 10);
    let batch_again = producer.publish_batch(batch).await.unwrap().await;

    let stored = contender.stored().await.unwrap();
    contender.stop().await.unwrap();
    Some((one_again.is_err(), batch_again.is_err(), stored))
}

#[tokio::test]
async fn takt_knows_a_repeat() {
    let known = repeats::<Takt>(Kind::Takt).await;
    assert_eq!(known, Some((true, true, 11)));
}

#[tokio::test]
async fn nats_knows_a_repeat() {
    for kind in [Kind::NatsAlways, Kind::NatsDefault] {
        if let Some(known) = repeats::<Nats>(kind).await {
            assert_eq!(known, (true, true, 11));
        }
    }
}

#[tokio::test]
async fn redis_stores_a_repeat_again() {
    for kind in [Kind::RedisAlways, Kind::RedisEverysec, Kind::RedisDefault] {
        if let Some(known) = repeats::<Redis>(kind).await {
            assert_eq!(known, (false, false, 22));
        }
    }
}
