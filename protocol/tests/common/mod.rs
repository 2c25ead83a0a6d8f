//! Batches to test with, and a stream that can be cut at any byte.
#![allow(dead_code, clippy::unwrap_used, reason = "each test uses a part")]

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use takt_protocol::batch::{
    Batch, BatchBuilder, Compression, StoredBatch, StoredHeader, StoredKind, Verdict,
};
use takt_protocol::chunks::Chunks;
use takt_protocol::event::Event;
use takt_protocol::wire::{Frame, FrameDecoder, FrameError, OutFrame};
use takt_protocol::words::{
    BatchNumber, Epoch, Offset, OrderKey, OrderSequence, PartitionChain, PartitionNumber,
    ProducerId, Sequence, Timestamp,
};

/// Where a test's clock begins; from here on it only moves by hand.
#[expect(clippy::disallowed_methods, reason = "an instant has no other constructor")]
pub fn start() -> Instant {
    Instant::now()
}

/// An event with an order key.
pub fn event(id: &str) -> Event {
    Event {
        id: id.into(),
        source: "//acme/plant07".into(),
        kind: "mfg.operation.confirmed.v1".into(),
        time: Some(Timestamp::from_micros(1_700_000_000_000_000)),
        order_key: Some(OrderKey::new("PO-4711").unwrap()),
        data: Bytes::from(format!("{{\"id\":\"{id}\"}}")),
        ..Event::default()
    }
}

/// A sealed batch for partition 0 that begins at `first`.
pub fn batch(first: u64, records: usize) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    for i in 0..records as u64 {
        builder.push(&event(&(first + i).to_string())).unwrap();
    }
    builder.finish(PartitionNumber::new(0), Sequence::new(first)).unwrap()
}

/// As [`batch`], read back.
pub fn read(bytes: &Bytes) -> Batch {
    Batch::take(&mut Chunks::from(bytes.clone())).unwrap()
}

/// Visible verdicts for `records`, the order sequences from `order`.
pub fn visible(records: usize, order: u64) -> Vec<u8> {
    let mut out = Vec::new();
    for i in 0..records as u64 {
        let order_sequence = Some(OrderSequence::new(order + i));
        Verdict::Visible { order_sequence, restarted: false }.encode(&mut out);
    }
    out
}

/// One origin's partition: stores batches with a chain.
#[derive(Default)]
pub struct Partition {
    pub next_offset: u64,
    pub chain: PartitionChain,
    pub batches: Vec<StoredBatch>,
}

impl Partition {
    pub fn store(&mut self, client: &Bytes) -> StoredBatch {
        let batch = read(client);
        let records = batch.header().records;
        self.store_with(client, records, &visible(records, self.next_offset + 1))
    }

    pub fn store_with(&mut self, client: &Bytes, visible: usize, verdicts: &[u8]) -> StoredBatch {
        let batch = read(client);
        let header = StoredHeader {
            kind: StoredKind::Data,
            batch_number: BatchNumber::new(self.batches.len() as u64),
            base_offset: Offset::new(self.next_offset),
            visible,
            records: batch.header().records,
            append_time: Timestamp::from_micros(1_700_000_000_000_000),
            producer: ProducerId::new("spiffe://takt.local/plant/munich/client/mes", "m").unwrap(),
            epoch: Epoch::new(1),
            crc: batch.header().crc,
            chain: PartitionChain::default(),
            batch_len: client.len(),
        };
        let mut bytes = Vec::new();
        self.chain = header.encode(self.chain, verdicts, &mut bytes);
        bytes.extend_from_slice(client);
        let stored = StoredBatch::take(&mut Chunks::from(Bytes::from(bytes))).unwrap();
        self.next_offset += visible as u64;
        self.batches.push(stored.clone());
        stored
    }
}

/// One direction of a stream: bytes on their way, cut into pieces as they arrive.
#[derive(Default)]
pub struct Half {
    on_way: VecDeque<u8>,
    decoder: FrameDecoder,
}

impl Half {
    pub fn send(&mut self, frame: &OutFrame) {
        self.on_way.extend(frame.to_bytes());
    }

    pub fn on_way(&self) -> usize {
        self.on_way.len()
    }

    /// Lets up to `len` bytes arrive.
    pub fn arrive(&mut self, len: usize) -> Result<Vec<Frame>, FrameError> {
        let len = len.min(self.on_way.len());
        self.decoder.push(self.on_way.drain(..len).collect::<Vec<u8>>().into());
        let mut frames = Vec::new();
        while let Some(frame) = self.decoder.next()? {
            frames.push(frame);
        }
        Ok(frames)
    }
}

/// Numbers that a test draws: from a list, and 0 behind its end.
pub struct Choices {
    list: Vec<u8>,
    at: usize,
}

impl Choices {
    pub fn new(list: Vec<u8>) -> Self {
        Self { list, at: 0 }
    }

    pub fn is_over(&self) -> bool {
        self.at >= self.list.len()
    }

    pub fn below(&mut self, bound: usize) -> usize {
        let choice = self.list.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        usize::from(choice) % bound
    }
}
