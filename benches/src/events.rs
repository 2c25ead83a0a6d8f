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

/// Reports as JSON, one behind the other, as a pack gets the payload of a batch: about
/// [`DATA_BYTES`] each.
pub fn reports_of(seed: u64, records: usize) -> Vec<u8> {
    let mut random = Seeded::new(seed + 1);
    let mut bytes = Vec::new();
    for _ in 0..records {
        let mut below = |bound: u64| random.next_u64() % bound;
        let report = serde_json::json!({
            "order": format!("PO-{:08}", below(ORDERS)),
            "operation": format!("{:04}", 10 * below(40)),
            "workcenter": format!("CNC-{:02}", below(24)),
            "operator": format!("E{:05}", below(900)),
            "good": below(500),
            "scrap": below(9),
            "setup_s": below(3_600),
            "run_s": below(36_000),
            "confirmed_at": format!("2026-11-{:02}T{:02}:{:02}:00Z", 1 + below(28), below(24), below(60)),
            "material": format!("4711-{:06}", below(3_000)),
            "note": "partial confirmation",
        });
        bytes.extend_from_slice(report.to_string().as_bytes());
    }
    bytes
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
