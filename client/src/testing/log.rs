//! A partition that subscribers read, and the server half that delivers it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use takt_protocol::batch::{
    Batch, BatchBuilder, Compression, StoredBatch, StoredHeader, StoredKind, Verdict,
};
use takt_protocol::chunks::Chunks;
use takt_protocol::event::Event;
use takt_protocol::session::Refusal;
use takt_protocol::session::subscriber::{
    Start, SubscriberOpened, SubscriberRequest, SubscriberServer, Subscription,
};
use takt_protocol::words::{
    BatchNumber, CursorName, Epoch, NodeName, Offset, OrderSequence, PartitionChain, PartitionId,
    PartitionNumber, ProducerId, Sequence, Timestamp, TopicName,
};
use tokio::sync::Notify;

use super::place;
use crate::connection::session::now;
use crate::transport::FrameStream;

#[derive(Debug, Default)]
pub struct LogState {
    batches: Vec<StoredBatch>,
    chain: PartitionChain,
    end: u64,
    pub subscriptions: Vec<Subscription>,
    pub cursors: BTreeMap<CursorName, Offset>,
    pub delivered: usize,
    /// Cuts the stream once so many batches have been delivered on it; one entry per stream.
    pub cuts: VecDeque<usize>,
    /// Cuts the stream instead of answering so many commits.
    pub lost_commits: usize,
    pub refusal: Option<Refusal>,
    /// The oldest record that is kept.
    pub start: u64,
}

#[derive(Debug, Default)]
pub struct Log {
    state: Mutex<LogState>,
    grown: Notify,
}

pub fn partition() -> PartitionId {
    PartitionId {
        origin: NodeName::new("munich").unwrap(),
        topic: TopicName::new("orders").unwrap(),
        number: PartitionNumber::new(0),
    }
}

impl Log {
    pub fn state(&self) -> MutexGuard<'_, LogState> {
        self.state.lock().unwrap()
    }

    /// Appends one batch; events with the id `masked` are duplicates in it.
    pub fn append(&self, events: &[Event], compression: Compression) {
        let mut state = self.state.lock().unwrap();
        let mut builder = BatchBuilder::new(compression);
        let mut verdicts = Vec::new();
        let mut visible = 0;
        for event in events {
            builder.push(event).unwrap();
            let verdict = if event.id == "masked" {
                Verdict::Duplicate { of: place(0, 0), order_sequence: None }
            } else {
                visible += 1;
                let order_sequence = Some(OrderSequence::new(state.end + visible as u64));
                Verdict::Visible { order_sequence, restarted: false }
            };
            verdict.encode(&mut verdicts);
        }
        let bytes = builder.finish(PartitionNumber::new(0), Sequence::new(1)).unwrap();
        let batch = Batch::take(&mut bytes.clone().into()).unwrap();
        let header = StoredHeader {
            kind: StoredKind::Data,
            batch_number: BatchNumber::new(state.batches.len() as u64),
            base_offset: Offset::new(state.end),
            visible,
            records: events.len(),
            append_time: Timestamp::from_micros(7),
            producer: ProducerId::new("spiffe://takt.local/operator/ada", "mes").unwrap(),
            epoch: Epoch::new(1),
            crc: batch.header().crc,
            chain: PartitionChain::default(),
            batch_len: bytes.len(),
        };
        let mut stored = Vec::new();
        state.chain = header.encode(state.chain, &verdicts, &mut stored);
        let mut chunks = Chunks::from(bytes::Bytes::from(stored));
        chunks.push(bytes);
        state.batches.push(StoredBatch::take(&mut chunks).unwrap());
        state.end += visible as u64;
        drop(state);
        self.grown.notify_waiters();
    }

    fn open(&self, subscription: Subscription) -> Result<SubscriberOpened, Refusal> {
        let mut state = self.state.lock().unwrap();
        let start = match (&subscription.start, &subscription.cursor) {
            (Start::Latest, _) => Offset::new(state.end),
            (Start::Offsets(offsets), _) => offsets.first().map(|at| at.1).unwrap_or_default(),
            (Start::Cursor, Some(name)) => state.cursors.get(name).copied().unwrap_or_default(),
            (Start::Earliest | Start::Time(_) | Start::Cursor, _) => Offset::new(0),
        };
        state.subscriptions.push(subscription);
        if let Some(refusal) = state.refusal.clone() {
            return Err(refusal);
        }
        let start = start.max(Offset::new(state.start));
        Ok(SubscriberOpened { topic_partitions: 1, partitions: vec![(partition(), start)] })
    }
}

pub async fn deliver(mut stream: FrameStream, log: Arc<Log>) {
    let mut server = SubscriberServer::new();
    let mut at = None;
    let cut = log.state().cuts.pop_front().unwrap_or(usize::MAX);
    let mut delivered = 0;
    loop {
        let grown = log.grown.notified();
        while let Some(request) = server.poll_event() {
            match request {
                SubscriberRequest::Open(subscription) => {
                    let opened = log.open(subscription);
                    if let Ok(opened) = &opened {
                        let start = opened.partitions[0].1;
                        let state = log.state();
                        let behind = |batch: &StoredBatch| batch.end_offset() <= start;
                        at = Some(state.batches.iter().take_while(|batch| behind(batch)).count());
                    }
                    server.on_opened(opened);
                }
                SubscriberRequest::Commit { token, cursor, positions, .. } => {
                    let mut state = log.state();
                    if state.lost_commits > 0 {
                        state.lost_commits -= 1;
                        return;
                    }
                    state.cursors.insert(cursor, positions[0].1);
                    server.on_committed(token, Ok(()));
                }
            }
        }
        while let Some(next) = at.as_mut().filter(|_| server.credit() > 0 && delivered < cut) {
            let Some(batch) = log.state().batches.get(*next).cloned() else { break };
            *next += 1;
            delivered += 1;
            log.state().delivered += 1;
            server.deliver(0, &batch);
        }
        while let Some(frame) = server.poll_transmit() {
            if stream.send.send(frame).await.is_err() {
                return;
            }
        }
        if server.is_closed() || delivered >= cut {
            return;
        }
        tokio::select! {
            frame = stream.recv.recv() => match frame {
                Ok(Some(frame)) => {
                    server.handle_frame(now(), frame).expect("a client keeps the rules");
                }
                Ok(None) | Err(_) => return,
            },
            () = grown => {}
        }
    }
}
