//! The topic of a measurement.

use takt_client::Client;
use takt_client::admin::messages::{OnConflict, TopicSettings};

use super::BenchError;

/// The default of a topic, 400 days, in seconds.
const HORIZON_S: u64 = 400 * 24 * 60 * 60;

/// A topic of one partition, and how many events it held before the measurement.
#[derive(Debug)]
pub(super) struct Topic {
    name: String,
    end_before: u64,
}

impl Topic {
    /// Makes the topic, where an earlier measurement has not made it.
    pub async fn open(client: &Client, name: String, dedup: bool) -> Result<Self, BenchError> {
        let settings = TopicSettings {
            partitions: 1,
            dedup,
            horizon_s: HORIZON_S,
            on_conflict: OnConflict::Quarantine.into(),
            ..TopicSettings::default()
        };
        client.admin().create_topic(&name, settings).await?;
        let end_before = end(client, &name).await?;
        Ok(Self { name, end_before })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Checks that it has grown by exactly the events that were acknowledged, and by those that were
    /// planned, where that is known.
    pub async fn check(
        &self,
        client: &Client,
        acknowledged: u64,
        planned: Option<u64>,
    ) -> Result<(), BenchError> {
        let stored = end(client, &self.name).await? - self.end_before;
        if stored != acknowledged || planned.is_some_and(|planned| planned != acknowledged) {
            return Err(BenchError::Lost { acknowledged, stored });
        }
        Ok(())
    }
}

/// How many events the topic holds: the sum of the end offsets of its partitions.
async fn end(client: &Client, topic: &str) -> Result<u64, BenchError> {
    let info = client.admin().topic_info(topic).await?;
    Ok(info.partitions.iter().map(|partition| partition.end_offset).sum())
}
