//! A producer without its connection: what the application gave, gathered, numbered and answered.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use takt_protocol::codes::ErrorCode;
use takt_protocol::event::{Event, EventRef};
use takt_protocol::session::Refusal;
use takt_protocol::session::producer::{ProducerClient, ProducerEvent};
use takt_protocol::wire::BatchReceipt;
use takt_protocol::words::Sequence;
use tokio::sync::oneshot;

use super::batcher::{Batcher, Load, Rejected, Sealed};
use super::event_batch::{Builders, Part};
use super::receipt::{Outcome, PublishError, Receipt};
use super::shared::{Shared, event_cost};
use super::waiters::{CallId, Calls, Waiter};

/// With fewer batches in flight an event does not wait for others: while the node syncs one, the next is on
/// its way, and from then on what comes meanwhile goes together.
const IN_FLIGHT_MIN: usize = 2;

/// What the application's side hands over.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "the large one is the usual one")]
pub(super) enum Command {
    /// `cost` is the room that was taken for it.
    One {
        event: Event,
        cost: usize,
        done: oneshot::Sender<Outcome>,
    },
    /// `cost` is the room that was taken for all.
    Many {
        events: Vec<Event>,
        cost: usize,
        done: oneshot::Sender<Vec<Outcome>>,
    },
    /// Events that are laid out, at least one; each part has its share of the room that was taken.
    LaidOut {
        parts: Vec<Part>,
        events: usize,
        done: oneshot::Sender<Vec<Outcome>>,
    },
    Flush {
        done: oneshot::Sender<()>,
    },
    /// Nothing follows, whoever still has a handle.
    Close,
}

/// What [`Core::advance`] has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    GoOn,
    /// The node wants the stream to be left; the session goes on over the next.
    Leave,
    /// The session is over; everything has been answered.
    Over,
}

/// What is not in a batch yet, in order.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "the large one is the usual one")]
enum Input {
    One {
        event: Event,
        cost: usize,
        waiter: Waiter,
    },
    /// `cost` is what is left of the room that was taken for all.
    Many {
        call: CallId,
        events: VecDeque<Event>,
        cost: usize,
        index: usize,
    },
    /// What is left of it, at least one part.
    LaidOut {
        call: CallId,
        parts: VecDeque<Part>,
    },
    Flush {
        done: oneshot::Sender<()>,
    },
}

#[derive(Debug)]
pub(super) struct Core {
    pub session: ProducerClient,
    shared: Arc<Shared>,
    builders: Arc<Builders>,
    input: VecDeque<Input>,
    batcher: Option<Batcher>,
    /// As submitted, oldest first.
    in_flight: VecDeque<Load>,
    calls: Calls,
    /// Resolved once everything below the sequence is settled.
    flushes: VecDeque<(Sequence, oneshot::Sender<()>)>,
    /// The node is full and has not taken anything since it said so.
    stalled: bool,
}

impl Core {
    pub fn new(session: ProducerClient, shared: Arc<Shared>, builders: Arc<Builders>) -> Self {
        Self {
            session,
            shared,
            builders,
            input: VecDeque::new(),
            batcher: None,
            in_flight: VecDeque::new(),
            calls: Calls::default(),
            flushes: VecDeque::new(),
            stalled: false,
        }
    }

    /// Takes a command; gives true where none is to follow it.
    pub fn take(&mut self, command: Command) -> bool {
        self.input.push_back(match command {
            Command::Close => return true,
            Command::One { event, cost, done } => {
                Input::One { event, cost, waiter: Waiter::One(done) }
            }
            Command::Many { events, cost, done } => {
                let call = self.calls.open(events.len(), done);
                Input::Many { call, events: events.into(), cost, index: 0 }
            }
            Command::LaidOut { parts, events, done } => {
                Input::LaidOut { call: self.calls.open(events, done), parts: parts.into() }
            }
            Command::Flush { done } => Input::Flush { done },
        });
        false
    }

    /// Whether nothing waits for anything.
    pub fn is_idle(&self) -> bool {
        self.input.is_empty()
            && self.in_flight.is_empty()
            && self.batcher.as_ref().is_none_or(Batcher::is_empty)
    }

    /// Goes as far as it goes: answers what the session has settled, gathers, seals and submits.
    /// `closing` lets no batch wait for more.
    pub fn advance(&mut self, now: Instant, closing: bool) -> Step {
        let mut step = Step::GoOn;
        while let Some(event) = self.session.poll_event() {
            match event {
                ProducerEvent::Opened { .. } => {
                    let partitions = self.session.partitions();
                    self.shared.opened(partitions.expect("an open session knows its topic"));
                }
                ProducerEvent::Settled(receipt) => {
                    self.stalled = false;
                    self.settle(&receipt);
                }
                ProducerEvent::Stalled(refusal) => {
                    // Said once; it is asked again until the node takes something.
                    if refusal.code != ErrorCode::Gap && !self.stalled {
                        self.stalled = true;
                        tracing::warn!(%refusal, "the producer waits and sends again");
                    }
                    tracing::debug!(%refusal, "the producer waits");
                }
                ProducerEvent::BatchRefused { refusal, .. } => self.refuse_first(refusal),
                ProducerEvent::Interrupted(refusal) => {
                    tracing::info!(%refusal, "producer: interrupted");
                    step = Step::Leave;
                }
                ProducerEvent::Closed(refusal) => {
                    self.fail(&refusal.into());
                    return Step::Over;
                }
            }
        }
        if let (None, Some(partitions)) = (&self.batcher, self.session.partitions()) {
            self.batcher = Some(Batcher::new(*self.builders.settings(), partitions, now));
        }
        loop {
            let everything = self.gather(now) || closing;
            if !self.submit_one(now, everything) {
                return step;
            }
        }
    }

    /// When [`Self::advance`] has something to do without anything new.
    pub fn next_due(&self) -> Option<Instant> {
        let batcher = self.batcher.as_ref().filter(|_| self.session.can_submit());
        let linger = batcher.and_then(Batcher::next_due);
        [linger, self.session.poll_timeout()].into_iter().flatten().min()
    }

    /// Answers everything with an error and takes nothing more.
    pub fn fail(&mut self, error: &PublishError) {
        self.shared.close(error);
        let Self { calls, .. } = self;
        for load in self.in_flight.drain(..) {
            load.waiters.settle(calls, || Err(error.clone()));
        }
        for (waiters, _) in self.batcher.iter_mut().flat_map(Batcher::abandon) {
            waiters.settle(calls, || Err(error.clone()));
        }
        for input in self.input.drain(..) {
            match input {
                Input::One { waiter, .. } => calls.settle_one(waiter, Err(error.clone())),
                Input::Many { call, events, index, .. } => {
                    calls.settle(call, index, events.iter().map(|_| Err(error.clone())));
                }
                Input::LaidOut { call, parts } => {
                    for part in parts {
                        part.waiters(call).settle(calls, || Err(error.clone()));
                    }
                }
                Input::Flush { .. } => {}
            }
        }
        // Dropped unanswered: who waits for a flush learns that the producer is closed.
        self.flushes.clear();
    }

    /// Lays out what was given until a batch must be sealed first. True where every open batch must
    /// be, for a flush or for batches that were given as such.
    fn gather(&mut self, now: Instant) -> bool {
        let Some(batcher) = &mut self.batcher else { return false };
        let Self { calls, shared, .. } = self;
        while let Some(input) = self.input.front_mut() {
            match input {
                Input::One { .. } => {
                    let Some(Input::One { event, cost, waiter }) = self.input.pop_front() else {
                        unreachable!("it was at the front")
                    };
                    match batcher.push(now, &EventRef::from(&event), waiter, cost) {
                        Ok(()) => {}
                        Err(Rejected::Full(waiter)) => {
                            self.input.push_front(Input::One { event, cost, waiter });
                            return false;
                        }
                        Err(Rejected::Event(waiter, error)) => {
                            shared.give_back(cost);
                            calls.settle_one(waiter, Err(error.into()));
                        }
                    }
                }
                Input::Many { call, events, cost, index } => {
                    while let Some(event) = events.front().map(EventRef::from) {
                        let waiter = Waiter::Part { call: *call, index: *index };
                        let share = event_cost(&event).min(*cost);
                        match batcher.push(now, &event, waiter, share) {
                            Ok(()) => {}
                            Err(Rejected::Full(_)) => return false,
                            Err(Rejected::Event(waiter, error)) => {
                                shared.give_back(share);
                                calls.settle_one(waiter, Err(error.into()));
                            }
                        }
                        events.pop_front();
                        *index += 1;
                        *cost -= share;
                    }
                    self.input.pop_front();
                }
                Input::LaidOut { .. } => return true,
                Input::Flush { .. } if !batcher.is_empty() => return true,
                Input::Flush { .. } => {
                    let Some(Input::Flush { done }) = self.input.pop_front() else {
                        unreachable!("it was at the front")
                    };
                    match self.in_flight.back() {
                        Some(last) => {
                            let end = last.first_sequence.advance(last.records as u64);
                            self.flushes.push_back((end, done));
                        }
                        None => {
                            let _ = done.send(());
                        }
                    }
                }
            }
        }
        false
    }

    /// Seals and submits one batch, if one is due and the session takes it. While few are in flight
    /// nothing is worth waiting for.
    fn submit_one(&mut self, now: Instant, everything: bool) -> bool {
        let Some(batcher) = &mut self.batcher else { return false };
        if !self.session.can_submit() {
            return false;
        }
        let everything = everything || self.in_flight.len() < IN_FLIGHT_MIN;
        let Some(first_sequence) = self.session.next_sequence() else { return false };
        let due = batcher.due(now, everything);
        let sealed = due.and_then(|partition| batcher.seal(partition, first_sequence));
        let sealed = sealed.or_else(|| self.next_part(first_sequence));
        let Some(sealed) = sealed else { return false };
        let submitted = self.session.submit(sealed.bytes);
        submitted.expect("a batch with the session's next sequence, while it has room, is taken");
        self.in_flight.push_back(sealed.load);
        true
    }

    /// Seals the next part of what was given laid out, where that comes next.
    fn next_part(&mut self, first_sequence: Sequence) -> Option<Sealed> {
        let Some(Input::LaidOut { call, parts }) = self.input.front_mut() else { return None };
        let (call, part) = (*call, parts.pop_front().expect("at least one part"));
        if parts.is_empty() {
            self.input.pop_front();
        }
        let (sealed, builder) = part.seal(call, first_sequence);
        self.builders.keep(builder);
        Some(sealed)
    }

    fn settle(&mut self, receipt: &BatchReceipt) {
        let load = self.in_flight.pop_front().expect("the session settles what was submitted");
        assert_eq!(
            (load.first_sequence, load.records),
            (receipt.first_sequence, receipt.records),
            "the session settles batches in their order"
        );
        let mut receipts = receipt.receipts();
        load.waiters.settle(&mut self.calls, || {
            let receipt = receipts.next().expect("a receipt answers each record of its batch");
            Ok(Receipt::new(&receipt))
        });
        self.shared.give_back(load.cost);
        while self.flushes.front().is_some_and(|(end, _)| *end <= receipt.end_sequence()) {
            if let Some((_, done)) = self.flushes.pop_front() {
                let _ = done.send(());
            }
        }
    }

    fn refuse_first(&mut self, refusal: Refusal) {
        let Some(load) = self.in_flight.pop_front() else { return };
        let error = PublishError::from(refusal);
        load.waiters.settle(&mut self.calls, || Err(error.clone()));
        self.shared.give_back(load.cost);
    }
}
