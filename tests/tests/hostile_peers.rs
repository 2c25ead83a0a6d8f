//! Peers that keep no rules get a typed error; the node goes on serving others.
#![allow(clippy::unwrap_used, reason = "a test")]

use takt_client::{Client, ErrorCode};
use takt_protocol::session::producer::{ProducerClient, ProducerConfig};
use takt_protocol::wire::{ControlBody, decode_control};
use takt_protocol::words::{Sequence, TopicName};
use takt_tests::check::{appended, read_all};
use takt_tests::driver::batch;
use takt_tests::events::{Dice, event, events};
use takt_tests::raw::{Answer, RawConnection, RawStream};
use takt_tests::site::{Site, TOPIC};
use takt_tests::within;

/// Another client, which is served all the while.
struct Honest {
    client: Client,
    producer: takt_client::Producer,
    next: u64,
}

impl Honest {
    async fn is_served(&mut self) {
        let event = event("//acme/mes", self.next, "order", 0);
        let receipt = within("room", self.producer.send(event)).await.unwrap();
        assert_eq!(appended(&within("a receipt", receipt).await.unwrap()).offset.get(), self.next);
        self.next += 1;
    }
}

fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len() + 1).unwrap();
    [&len.to_le_bytes()[..], &[kind], body].concat()
}

/// A producer's hello and opening, as its session lays them out.
fn opening() -> Vec<u8> {
    let mut session = ProducerClient::new(ProducerConfig {
        topic: TopicName::new(TOPIC).unwrap(),
        name: "hostile".to_owned(),
        transient: true,
        in_flight_bytes_max: 1 << 20,
    });
    session.on_connected(std::time::Instant::now());
    let mut bytes = Vec::new();
    while let Some(frame) = session.poll_transmit() {
        bytes.extend_from_slice(&frame.to_bytes());
    }
    bytes
}

/// A stream on which these bytes were said.
async fn said(connection: &RawConnection, bytes: &[u8]) -> RawStream {
    let mut stream = connection.stream().await.unwrap();
    stream.write(bytes).await;
    stream
}

/// A producer's stream that was opened as it should be.
async fn session(connection: &RawConnection) -> RawStream {
    let mut stream = said(connection, &opening()).await;
    let Answer::Frame(opened) = stream.next().await else { panic!("a producer is admitted") };
    assert!(matches!(decode_control(opened), Ok(ControlBody::ProducerOpened(_))));
    stream
}

/// The code of the first error that the node says.
async fn error_on(mut stream: RawStream, bytes: &[u8]) -> ErrorCode {
    stream.write(bytes).await;
    loop {
        match stream.next().await {
            Answer::Error(code, detail) => {
                println!("{code:?}: {detail}");
                return code;
            }
            Answer::Frame(_) => {}
            Answer::Ended => panic!("no typed error"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_peers_get_typed_errors_and_others_are_served() {
    let site = Site::new(&["munich"]);
    let node = site.start("munich").await;
    let client = site.client("munich").await;
    let producer = client.producer(TOPIC).name("honest").build().unwrap();
    let mut honest = Honest { client, producer, next: 0 };
    honest.is_served().await;
    let hostile = RawConnection::dial(site.client_options("munich")).await.unwrap();

    // An unknown kind, 4 GiB, no protobuf, no bytes: as the first frame and within a session.
    let broken = [
        (frame(99, b"what is this"), ErrorCode::Protocol),
        (vec![0xff; 16], ErrorCode::FrameTooLarge),
        (frame(1, b"\xff\xff\xff"), ErrorCode::Protocol),
        (vec![0; 4], ErrorCode::Protocol),
    ];
    for (bytes, code) in broken {
        let stream = hostile.stream().await.unwrap();
        assert_eq!(error_on(stream, &bytes).await, code, "{bytes:?} first");
        let stream = session(&hostile).await;
        assert_eq!(error_on(stream, &bytes).await, code, "{bytes:?} in a session");
        honest.is_served().await;
    }

    // A batch with a flipped bit.
    let batch = batch(&events(1..20, 3, 0), Sequence::new(1));
    let mut bytes: Vec<u8> = batch.pieces().flat_map(|piece| piece.to_vec()).collect();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let stream = session(&hostile).await;
    assert_eq!(error_on(stream, &frame(2, &bytes)).await, ErrorCode::BadBatch);
    honest.is_served().await;

    // Truncated frames: the stream ends or breaks off within them.
    for len in [1, 4, 5, 20] {
        let mut stream = said(&hostile, &opening()[..len]).await;
        stream.finish();
        assert!(!matches!(stream.next().await, Answer::Frame(_)));
    }
    honest.is_served().await;

    let mut dice = Dice::new(7);
    for _ in 0..100 {
        let len = usize::try_from(dice.below(2_000) + 1).unwrap();
        let mut bytes = vec![0; len];
        takt_storage::journal::Entropy::fill(&mut dice, &mut bytes);
        let mut stream = said(&hostile, &bytes).await;
        stream.finish();
        let answer = stream.next().await;
        assert!(!matches!(answer, Answer::Frame(_)), "{answer:?}");
    }
    honest.is_served().await;
    let stored = read_all(&honest.client, TOPIC, None).await;
    assert_eq!(stored.len() as u64, honest.next, "nothing of theirs is stored");
    assert!(!node.has_said("panicked"), "{}", node.log());
    assert!(node.stop().await.success());
}
