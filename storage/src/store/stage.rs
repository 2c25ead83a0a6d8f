//! Operations: judged, applied, and held until their commit is durable.

use std::collections::HashSet;

use takt_protocol::batch::StoredBatch;
use takt_protocol::codes::ErrorCode;
use takt_protocol::session::Refusal;
use takt_protocol::session::producer::KeptReceipt;
use takt_protocol::words::{
    CursorName, Epoch, JournalId, NodeName, Offset, ProducerId, Sequence, Timestamp, TopicName,
};

use super::{Answer, MirrorEnd, MirrorTopic, Operation, ProducerOpened, Staged, Store};
use super::{Ended, LOST_KEPT_US, LOST_MAX, TRANSIENT_KEPT_US, stopping};
use crate::entry::{Entry, TopicSettings};
use crate::journal::layout::{COMMIT_HEADER, ENTRY_HEADER};
use crate::keys::KeyHashes;
use crate::runs::Slot;
use crate::sequencer::{Judged, MirrorJudged, Now, Publication};
use crate::state::State;

/// The most partitions of a node, own and mirrored.
const SLOTS_MAX: usize = 1 << 17;

/// What a judged operation is to change, and its answer.
enum Plan {
    /// Nothing.
    Answer(Answer),
    /// Nothing: there is no room.
    NoRoom(Answer),
    /// The entries, then the answer.
    Entries(Vec<Entry>, Answer),
}

impl Plan {
    fn refuse(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self::Answer(Answer::Refused(Refusal::new(code, detail)))
    }
}

impl<T> Store<T> {
    /// Judges and applies an operation at time `now`.
    ///
    /// # Errors
    /// The operation and its ticket, untouched, where the commit that is being filled has no room
    /// for it: seal, and stage it again.
    #[expect(clippy::result_large_err, reason = "the operation goes back to its owner")]
    pub fn stage(
        &mut self,
        operation: Operation,
        ticket: T,
        now: Timestamp,
    ) -> Result<Staged<T>, (Operation, T)> {
        if self.failed {
            return Ok(Staged::Answered(ticket, stopping()));
        }
        self.flush_waiting();
        let (plan, keys) = match &operation {
            Operation::Publish { producer, topic, epoch, batch, keys } => {
                let publication = Publication { producer, topic, epoch: *epoch, batch, keys };
                (self.plan_publish(&publication, now), Some(keys))
            }
            Operation::Mirror { slot, journal, batch, keys } => {
                (self.plan_mirror(*slot, *journal, batch), Some(keys))
            }
            Operation::StartMirror { slot, journal, batch, offset, chain } => {
                let entry = Entry::MirrorStarted {
                    slot: *slot,
                    batch: *batch,
                    offset: *offset,
                    chain: *chain,
                };
                (plan_start(&self.state, *slot, *journal, entry), None)
            }
            Operation::CreateTopic { name, settings } => {
                (plan_topic(&self.state, name, *settings), None)
            }
            Operation::SetRetention { name, retention_ms, retention_bytes, compact } => {
                let wanted = (*retention_ms, *retention_bytes, *compact);
                (plan_retention(&self.state, name, wanted), None)
            }
            Operation::OpenProducer { producer, topic, transient } => {
                (self.plan_open(producer, topic, *transient, now), None)
            }
            Operation::CloseProducer { lost, producer, topic, epoch } => {
                let ended = Ended { at: now, lost: *lost };
                self.end_session(producer, topic, *epoch, ended);
                (Plan::Answer(Answer::ProducerClosed), None)
            }
            Operation::OpenMirror { origin, journal, topics } => {
                (plan_mirrors(&self.state, origin, *journal, topics), None)
            }
            Operation::SetCursor { name, topic, hold, positions } => {
                (plan_cursor(&self.state, name, topic, *hold, positions), None)
            }
            Operation::RemoveCursor { name } => (plan_remove(&self.state, name), None),
        };
        let (entries, answer) = match plan {
            Plan::Answer(answer) => return Ok(self.answer(ticket, answer)),
            Plan::NoRoom(refused) => return Ok(self.refuse(ticket, refused)),
            Plan::Entries(entries, answer) => (entries, answer),
        };
        if let Some(refused) = self.refuse_for_space(&operation) {
            return Ok(self.refuse(ticket, refused));
        }
        if !self.has_room(&entries) {
            if !self.has_entries() {
                let detail = "it does not fit one commit";
                let refusal = Answer::Refused(Refusal::new(ErrorCode::TooLarge, detail));
                return Ok(self.answer(ticket, refusal));
            }
            return Err((operation, ticket));
        }
        for entry in &entries {
            self.push(entry, keys);
        }
        let answer = self.completed(&operation, answer);
        #[cfg(takt_planted)]
        if takt_protocol::planted::is("ack_before_sync") {
            return Ok(Staged::Answered(ticket, answer));
        }
        #[cfg(takt_planted)]
        if takt_protocol::planted::is("hub_ack_before_sync") {
            if matches!(operation, Operation::Mirror { .. }) {
                return Ok(Staged::Answered(ticket, answer));
            }
        }
        self.held.push((ticket, answer));
        Ok(Staged::Held)
    }

    /// Lets what has expired go: transient producers some time after their session, the oldest
    /// files. About once a second.
    pub fn tick(&mut self, now: Timestamp) {
        if self.failed {
            return;
        }
        let lost = self.ended.values().filter(|ended| ended.lost).count();
        let is_over = |ended: &Ended| {
            let kept_us =
                if ended.lost && lost <= LOST_MAX { LOST_KEPT_US } else { TRANSIENT_KEPT_US };
            now.as_micros().saturating_sub(ended.at.as_micros()) >= kept_us
        };
        let gone = self.ended.iter().filter(|(_, ended)| is_over(ended));
        let gone: Vec<_> = gone.map(|(key, _)| key.clone()).collect();
        for key in gone {
            self.ended.remove(&key);
            let (topic, producer) = key;
            self.waiting.push_back(Entry::ProducerDropped { producer, topic });
        }
        self.retain(now);
        self.forget_keys();
        self.flush_waiting();
        self.show_keys();
        self.show_status();
    }

    /// What needs no change is answered at once where all that it may rest on is durable.
    fn answer(&mut self, ticket: T, answer: Answer) -> Staged<T> {
        if self.in_flight || self.has_entries() || !self.held.is_empty() {
            self.held.push((ticket, answer));
            Staged::Held
        } else {
            Staged::Answered(ticket, answer)
        }
    }

    /// A refusal for want of room rests on nothing that is staged. Where that may wait for long,
    /// it does not wait with it.
    fn refuse(&mut self, ticket: T, refused: Answer) -> Staged<T> {
        if self.files.stuck {
            return Staged::Answered(ticket, refused);
        }
        self.answer(ticket, refused)
    }

    fn plan_publish(&mut self, publication: &Publication<'_>, now: Timestamp) -> Plan {
        let records = publication.batch.header().records as u64;
        let now = Now { wall: now, of_ages: self.age_time(now) };
        match self.state.judge(publication, now, &mut self.scratch) {
            Judged::Known(receipt) => Plan::Answer(Answer::Receipt(receipt)),
            Judged::Refused(refusal) => {
                self.counters.refused += 1;
                Plan::Answer(Answer::Refused(refusal))
            }
            Judged::Unreadable(error) => {
                self.counters.refused += 1;
                self.counters.unreadable += 1;
                let first = publication.batch.header().first_sequence;
                let detail = error.to_string();
                self.see_damage(error);
                let refusal = Refusal::resend(ErrorCode::Unreadable, detail, first);
                Plan::NoRoom(Answer::Refused(refusal))
            }
            Judged::Fresh { receipt, .. } if self.full => {
                let first = receipt.first_sequence;
                let refusal = Refusal::resend(ErrorCode::Full, self.why_no_spare(), first);
                Plan::NoRoom(Answer::Refused(refusal))
            }
            Judged::Fresh { entry, receipt, tally } => {
                if self.has_room(std::slice::from_ref(&entry)) {
                    let counters = &mut self.counters;
                    counters.batches += 1;
                    counters.records += records;
                    counters.visible += tally.visible;
                    counters.duplicates += tally.duplicates;
                    counters.conflicts += tally.conflicts;
                    counters.no_identity += tally.no_identity;
                }
                Plan::Entries(vec![entry], Answer::Receipt(receipt))
            }
        }
    }

    fn plan_mirror(&mut self, slot: Slot, journal: JournalId, batch: &StoredBatch) -> Plan {
        match self.state.judge_mirror(slot, journal, batch) {
            MirrorJudged::Known(end) => Plan::Answer(Answer::Mirrored { slot, end }),
            MirrorJudged::Refused(refusal) => Plan::Answer(Answer::Refused(refusal)),
            MirrorJudged::Next if self.full => Plan::NoRoom(Answer::Full),
            MirrorJudged::Next => {
                let end = super::MirrorPoint {
                    next_batch: batch.header().batch_number.advance(1),
                    chain: batch.header().chain,
                    next_offset: batch.end_offset(),
                };
                let entry = Entry::MirrorBatch { slot, batch: batch.clone() };
                if self.has_room(std::slice::from_ref(&entry)) {
                    self.counters.mirrored += 1;
                }
                Plan::Entries(vec![entry], Answer::Mirrored { slot, end })
            }
        }
    }

    fn plan_open(
        &mut self,
        producer: &ProducerId,
        topic: &TopicName,
        transient: bool,
        now: Timestamp,
    ) -> Plan {
        let Some(settings) = self.state.own_topic(topic).map(|topic| topic.settings) else {
            return Plan::refuse(ErrorCode::UnknownTopic, topic.as_str());
        };
        let known = self.state.producer(topic, producer);
        let epoch = known.map_or(Some(Epoch::new(1)), |known| known.epoch.checked_add(1));
        let Some(epoch) = epoch else {
            return Plan::refuse(ErrorCode::Fenced, "this name has used all of its epochs");
        };
        let last_sequence = known.map_or(Sequence::new(0), |known| known.last);
        let kept = known.map_or_else(Vec::new, |known| {
            let kept = known.kept.iter();
            kept.map(|k| KeptReceipt { crc: k.crc, receipt: k.receipt.clone() }).collect()
        });
        let opened = ProducerOpened { epoch, last_sequence, partitions: settings.partitions, kept };
        let at = self.state.control.append_time.max(now);
        let (producer, topic) = (producer.clone(), topic.clone());
        let entry = Entry::ProducerOpened { producer, topic, epoch, transient, at };
        Plan::Entries(vec![entry], Answer::ProducerOpened(opened))
    }

    fn end_session(
        &mut self,
        producer: &ProducerId,
        topic: &TopicName,
        epoch: Epoch,
        ended: Ended,
    ) {
        let known = self.state.producer(topic, producer);
        if known.is_some_and(|known| known.transient && known.epoch == epoch) {
            self.ended.insert((topic.clone(), producer.clone()), ended);
        }
    }

    /// What an answer says only after the operation was applied.
    fn completed(&mut self, operation: &Operation, answer: Answer) -> Answer {
        match operation {
            Operation::OpenMirror { origin, topics, .. } => {
                Answer::MirrorOpened(mirror_ends(&self.state, origin, topics))
            }
            Operation::OpenProducer { producer, topic, .. } => {
                let key = (topic.clone(), producer.clone());
                self.ended.remove(&key);
                self.waiting.retain(|entry| {
                    !matches!(entry, Entry::ProducerDropped { producer, topic }
                        if *topic == key.0 && *producer == key.1)
                });
                answer
            }
            Operation::CreateTopic { .. }
            | Operation::SetRetention { .. }
            | Operation::CloseProducer { .. }
            | Operation::Publish { .. }
            | Operation::Mirror { .. }
            | Operation::StartMirror { .. }
            | Operation::SetCursor { .. }
            | Operation::RemoveCursor { .. } => answer,
        }
    }

    /// On a full disk, what cannot be promised room in the journal.
    fn refuse_for_space(&mut self, operation: &Operation) -> Option<Answer> {
        let detail = match self.stuck() {
            Some(why) => why,
            None if self.has_entries() || self.can_begin() => return None,
            None => "the reserve for a full disk is used up".to_owned(),
        };
        let refusal = Refusal::new(ErrorCode::Full, detail.clone());
        Some(match operation {
            Operation::Mirror { .. } => Answer::Full,
            Operation::Publish { batch, .. } => {
                let first = batch.header().first_sequence;
                Answer::Refused(Refusal::resend(ErrorCode::Full, detail, first))
            }
            Operation::CreateTopic { .. }
            | Operation::SetRetention { .. }
            | Operation::OpenProducer { .. }
            | Operation::CloseProducer { .. }
            | Operation::OpenMirror { .. }
            | Operation::StartMirror { .. }
            | Operation::SetCursor { .. }
            | Operation::RemoveCursor { .. } => Answer::Refused(refusal),
        })
    }

    /// Whether the commit that is being filled, or a fresh one, takes all of them.
    fn has_room(&mut self, entries: &[Entry]) -> bool {
        let mut len = 0;
        for entry in entries {
            self.entry_bytes.clear();
            entry.encode_head(&mut self.entry_bytes);
            let batch = entry.batch().map_or(0, StoredBatch::len);
            len += self.entry_bytes.len() + batch + ENTRY_HEADER;
        }
        let len = len.saturating_sub(ENTRY_HEADER);
        match &self.filling {
            Some(filling) => filling.has_room(len),
            None => COMMIT_HEADER + ENTRY_HEADER + len <= self.options.journal.commit_bytes_max,
        }
    }

    /// Puts an entry, which has room, into the commit and applies it.
    pub(super) fn push(&mut self, entry: &Entry, keys: Option<&KeyHashes>) {
        if self.filling.is_none() {
            self.begin_commit();
        }
        let filling = self.filling.as_mut().expect("just begun");
        self.entry_bytes.clear();
        entry.encode_head(&mut self.entry_bytes);
        let batch = entry.batch().into_iter().flat_map(StoredBatch::pieces);
        let parts: Vec<&[u8]> =
            std::iter::once(&self.entry_bytes[..]).chain(batch.map(|piece| &piece[..])).collect();
        let offset = filling.push(entry.kind(), &parts);
        let begin =
            if self.roll.is_some() { self.journal.next_start() } else { self.journal.position() };
        let at = begin.plus(u64::from(offset));
        self.state
            .apply(at, entry, keys, &mut self.effects)
            .expect("what was judged on this state applies to it");
    }

    /// Stages the store's own entries while there is room.
    pub(super) fn flush_waiting(&mut self) {
        while let Some(entry) = self.waiting.pop_front() {
            let room = (self.has_entries() || self.can_begin())
                && self.has_room(std::slice::from_ref(&entry));
            if self.failed || !room {
                self.waiting.push_front(entry);
                return;
            }
            self.push(&entry, None);
        }
    }
}

fn plan_topic(state: &State, name: &TopicName, settings: TopicSettings) -> Plan {
    if let Some(known) = state.own_topic(name) {
        if known.settings == settings {
            return Plan::Answer(Answer::TopicCreated { fresh: false });
        }
        let detail = format!("{name}; what is kept of it can be edited, all else is fixed");
        return Plan::refuse(ErrorCode::TopicExists, detail);
    }
    let partitions = state.control.partitions.len() + usize::from(settings.partitions);
    if !settings.is_valid() || partitions > SLOTS_MAX {
        return Plan::refuse(ErrorCode::BadRequest, "a topic has 1 to 1,024 partitions");
    }
    let entry = Entry::TopicCreated { topic: name.clone(), settings };
    Plan::Entries(vec![entry], Answer::TopicCreated { fresh: true })
}

fn plan_retention(
    state: &State,
    name: &TopicName,
    (retention_ms, retention_bytes, compact): (Option<u64>, Option<u64>, Option<bool>),
) -> Plan {
    let Some(known) = state.own_topic(name).map(|topic| topic.settings) else {
        let mut origins = state.control.topics.keys().filter(|(topic, _)| topic == name);
        return match origins.next() {
            Some((_, origin)) => {
                let detail = format!("{name} is of {origin}: edit it at the node that made it");
                Plan::refuse(ErrorCode::BadRequest, detail)
            }
            None => Plan::refuse(ErrorCode::UnknownTopic, name.as_str()),
        };
    };
    let retention_ms = retention_ms.unwrap_or(known.retention_ms);
    let retention_bytes = retention_bytes.unwrap_or(known.retention_bytes);
    let mut entries = Vec::new();
    if (retention_ms, retention_bytes) != (known.retention_ms, known.retention_bytes) {
        let topic = name.clone();
        entries.push(Entry::RetentionSet { topic, retention_ms, retention_bytes });
    }
    if let Some(compact) = compact.filter(|compact| *compact != known.compact) {
        entries.push(Entry::CompactionSet { topic: name.clone(), compact });
    }
    if entries.is_empty() {
        return Plan::Answer(Answer::RetentionSet);
    }
    Plan::Entries(entries, Answer::RetentionSet)
}

fn plan_mirrors(
    state: &State,
    origin: &NodeName,
    journal: JournalId,
    topics: &[MirrorTopic],
) -> Plan {
    if *origin == state.control.node {
        return Plan::refuse(ErrorCode::BadRequest, format!("{origin} is this node"));
    }
    let mut entries: Vec<Entry> = Vec::new();
    let mut partitions = state.control.partitions.len();
    let mut names = HashSet::with_capacity(topics.len());
    for MirrorTopic { name, settings } in topics {
        if !names.insert(name) {
            return Plan::refuse(ErrorCode::BadRequest, format!("topic {name} is named twice"));
        }
        let Some(known) = state.topic(name, origin) else {
            partitions += usize::from(settings.partitions);
            if !settings.is_valid() || partitions > SLOTS_MAX {
                return Plan::refuse(ErrorCode::BadRequest, "there are too many partitions");
            }
            let (origin, topic) = (origin.clone(), name.clone());
            entries.push(Entry::MirrorBegun { origin, journal, topic, settings: *settings });
            continue;
        };
        let mirrored = state.partition(known.first_slot).and_then(|found| found.mirror_of);
        if mirrored != Some(journal) {
            let mirrored = mirrored.unwrap_or_default();
            let detail = format!(
                "the mirror of {name} of {origin} is of journal {mirrored}, not of {journal}: put the \
                 node's old data back, or give a node that was made anew another name"
            );
            return Plan::refuse(ErrorCode::Diverged, detail);
        }
        if known.settings.partitions != settings.partitions {
            let detail = format!("topic {name} of {origin} has other partitions here");
            return Plan::refuse(ErrorCode::Diverged, detail);
        }
    }
    if entries.is_empty() {
        return Plan::Answer(Answer::MirrorOpened(mirror_ends(state, origin, topics)));
    }
    Plan::Entries(entries, Answer::MirrorOpened(Vec::new()))
}

fn mirror_ends(state: &State, origin: &NodeName, topics: &[MirrorTopic]) -> Vec<MirrorEnd> {
    let known = topics.iter().filter_map(|topic| state.topic(&topic.name, origin));
    let slots = known.flat_map(crate::state::Topic::slots);
    let ends = slots.filter_map(|slot| {
        let partition = state.partition(slot)?;
        let (topic, number) = (partition.id.topic.clone(), partition.id.number);
        Some(MirrorEnd { slot, topic, partition: number, end: partition.mirror_end() })
    });
    ends.collect()
}

fn plan_cursor(
    state: &State,
    name: &CursorName,
    topic: &TopicName,
    hold: Option<bool>,
    positions: &[(Slot, Offset)],
) -> Plan {
    for (slot, offset) in positions {
        let partition = state.partition(*slot).filter(|found| found.id.topic == *topic);
        if partition.is_none_or(|partition| partition.end.offset < *offset) {
            let detail = format!("partition {slot} of {topic} has no offset {offset}");
            return Plan::refuse(ErrorCode::BadRequest, detail);
        }
    }
    if !state.control.topics.keys().any(|(known, _)| known == topic) {
        return Plan::refuse(ErrorCode::UnknownTopic, topic.as_str());
    }
    let is_held = || state.control.cursors.get(name).is_some_and(|cursor| cursor.hold);
    let hold = hold.unwrap_or_else(is_held);
    let (name, topic, positions) = (name.clone(), topic.clone(), positions.to_vec());
    Plan::Entries(vec![Entry::CursorSet { name, topic, hold, positions }], Answer::CursorSet)
}

fn plan_start(state: &State, slot: Slot, journal: JournalId, entry: Entry) -> Plan {
    let partition = state.partition(slot);
    match partition.filter(|found| found.mirror_of == Some(journal) && found.is_empty_mirror()) {
        Some(_) => Plan::Entries(vec![entry], Answer::MirrorStarted),
        None => Plan::refuse(ErrorCode::Diverged, format!("partition {slot} has begun already")),
    }
}

fn plan_remove(state: &State, name: &CursorName) -> Plan {
    if !state.control.cursors.contains_key(name) {
        return Plan::refuse(ErrorCode::NotFound, name.as_str());
    }
    Plan::Entries(vec![Entry::CursorRemoved { name: name.clone() }], Answer::CursorRemoved)
}
