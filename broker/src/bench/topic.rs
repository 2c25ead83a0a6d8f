//! The topics of a measurement.

use takt_client::Client;
use takt_client::admin::messages::{OnConflict, TopicSettings};
use takt_protocol::limits::HORIZON_S_DEFAULT;

use super::BenchError;

/// The topics, and how many events they held before the measurement.
#[derive(Debug)]
pub(super) struct Topics {
    names: Vec<String>,
    end_before: u64,
}

impl Topics {
    /// Makes the topics of these names, where an earlier measurement has not made them.
    pub async fn open(
        client: &Client,
        names: Vec<String>,
        partitions: u16,
        dedup: bool,
    ) -> Result<Self, BenchError> {
        let settings = TopicSettings {
            partitions: partitions.into(),
            dedup,
            horizon_s: HORIZON_S_DEFAULT,
            on_conflict: OnConflict::Quarantine.into(),
            ..TopicSettings::default()
        };
        for name in &names {
            client.admin().create_topic(name, settings).await?;
        }
        let mut topics = Self { names, end_before: 0 };
        topics.end_before = topics.end(client).await?;
        Ok(topics)
    }

    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Checks that they have grown by exactly the events that were acknowledged, and by those that
    /// were planned, where that is known.
    pub async fn check(
        &self,
        client: &Client,
        acknowledged: u64,
        planned: Option<u64>,
    ) -> Result<(), BenchError> {
        let stored = self.end(client).await? - self.end_before;
        if stored != acknowledged || planned.is_some_and(|planned| planned != acknowledged) {
            return Err(BenchError::Lost { acknowledged, stored });
        }
        Ok(())
    }

    /// How many events they hold: the sum of the end offsets of their partitions.
    async fn end(&self, client: &Client) -> Result<u64, BenchError> {
        let mut end = 0;
        for name in &self.names {
            let info = client.admin().topic_info(name).await?;
            end += info.partitions.iter().map(|partition| partition.end_offset).sum::<u64>();
        }
        Ok(end)
    }
}
