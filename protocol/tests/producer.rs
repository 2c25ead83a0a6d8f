//! The producer's session over a stream that is cut anywhere: every batch settles exactly once and
//! in order, and the node holds every batch exactly once.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test")]

mod common;

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use proptest::prelude::*;
use takt_protocol::batch::Batch;
use takt_protocol::codes::ErrorCode;
use takt_protocol::limits::IN_FLIGHT_BATCHES_MAX;
use takt_protocol::session::producer::{
    KeptReceipt, ProducerClient, ProducerConfig, ProducerEvent, ProducerOpened, ProducerRequest,
    ProducerServer, ServerLimits, SubmitError,
};
use takt_protocol::session::{Refusal, SessionError, StreamKind, accept};
use takt_protocol::wire::BatchReceipt;
use takt_protocol::words::{
    Epoch, Offset, PartitionNumber, ProducerId, Sequence, Timestamp, TopicName,
};

use common::{Choices, Half, batch, start, visible};

/// What a broker keeps of one producer, judged as the real one judges.
#[derive(Default)]
struct Node {
    epoch: u64,
    last: u64,
    kept: Vec<KeptReceipt>,
    /// First sequence and records of all that is durable.
    stored: Vec<(u64, usize)>,
    full: bool,
}

impl Node {
    fn open(&mut self, producer: ProducerId) -> ProducerOpened {
        self.epoch += 1;
        ProducerOpened {
            producer,
            epoch: Epoch::new(self.epoch),
            last_sequence: Sequence::new(self.last),
            partitions: 1,
            kept: self.kept.clone(),
        }
    }

    fn judge(&mut self, batch: &Batch) -> Result<BatchReceipt, Refusal> {
        let header = batch.header();
        let (first, expected) = (header.first_sequence.get(), self.last + 1);
        if first < expected {
            let own = self.kept.iter().find(|kept| {
                kept.crc == header.crc && kept.receipt.first_sequence == header.first_sequence
            });
            let reused = || Refusal::new(ErrorCode::SequenceReused, "other content");
            return own.map(|kept| kept.receipt.clone()).ok_or_else(reused);
        }
        let expected = Sequence::new(expected);
        if first > expected.get() {
            return Err(Refusal::resend(ErrorCode::Gap, "a gap", expected));
        }
        if self.full {
            return Err(Refusal::resend(ErrorCode::Full, "the disk is full", expected));
        }
        let receipt = BatchReceipt {
            first_sequence: header.first_sequence,
            records: header.records,
            partition: header.partition,
            base_offset: Offset::new(self.last),
            append_time: Timestamp::from_micros(7),
            verdicts: visible(header.records, first).into(),
        };
        self.last = receipt.last_sequence().get();
        self.stored.push((first, header.records));
        self.kept.push(KeptReceipt { crc: header.crc, receipt: receipt.clone() });
        if self.kept.len() > IN_FLIGHT_BATCHES_MAX {
            self.kept.remove(0);
        }
        Ok(receipt)
    }
}

struct Stream {
    server: Option<ProducerServer>,
    up: Half,
    down: Half,
    waiting: VecDeque<(u64, Batch)>,
    /// Judged, but not yet told: the sync has not returned.
    judged: Vec<(u64, Result<BatchReceipt, Refusal>)>,
}

/// Both halves, a node, and a clock.
struct Pair {
    now: Instant,
    client: ProducerClient,
    node: Node,
    stream: Option<Stream>,
    to_submit: VecDeque<usize>,
    submitted: Vec<(u64, usize)>,
    settled: Vec<(u64, usize)>,
    closed: Option<Refusal>,
    carried: usize,
}

const IDENTITY: &str = "spiffe://takt.local/plant/munich/client/mes";

fn client() -> ProducerClient {
    ProducerClient::new(ProducerConfig {
        topic: TopicName::new("production").unwrap(),
        name: "mes-7".into(),
        transient: false,
        in_flight_bytes_max: 1 << 20,
    })
}

impl Pair {
    fn new(batches: &[usize]) -> Self {
        Self {
            now: start(),
            client: client(),
            node: Node::default(),
            stream: None,
            to_submit: batches.iter().copied().collect(),
            submitted: Vec::new(),
            settled: Vec::new(),
            closed: None,
            carried: 0,
        }
    }

    fn connect(&mut self) {
        let (up, down) = (Half::default(), Half::default());
        let (waiting, judged) = (VecDeque::new(), Vec::new());
        self.stream = Some(Stream { server: None, up, down, waiting, judged });
        self.client.on_connected(self.now);
    }

    /// Connects and opens the session.
    fn open(&mut self) {
        self.connect();
        while self.up(usize::MAX) || self.down(usize::MAX) {}
        assert!(self.client.next_sequence().is_some());
    }

    fn cut(&mut self) {
        self.stream = None;
        self.client.on_disconnected(self.now);
    }

    fn submit(&mut self) -> bool {
        let (Some(first), true) = (self.client.next_sequence(), self.client.can_submit()) else {
            return false;
        };
        let Some(records) = self.to_submit.pop_front() else { return false };
        self.client.submit(batch(first.get(), records)).unwrap();
        self.submitted.push((first.get(), records));
        true
    }

    /// Sends what the client has to send, and lets up to `len` bytes of it arrive.
    fn up(&mut self, len: usize) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        while let Some(frame) = self.client.poll_transmit() {
            stream.up.send(&frame);
        }
        let carried = len.min(stream.up.on_way());
        for frame in stream.up.arrive(len).unwrap() {
            match &mut stream.server {
                None => {
                    assert_eq!(accept(frame).unwrap(), StreamKind::Producer);
                    let limits = ServerLimits::default();
                    stream.server = Some(ProducerServer::new(IDENTITY.into(), limits));
                }
                Some(server) => server.handle_frame(self.now, frame).unwrap(),
            }
        }
        let Some(server) = &mut stream.server else { return carried > 0 };
        while let Some(request) = server.poll_event() {
            match request {
                ProducerRequest::Open { producer, .. } => {
                    server.on_opened(Ok(self.node.open(producer)));
                }
                ProducerRequest::Submit { ticket, batch } => {
                    stream.waiting.push_back((ticket, batch));
                }
            }
        }
        self.carried += carried;
        carried > 0
    }

    fn judge(&mut self) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        let Some((ticket, batch)) = stream.waiting.pop_front() else { return false };
        stream.judged.push((ticket, self.node.judge(&batch)));
        true
    }

    /// Tells one answer, not always the oldest.
    fn tell(&mut self, which: usize) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        if stream.judged.is_empty() {
            return false;
        }
        let (ticket, judged) = stream.judged.remove(which % stream.judged.len());
        stream.server.as_mut().unwrap().on_judged(ticket, judged);
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
        while let Some(event) = self.client.poll_event() {
            match event {
                ProducerEvent::Settled(receipt) => {
                    self.settled.push((receipt.first_sequence.get(), receipt.records));
                }
                ProducerEvent::Closed(refusal) => self.closed = Some(refusal),
                ProducerEvent::Opened { .. } | ProducerEvent::Stalled(_) => {}
                other => panic!("{other:?}"),
            }
        }
        self.carried += carried;
        carried > 0
    }

    fn time(&mut self) -> bool {
        let Some(at) = self.client.poll_timeout() else { return false };
        self.now = self.now.max(at);
        self.client.handle_timeout(self.now);
        true
    }

    /// Goes on without faults until nothing moves; stops after `budget` carried bytes.
    fn run(&mut self, budget: usize) {
        let end = self.carried.saturating_add(budget);
        for _ in 0..10_000 {
            if self.stream.is_none() {
                self.connect();
            }
            let mut moved = self.submit();
            moved |= self.up(end - self.carried);
            moved |= self.judge();
            moved |= self.tell(0);
            moved |= self.down(end - self.carried);
            if self.carried == end {
                return;
            }
            if !moved && !self.time() {
                return;
            }
        }
        panic!("no end");
    }

    fn check(&self) {
        assert_eq!(self.closed, None);
        assert!(self.to_submit.is_empty(), "all was submitted");
        assert_eq!(self.settled, self.submitted, "settled once, in order");
        assert_eq!(self.node.stored, self.submitted, "stored once, in order");
        assert_eq!(self.client.unsettled().count(), 0);
    }
}

#[test]
fn a_cut_at_any_byte_loses_and_repeats_nothing() {
    let batches = [1, 2, 3];
    let mut whole = Pair::new(&batches);
    whole.run(usize::MAX);
    whole.check();
    for cut in 0..whole.carried {
        let mut pair = Pair::new(&batches);
        pair.run(cut);
        pair.cut();
        pair.run(usize::MAX);
        pair.check();
    }
}

#[test]
fn two_cuts_lose_and_repeat_nothing() {
    let batches = [1, 2, 1];
    let mut whole = Pair::new(&batches);
    whole.run(usize::MAX);
    for first in (0..whole.carried).step_by(7) {
        for second in (0..whole.carried).step_by(11) {
            let mut pair = Pair::new(&batches);
            pair.run(first);
            pair.cut();
            pair.run(second);
            pair.cut();
            pair.run(usize::MAX);
            pair.check();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_interleaving_settles_every_batch_once(
        choices in prop::collection::vec(any::<u8>(), 0..600),
        batches in prop::collection::vec(1usize..4, 1..90),
    ) {
        let mut pair = Pair::new(&batches);
        let mut choices = Choices::new(choices);
        while !choices.is_over() {
            match choices.below(16) {
                0 => pair.cut(),
                1 => pair.node.full = true,
                2 | 3 => pair.node.full = false,
                4..=6 => { pair.submit(); }
                7 | 8 => { pair.judge(); }
                9 => { pair.time(); }
                10 | 11 => { let which = choices.below(8); pair.tell(which); }
                12 | 13 => { let len = choices.below(256) * 4; pair.up(len); }
                _ => { let len = choices.below(256); pair.down(len); }
            }
            if pair.stream.is_none() {
                pair.connect();
            }
        }
        pair.node.full = false;
        pair.run(usize::MAX);
        pair.check();
    }
}

#[test]
fn full_is_waited_out_with_growing_pauses() {
    let mut pair = Pair::new(&[1; 10]);
    pair.node.full = true;
    pair.open();
    let mut pauses = Vec::new();
    for _ in 0..8 {
        while pair.submit() {}
        while pair.up(usize::MAX) || pair.judge() || pair.tell(0) || pair.down(usize::MAX) {}
        let at = pair.client.poll_timeout().unwrap();
        pauses.push((at - pair.now).as_millis());
        pair.time();
    }
    assert_eq!(pauses, [50, 100, 200, 400, 800, 1_600, 2_000, 2_000]);
    assert!(pair.node.stored.is_empty());
    pair.node.full = false;
    pair.run(usize::MAX);
    pair.check();
}

#[test]
fn sixty_four_batches_are_in_flight_and_no_more() {
    let mut pair = Pair::new(&[1; 200]);
    pair.open();
    while pair.submit() {}
    assert_eq!(pair.submitted.len(), IN_FLIGHT_BATCHES_MAX);
    let next = pair.client.next_sequence().unwrap().get();
    assert_eq!(pair.client.submit(batch(next, 1)), Err(SubmitError::NoRoom));
    pair.up(usize::MAX);
    assert_eq!(pair.stream.as_ref().unwrap().waiting.len(), IN_FLIGHT_BATCHES_MAX);
    pair.run(usize::MAX);
    pair.check();
}

#[test]
fn a_batch_too_many_closes_the_session() {
    let mut server = opened_server();
    let bytes: Vec<Bytes> = (0..65).map(|i| batch(i + 1, 1)).collect();
    for part in bytes.chunks(60) {
        let frame = takt_protocol::wire::publish_frame(part.iter().cloned()).unwrap();
        let mut half = Half::default();
        half.send(&frame);
        let taken = server.handle_frame(start(), half.arrive(usize::MAX).unwrap().remove(0));
        assert_eq!(taken.is_err(), part.len() < 60);
    }
    assert!(server.is_closed());
    let error = last_error(&mut server);
    assert_eq!(error.code, ErrorCode::TooManyInFlight);
}

fn opened_server() -> ProducerServer {
    let mut client = client();
    client.on_connected(start());
    let mut half = Half::default();
    while let Some(frame) = client.poll_transmit() {
        half.send(&frame);
    }
    let mut frames = half.arrive(usize::MAX).unwrap().into_iter();
    accept(frames.next().unwrap()).unwrap();
    let mut server = ProducerServer::new(IDENTITY.into(), ServerLimits::default());
    server.handle_frame(start(), frames.next().unwrap()).unwrap();
    let Some(ProducerRequest::Open { producer, .. }) = server.poll_event() else { panic!() };
    assert_eq!(producer.as_str(), "spiffe://takt.local/plant/munich/client/mes#mes-7");
    server.on_opened(Ok(Node::default().open(producer)));
    server.poll_transmit().unwrap();
    server
}

fn last_error(server: &mut ProducerServer) -> Refusal {
    use takt_protocol::wire::{ControlBody, decode_control};
    let mut half = Half::default();
    while let Some(frame) = server.poll_transmit() {
        half.send(&frame);
    }
    let last = half.arrive(usize::MAX).unwrap().pop().unwrap();
    let ControlBody::Error(error) = decode_control(last).unwrap() else { panic!() };
    error.into()
}

/// Lets the node refuse the second of three batches and gives all events.
fn refuse_second(code: ErrorCode) -> (Pair, Vec<ProducerEvent>) {
    let mut pair = Pair::new(&[1, 2, 1]);
    pair.open();
    while pair.submit() || pair.up(usize::MAX) {}
    let stream = pair.stream.as_mut().unwrap();
    let server = stream.server.as_mut().unwrap();
    let mut waiting = stream.waiting.drain(..);
    let (first, batch) = waiting.next().unwrap();
    let (second, _) = waiting.next().unwrap();
    server.on_judged(second, Err(Refusal::new(code, "no")));
    server.on_judged(first, pair.node.judge(&batch));
    let mut half = Half::default();
    while let Some(frame) = server.poll_transmit() {
        half.send(&frame);
    }
    assert_eq!(server.is_closed(), !matches!(code, ErrorCode::Stopping));
    drop(waiting);
    for frame in half.arrive(usize::MAX).unwrap() {
        pair.client.handle_frame(pair.now, frame).unwrap();
    }
    let events = std::iter::from_fn(|| pair.client.poll_event()).collect();
    (pair, events)
}

#[test]
fn a_refused_batch_ends_the_session_and_names_the_batch() {
    let (pair, events) = refuse_second(ErrorCode::LedgerFull);
    let [
        ProducerEvent::Settled(receipt),
        ProducerEvent::BatchRefused { first_sequence, records, refusal },
        ProducerEvent::Closed(last),
    ] = &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!((receipt.first_sequence.get(), receipt.records), (1, 1));
    assert_eq!((first_sequence.get(), *records), (2, 2));
    assert_eq!(refusal.code, ErrorCode::LedgerFull);
    assert_eq!(last, refusal);
    let unsettled: Vec<u64> = pair.client.unsettled().map(|(first, _)| first.get()).collect();
    assert_eq!(unsettled, [2, 4]);
    assert!(pair.client.is_closed() && !pair.client.can_submit());
}

#[test]
fn a_fenced_session_stays_closed() {
    let mut pair = Pair::new(&[1, 1]);
    pair.run(usize::MAX);
    let server = pair.stream.as_mut().unwrap().server.as_mut().unwrap();
    server.close(Refusal::new(ErrorCode::Fenced, "a newer one"));
    pair.down(usize::MAX);
    assert_eq!(pair.closed.as_ref().unwrap().code, ErrorCode::Fenced);
    pair.client.on_connected(pair.now);
    assert_eq!(pair.client.poll_transmit(), None);
}

#[test]
fn a_stopping_node_is_met_again() {
    let mut pair = Pair::new(&[1, 1, 1]);
    pair.open();
    let server = pair.stream.as_mut().unwrap().server.as_mut().unwrap();
    server.close(Refusal::new(ErrorCode::Stopping, "bye"));
    let mut half = Half::default();
    while let Some(frame) = server.poll_transmit() {
        half.send(&frame);
    }
    let last = half.arrive(usize::MAX).unwrap().pop().unwrap();
    pair.client.handle_frame(pair.now, last).unwrap();
    let event = std::iter::from_fn(|| pair.client.poll_event()).last();
    assert!(matches!(event, Some(ProducerEvent::Interrupted(_))), "{event:?}");
    pair.cut();
    pair.run(usize::MAX);
    pair.check();
}

/// Reconnects to a node that was changed behind the client's back, with two batches in flight.
fn reopened(change: impl FnOnce(&mut Node)) -> Option<ErrorCode> {
    let mut pair = Pair::new(&[1, 1, 1]);
    pair.run(usize::MAX);
    pair.to_submit = [1, 1].into();
    while pair.submit() {}
    pair.cut();
    change(&mut pair.node);
    pair.run(usize::MAX);
    pair.closed.map(|refusal| refusal.code)
}

#[test]
fn a_node_that_does_not_fit_is_told_apart() {
    let other = |node: &mut Node, first: u64| {
        let mut builder = takt_protocol::batch::BatchBuilder::default();
        builder.push(&common::event("other")).unwrap();
        let bytes = builder.finish(PartitionNumber::default(), Sequence::new(first)).unwrap();
        node.judge(&common::read(&bytes)).unwrap();
    };
    let same = |node: &mut Node, first: u64| {
        node.judge(&common::read(&batch(first, 1))).unwrap();
    };
    assert_eq!(reopened(|_| {}), None);
    assert_eq!(reopened(|node| same(node, 4)), None);
    assert_eq!(reopened(|node| node.last = 2), Some(ErrorCode::Diverged));
    assert_eq!(reopened(|node| other(node, 4)), Some(ErrorCode::SequenceReused));
    let forgotten = |node: &mut Node| {
        same(node, 4);
        node.kept.clear();
    };
    assert_eq!(reopened(forgotten), Some(ErrorCode::SequenceReused));
    let beyond = |node: &mut Node| (4..7).for_each(|first| same(node, first));
    assert_eq!(reopened(beyond), Some(ErrorCode::Fenced));
}

#[test]
fn an_outbox_finds_where_it_stood() {
    let mut pair = Pair::new(&[2, 3]);
    pair.run(usize::MAX);
    pair.client = client();
    pair.connect();
    while pair.up(usize::MAX) || pair.down(usize::MAX) {}
    assert_eq!(pair.client.next_sequence(), Some(Sequence::new(6)));
    let kept: Vec<u64> = pair.client.kept().iter().map(|r| r.first_sequence.get()).collect();
    assert_eq!(kept, [1, 3]);
}

#[test]
fn only_the_next_batch_is_taken() {
    let mut client = client();
    assert_eq!(client.submit(batch(1, 1)), Err(SubmitError::NotOpened));
    let mut pair = Pair::new(&[1]);
    pair.run(usize::MAX);
    let (expected, found) = (Sequence::new(2), Sequence::new(3));
    assert_eq!(pair.client.submit(batch(3, 1)), Err(SubmitError::Sequence { expected, found }));
    let mut two = batch(2, 1).to_vec();
    two.extend(batch(3, 1));
    assert_eq!(pair.client.submit(two.into()), Err(SubmitError::Shape));
}

#[test]
fn what_does_not_belong_closes_a_server() {
    let mut server = ProducerServer::new(IDENTITY.into(), ServerLimits::default());
    let frame = takt_protocol::wire::publish_frame([batch(1, 1)]).unwrap();
    let mut half = Half::default();
    half.send(&frame);
    let taken = server.handle_frame(start(), half.arrive(usize::MAX).unwrap().remove(0));
    assert!(matches!(taken, Err(SessionError::Unexpected { .. })));
    assert!(server.is_closed());
    assert_eq!(last_error(&mut server).code, ErrorCode::Protocol);
}
