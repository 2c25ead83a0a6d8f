//! Events and batches like those of `takt bench publish`.

use bytes::Bytes;
use takt_protocol::batch::{Batch, BatchBuilder, Compression};
use takt_protocol::chunks::Chunks;
use takt_protocol::event::Event;
use takt_protocol::words::{OrderKey, PartitionNumber, Sequence, Timestamp};

use crate::Seeded;

/// Records in a batch.
pub const RECORDS: usize = 1_000;
/// Bytes of data in a record.
pub const DATA_BYTES: usize = 256;
/// Different order keys.
const ORDERS: u64 = 100_000;

/// Makes events that are all different, the same for a seed.
#[derive(Debug, Clone)]
pub struct EventSource {
    random: Seeded,
    next: u64,
}

impl EventSource {
    /// Begins with the first event of a seed.
    pub fn new(seed: u64) -> Self {
        Self { random: Seeded::new(seed), next: 0 }
    }

    /// The next event: [`DATA_BYTES`] of data that does not compress.
    pub fn event(&mut self) -> Event {
        self.next += 1;
        let order = self.random.next_u64() % ORDERS;
        let data: Vec<u8> =
            (0..DATA_BYTES / 8).flat_map(|_| self.random.next_u64().to_le_bytes()).collect();
        Event {
            id: format!("{:012}", self.next),
            source: "//bench/1".to_owned(),
            kind: "mfg.operation.confirmed.v1".to_owned(),
            time: i64::try_from(self.next).ok().map(Timestamp::from_micros),
            order_key: Some(OrderKey::new(&format!("PO-{order:08}")).expect("a short key")),
            data: data.into(),
            ..Event::default()
        }
    }

    /// The next [`RECORDS`] events.
    pub fn events(&mut self) -> Vec<Event> {
        (0..RECORDS).map(|_| self.event()).collect()
    }

    /// The next [`RECORDS`] events as a batch for partition 0.
    ///
    /// # Panics
    /// If `first_sequence` is 0.
    pub fn batch(&mut self, builder: &mut BatchBuilder, first_sequence: Sequence) -> Bytes {
        for event in self.events() {
            builder.push(&event).expect("a batch takes as many");
        }
        builder.finish(PartitionNumber::new(0), first_sequence).expect("it is not empty")
    }
}

/// The batch in `bytes`, which must be one.
///
/// # Panics
/// If they are none.
pub fn batch_of(bytes: Bytes) -> Batch {
    Batch::take(&mut Chunks::from(bytes)).expect("a batch that was just made")
}

impl Default for EventSource {
    fn default() -> Self {
        Self::new(1)
    }
}

/// A builder of batches that are not compressed.
pub(crate) fn builder() -> BatchBuilder {
    BatchBuilder::new(Compression::None)
}
