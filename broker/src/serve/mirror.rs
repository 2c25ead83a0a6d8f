//! A plant's link at the hub: its batches are checked here and stored as they are.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use takt_client::tls::Identity;
use takt_protocol::batch::StoredBatch;
use takt_protocol::codes::ErrorCode;
use takt_protocol::session::Refusal;
use takt_protocol::session::mirror::{
    ChainPoint, MirrorEnd, MirrorTarget, MirrorTargetEvent, MirrorTopic,
};
use takt_protocol::words::{JournalId, NodeName, PartitionNumber, TopicName};
use takt_storage::keys::KeyHashes;
use takt_storage::runs::Slot;
use takt_storage::store::{self, Answer, Operation};
use tokio::sync::{mpsc, watch};

use super::producer::budget;
use super::{Stream, convert, not_done, now, receive, refusal};
use crate::access::Action;
use crate::clock::wall_now;
use crate::node::{Inner, LinkState};
use crate::writer::Ticket;

/// How often, and how often at most, a full disk is looked at before a link is sent away.
const ROOM_PAUSE: Duration = Duration::from_millis(250);
const ROOM_LOOKS: usize = 40;

struct Session<'a> {
    node: &'a Arc<Inner>,
    peer: &'a Identity,
    state: MirrorTarget,
    link: Option<Link>,
    answers: mpsc::UnboundedSender<(u64, Answer)>,
    /// Bytes of each batch that the store has not answered.
    in_flight: HashMap<u64, usize>,
}

/// An open link.
struct Link {
    origin: NodeName,
    journal: JournalId,
    /// By the topic's place in the link's list.
    slots: HashMap<(u16, PartitionNumber), Slot>,
    topics: Vec<TopicName>,
    /// Where empty mirrors begin other than at batch 0, until their first batch has come.
    starts: Vec<MirrorEnd>,
    replaced: watch::Receiver<bool>,
}

pub(super) async fn serve(
    node: &Arc<Inner>,
    peer: &Identity,
    mut stream: Stream,
) -> Result<(), String> {
    let (answers, mut answered) = mpsc::unbounded_channel();
    let state = MirrorTarget::new(node.session_bytes_max);
    let in_flight = HashMap::new();
    let mut session = Session { node, peer, state, link: None, answers, in_flight };
    let mut frame = None;
    let result = loop {
        if let Some(frame) = frame.take()
            && let Err(error) = session.state.handle_frame(now(), frame)
        {
            session.report_refused(&refusal(error.code(), error.to_string()));
            break Err(error.to_string());
        }
        while let Some(event) = session.state.poll_event() {
            session.on_event(event).await;
        }
        while let Ok((number, answer)) = answered.try_recv() {
            session.on_answer(number, answer);
        }
        while let Some(frame) = session.state.poll_transmit() {
            stream.send.queue(frame);
        }
        if session.state.is_closed() {
            break Ok(());
        }
        let replaced = async {
            match &mut session.link {
                // The sender lives in the node's table, so an error is a replacement too.
                Some(link) => drop(link.replaced.wait_for(|replaced| *replaced).await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            sent = stream.send.flush(), if stream.send.has_queued() => {
                if sent.is_err() { break Ok(()); }
            }
            Some((number, answer)) = answered.recv() => session.on_answer(number, answer),
            () = replaced => {
                session.state.close(refusal(ErrorCode::LinkReplaced, "a newer link is open"));
            }
            received = receive(&mut stream.recv) => match received {
                Ok(received) => frame = Some(received),
                Err(end) => break end,
            },
        }
    };
    stream.end(std::iter::from_fn(|| session.state.poll_transmit())).await;
    session.close();
    result
}

impl Session<'_> {
    async fn on_event(&mut self, event: MirrorTargetEvent) {
        match event {
            MirrorTargetEvent::Open { origin, journal, topics } => {
                let opened = self.open(origin, journal, topics).await;
                if let Err(refused) = &opened {
                    self.report_refused(refused);
                }
                self.state.on_opened(opened);
            }
            MirrorTargetEvent::Batch { ticket, topic, partition, batch } => {
                if let Err(refused) = self.submit(ticket, topic, partition, batch).await {
                    self.report_refused(&refused);
                    self.state.on_stored(ticket, Err(refused));
                }
            }
            MirrorTargetEvent::Started(starts) => {
                if let Some(link) = &mut self.link {
                    link.starts = starts;
                    self.node.report_link(link.origin.as_str(), |report| {
                        report.state = LinkState::Up;
                        report.detail.clear();
                    });
                    tracing::info!(origin = %link.origin, "a link is up");
                }
            }
            MirrorTargetEvent::Diverged(detail) => {
                self.report_refused(&refusal(ErrorCode::Diverged, detail));
            }
        }
    }

    async fn open(
        &mut self,
        origin: NodeName,
        journal: JournalId,
        topics: Vec<MirrorTopic>,
    ) -> Result<Vec<MirrorEnd>, Refusal> {
        self.node.allow(self.peer, Action::Replicate)?;
        if self.peer.plant() != Some(origin.as_str()) {
            let detail = format!("{} may not replicate for {origin}", self.peer);
            return Err(refusal(ErrorCode::Forbidden, detail));
        }
        self.wait_for_room().await?;
        let mut named = Vec::with_capacity(topics.len());
        for topic in topics {
            named.push(store::MirrorTopic {
                name: topic.name,
                settings: convert::settings_from_wire(&topic.settings)?,
            });
        }
        let operation =
            Operation::OpenMirror { origin: origin.clone(), journal, topics: named.clone() };
        let ends = match self.node.ask(operation).await {
            Ok(Answer::MirrorOpened(ends)) => ends,
            other => return Err(not_done(other)),
        };
        let topics: Vec<TopicName> = named.into_iter().map(|topic| topic.name).collect();
        let mut slots = HashMap::new();
        let mut told = Vec::with_capacity(ends.len());
        for end in ends {
            let place = topics.iter().position(|topic| *topic == end.topic);
            let Some(topic) = place.and_then(|place| u16::try_from(place).ok()) else { continue };
            slots.insert((topic, end.partition), end.slot);
            let point = end.end.map(|point| ChainPoint {
                journal,
                next_batch: point.next_batch,
                chain: point.chain,
            });
            told.push(MirrorEnd { topic, partition: end.partition, end: point });
        }
        let replaced = self.take_over(&origin);
        self.link = Some(Link { origin, journal, slots, topics, starts: Vec::new(), replaced });
        Ok(told)
    }

    /// A full disk gives no credit: the link is not opened before there is room. The origin keeps
    /// what it has, and is asked to dial again once in a while, so that a dead one is noticed.
    async fn wait_for_room(&self) -> Result<(), Refusal> {
        for _ in 0..ROOM_LOOKS {
            if !self.node.view.status().full {
                return Ok(());
            }
            tokio::time::sleep(ROOM_PAUSE).await;
        }
        Err(refusal(ErrorCode::Full, "the hub's disk is full"))
    }

    /// One live link for each origin: this one ends the one before.
    fn take_over(&self, origin: &NodeName) -> watch::Receiver<bool> {
        let (sender, receiver) = watch::channel(false);
        let mut mirrors = self.node.mirrors.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(older) = mirrors.insert(origin.clone(), sender) {
            older.send_replace(true);
        }
        receiver
    }

    async fn submit(
        &mut self,
        ticket: u64,
        topic: u16,
        partition: PartitionNumber,
        batch: StoredBatch,
    ) -> Result<(), Refusal> {
        let link = self.link.as_mut();
        let link = link.ok_or_else(|| refusal(ErrorCode::Protocol, "a batch before the start"))?;
        let place = (topic, partition);
        let slot = link.slots.get(&place).zip(link.topics.get(usize::from(topic)));
        let Some((slot, topic)) = slot else {
            return Err(refusal(ErrorCode::Protocol, "a batch of a partition that is not open"));
        };
        let permit = budget(self.node, batch.len()).await?;
        let mut keys = KeyHashes::default();
        let hasher = self.node.view.key_hasher();
        if let Err(error) = hasher.hash_batch(topic, batch.batch(), &mut keys) {
            self.node.counters.bad_batch();
            return Err(refusal(ErrorCode::BadBatch, error.to_string()));
        }
        let journal = link.journal;
        let start = link.starts.iter().position(|s| (s.topic, s.partition) == place);
        if let Some(point) = start.and_then(|at| link.starts.swap_remove(at).end) {
            let operation = Operation::StartMirror {
                slot: *slot,
                journal,
                batch: point.next_batch,
                offset: batch.header().base_offset,
                chain: point.chain,
            };
            // Where it is refused, so is the batch behind it, and that answer is waited for.
            let (ticket, _) = Ticket::once();
            self.node
                .writer
                .submit(operation, ticket)
                .map_err(|stopped| refusal(ErrorCode::Stopping, stopped.to_string()))?;
        }
        self.in_flight.insert(ticket, batch.len());
        let operation = Operation::Mirror { slot: *slot, journal, batch, keys };
        self.node
            .writer
            .submit(operation, Ticket::session(&self.answers, ticket, permit))
            .map_err(|stopped| refusal(ErrorCode::Stopping, stopped.to_string()))
    }

    fn on_answer(&mut self, ticket: u64, answer: Answer) {
        let bytes = self.in_flight.remove(&ticket).unwrap_or_default();
        let stored = if let Answer::Mirrored { end, .. } = answer {
            if let Some(link) = &self.link {
                let now = wall_now();
                self.node.report_link(link.origin.as_str(), |l| l.last_ack = Some(now));
            }
            Ok(end.next_batch)
        } else {
            Err(not_done(Ok(answer)))
        };
        if let Err(refused) = &stored {
            self.report_refused(refused);
        }
        self.state.on_stored(ticket, stored);
        self.state.grant(bytes);
    }

    fn report_refused(&self, refused: &Refusal) {
        let name = self.peer.plant().unwrap_or("unknown");
        tracing::warn!(peer = %self.peer, code = ?refused.code, detail = refused.detail, "link refused");
        self.node.report_link(name, |link| {
            let diverged = refused.code == ErrorCode::Diverged;
            link.state = if diverged { LinkState::Diverged } else { LinkState::Down };
            link.detail.clone_from(&refused.detail);
        });
    }

    fn close(&self) {
        let Some(link) = &self.link else { return };
        // A link that was replaced or has diverged leaves what its end has said.
        if *link.replaced.borrow() {
            return;
        }
        self.node.report_link(link.origin.as_str(), |report| {
            if report.state == LinkState::Up {
                report.state = LinkState::Down;
            }
        });
    }
}
