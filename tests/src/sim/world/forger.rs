//! A producer that sends a sequence again with other content, as a broken adapter would: what it
//! sent first stays, and the second is refused.

use takt_protocol::batch::{BatchBuilder, Compression};
use takt_protocol::session::producer::{ProducerClient, ProducerConfig, ProducerEvent};
use takt_protocol::wire::{FrameKind, publish_frame};
use takt_protocol::words::{PartitionNumber, ProducerId, Sequence};

use super::{User, World};
use crate::sim::faults::Fault;
use crate::sim::history::{Fate, History, Intent, IntentId};
use crate::sim::identity::Identity;
use crate::sim::net::{ConnId, Host, NetNews};

/// A forger.
pub(super) struct Forger {
    session: ProducerClient,
    node: usize,
    /// What it sent under which sequence.
    sent: Option<(Sequence, IntentId)>,
    /// The second content is on its way.
    forged: bool,
}

impl World {
    pub(super) fn begin_forger(&mut self) {
        let node = self.dice.below(self.plan.plants as u64) as usize;
        let producer = self.history.producers.len();
        let name = format!("forger-{producer}");
        let conn = self.connect(User::Forger(producer), Host::Near(20_000 + producer), node);
        let peer = self.peer(conn).to_string();
        let id = ProducerId::new(&peer, &name).expect("names");
        self.history.producers.push(id.as_str().to_owned());
        self.history.sends.push(Vec::new());
        let session = ProducerClient::new(ProducerConfig {
            topic: self.topics[0].clone(),
            name,
            transient: true,
            in_flight_bytes_max: 1 << 20,
        });
        self.forgers.insert(producer, Forger { session, node, sent: None, forged: false });
    }

    pub(super) fn hear_forger(&mut self, producer: usize, conn: ConnId, news: NetNews) {
        let (now, instant) = (self.agenda.now(), self.instant());
        let Some(mut forger) = self.forgers.remove(&producer) else { return };
        match news {
            NetNews::Opened => forger.session.on_connected(instant),
            // It was worth one attempt.
            NetNews::Lost => return,
            NetNews::Accepted | NetNews::Readable | NetNews::Writable => {}
        }
        while let Some(frame) = self.net.take(now, conn, 0) {
            if forger.forged && frame.kind == FrameKind::Receipts {
                let what = format!("producer {producer}: another content has got a receipt");
                self.history.violated("I4", what);
                return;
            }
            if !forger.forged && forger.session.handle_frame(instant, frame).is_err() {
                return;
            }
        }
        while let Some(event) = forger.session.poll_event() {
            match (event, forger.sent) {
                (ProducerEvent::Opened { .. }, None) => {
                    let sequence = forger.session.next_sequence().expect("it is open");
                    let id = intent(&mut self.history, producer, forger.node);
                    let batch = laid_out(&self.history, id, sequence);
                    forger.session.submit(batch).expect("it has room");
                    self.history.send(producer, sequence.get(), id, now);
                    forger.sent = Some((sequence, id));
                }
                (ProducerEvent::Settled(receipt), Some((sequence, id))) => {
                    let receipt = receipt.receipts().next().expect("of one record");
                    let place = receipt.place.expect("it is new");
                    let answer = crate::sim::history::Answered::Appended;
                    self.history.acknowledge(id, answer, place, receipt.order_sequence, now);
                    // Never sent, as far as the history knows: it must not be found anywhere.
                    let other = intent(&mut self.history, producer, forger.node);
                    self.history.intents[other as usize].fate = Fate::Refused;
                    let batch = laid_out(&self.history, other, sequence);
                    let frame = publish_frame(vec![batch]).expect("one batch");
                    self.net.send(now, conn, 0, frame);
                    self.fired.count(Fault::Forged);
                    forger.forged = true;
                }
                _ => {}
            }
        }
        while !forger.forged
            && let Some(frame) = forger.session.poll_transmit()
        {
            self.net.send(now, conn, 0, frame);
        }
        self.forgers.insert(producer, forger);
    }
}

fn intent(history: &mut History, producer: usize, node: usize) -> IntentId {
    let content = history.new_content(20);
    let identity = Identity::Id(history.next_key(node, 0));
    let fate = Fate::Unknown;
    history.add(Intent {
        node,
        topic: 0,
        adapter: producer,
        identity,
        order: None,
        content,
        beside: false,
        sent: None,
        sent_last: None,
        fate,
    })
}

fn laid_out(history: &History, id: IntentId, sequence: Sequence) -> bytes::Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(&history.event(id)).expect("a small event");
    builder.finish(PartitionNumber::new(0), sequence).expect("one event")
}
