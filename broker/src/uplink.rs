//! The plant's side of its link: dials the hub, proves that both hold the same batches, and sends
//! what the hub does not have, in order, as it is stored.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use takt_client::tls::{self, Credentials, Refusals, Transport, TrustDomain};
use takt_client::transport::{FrameStream, TransportError};
use takt_protocol::codes::ErrorCode;
use takt_protocol::session::mirror::{
    ChainPoint, MirrorEnd, MirrorOrigin, MirrorOriginEvent, MirrorTopic,
};
use takt_protocol::words::{BatchNumber, PartitionNumber, TopicName};
use takt_storage::runs::Slot;
use takt_storage::view::ReadError;

use crate::clock::wall_now;
use crate::node::{Inner, LinkState, UpstreamOptions};
use crate::serve::{convert, now};

/// The first pause after a failed attempt; it doubles from there.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
/// How long a dial may take.
const DIAL_DEADLINE: Duration = Duration::from_secs(5);
/// A diverged link is tried again so rarely: only an operator can mend it.
const DIVERGED_PAUSE: Duration = Duration::from_mins(1);
/// How much is read at a time; one batch may be more.
const READ_BYTES: usize = 512 << 10;

/// The name of the upstream in the status.
const PEER: &str = "hub";

/// Why a link ended.
enum End {
    /// It will be dialled again.
    Lost(String),
    /// It stays stopped.
    Diverged(String),
    /// Another node with this one's certificate has taken over: a copy, or one that lingers.
    Replaced(String),
    /// A topic was made that is to be mirrored: open it anew with that one.
    TopicsChanged,
}

impl From<TransportError> for End {
    fn from(error: TransportError) -> Self {
        Self::Lost(error.to_string())
    }
}

/// Keeps the link for as long as the node runs.
pub(crate) async fn run(
    node: Arc<Inner>,
    upstream: UpstreamOptions,
    credentials: Credentials,
    domain: TrustDomain,
) {
    let mut backoff = BACKOFF_MIN;
    node.report_link(PEER, |link| link.upstream = Some(upstream.clone()));
    loop {
        let end = link(&node, &upstream, &credentials, &domain, &mut backoff).await;
        // Until the hub says again what it holds, nothing that is mirrored may be dropped.
        node.writer.hold_for_uplink(None);
        let pause = match end {
            End::TopicsChanged => continue,
            End::Lost(reason) => {
                tracing::info!(reason, "the link to the hub is down");
                set_state(&node, LinkState::Down, &reason);
                jittered(backoff)
            }
            End::Replaced(reason) => {
                tracing::warn!(reason, "another link of this node is open: is there a copy of it?");
                set_state(&node, LinkState::Down, &reason);
                jittered(upstream.backoff_max)
            }
            End::Diverged(reason) => {
                tracing::error!(reason, "the link to the hub has diverged; nothing is mirrored");
                set_state(&node, LinkState::Diverged, &reason);
                DIVERGED_PAUSE
            }
        };
        backoff = (backoff * 2).min(upstream.backoff_max.max(BACKOFF_MIN));
        tokio::time::sleep(pause).await;
    }
}

fn set_state(node: &Inner, state: LinkState, detail: &str) {
    node.report_link(PEER, |link| {
        link.state = state;
        detail.clone_into(&mut link.detail);
    });
}

/// Between half of it and all of it.
fn jittered(backoff: Duration) -> Duration {
    let mut byte = [0];
    // Without randomness the pause is the whole one.
    if getrandom::fill(&mut byte).is_err() {
        return backoff;
    }
    backoff.mul_f64(0.5 + f64::from(byte[0]) / 512.0)
}

async fn link(
    node: &Arc<Inner>,
    upstream: &UpstreamOptions,
    credentials: &Credentials,
    domain: &TrustDomain,
    backoff: &mut Duration,
) -> End {
    let stream = match dial(upstream, credentials, domain).await {
        Ok((endpoint, connection, stream)) => (endpoint, connection, stream),
        Err(reason) => return End::Lost(reason),
    };
    let (endpoint, connection, stream) = stream;
    let mut link = Link::new(node, upstream);
    let end = match link.run(stream, backoff).await {
        Ok(()) => End::Lost("the hub has ended the link".to_owned()),
        Err(end) => end,
    };
    connection.close(ErrorCode::Stopping.number().into(), b"");
    endpoint.close(ErrorCode::Stopping.number().into(), b"");
    end
}

async fn dial(
    upstream: &UpstreamOptions,
    credentials: &Credentials,
    domain: &TrustDomain,
) -> Result<(quinn::Endpoint, quinn::Connection, FrameStream), String> {
    let mut addresses = tokio::net::lookup_host(&upstream.address)
        .await
        .map_err(|e| format!("{} is not found: {e}", upstream.address))?;
    let address: SocketAddr =
        addresses.next().ok_or_else(|| format!("{} has no address", upstream.address))?;
    let refusals = Refusals::default();
    let config = tls::client_config_reporting(
        credentials,
        domain,
        upstream.server.clone(),
        Transport::Link,
        refusals.clone(),
    )
    .map_err(|e| e.to_string())?;
    let endpoint = tls::dialer(address).map_err(|e| e.to_string())?;
    let connecting =
        endpoint.connect_with(config, address, tls::SERVER_NAME).map_err(|e| e.to_string())?;
    let connection = match tokio::time::timeout(DIAL_DEADLINE, connecting).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => {
            let why = refusals.take().map_or_else(|| error.to_string(), |r| r.to_string());
            return Err(format!("{address}: {why}"));
        }
        Err(_) => return Err(format!("{address} does not answer")),
    };
    let stream = connection.open_bi().await.map_err(|e| e.to_string())?;
    Ok((endpoint, connection, FrameStream::quic(stream)))
}

/// One partition that is mirrored.
struct Source {
    slot: Slot,
    /// The topic's place in the link's list.
    topic: u16,
    partition: PartitionNumber,
    /// What is sent next.
    next: BatchNumber,
    /// What the hub has on its disk.
    acked: BatchNumber,
}

struct Link<'a> {
    node: &'a Arc<Inner>,
    upstream: &'a UpstreamOptions,
    state: MirrorOrigin,
    topics: Vec<TopicName>,
    sources: Vec<Source>,
    turn: usize,
    verified: bool,
}

impl<'a> Link<'a> {
    fn new(node: &'a Arc<Inner>, upstream: &'a UpstreamOptions) -> Self {
        let topics = wanted_topics(node, upstream);
        let named = topics
            .iter()
            .filter_map(|name| {
                let settings = node.view.topic(name)?;
                let settings = convert::settings_to_wire(&settings);
                Some(MirrorTopic { name: name.clone(), settings })
            })
            .collect();
        let state = MirrorOrigin::new(node.name.clone(), node.view.journal(), named);
        Self { node, upstream, state, topics, sources: Vec::new(), turn: 0, verified: false }
    }

    async fn run(&mut self, stream: FrameStream, backoff: &mut Duration) -> Result<(), End> {
        let FrameStream { mut send, mut recv } = stream;
        let mut durable = self.node.writer.state();
        self.state.on_connected(now());
        loop {
            while let Some(event) = self.state.poll_event() {
                self.on_event(event)?;
                if self.verified {
                    *backoff = BACKOFF_MIN;
                }
            }
            durable.borrow_and_update();
            if wanted_topics(self.node, self.upstream) != self.topics {
                return Err(End::TopicsChanged);
            }
            let more = !send.has_queued() && self.send_next().await?;
            while let Some(frame) = self.state.poll_transmit() {
                send.queue(frame);
            }
            let queued = send.has_queued();
            tokio::select! {
                sent = send.flush(), if queued => sent?,
                changed = durable.changed(), if !more && !queued => {
                    if changed.is_err() { return Ok(()); }
                }
                received = recv.recv() => match received? {
                    Some(frame) => self
                        .state
                        .handle_frame(now(), frame)
                        .map_err(|e| End::Lost(e.to_string()))?,
                    None => return Ok(()),
                },
            }
        }
    }

    fn on_event(&mut self, event: MirrorOriginEvent) -> Result<(), End> {
        match event {
            MirrorOriginEvent::Opened(ends) => match self.verify(&ends) {
                Ok(starts) => {
                    self.verified = true;
                    self.state.on_verified_from(&starts);
                    self.hold();
                    tracing::info!(partitions = self.sources.len(), "the link to the hub is up");
                    set_state(self.node, LinkState::Up, "");
                    Ok(())
                }
                Err(detail) => {
                    self.state.on_diverged(detail.clone());
                    Err(End::Diverged(detail))
                }
            },
            MirrorOriginEvent::Acked { topic, partition, end } => {
                let source = self
                    .sources
                    .iter_mut()
                    .find(|source| source.topic == topic && source.partition == partition);
                if let Some(source) = source {
                    source.acked = source.acked.max(end);
                }
                self.hold();
                self.node.report_link(PEER, |link| link.last_ack = Some(wall_now()));
                Ok(())
            }
            MirrorOriginEvent::Diverged(detail) => Err(End::Diverged(detail)),
            MirrorOriginEvent::Interrupted(refusal) | MirrorOriginEvent::Closed(refusal)
                if refusal.code == ErrorCode::LinkReplaced =>
            {
                Err(End::Replaced(refusal.to_string()))
            }
            MirrorOriginEvent::Interrupted(refusal) | MirrorOriginEvent::Closed(refusal) => {
                Err(End::Lost(refusal.to_string()))
            }
        }
    }

    /// Whether this node holds exactly the batch that each mirror ends with.
    /// Returns where empty mirrors begin other than at batch 0.
    fn verify(&mut self, ends: &[MirrorEnd]) -> Result<Vec<MirrorEnd>, String> {
        let view = &self.node.view;
        let mut starts = Vec::new();
        for end in ends {
            let Some(topic) = self.topics.get(usize::from(end.topic)) else { continue };
            let id = format!("{}/{topic}/{}", self.node.name, end.partition);
            let own = view.partitions(topic).into_iter().find(|partition| {
                partition.id.origin == self.node.name && partition.id.number == end.partition
            });
            let own = own.ok_or_else(|| format!("this node has no partition {id}"))?;
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
                    return Err(format!(
                        "the hub holds {id} of journal {}, this is journal {}: was this node \
                         reinstalled or restored?",
                        point.journal,
                        view.journal()
                    ));
                }
                Some(point) => {
                    let chain = view
                        .chain_at(own.slot, point.next_batch)
                        .map_err(|e| format!("cannot read {id}: {e}"))?;
                    if chain != Some(point.chain) {
                        let (here, there) = (own.end_batch, point.next_batch);
                        return Err(format!(
                            "the hub holds batches of {id} up to {there} that this node, which \
                             holds {} to {here}, does not have",
                            own.start_batch
                        ));
                    }
                    point.next_batch
                }
            };
            self.sources.push(Source {
                slot: own.slot,
                topic: end.topic,
                partition: end.partition,
                next,
                acked: next,
            });
        }
        Ok(starts)
    }

    /// Retention may drop what the hub has.
    fn hold(&self) {
        let ends: BTreeMap<Slot, BatchNumber> =
            self.sources.iter().map(|source| (source.slot, source.acked)).collect();
        self.node.report_link(PEER, |link| link.acked.clone_from(&ends));
        self.node.writer.hold_for_uplink(Some(ends));
    }

    /// Sends what the next partition has beyond the hub. Whether there may be more.
    async fn send_next(&mut self) -> Result<bool, End> {
        if !self.verified || self.state.credit() == 0 {
            return Ok(false);
        }
        for step in 0..self.sources.len() {
            let number = (self.turn + step) % self.sources.len();
            let source = &self.sources[number];
            let Some(partition) = self.node.view.partition(source.slot) else { continue };
            if partition.end_batch <= source.next {
                continue;
            }
            self.turn = number + 1;
            let (view, slot, next) = (self.node.view.clone(), source.slot, source.next);
            let max = READ_BYTES.min(self.state.credit());
            let read = tokio::task::spawn_blocking(move || view.read_from_batch(slot, next, max));
            let batches = match read.await {
                Ok(Ok(batches)) => batches,
                Ok(Err(ReadError::Gone)) => return Ok(true),
                Ok(Err(error)) => return Err(End::Lost(format!("a read failed: {error}"))),
                Err(_) => return Err(End::Lost("a read was cancelled".to_owned())),
            };
            let source = &mut self.sources[number];
            for batch in batches {
                let number = batch.header().batch_number;
                assert_eq!(number, source.next, "batches are read in their order");
                source.next = number.advance(1);
                self.state.send(source.topic, source.partition, &batch);
            }
            return Ok(true);
        }
        Ok(false)
    }
}

/// The topics of this node that go upstream and are there, in the order of their names.
fn wanted_topics(node: &Inner, upstream: &UpstreamOptions) -> Vec<TopicName> {
    let own = node.view.topics().into_iter().filter(|topic| topic.origin == node.name);
    own.map(|topic| topic.name).filter(|name| upstream.mirrors(name)).collect()
}
