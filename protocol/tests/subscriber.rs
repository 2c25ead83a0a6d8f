//! A subscription over a stream that is cut anywhere: every record comes exactly once, in order.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test")]

mod common;

use std::time::Instant;

use proptest::prelude::*;
use takt_protocol::batch::{StoredBatch, Verdict};
use takt_protocol::codes::ErrorCode;
use takt_protocol::session::subscriber::{
    Start, SubscriberClient, SubscriberEvent, SubscriberOpened, SubscriberRequest,
    SubscriberServer, Subscription,
};
use takt_protocol::session::{Refusal, SessionError, accept};
use takt_protocol::wire::{Frame, OutFrame};
use takt_protocol::words::{CursorName, NodeName, Offset, PartitionId, PartitionNumber, TopicName};

use common::{Choices, Half, Partition, batch, start};

fn topic() -> TopicName {
    TopicName::new("production").unwrap()
}

fn partition(origin: &str) -> PartitionId {
    let number = PartitionNumber::new(0);
    PartitionId { origin: NodeName::new(origin).unwrap(), topic: topic(), number }
}

fn subscription(start: Start) -> Subscription {
    Subscription {
        topic: topic(),
        start,
        cursor: Some(CursorName::new("erp").unwrap()),
        hold: Some(true),
        credit_bytes: 2_000,
        origin: None,
    }
}

struct Stream {
    server: Option<SubscriberServer>,
    up: Half,
    down: Half,
    /// Next batch of each slot.
    next: Vec<usize>,
}

struct Pair {
    now: Instant,
    client: SubscriberClient,
    stream: Option<Stream>,
    origins: Vec<(PartitionId, Partition)>,
    got: Vec<Vec<u64>>,
    held: Vec<usize>,
    cursor: Vec<(PartitionId, Offset)>,
    committed: Vec<u64>,
    carried: usize,
}

impl Pair {
    fn new(batches: &[usize]) -> Self {
        let mut origins = Vec::new();
        for origin in ["lyon", "munich"] {
            let mut store = Partition::default();
            let mut first = 1;
            for records in batches {
                store.store(&batch(first, *records));
                first += *records as u64;
            }
            origins.push((partition(origin), store));
        }
        Self {
            now: start(),
            client: SubscriberClient::new(subscription(Start::Earliest)),
            stream: None,
            got: vec![Vec::new(); origins.len()],
            origins,
            held: Vec::new(),
            cursor: Vec::new(),
            committed: Vec::new(),
            carried: 0,
        }
    }

    fn connect(&mut self) {
        let (up, down) = (Half::default(), Half::default());
        self.stream = Some(Stream { server: None, up, down, next: Vec::new() });
        self.client.on_connected(self.now);
    }

    fn cut(&mut self) {
        self.stream = None;
        self.client.on_disconnected(self.now);
    }

    fn up(&mut self, len: usize) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        while let Some(frame) = self.client.poll_transmit() {
            stream.up.send(&frame);
        }
        let carried = len.min(stream.up.on_way());
        for frame in stream.up.arrive(len).unwrap() {
            match &mut stream.server {
                None => {
                    accept(frame).unwrap();
                    stream.server = Some(SubscriberServer::new());
                }
                Some(server) => server.handle_frame(self.now, frame).unwrap(),
            }
        }
        self.carried += carried;
        let Some(server) = &mut stream.server else { return carried > 0 };
        while let Some(request) = server.poll_event() {
            match request {
                SubscriberRequest::Open(subscription) => {
                    let start_of = |id: &PartitionId| match &subscription.start {
                        Start::Offsets(list) => {
                            list.iter().find(|(known, _)| known == id).map(|(_, at)| *at)
                        }
                        _ => None,
                    };
                    let starts =
                        self.origins.iter().map(|(id, _)| start_of(id).unwrap_or_default());
                    let starts: Vec<Offset> = starts.collect();
                    // The second origin appears once the first has been told.
                    let partitions = vec![(self.origins[0].0.clone(), starts[0])];
                    server.on_opened(Ok(SubscriberOpened { topic_partitions: 1, partitions }));
                    assert_eq!(server.on_partition(&self.origins[1].0, starts[1]), 1);
                    let first = |(at, start): (usize, &Offset)| {
                        let batches = &self.origins[at].1.batches;
                        batches.partition_point(|batch| batch.end_offset() <= *start)
                    };
                    stream.next = starts.iter().enumerate().map(first).collect();
                }
                SubscriberRequest::Commit { token, cursor, hold, positions } => {
                    assert!(cursor.as_str() == "erp" && hold == Some(true));
                    self.cursor = positions;
                    server.on_committed(token, Ok(()));
                }
            }
        }
        carried > 0
    }

    fn deliver(&mut self, slot: usize) -> bool {
        let Some(Stream { server: Some(server), next, .. }) = &mut self.stream else {
            return false;
        };
        let Some(at) = next.get_mut(slot).filter(|_| server.credit() > 0) else { return false };
        let Some(batch) = self.origins[slot].1.batches.get(*at) else { return false };
        *at += 1;
        server.deliver(u32::try_from(slot).unwrap(), batch);
        true
    }

    fn down(&mut self, len: usize) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        if let Some(server) = &mut stream.server {
            while let Some(frame) = server.poll_transmit() {
                stream.down.send(&frame);
            }
        }
        let carried = len.min(stream.down.on_way());
        for frame in stream.down.arrive(len).unwrap() {
            self.client.handle_frame(self.now, frame).unwrap();
        }
        self.carried += carried;
        while let Some(event) = self.client.poll_event() {
            match event {
                SubscriberEvent::Batch { partition, from, batch } => {
                    let slot = usize::from(partition.origin.as_str() == "munich");
                    let offsets = from.max(batch.header().base_offset).get();
                    self.got[slot].extend(offsets..batch.end_offset().get());
                    self.held.push(batch.len());
                }
                SubscriberEvent::CursorCommitted(token) => self.committed.push(token),
                SubscriberEvent::Subscribed { .. } | SubscriberEvent::PartitionAdded { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        carried > 0
    }

    fn consume(&mut self) -> bool {
        let Some(len) = self.held.pop() else { return false };
        self.client.grant(len);
        true
    }

    fn run(&mut self, budget: usize) {
        let end = self.carried.saturating_add(budget);
        loop {
            if self.stream.is_none() {
                self.connect();
            }
            let mut moved = self.up(end - self.carried);
            moved |= self.deliver(0);
            moved |= self.deliver(1);
            moved |= self.down(end - self.carried);
            moved |= self.consume();
            if self.carried == end || !moved {
                return;
            }
        }
    }

    fn check(&self) {
        for (got, (_, store)) in self.got.iter().zip(&self.origins) {
            assert_eq!(*got, (0..store.next_offset).collect::<Vec<u64>>());
        }
    }
}

#[test]
fn a_cut_at_any_byte_loses_and_repeats_nothing() {
    let mut whole = Pair::new(&[3, 1, 9]);
    whole.run(usize::MAX);
    whole.check();
    for cut in (0..whole.carried).step_by(3) {
        let mut pair = Pair::new(&[3, 1, 9]);
        pair.run(cut);
        pair.cut();
        pair.run(usize::MAX);
        pair.check();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_interleaving_delivers_every_record_once(
        choices in prop::collection::vec(any::<u8>(), 0..300),
        batches in prop::collection::vec(1usize..12, 0..12),
    ) {
        let mut pair = Pair::new(&batches);
        let mut choices = Choices::new(choices);
        let mut tokens = Vec::new();
        while !choices.is_over() {
            match choices.below(12) {
                0 => pair.cut(),
                1 => {
                    let positions: Vec<_> = pair.client.positions().into_iter().collect();
                    if !positions.is_empty() {
                        tokens.push(pair.client.commit(positions));
                    }
                }
                2..=4 => { let slot = choices.below(2); pair.deliver(slot); }
                5 | 6 => { pair.consume(); }
                7 | 8 => { let len = choices.below(256); pair.up(len); }
                _ => { let len = choices.below(256) * 8; pair.down(len); }
            }
            if pair.stream.is_none() {
                pair.connect();
            }
        }
        pair.run(usize::MAX);
        pair.check();
        pair.committed.sort_unstable();
        prop_assert_eq!(pair.committed, tokens);
    }
}

/// A client and a server whose subscription stands at `start`, in one partition.
fn opened(from: Start, at: u64) -> (SubscriberClient, SubscriberServer) {
    let mut client = SubscriberClient::new(subscription(from));
    client.on_connected(start());
    let mut up = frames(std::iter::from_fn(|| client.poll_transmit())).into_iter();
    accept(up.next().unwrap()).unwrap();
    let mut server = SubscriberServer::new();
    server.handle_frame(start(), up.next().unwrap()).unwrap();
    let partitions = vec![(partition("lyon"), Offset::new(at))];
    server.on_opened(Ok(SubscriberOpened { topic_partitions: 1, partitions }));
    assert_eq!(down(&mut client, &mut server), Ok(()));
    (client, server)
}

fn frames(out: impl Iterator<Item = OutFrame>) -> Vec<Frame> {
    let mut half = Half::default();
    out.for_each(|frame| half.send(&frame));
    half.arrive(usize::MAX).unwrap()
}

fn down(client: &mut SubscriberClient, server: &mut SubscriberServer) -> Result<(), SessionError> {
    let out = frames(std::iter::from_fn(|| server.poll_transmit()));
    out.into_iter().try_for_each(|frame| client.handle_frame(start(), frame))
}

fn stored(batches: &[usize]) -> Vec<StoredBatch> {
    let mut store = Partition::default();
    let mut first = 1;
    for records in batches {
        store.store(&batch(first, *records));
        first += *records as u64;
    }
    store.batches
}

#[test]
fn a_hole_and_a_repeat_are_refused() {
    let batches = stored(&[2, 2, 2]);
    let (mut client, mut server) = opened(Start::Earliest, 0);
    server.deliver(0, &batches[1]);
    let hole = SessionError::Hole { expected: 0, found: 2 };
    assert_eq!(down(&mut client, &mut server), Err(hole));

    let (mut client, mut server) = opened(Start::Earliest, 0);
    server.deliver(0, &batches[0]);
    server.deliver(0, &batches[0]);
    let back = SessionError::Back { expected: 2, found: 0 };
    assert_eq!(down(&mut client, &mut server), Err(back));
}

#[test]
fn what_was_trimmed_is_told() {
    let batches = stored(&[2, 2, 2]);
    let (mut client, mut server) = opened(Start::Earliest, 0);
    server.deliver(0, &batches[0]);
    server.on_trimmed(0, Offset::new(5));
    server.deliver(0, &batches[2]);
    down(&mut client, &mut server).unwrap();
    let events: Vec<_> = std::iter::from_fn(|| client.poll_event()).collect();
    let SubscriberEvent::Trimmed { from, to, .. } = &events[2] else { panic!("{events:?}") };
    assert_eq!((from.get(), to.get()), (2, 5));
    let SubscriberEvent::Batch { from, .. } = &events[3] else { panic!("{events:?}") };
    assert_eq!(from.get(), 5);
}

#[test]
fn a_start_in_the_past_is_told_and_one_before_it_refused() {
    let at = vec![(partition("lyon"), Offset::new(3))];
    let (mut client, _) = opened(Start::Offsets(at.clone()), 7);
    let event = client.poll_event();
    assert!(matches!(event, Some(SubscriberEvent::Trimmed { from, to, .. })
        if from.get() == 3 && to.get() == 7));

    let mut client = SubscriberClient::new(subscription(Start::Offsets(at)));
    client.on_connected(start());
    let mut up = frames(std::iter::from_fn(|| client.poll_transmit())).into_iter();
    accept(up.next().unwrap()).unwrap();
    let mut server = SubscriberServer::new();
    server.handle_frame(start(), up.next().unwrap()).unwrap();
    let partitions = vec![(partition("lyon"), Offset::new(2))];
    server.on_opened(Ok(SubscriberOpened { topic_partitions: 1, partitions }));
    let back = SessionError::Back { expected: 3, found: 2 };
    assert_eq!(down(&mut client, &mut server), Err(back));
}

#[test]
fn a_batch_without_visible_records_moves_nothing() {
    let mut store = Partition::default();
    store.store(&batch(1, 2));
    let mut verdict = Vec::new();
    let of =
        takt_protocol::batch::Place { partition: PartitionNumber::new(0), offset: Offset::new(0) };
    Verdict::Duplicate { of, order_sequence: None }.encode(&mut verdict);
    store.store_with(&batch(3, 1), 0, &verdict);
    store.store(&batch(4, 1));
    let (mut client, mut server) = opened(Start::Earliest, 0);
    store.batches.iter().for_each(|batch| server.deliver(0, batch));
    down(&mut client, &mut server).unwrap();
    let from: Vec<u64> = std::iter::from_fn(|| client.poll_event())
        .filter_map(|event| match event {
            SubscriberEvent::Batch { from, .. } => Some(from.get()),
            _ => None,
        })
        .collect();
    assert_eq!(from, [0, 2]);
}

#[test]
fn credit_is_overdrawn_by_one_batch_and_comes_back_in_quarters() {
    let batches = stored(&[30, 30, 30]);
    let (mut client, mut server) = opened(Start::Earliest, 0);
    assert_eq!(server.credit(), 2_000);
    let mut sent = 0;
    for batch in &batches {
        if server.credit() > 0 {
            server.deliver(0, batch);
            sent += batch.len();
        }
    }
    assert!(sent >= 2_000 && server.credit() == 0);
    down(&mut client, &mut server).unwrap();
    client.grant(499);
    assert_eq!(client.poll_transmit(), None);
    client.grant(sent - 499);
    for frame in frames(std::iter::from_fn(|| client.poll_transmit())) {
        server.handle_frame(start(), frame).unwrap();
    }
    assert_eq!(server.credit(), 2_000);
}

#[test]
fn a_commit_without_a_cursor_and_a_forbidden_topic_are_answered() {
    let (mut client, mut server) = opened(Start::Earliest, 0);
    let token = client.commit(Vec::new());
    for frame in frames(std::iter::from_fn(|| client.poll_transmit())) {
        server.handle_frame(start(), frame).unwrap();
    }
    server.close(Refusal::new(ErrorCode::Forbidden, "no"));
    down(&mut client, &mut server).unwrap();
    let events: Vec<_> = std::iter::from_fn(|| client.poll_event()).collect();
    assert!(matches!(&events[1], SubscriberEvent::CommitRefused(t, refusal)
        if *t == token && refusal.code == ErrorCode::BadRequest));
    assert!(matches!(&events[2], SubscriberEvent::Closed(refusal)
        if refusal.code == ErrorCode::Forbidden));
    assert!(client.is_closed());
}
