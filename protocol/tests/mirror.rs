//! A link that is cut anywhere: the mirror ends up with exactly the origin's batches.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test")]

mod common;

use std::collections::VecDeque;
use std::time::Instant;

use proptest::prelude::*;
use takt_protocol::batch::StoredBatch;
use takt_protocol::codes::ErrorCode;
use takt_protocol::session::mirror::{
    ChainPoint, MirrorEnd, MirrorOrigin, MirrorOriginEvent, MirrorTarget, MirrorTargetEvent,
    MirrorTopic,
};
use takt_protocol::session::{Refusal, SessionError, StreamKind, accept};
use takt_protocol::wire::{Frame, MirrorHead, OutFrame, mirror_frame, proto};
use takt_protocol::words::{
    BatchNumber, JournalId, NodeName, PartitionChain, PartitionNumber, TopicName,
};

use common::{Choices, Half, Partition, batch, start};

const JOURNAL: JournalId = JournalId::new([7; 16]);
const ZERO: PartitionNumber = PartitionNumber::new(0);

fn topics() -> Vec<MirrorTopic> {
    let settings = proto::TopicSettings { partitions: 1, ..Default::default() };
    let topic = |name| MirrorTopic { name: TopicName::new(name).unwrap(), settings };
    vec![topic("production"), topic("quality")]
}

fn origin() -> MirrorOrigin {
    MirrorOrigin::new(NodeName::new("munich").unwrap(), JOURNAL, topics())
}

fn stores(batches: usize) -> Vec<Partition> {
    let store = |_| {
        let mut store = Partition::default();
        (0..batches as u64).for_each(|i| drop(store.store(&batch(i + 1, 1))));
        store
    };
    (0..2).map(store).collect()
}

fn ends(mirrors: &[Vec<StoredBatch>]) -> Vec<MirrorEnd> {
    let end = |(topic, mirror): (usize, &Vec<StoredBatch>)| MirrorEnd {
        topic: u16::try_from(topic).unwrap(),
        partition: ZERO,
        end: mirror.last().map(|last| ChainPoint {
            journal: JOURNAL,
            next_batch: last.header().batch_number.advance(1),
            chain: last.header().chain,
        }),
    };
    mirrors.iter().enumerate().map(end).collect()
}

struct Stream {
    target: Option<MirrorTarget>,
    up: Half,
    down: Half,
    next: Option<Vec<usize>>,
    /// Arrived, not yet durable.
    staged: VecDeque<(u64, u16, StoredBatch)>,
}

struct Pair {
    now: Instant,
    origin: MirrorOrigin,
    stores: Vec<Partition>,
    mirrors: Vec<Vec<StoredBatch>>,
    acked: [u64; 2],
    stream: Option<Stream>,
    carried: usize,
}

impl Pair {
    fn new(batches: usize) -> Self {
        Self {
            now: start(),
            origin: origin(),
            stores: stores(batches),
            mirrors: vec![Vec::new(); 2],
            acked: [0; 2],
            stream: None,
            carried: 0,
        }
    }

    fn connect(&mut self) {
        let (up, down) = (Half::default(), Half::default());
        let staged = VecDeque::new();
        self.stream = Some(Stream { target: None, up, down, next: None, staged });
        self.origin.on_connected(self.now);
    }

    fn cut(&mut self) {
        self.stream = None;
        self.origin.on_disconnected(self.now);
    }

    fn send(&mut self, topic: usize) -> bool {
        let Some(Stream { next: Some(next), .. }) = &mut self.stream else { return false };
        let Some(batch) = self.stores[topic].batches.get(next[topic]) else { return false };
        if self.origin.credit() == 0 {
            return false;
        }
        next[topic] += 1;
        self.origin.send(u16::try_from(topic).unwrap(), ZERO, batch);
        true
    }

    fn up(&mut self, len: usize) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        while let Some(frame) = self.origin.poll_transmit() {
            stream.up.send(&frame);
        }
        let carried = len.min(stream.up.on_way());
        self.carried += carried;
        for frame in stream.up.arrive(len).unwrap() {
            match &mut stream.target {
                None => {
                    assert_eq!(accept(frame).unwrap(), StreamKind::Mirror);
                    stream.target = Some(MirrorTarget::new(900));
                }
                Some(target) => target.handle_frame(self.now, frame).unwrap(),
            }
        }
        let Some(target) = &mut stream.target else { return carried > 0 };
        while let Some(event) = target.poll_event() {
            match event {
                MirrorTargetEvent::Open { origin, journal, topics: told } => {
                    assert_eq!((origin.as_str(), journal), ("munich", JOURNAL));
                    assert_eq!(told, topics());
                    target.on_opened(Ok(ends(&self.mirrors)));
                }
                MirrorTargetEvent::Batch { ticket, topic, batch, .. } => {
                    stream.staged.push_back((ticket, topic, batch));
                }
                MirrorTargetEvent::Started(starts) => assert!(starts.is_empty()),
                MirrorTargetEvent::Diverged(detail) => panic!("{detail}"),
            }
        }
        carried > 0
    }

    fn sync(&mut self) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        let Some((ticket, topic, batch)) = stream.staged.pop_front() else { return false };
        let (len, end) = (batch.len(), batch.header().batch_number.advance(1));
        self.mirrors[usize::from(topic)].push(batch);
        let target = stream.target.as_mut().unwrap();
        target.on_stored(ticket, Ok(end));
        target.grant(len);
        true
    }

    fn down(&mut self, len: usize) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        if let Some(target) = &mut stream.target {
            while let Some(frame) = target.poll_transmit() {
                stream.down.send(&frame);
            }
        }
        let carried = len.min(stream.down.on_way());
        self.carried += carried;
        for frame in stream.down.arrive(len).unwrap() {
            self.origin.handle_frame(self.now, frame).unwrap();
        }
        while let Some(event) = self.origin.poll_event() {
            match event {
                MirrorOriginEvent::Opened(ends) => {
                    let next = |end: &MirrorEnd| end.end.map_or(0, |point| point.next_batch.get());
                    for end in &ends {
                        if let Some(point) = end.end {
                            let at = usize::try_from(point.next_batch.get()).unwrap() - 1;
                            let own = &self.stores[usize::from(end.topic)].batches[at];
                            assert_eq!(own.header().chain, point.chain);
                        }
                    }
                    let next = ends.iter().map(|end| usize::try_from(next(end)).unwrap());
                    stream.next = Some(next.collect());
                    self.origin.on_verified();
                }
                MirrorOriginEvent::Acked { topic, partition, end } => {
                    assert_eq!(partition, ZERO);
                    let acked = &mut self.acked[usize::from(topic)];
                    *acked = end.get().max(*acked);
                    assert!(*acked <= self.mirrors[usize::from(topic)].len() as u64);
                }
                other => panic!("{other:?}"),
            }
        }
        carried > 0
    }

    fn run(&mut self, budget: usize) {
        let end = self.carried.saturating_add(budget);
        loop {
            if self.stream.is_none() {
                self.connect();
            }
            let mut moved = self.send(0) | self.send(1);
            moved |= self.up(end - self.carried);
            moved |= self.sync();
            moved |= self.down(end - self.carried);
            if self.carried == end || !moved {
                return;
            }
        }
    }

    fn check(&self) {
        for (store, mirror) in self.stores.iter().zip(&self.mirrors) {
            let bytes =
                |batch: &StoredBatch| batch.pieces().flatten().copied().collect::<Vec<u8>>();
            let (left, right): (Vec<_>, Vec<_>) =
                (store.batches.iter().map(bytes).collect(), mirror.iter().map(bytes).collect());
            assert!(left == right, "the mirror is the origin, byte for byte");
        }
    }
}

#[test]
fn a_cut_at_any_byte_loses_and_repeats_nothing() {
    let mut whole = Pair::new(3);
    whole.run(usize::MAX);
    whole.check();
    assert_eq!(whole.acked, [3, 3]);
    for cut in 0..whole.carried {
        let mut pair = Pair::new(3);
        pair.run(cut);
        pair.cut();
        pair.run(usize::MAX);
        pair.check();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_interleaving_mirrors_every_batch_once(
        choices in prop::collection::vec(any::<u8>(), 0..300),
        batches in 0usize..12,
    ) {
        let mut pair = Pair::new(batches);
        let mut choices = Choices::new(choices);
        while !choices.is_over() {
            match choices.below(10) {
                0 => pair.cut(),
                1 | 2 => { let topic = choices.below(2); pair.send(topic); }
                3 | 4 => { pair.sync(); }
                5 | 6 => { let len = choices.below(256) * 4; pair.up(len); }
                _ => { let len = choices.below(256); pair.down(len); }
            }
            if pair.stream.is_none() {
                pair.connect();
            }
        }
        pair.run(usize::MAX);
        pair.check();
    }
}

fn frames(out: impl Iterator<Item = OutFrame>) -> Vec<Frame> {
    let mut half = Half::default();
    out.for_each(|frame| half.send(&frame));
    half.arrive(usize::MAX).unwrap()
}

fn up(origin: &mut MirrorOrigin, target: &mut MirrorTarget) {
    for frame in frames(std::iter::from_fn(|| origin.poll_transmit())) {
        target.handle_frame(start(), frame).unwrap();
    }
}

fn down(target: &mut MirrorTarget, origin: &mut MirrorOrigin) {
    for frame in frames(std::iter::from_fn(|| target.poll_transmit())) {
        origin.handle_frame(start(), frame).unwrap();
    }
}

/// Up to where the origin verifies.
fn opened(ends: Vec<MirrorEnd>) -> (MirrorOrigin, MirrorTarget) {
    let (mut origin, mut target) = (origin(), MirrorTarget::new(1 << 20));
    origin.on_connected(start());
    accept(frames(origin.poll_transmit().into_iter()).remove(0)).unwrap();
    up(&mut origin, &mut target);
    assert!(matches!(target.poll_event(), Some(MirrorTargetEvent::Open { .. })));
    target.on_opened(Ok(ends));
    down(&mut target, &mut origin);
    assert!(matches!(origin.poll_event(), Some(MirrorOriginEvent::Opened(_))));
    (origin, target)
}

fn arrive(target: &mut MirrorTarget, batch: &StoredBatch) -> Result<(), SessionError> {
    let head = MirrorHead { topic: 0, partition: ZERO };
    let frame = mirror_frame(head, batch.pieces().cloned()).unwrap();
    target.handle_frame(start(), frames([frame].into_iter()).remove(0))
}

#[test]
fn nothing_comes_before_the_start() {
    let (_, mut target) = opened(Vec::new());
    let batch = &stores(1)[0].batches[0];
    assert!(matches!(arrive(&mut target, batch), Err(SessionError::Unexpected { .. })));
    assert!(target.is_closed());
}

#[test]
fn a_hole_a_repeat_and_another_chain_are_refused() {
    let started = || {
        let (mut origin, mut target) = opened(Vec::new());
        origin.on_verified();
        up(&mut origin, &mut target);
        target
    };
    let store = stores(2).remove(0);
    let hole = SessionError::Hole { expected: 0, found: 1 };
    assert_eq!(arrive(&mut started(), &store.batches[1]), Err(hole));
    let mut target = started();
    arrive(&mut target, &store.batches[0]).unwrap();
    let back = SessionError::Back { expected: 1, found: 0 };
    assert_eq!(arrive(&mut target, &store.batches[0]), Err(back));

    let mut other = Partition::default();
    other.store(&batch(1, 2));
    other.store(&batch(3, 1));
    let mut target = started();
    arrive(&mut target, &store.batches[0]).unwrap();
    let error = arrive(&mut target, &other.batches[1]).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Diverged);
}

#[test]
fn an_empty_mirror_begins_where_the_origin_does() {
    let store = stores(3).remove(0);
    let (mut origin, mut target) = opened(Vec::new());
    let point = ChainPoint {
        journal: JOURNAL,
        next_batch: BatchNumber::new(2),
        chain: store.batches[1].header().chain,
    };
    let start = MirrorEnd { topic: 0, partition: ZERO, end: Some(point) };
    origin.on_verified_from(&[start]);
    origin.send(0, ZERO, &store.batches[2]);
    up(&mut origin, &mut target);
    let Some(MirrorTargetEvent::Started(starts)) = target.poll_event() else { panic!() };
    assert_eq!(starts, [start]);
    let Some(MirrorTargetEvent::Batch { ticket, .. }) = target.poll_event() else { panic!() };
    target.on_stored(ticket, Ok(BatchNumber::new(3)));
    down(&mut target, &mut origin);
    let acked = MirrorOriginEvent::Acked { topic: 0, partition: ZERO, end: BatchNumber::new(3) };
    assert_eq!(origin.poll_event(), Some(acked));
}

#[test]
fn a_start_for_a_mirror_with_an_end_is_refused() {
    let point = ChainPoint {
        journal: JOURNAL,
        next_batch: BatchNumber::new(2),
        chain: PartitionChain::default(),
    };
    let end = MirrorEnd { topic: 1, partition: ZERO, end: Some(point) };
    let (mut origin, mut target) = opened(vec![end]);
    origin.on_verified_from(&[end]);
    let taken = frames(std::iter::from_fn(|| origin.poll_transmit()))
        .into_iter()
        .try_for_each(|frame| target.handle_frame(start(), frame));
    assert!(taken.is_err());
}

#[test]
fn divergence_stops_both_sides() {
    let (mut origin, mut target) = opened(Vec::new());
    origin.on_diverged("batch 7 is another one here".into());
    up(&mut origin, &mut target);
    assert!(matches!(target.poll_event(), Some(MirrorTargetEvent::Diverged(detail))
        if detail == "batch 7 is another one here"));
    assert!(origin.is_closed() && target.is_closed());
    assert!(matches!(origin.poll_event(), Some(MirrorOriginEvent::Closed(refusal))
        if refusal.code == ErrorCode::Diverged));

    let (mut origin, mut target) = opened(Vec::new());
    target.close(Refusal::new(ErrorCode::LinkReplaced, "a newer link"));
    down(&mut target, &mut origin);
    assert!(matches!(origin.poll_event(), Some(MirrorOriginEvent::Interrupted(_))));
    assert!(!origin.is_closed());
}
