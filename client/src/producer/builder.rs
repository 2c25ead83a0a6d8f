//! Settings of a producer.

use std::sync::Arc;
use std::time::Duration;

use takt_protocol::batch::Compression;
use takt_protocol::limits::{BATCH_RECORDS_MAX, batch_bytes_max};
use takt_protocol::session::producer::{ProducerClient, ProducerConfig};
use takt_protocol::words::{ProducerId, TopicName};
use tokio::sync::mpsc;

use super::Producer;
use super::batcher::BatchSettings;
use super::core::Core;
use super::event_batch::Builders;
use super::receipt::BuildError;
use super::shared::Shared;
use super::task::Task;
use crate::connection::Connector;

const LINGER: Duration = Duration::from_millis(1);
const LINGER_MAX: Duration = Duration::from_mins(1);
const BATCH_RECORDS: usize = 1_000;
const BATCH_BYTES: usize = 256 << 10;
const IN_FLIGHT_BYTES: usize = 8 << 20;
const IN_FLIGHT_BYTES_MAX: usize = 1 << 30;

/// Settings of a producer; [`ProducerBuilder::build`] starts it.
#[derive(Debug, Clone)]
#[must_use]
pub struct ProducerBuilder {
    connector: Arc<Connector>,
    topic: String,
    name: Option<String>,
    batch: BatchSettings,
    in_flight_bytes: usize,
}

impl ProducerBuilder {
    pub(crate) fn new(connector: Arc<Connector>, topic: &str) -> Self {
        Self {
            connector,
            topic: topic.to_owned(),
            name: None,
            batch: BatchSettings {
                linger: LINGER,
                bytes: BATCH_BYTES,
                records: BATCH_RECORDS,
                compression: Compression::None,
            },
            in_flight_bytes: IN_FLIGHT_BYTES,
        }
    }

    /// Names the producer. The name with the certificate's identity is who it is, over restarts;
    /// a newer producer of the same name shuts an older one out. Unnamed, it is someone new each
    /// time, and the node forgets it an hour after its session has ended.
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// How long an event may wait for others to share its batch, while other batches are in flight:
    /// 1 ms by default, at most 60 s. While fewer than two are in flight it does not wait.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.batch.linger = linger.min(LINGER_MAX);
        self
    }

    /// The size in bytes, before compression, at which a batch is sent: 256 KiB by default.
    pub fn batch_bytes(mut self, bytes: usize) -> Self {
        self.batch.bytes = bytes;
        self
    }

    /// How many records a batch may hold: 1,000 by default, at most 4,096.
    pub fn batch_records(mut self, records: usize) -> Self {
        self.batch.records = records;
        self
    }

    /// How the data of a batch is compressed: not at all by default.
    pub fn compression(mut self, compression: Compression) -> Self {
        self.batch.compression = compression;
        self
    }

    /// How many bytes of events may wait for their receipts, here and on the way: 8 MiB by default.
    pub fn in_flight_bytes(mut self, bytes: usize) -> Self {
        self.in_flight_bytes = bytes;
        self
    }

    /// Starts the producer. It connects by itself: see [`Producer::ready`].
    ///
    /// # Errors
    /// [`BuildError`] where a name or a setting does not hold.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn build(self) -> Result<Producer, BuildError> {
        let topic = TopicName::new(&self.topic)?;
        let transient = self.name.is_none();
        let name = self.name.unwrap_or_else(random_name);
        ProducerId::new("-", &name)?;
        let Self { connector, batch, in_flight_bytes, .. } = self;
        within("batch_bytes", batch.bytes, batch_bytes_max(1), "1 to 983,000")?;
        within("batch_records", batch.records, BATCH_RECORDS_MAX, "1 to 4,096")?;
        within("in_flight_bytes", in_flight_bytes, IN_FLIGHT_BYTES_MAX, "1 to 2^30")?;
        let config = ProducerConfig {
            topic: topic.clone(),
            name,
            transient,
            in_flight_bytes_max: in_flight_bytes,
        };
        let shared = Arc::new(Shared::new(in_flight_bytes));
        let builders = Arc::new(Builders::new(batch));
        let core =
            Core::new(ProducerClient::new(config), Arc::clone(&shared), Arc::clone(&builders));
        let (sender, commands) = mpsc::unbounded_channel();
        tokio::spawn(Task { topic, connector, core, commands }.run());
        Ok(Producer { shared, builders, commands: sender })
    }
}

fn within(
    setting: &'static str,
    value: usize,
    max: usize,
    bounds: &'static str,
) -> Result<(), BuildError> {
    if (1..=max).contains(&value) {
        Ok(())
    } else {
        Err(BuildError::Setting { setting, value, bounds })
    }
}

fn random_name() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the system has randomness");
    format!("unnamed-{:032x}", u128::from_le_bytes(bytes))
}
