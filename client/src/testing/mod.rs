//! A node without a disk, at the other end of a pipe: the server halves of the sessions and a model
//! that judges as a node does. A script says what goes wrong.

pub mod log;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use takt_protocol::batch::{Batch, Place, Verdict};
use takt_protocol::codes::ErrorCode;
use takt_protocol::event::Event;
use takt_protocol::session::producer::{
    KeptReceipt, ProducerOpened, ProducerRequest, ProducerServer, ServerLimits,
};
use takt_protocol::session::{Refusal, StreamKind, accept};
use takt_protocol::wire::BatchReceipt;
use takt_protocol::words::{
    Digest, Epoch, Offset, OrderKey, OrderSequence, PartitionNumber, ProducerId, Sequence,
    Timestamp,
};
use tokio::sync::{Notify, oneshot};
use tokio::task::{AbortHandle, JoinSet};

use self::log::Log;
use crate::connection::Client;
use crate::connection::session::now;
use crate::tls::{Identity, TrustDomain};
use crate::transport::{FrameStream, pipe};

/// What the node does with the next batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    Store,
    /// Stores it and cuts the stream before it answers.
    StoreAndCut,
    /// Cuts the stream before it stores.
    Cut,
    Refuse(ErrorCode),
    /// Stores it, and answers once [`TestNode::release`] is called.
    Hold,
}

#[derive(Debug, Default)]
struct Known {
    epoch: u64,
    last: u64,
    kept: VecDeque<KeptReceipt>,
}

#[derive(Debug)]
pub struct Model {
    pub partitions: u16,
    pub acts: VecDeque<Act>,
    pub opens: usize,
    /// First sequence and CRC of every batch that came, repeats included.
    pub arrived: Vec<(u64, u32)>,
    /// Events that are visible, per partition.
    pub stored: Vec<Vec<Event>>,
    producers: BTreeMap<String, Known>,
    firsts: BTreeMap<(String, String), (Digest, Place, Option<OrderSequence>)>,
    orders: BTreeMap<OrderKey, u64>,
}

impl Model {
    fn new(partitions: u16) -> Self {
        Self {
            partitions,
            acts: VecDeque::new(),
            opens: 0,
            arrived: Vec::new(),
            stored: vec![Vec::new(); usize::from(partitions)],
            producers: BTreeMap::new(),
            firsts: BTreeMap::new(),
            orders: BTreeMap::new(),
        }
    }

    pub fn stored_ids(&self) -> Vec<&str> {
        self.stored.iter().flatten().map(|event| event.id.as_str()).collect()
    }

    /// Lets a producer of the same name take over.
    pub fn fence(&mut self) {
        self.producers.values_mut().for_each(|known| known.epoch += 1);
    }

    fn open(&mut self, producer: ProducerId) -> ProducerOpened {
        self.opens += 1;
        let known = self.producers.entry(producer.to_string()).or_default();
        known.epoch += 1;
        ProducerOpened {
            producer,
            epoch: Epoch::new(known.epoch),
            last_sequence: Sequence::new(known.last),
            partitions: self.partitions,
            kept: known.kept.iter().cloned().collect(),
        }
    }

    fn judge(
        &mut self,
        producer: &ProducerId,
        epoch: Epoch,
        batch: &Batch,
    ) -> Result<BatchReceipt, Refusal> {
        batch.check(self.partitions).expect("a client sends good batches");
        let header = batch.header();
        let known = self.producers.get_mut(producer.as_str()).expect("it was opened");
        if epoch.get() < known.epoch {
            return Err(Refusal::new(ErrorCode::Fenced, "a newer one"));
        }
        let first = header.first_sequence.get();
        if first <= known.last {
            let same = |kept: &&KeptReceipt| kept.crc == header.crc;
            let kept = known.kept.iter().find(same);
            let reused = || Refusal::new(ErrorCode::SequenceReused, "reused");
            return kept.map(|kept| kept.receipt.clone()).ok_or_else(reused);
        }
        if first != known.last + 1 {
            let expected = Sequence::new(known.last + 1);
            return Err(Refusal::resend(ErrorCode::Gap, "gap", expected));
        }
        let partition = usize::from(header.partition.get());
        let base_offset = self.stored[partition].len() as u64;
        let payload = batch.raw_payload().unwrap();
        let mut verdicts = Vec::new();
        for record in batch.records().unwrap() {
            let record = record.unwrap();
            let end = record.data_at + record.data_len;
            let event = record.to_event(payload.slice(record.data_at..end)).unwrap();
            let key = (event.source.clone(), event.id.clone());
            let verdict = match self.firsts.get(&key) {
                Some((digest, of, order_sequence)) if *digest == record.digest => {
                    Verdict::Duplicate { of: *of, order_sequence: *order_sequence }
                }
                Some((_, with, _)) => Verdict::Conflict { with: *with, listed: true },
                None => {
                    let order_sequence = event.order_key.clone().map(|key| {
                        let sequence = self.orders.entry(key).or_default();
                        *sequence += 1;
                        OrderSequence::new(*sequence)
                    });
                    let offset = Offset::new(self.stored[partition].len() as u64);
                    let place = Place { partition: header.partition, offset };
                    self.firsts.insert(key, (record.digest, place, order_sequence));
                    self.stored[partition].push(event);
                    Verdict::Visible { order_sequence, restarted: false }
                }
            };
            verdict.encode(&mut verdicts);
        }
        let receipt = BatchReceipt {
            first_sequence: header.first_sequence,
            records: header.records,
            partition: header.partition,
            base_offset: Offset::new(base_offset),
            append_time: Timestamp::from_micros(1),
            verdicts: verdicts.into(),
        };
        known.last += header.records as u64;
        known.kept.push_back(KeptReceipt { crc: header.crc, receipt: receipt.clone() });
        if known.kept.len() > 64 {
            known.kept.pop_front();
        }
        Ok(receipt)
    }
}

/// A node whose script the test writes.
#[derive(Debug, Clone)]
pub struct TestNode {
    model: Arc<Mutex<Model>>,
    /// What subscribers read; what producers send does not get there.
    pub log: Arc<Log>,
    released: Arc<Notify>,
    accepting: AbortHandle,
}

impl TestNode {
    pub fn start(partitions: u16) -> (Client, Self) {
        let identity = Identity::plant_client(&TrustDomain::default(), "munich", "mes").unwrap();
        let (connector, mut listener) = pipe(identity);
        let (sender, receiver) = oneshot::channel::<Self>();
        let accepting = tokio::spawn(async move {
            let Ok(node) = receiver.await else { return };
            let mut streams = JoinSet::new();
            while let Some(stream) = listener.accept().await {
                streams.spawn(node.clone().serve(stream));
            }
        });
        let node = Self {
            model: Arc::new(Mutex::new(Model::new(partitions))),
            log: Arc::new(Log::default()),
            released: Arc::new(Notify::new()),
            accepting: accepting.abort_handle(),
        };
        sender.send(node.clone()).expect("it waits for it");
        (Client::over(connector), node)
    }

    pub fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap()
    }

    /// Lets what is held go on.
    pub fn release(&self) {
        self.released.notify_one();
    }

    /// Stops the node for good.
    pub fn stop(&self) {
        self.accepting.abort();
    }

    pub async fn serve(self, mut stream: FrameStream) {
        let Ok(Some(hello)) = stream.recv.recv().await else { return };
        match accept(hello).expect("a client begins with a hello") {
            StreamKind::Producer => produce(stream, self.model, self.released).await,
            StreamKind::Subscriber => log::deliver(stream, self.log).await,
            StreamKind::Mirror | StreamKind::Admin => {}
        }
    }
}

async fn produce(mut stream: FrameStream, model: Arc<Mutex<Model>>, released: Arc<Notify>) {
    let identity = "spiffe://takt.local/plant/munich/client/mes".to_owned();
    let mut server = ProducerServer::new(identity, ServerLimits::default());
    let mut opened = None;
    loop {
        while let Some(request) = server.poll_event() {
            match request {
                ProducerRequest::Open { producer, topic, .. } if topic.as_str() == "orders" => {
                    let answer = model.lock().unwrap().open(producer);
                    opened = Some((answer.producer.clone(), answer.epoch));
                    server.on_opened(Ok(answer));
                }
                ProducerRequest::Open { .. } => {
                    server.on_opened(Err(Refusal::new(ErrorCode::UnknownTopic, "no such topic")));
                }
                ProducerRequest::Submit { ticket, batch } => {
                    let (producer, epoch) = opened.clone().expect("opened first");
                    let act = {
                        let mut model = model.lock().unwrap();
                        let header = batch.header();
                        model.arrived.push((header.first_sequence.get(), header.crc));
                        model.acts.pop_front().unwrap_or(Act::Store)
                    };
                    let judged = match act {
                        Act::Cut => return,
                        Act::Refuse(code) if code == ErrorCode::Full => {
                            let expected = batch.header().first_sequence;
                            Err(Refusal::resend(code, "no space", expected))
                        }
                        Act::Refuse(code) => Err(Refusal::new(code, "refused")),
                        Act::Store | Act::StoreAndCut | Act::Hold => {
                            model.lock().unwrap().judge(&producer, epoch, &batch)
                        }
                    };
                    match act {
                        Act::StoreAndCut => return,
                        Act::Hold => released.notified().await,
                        Act::Cut | Act::Refuse(_) | Act::Store => {}
                    }
                    server.on_judged(ticket, judged);
                }
            }
        }
        while let Some(frame) = server.poll_transmit() {
            if stream.send.send(frame).await.is_err() {
                return;
            }
        }
        if server.is_closed() {
            return;
        }
        match stream.recv.recv().await {
            Ok(Some(frame)) => server.handle_frame(now(), frame).expect("a client keeps the rules"),
            Ok(None) | Err(_) => return,
        }
    }
}

/// An event that differs from others by its id, of an order.
pub fn event(id: &str, order: &str) -> Event {
    Event {
        id: id.to_owned(),
        source: "//acme/munich/mes".to_owned(),
        kind: "mfg.operation.confirmed.v1".to_owned(),
        order_key: (!order.is_empty()).then(|| OrderKey::new(order).unwrap()),
        data: format!("{{\"id\":{id:?}}}").into(),
        ..Event::default()
    }
}

pub fn place(partition: u16, offset: u64) -> Place {
    Place { partition: PartitionNumber::new(partition), offset: Offset::new(offset) }
}
