//! A plant's side of one connection to its hub: proves that both hold the same batches, and sends
//! what the hub does not have, in order, as it is stored.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use takt_protocol::batch::StoredBatch;
use takt_protocol::codes::ErrorCode;
use takt_protocol::session::mirror::{
    ChainPoint, MirrorEnd, MirrorOrigin, MirrorOriginEvent, MirrorTopic,
};
use takt_protocol::wire::{Frame, OutFrame};
use takt_protocol::words::{BatchNumber, PartitionNumber, TopicName};
use takt_storage::runs::Slot;
use takt_storage::view::{ReadError, View};

pub use super::backoff::Backoff;
use super::convert;
use super::read::{Read, ReadFrom};

/// How much is read at a time; one batch may be more.
const READ_BYTES: usize = 512 << 10;

/// How far the hub has each mirrored partition, durably.
pub type Ends = BTreeMap<Slot, BatchNumber>;

/// What a link has to say to its node. Retention may drop what the hub has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UplinkEvent {
    /// Both hold the same: batches flow.
    Up(Ends),
    /// The hub has more than before: at most one for each of its frames.
    Acked(Ends),
}

/// Why a link ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It is to be dialled again.
    Lost(String),
    /// A partition cannot be read, and the hub has all of the others: it is to be dialled again,
    /// after a while.
    Unread(String),
    /// It stays stopped until an operator acts.
    Diverged(String),
    /// Another node with this one's certificate has taken over: a copy, or one that lingers.
    Replaced(String),
    /// A topic was made that is to be mirrored: open it anew with that one.
    TopicsChanged,
}

/// One connection's worth of mirroring. The next connection gets a new one.
#[derive(Debug)]
pub struct UplinkSession {
    view: View,
    /// What goes upstream by the settings; `None` for all.
    wanted: Option<Vec<TopicName>>,
    state: MirrorOrigin,
    /// What this link mirrors.
    topics: Vec<TopicName>,
    sources: Vec<Source>,
    turn: usize,
    /// The source whose read is out.
    reading: Option<usize>,
    verified: bool,
    /// The hub has acknowledged something that no event says yet.
    progress: bool,
    events: VecDeque<UplinkEvent>,
    end: Option<End>,
}

/// One partition that is mirrored.
#[derive(Debug)]
struct Source {
    slot: Slot,
    /// The topic's place in the link's list.
    topic: u16,
    partition: PartitionNumber,
    /// What is sent next.
    next: BatchNumber,
    /// What the hub has on its disk.
    acked: BatchNumber,
    /// Why it could not be read: it is set aside for as long as the link lasts.
    unread: Option<String>,
}

/// Why it is not known that both sides hold the same.
enum Unverified {
    /// They do not: only an operator can mend that.
    Differs(String),
    /// This side could not be read, which says nothing of the other.
    Unread(String),
}

impl UplinkSession {
    /// Mirrors the node's own topics that are there now and among `topics`, or all of them.
    pub fn new(view: View, topics: Option<Vec<TopicName>>) -> Self {
        let wanted = topics;
        let topics = wanted_topics(&view, wanted.as_deref());
        let named = topics.iter().filter_map(|name| {
            let settings = convert::settings_to_wire(&view.topic(name)?);
            Some(MirrorTopic { name: name.clone(), settings })
        });
        let state = MirrorOrigin::new(view.node().clone(), view.journal(), named.collect());
        Self {
            view,
            wanted,
            state,
            topics,
            sources: Vec::new(),
            turn: 0,
            reading: None,
            verified: false,
            progress: false,
            events: VecDeque::new(),
            end: None,
        }
    }

    /// The stream is there.
    pub fn on_connected(&mut self, now: Instant) {
        self.state.on_connected(now);
    }

    /// Takes a frame of the hub; a broken rule ends the link.
    pub fn handle_frame(&mut self, now: Instant, frame: Frame) {
        let handled = self.state.handle_frame(now, frame);
        while let Some(event) = self.state.poll_event() {
            self.on_event(event);
        }
        if std::mem::take(&mut self.progress) {
            self.events.push_back(UplinkEvent::Acked(self.ends()));
        }
        if let Err(error) = handled {
            self.end_with(End::Lost(error.to_string()));
        }
    }

    /// Something may have become durable: there may be more topics.
    pub fn on_durable(&mut self) {
        if wanted_topics(&self.view, self.wanted.as_deref()) != self.topics {
            self.end_with(End::TopicsChanged);
        }
    }

    /// What to read next. To be asked only when all frames are sent, and again after every commit.
    pub fn poll_read(&mut self) -> Option<Read> {
        let idle = self.verified && self.end.is_none() && self.reading.is_none();
        if !idle || self.state.credit() == 0 {
            return None;
        }
        for step in 0..self.sources.len() {
            let number = (self.turn + step) % self.sources.len();
            let Source { slot, next, .. } = self.sources[number];
            if self.sources[number].unread.is_some() {
                continue;
            }
            let Some(partition) = self.view.partition(slot) else { continue };
            if partition.end_batch <= next {
                continue;
            }
            self.turn = number + 1;
            self.reading = Some(number);
            let max_bytes = READ_BYTES.min(self.state.credit());
            return Some(Read { slot, from: ReadFrom::Batch(next), max_bytes });
        }
        // What is set aside is tried again on a new link, once that keeps nothing else waiting.
        if self.sources.iter().all(|source| source.unread.is_some() || source.acked == source.next)
            && let Some(why) = self.unread().map(str::to_owned)
        {
            self.end_with(End::Unread(why));
        }
        None
    }

    /// Why the first partition that is set aside could not be read.
    pub fn unread(&self) -> Option<&str> {
        self.sources.iter().find_map(|source| source.unread.as_deref())
    }

    /// What the read came to.
    ///
    /// # Panics
    /// If the batches do not begin where the read did.
    pub fn on_read(&mut self, read: Result<Vec<StoredBatch>, ReadError>) {
        let Some(number) = self.reading.take() else { return };
        let batches = match read {
            Ok(batches) => batches,
            // The file was dropped between the look-up and the read: look again.
            Err(ReadError::Gone) => return,
            Err(error) => {
                let source = &mut self.sources[number];
                let topic = &self.topics[usize::from(source.topic)];
                let (partition, next) = (source.partition, source.next);
                source.unread =
                    Some(format!("cannot read batch {next} of {topic}/{partition}: {error}"));
                return;
            }
        };
        let source = &mut self.sources[number];
        for batch in batches {
            let number = batch.header().batch_number;
            assert_eq!(number, source.next, "batches are read in their order");
            source.next = number.advance(1);
            self.state.send(source.topic, source.partition, &batch);
        }
    }

    /// What to send next.
    pub fn poll_transmit(&mut self) -> Option<OutFrame> {
        self.state.poll_transmit()
    }

    /// What to note next.
    pub fn poll_event(&mut self) -> Option<UplinkEvent> {
        self.events.pop_front()
    }

    /// Whether both sides have been found to hold the same.
    pub fn is_verified(&self) -> bool {
        self.verified
    }

    /// Why the link is over, if it is.
    pub fn ended(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// What came first is the reason.
    fn end_with(&mut self, end: End) {
        self.end.get_or_insert(end);
    }

    fn on_event(&mut self, event: MirrorOriginEvent) {
        match event {
            MirrorOriginEvent::Opened(ends) => match self.verify(&ends) {
                Ok(starts) => {
                    self.verified = true;
                    self.state.on_verified_from(&starts);
                    self.events.push_back(UplinkEvent::Up(self.ends()));
                }
                Err(Unverified::Differs(detail)) => {
                    self.end_with(End::Diverged(detail.clone()));
                    self.state.on_diverged(detail);
                }
                Err(Unverified::Unread(detail)) => self.end_with(End::Lost(detail)),
            },
            MirrorOriginEvent::Acked { topic, partition, end } => {
                let source = self
                    .sources
                    .iter_mut()
                    .find(|source| source.topic == topic && source.partition == partition);
                if let Some(source) = source.filter(|source| source.acked < end) {
                    source.acked = end;
                    self.progress = true;
                }
            }
            MirrorOriginEvent::Diverged(detail) => self.end_with(End::Diverged(detail)),
            MirrorOriginEvent::Interrupted(refusal) | MirrorOriginEvent::Closed(refusal) => {
                let detail = refusal.to_string();
                let replaced = refusal.code == ErrorCode::LinkReplaced;
                self.end_with(if replaced { End::Replaced(detail) } else { End::Lost(detail) });
            }
        }
    }

    /// Whether this node holds exactly the batch that each mirror ends with.
    /// Returns where empty mirrors begin other than at batch 0.
    fn verify(&mut self, ends: &[MirrorEnd]) -> Result<Vec<MirrorEnd>, Unverified> {
        let view = &self.view;
        let mut starts = Vec::new();
        for end in ends {
            let Some(topic) = self.topics.get(usize::from(end.topic)) else { continue };
            let id = format!("{}/{topic}/{}", view.node(), end.partition);
            let own = view.partitions(topic).into_iter().find(|partition| {
                partition.id.origin == *view.node() && partition.id.number == end.partition
            });
            let own =
                own.ok_or_else(|| Unverified::Differs(format!("this node has no partition {id}")))?;
            let next = match &end.end {
                None => {
                    if own.start_batch.get() > 0 {
                        let point = ChainPoint {
                            journal: view.journal(),
                            next_batch: own.start_batch,
                            chain: own.start_chain,
                        };
                        starts.push(MirrorEnd { end: Some(point), ..*end });
                    }
                    own.start_batch
                }
                Some(point) if point.journal != view.journal() => {
                    return Err(Unverified::Differs(format!(
                        "the hub holds {id} of journal {}, this is journal {}: was this node \
                         reinstalled or restored?",
                        point.journal,
                        view.journal()
                    )));
                }
                Some(point) => {
                    let chain = view
                        .chain_at(own.slot, point.next_batch)
                        .map_err(|e| Unverified::Unread(format!("cannot read {id}: {e}")))?;
                    #[cfg(takt_planted)]
                    let chain = chain.or(takt_protocol::planted::is("divergence_taken_for_repeat")
                        .then_some(point.chain));
                    if chain != Some(point.chain) {
                        let (here, there) = (own.end_batch, point.next_batch);
                        return Err(Unverified::Differs(format!(
                            "the hub holds batches of {id} up to {there} that this node, which \
                             holds {} to {here}, does not have",
                            own.start_batch
                        )));
                    }
                    point.next_batch
                }
            };
            #[cfg(takt_planted)]
            let next = if takt_protocol::planted::is("resumes_late") && end.end.is_some() {
                next.advance(1)
            } else {
                next
            };
            self.sources.push(Source {
                slot: own.slot,
                topic: end.topic,
                partition: end.partition,
                next,
                acked: next,
                unread: None,
            });
        }
        Ok(starts)
    }

    fn ends(&self) -> Ends {
        self.sources.iter().map(|source| (source.slot, source.acked)).collect()
    }
}

/// The topics of this node that go upstream and are there, in the order of their names.
fn wanted_topics(view: &View, wanted: Option<&[TopicName]>) -> Vec<TopicName> {
    let own = view.topics().into_iter().filter(|topic| topic.origin == *view.node());
    own.map(|topic| topic.name)
        .filter(|name| wanted.is_none_or(|wanted| wanted.contains(name)))
        .collect()
}
