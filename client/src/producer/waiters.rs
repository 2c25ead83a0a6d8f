//! Who waits for which record's receipt.

use std::collections::HashMap;

use tokio::sync::oneshot;

use super::receipt::{Outcome, PublishError};

/// A call of `send_batch`, by a number of its own.
pub(super) type CallId = u64;

/// Who waits for one record.
#[derive(Debug)]
pub(super) enum Waiter {
    One(oneshot::Sender<Outcome>),
    /// The record is the `index`th of a call.
    Part {
        call: CallId,
        index: usize,
    },
}

/// Consecutive records with the same kind of waiter.
#[derive(Debug)]
enum Run {
    One(oneshot::Sender<Outcome>),
    Part { call: CallId, first: usize, count: usize },
}

/// Who waits for the records of one batch, in their order; a call's records take one entry.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    runs: Vec<Run>,
}

impl Waiters {
    /// The records of a call: the first of those that follow each other, and how many.
    pub fn of_call(call: CallId, records: &[(usize, usize)]) -> Self {
        let run = |&(first, count): &(usize, usize)| Run::Part { call, first, count };
        Self { runs: records.iter().map(run).collect() }
    }

    pub fn push(&mut self, waiter: Waiter) {
        match (self.runs.last_mut(), waiter) {
            (Some(Run::Part { call, first, count }), Waiter::Part { call: next, index })
                if *call == next && *first + *count == index =>
            {
                *count += 1;
            }
            (_, Waiter::Part { call, index }) => {
                self.runs.push(Run::Part { call, first: index, count: 1 });
            }
            (_, Waiter::One(done)) => self.runs.push(Run::One(done)),
        }
    }

    /// Answers every waiter with the next of `outcomes`.
    pub fn settle(self, calls: &mut Calls, mut outcomes: impl FnMut() -> Outcome) {
        for run in self.runs {
            match run {
                // Whoever waited may have lost interest.
                Run::One(done) => {
                    let _ = done.send(outcomes());
                }
                Run::Part { call, first, count } => {
                    calls.settle(call, first, (0..count).map(|_| outcomes()));
                }
            }
        }
    }
}

#[derive(Debug)]
struct Call {
    results: Vec<Outcome>,
    left: usize,
    done: oneshot::Sender<Vec<Outcome>>,
}

/// The calls of `send_batch` that are not answered yet.
#[derive(Debug, Default)]
pub(super) struct Calls {
    open: HashMap<CallId, Call>,
    next: CallId,
}

impl Calls {
    /// Notes a call of `events`, at least one.
    pub fn open(&mut self, events: usize, done: oneshot::Sender<Vec<Outcome>>) -> CallId {
        let id = self.next;
        self.next += 1;
        // Each entry is overwritten before the call is answered.
        let results = vec![Err(PublishError::Closed); events];
        self.open.insert(id, Call { results, left: events, done });
        id
    }

    /// Notes outcomes of records of a call, from the `first` on; answers it with the last of them.
    pub fn settle(
        &mut self,
        id: CallId,
        first: usize,
        outcomes: impl ExactSizeIterator<Item = Outcome>,
    ) {
        let call = self.open.get_mut(&id).expect("a call is open until each record has an outcome");
        call.left -= outcomes.len();
        call.results[first..].iter_mut().zip(outcomes).for_each(|(slot, outcome)| *slot = outcome);
        if call.left == 0
            && let Some(call) = self.open.remove(&id)
        {
            drop(call.done.send(call.results));
        }
    }

    pub fn settle_one(&mut self, waiter: Waiter, outcome: Outcome) {
        match waiter {
            Waiter::One(done) => {
                let _ = done.send(outcome);
            }
            Waiter::Part { call, index } => self.settle(call, index, std::iter::once(outcome)),
        }
    }
}
