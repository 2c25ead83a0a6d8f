//! A full disk, decided when no spare journal file can be made: publishing gets a retryable `Full`,
//! cursors and reading go on, and publishing resumes when there is room, without a restart.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test")]

use std::sync::Arc;

use takt_client::admin::CursorTo;
use takt_client::{Client, CursorName, ErrorCode, Event, Offset, TopicName};
use takt_protocol::session::producer::{ProducerClient, ProducerConfig, ProducerEvent};
use takt_storage::disk::sim::SimDisk;
use takt_storage::entry::TopicSettings;
use takt_storage::store::{Answer, Operation};
use takt_tests::check::{assert_each_once, assert_orders_are_dense, read_all};
use takt_tests::driver::{Driver, options};
use takt_tests::events::{event, events};
use takt_tests::process::{Process, binary};
use takt_tests::room::SmallDisk;
use takt_tests::site::{Site, TOPIC};
use takt_tests::{eventually, within};

#[test]
fn a_full_simulated_disk_refuses_reads_and_recovers() {
    let disk = SimDisk::new();
    let (mut driver, _) = Driver::open(Arc::new(disk.clone()), options("munich"), 1, "t").unwrap();
    driver.begin(TopicSettings::default());
    driver.settle();
    disk.set_capacity(Some(600 << 10));
    let mut stored = 0;
    let refusal = loop {
        match driver.publish(&events(stored..stored + 10, 3, 0)) {
            Answer::Receipt(_) => stored += 10,
            Answer::Refused(refusal) => break refusal,
            other => panic!("{other:?}"),
        }
        assert!(stored < 100_000, "the disk is never full");
    };
    assert_eq!(refusal.code, ErrorCode::Full);
    assert!(refusal.code.is_retryable());
    assert!(stored > 100 && driver.store.view().status().full);

    // Cursors, far more than the current file has room for, beside a publisher that does not give
    // up, and reading.
    let view = driver.store.view().clone();
    let slot = view.all_partitions()[0].slot;
    for at in 0..200 {
        let name = CursorName::new("erp").unwrap();
        let (topic, positions) =
            (TopicName::new("t").unwrap(), vec![(slot, Offset::new(at % stored))]);
        let set = driver.ask(Operation::SetCursor { name, topic, hold: None, positions });
        assert_eq!(set, Answer::CursorSet, "cursor {at}");
        // Files without events are used again, so cursors never fill the disk.
        driver.settle();
        match driver.publish(&events(stored..stored + 10, 3, 0)) {
            Answer::Receipt(_) => stored += 10,
            Answer::Refused(refusal) => assert_eq!(refusal.code, ErrorCode::Full),
            other => panic!("{other:?}"),
        }
    }
    assert!(!view.read(slot, Offset::new(0), 1 << 20).unwrap().is_empty());
    assert_eq!(view.end(slot), Some(Offset::new(stored)));

    // Power is lost while it is full: it starts, reads, and still says so.
    let digest = driver.store.state_digest();
    drop(driver);
    disk.crash(&mut |_| false);
    let (mut driver, _) = Driver::open(Arc::new(disk.clone()), options("munich"), 2, "t").unwrap();
    assert_eq!(driver.store.state_digest(), digest);
    let view = driver.store.view().clone();
    assert!(!view.read(slot, Offset::new(0), 1 << 20).unwrap().is_empty());

    disk.set_capacity(None);
    driver.settle();
    driver.begin(TopicSettings::default());
    assert!(matches!(driver.publish(&events(stored..stored + 10, 3, 0)), Answer::Receipt(_)));
    assert!(!view.status().full);
    assert_eq!(view.end(slot), Some(Offset::new(stored + 10)));
}

/// Publishes big events until the node says that it is full; gives those that it acknowledged.
async fn publish_until_full(client: &Client, from: u64, acknowledged: &mut Vec<Event>) {
    let producer = client.producer(TOPIC).name("filler").build().unwrap();
    let operator = client.admin();
    let mut next = from;
    loop {
        let batch: Vec<Event> = (next..next + 20).map(big).collect();
        next += 20;
        let receipts = within("room", producer.send_batch(batch.clone())).await.unwrap();
        let mut receipts = std::pin::pin!(receipts);
        let answered = eventually("a receipt or a full disk", async || {
            let wait =
                tokio::time::timeout(std::time::Duration::from_millis(50), receipts.as_mut());
            if let Ok(answered) = wait.await {
                return Ok(Some(answered));
            }
            let full = operator.status().await.map_err(|error| error.to_string())?.full;
            if full { Ok(None) } else { Err("neither".to_owned()) }
        });
        match answered.await {
            Some(answered) => {
                assert!(answered.iter().all(Result::is_ok), "{answered:?}");
                acknowledged.extend(batch);
            }
            None => return,
        }
        assert!(next < from + 100_000, "the disk is never full");
    }
}

fn big(id: u64) -> Event {
    Event { data: vec![7; 16 << 10].into(), ..event("//acme/mes", id, "filler", 0) }
}

/// What a producer without any patience is told.
async fn told_by(site: &Site) -> (ErrorCode, bool) {
    let connection = takt_tests::raw::RawConnection::dial(site.client_options("munich")).await;
    let connection = connection.unwrap();
    let mut session = ProducerClient::new(ProducerConfig {
        topic: TopicName::new(TOPIC).unwrap(),
        name: "impatient".to_owned(),
        transient: false,
        in_flight_bytes_max: 1 << 20,
    });
    let now = std::time::Instant::now;
    session.on_connected(now());
    let mut stream = connection.stream().await.unwrap();
    let mut sent = false;
    loop {
        while let Some(event) = session.poll_event() {
            if !sent && matches!(event, ProducerEvent::Opened { .. }) {
                let sequence = session.next_sequence().unwrap();
                let batch = takt_tests::driver::batch(&events(900_000..900_001, 1, 0), sequence);
                let bytes: Vec<u8> = batch.pieces().flat_map(|piece| piece.to_vec()).collect();
                session.submit(bytes.into()).unwrap();
                sent = true;
            }
        }
        while let Some(frame) = session.poll_transmit() {
            stream.write(&frame.to_bytes()).await;
        }
        match stream.next().await {
            takt_tests::raw::Answer::Error(code, _) => return (code, code.is_retryable()),
            takt_tests::raw::Answer::Frame(frame) => session.handle_frame(now(), frame).unwrap(),
            takt_tests::raw::Answer::Ended => panic!("the node ends the stream"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_real_disk_refuses_reads_and_recovers() {
    let mut site = Site::new(&["munich"]);
    let data = site.data_dir("munich");
    std::fs::create_dir_all(&data).unwrap();
    let disk = match SmallDisk::mount(&data, 128 << 20) {
        Ok(disk) => disk,
        Err(error) => {
            eprintln!("SKIPPED: no full disk was tested: {error}");
            return;
        }
    };
    site.set("munich", "journal.file_size", "4MiB");
    let start = async || {
        let mut node = Process::spawn(&mut site.command_in("munich", disk.enter(&binary())));
        node.ready().await;
        node
    };
    let mut node = start().await;
    let client = site.operator("munich").await;
    // Only once the reserve is there does a full disk have its defined answers.
    let reserve = 64 << 20;
    eventually("the reserve", async || {
        let status = client.admin().status().await.map_err(|error| error.to_string())?;
        let free = status.disk_free_bytes;
        if free < (128 << 20) - reserve { Ok(()) } else { Err(format!("{free} bytes are free")) }
    })
    .await;
    let filled = disk.fill().unwrap();
    println!("{filled} bytes were free");
    let mut acknowledged = Vec::new();
    publish_until_full(&client, 0, &mut acknowledged).await;
    println!("full after {} events", acknowledged.len());
    assert_eq!(told_by(&site).await, (ErrorCode::Full, true));

    // Reading and cursors go on.
    let stored = read_all(&client, TOPIC, None).await;
    assert!(stored.len() >= acknowledged.len());
    for _ in 0..100 {
        let set = client.admin().set_cursor(TOPIC, "erp", None, CursorTo::Latest).await.unwrap();
        assert_eq!(set.positions[0].offset, stored.len() as u64);
    }

    // Publishing resumes by itself.
    disk.make_room().unwrap();
    let producer = client.producer(TOPIC).name("after").build().unwrap();
    let receipt = within("room", producer.send(event("//acme/mes", 500_000, "", 0))).await.unwrap();
    within("a receipt", receipt).await.unwrap();
    assert!(!client.admin().status().await.unwrap().full);

    // Filled, kill -9, start: it reads; after room is made it publishes.
    disk.fill().unwrap();
    publish_until_full(&client, 200_000, &mut acknowledged).await;
    node.kill();
    let mut node = start().await;
    let stored = read_all(&client, TOPIC, None).await;
    let known: std::collections::BTreeMap<&str, &Event> =
        stored.iter().map(|at| (at.event.id.as_str(), &at.event)).collect();
    for event in &acknowledged {
        assert_eq!(known.get(event.id.as_str()), Some(&event), "{} is lost", event.id);
    }
    assert_eq!(told_by(&site).await, (ErrorCode::Full, true));
    disk.make_room().unwrap();
    let receipt = within("room", producer.send(event("//acme/mes", 500_001, "", 0))).await.unwrap();
    within("a receipt", receipt).await.unwrap();
    let stored = read_all(&client, TOPIC, None).await;
    assert_each_once(&stored);
    assert_orders_are_dense(&stored);
    node.kill();
}
