//! A consumer: reads a topic from its cursor on, remembers what it has done, and moves the cursor.

use std::collections::BTreeMap;

use takt_protocol::session::subscriber::{Start, SubscriberClient, SubscriberEvent, Subscription};
use takt_protocol::words::{CursorName, Offset, PartitionId, TopicName};

use super::adapter::Turn;
use super::agenda::At;
use super::history::History;
use super::net::ConnId;

/// Bytes on their way to a consumer or held by it.
const CREDIT_BYTES: usize = 64 << 10;

/// A consumer.
#[derive(Debug)]
pub struct Consumer {
    /// The node that it reads from.
    pub node: usize,
    /// Its session; `None` while it is dead.
    pub session: Option<SubscriberClient>,
    /// Its connection.
    pub conn: Option<ConnId>,
    /// Failed attempts in a row.
    pub attempts: u32,
    cursor: String,
    topic: TopicName,
    hold: bool,
    /// Where each partition goes on, in this life.
    next: BTreeMap<PartitionId, Offset>,
    /// Commits without an answer.
    asked: BTreeMap<u64, Vec<(PartitionId, Offset)>>,
    /// Records since the last commit.
    since_commit: u64,
    commit_every: u64,
    /// The subscription of this life has stood.
    begun: bool,
}

impl Consumer {
    /// A consumer that is dead yet.
    pub fn new(
        node: usize,
        cursor: String,
        topic: TopicName,
        hold: bool,
        commit_every: u64,
    ) -> Self {
        Self {
            node,
            session: None,
            conn: None,
            attempts: 0,
            cursor,
            topic,
            hold,
            next: BTreeMap::new(),
            asked: BTreeMap::new(),
            since_commit: 0,
            commit_every,
            begun: false,
        }
    }

    /// Begins a life, at its cursor.
    ///
    /// # Panics
    /// If its name is none.
    pub fn begin(&mut self) {
        self.next.clear();
        self.asked.clear();
        self.begun = false;
        self.session = Some(SubscriberClient::new(Subscription {
            topic: self.topic.clone(),
            start: Start::Cursor,
            cursor: Some(CursorName::new(&self.cursor).expect("a name")),
            hold: self.hold.then_some(true),
            credit_bytes: CREDIT_BYTES,
            origin: None,
        }));
    }

    /// The topic that it reads.
    pub fn topic(&self) -> &TopicName {
        &self.topic
    }

    /// Where it goes on in a partition, if it has it.
    pub fn next(&self, partition: &PartitionId) -> Option<Offset> {
        self.next.get(partition).copied()
    }

    /// Acts on what the session says. `start` is where a partition begins at the node now, unless
    /// that is down.
    ///
    /// # Panics
    /// If the records of a batch that the session has checked do not decode.
    pub fn turn(
        &mut self,
        history: &mut History,
        now: At,
        start: &dyn Fn(&PartitionId) -> Option<Offset>,
    ) -> Turn {
        let mut turn = Turn::Goes;
        while let Some(event) = self.session.as_mut().and_then(SubscriberClient::poll_event) {
            match event {
                SubscriberEvent::Subscribed { partitions } => {
                    self.attempts = 0;
                    for (partition, offset) in partitions {
                        self.stands(history, partition, offset);
                    }
                    self.begun = true;
                }
                SubscriberEvent::PartitionAdded { partition, from } => {
                    self.next.entry(partition).or_insert(from);
                }
                SubscriberEvent::Trimmed { partition, from, to } => {
                    let known = history.committed.get(&self.cursor);
                    let held = known.and_then(|known| known.acknowledged.get(&partition));
                    let held_from = known.and_then(|known| known.held_from.get(&partition));
                    if self.hold && held_from.is_some_and(|begin| to > *begin) {
                        let what = format!(
                            "{}: {partition} was dropped from {from} to {to}, held at {held:?}",
                            self.cursor
                        );
                        history.violated("I6", what);
                    }
                    let next = self.next.entry(partition).or_insert(to);
                    *next = to.max(*next);
                }
                SubscriberEvent::Batch { partition, from, batch } => {
                    self.read(history, &partition, from, &batch, now);
                    self.session.as_mut().expect("it was there").grant(batch.len());
                }
                SubscriberEvent::CursorCommitted(token) => {
                    let positions = self.asked.remove(&token).unwrap_or_default();
                    let known = history.committed.entry(self.cursor.clone()).or_default();
                    for (partition, offset) in positions {
                        if let Some(begin) = start(&partition) {
                            known.held_from.entry(partition.clone()).or_insert(begin);
                        }
                        let at = known.acknowledged.entry(partition).or_insert(offset);
                        *at = offset.max(*at);
                    }
                }
                SubscriberEvent::CommitRefused(token, _) => drop(self.asked.remove(&token)),
                SubscriberEvent::Interrupted(_) => turn = Turn::Leave,
                SubscriberEvent::Closed(_) => return Turn::Over,
            }
            if self.since_commit >= self.commit_every {
                self.since_commit = 0;
                let session = self.session.as_mut().expect("it was there");
                let positions: Vec<_> =
                    self.next.iter().map(|(id, at)| (id.clone(), *at)).collect();
                let known = history.committed.entry(self.cursor.clone()).or_default();
                for (partition, offset) in &positions {
                    let asked = known.asked.entry(partition.clone()).or_insert(*offset);
                    *asked = (*offset).max(*asked);
                }
                let token = session.commit(positions.clone());
                self.asked.insert(token, positions);
            }
        }
        turn
    }

    /// I6: a life begins where the cursor stands, and that never goes back.
    fn stands(&mut self, history: &mut History, partition: PartitionId, offset: Offset) {
        if !self.begun {
            let known = history.committed.get(&self.cursor);
            let at_least = known.and_then(|known| known.acknowledged.get(&partition)).copied();
            let at_most = known.and_then(|known| known.asked.get(&partition)).copied();
            let held_from = known.and_then(|known| known.held_from.get(&partition)).copied();
            if at_least.is_some_and(|least| offset < least) {
                let what = format!(
                    "{}: {partition} stands at {offset}, committed {at_least:?}",
                    self.cursor
                );
                history.violated("I6", what);
            }
            // What is held is not dropped, so nothing moves a cursor but its commits.
            let moved = held_from.is_some_and(|begin| offset > begin);
            if self.hold && moved && at_most.is_none_or(|most| offset > most) {
                let what =
                    format!("{}: {partition} stands at {offset}, asked {at_most:?}", self.cursor);
                history.violated("I6", what);
            }
            self.next.insert(partition, offset);
            return;
        }
        // A stream of the same life goes on where the one before was left.
        let next = self.next.entry(partition.clone()).or_insert(offset);
        if offset != *next {
            let what = format!("{}: {partition} goes on at {offset}, not {next}", self.cursor);
            history.violated("I3", what);
        }
    }

    fn read(
        &mut self,
        history: &mut History,
        partition: &PartitionId,
        from: Offset,
        batch: &takt_protocol::batch::StoredBatch,
        now: At,
    ) {
        let records = batch.records().expect("the session has checked it");
        let mut next = self.next.get(partition).copied().unwrap_or(from);
        for found in records {
            let found = found.expect("the session has checked it");
            let Some(offset) = found.offset.filter(|offset| *offset >= from) else { continue };
            if batch.kept().is_some() {
                (next.get()..offset.get()).for_each(|gone| history.miss(partition, gone));
            } else if offset != next {
                let what = format!("{}: {partition} at {offset}, not {next}", self.cursor);
                history.violated("I3", what);
            }
            history.see(partition, offset, found.record.digest.as_u128(), now);
            next = offset.advance(1);
            self.since_commit += 1;
        }
        let end = batch.end_offset();
        if batch.kept().is_some() {
            (next.get()..end.get()).for_each(|gone| history.miss(partition, gone));
        }
        next = next.max(end);
        self.next.insert(partition.clone(), next);
    }

    /// It dies.
    pub fn die(&mut self) {
        self.session = None;
    }
}
