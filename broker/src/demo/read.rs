//! Reading a whole topic back.

use std::time::Duration;

use takt_client::{Client, OrderSequence, Start};
use tokio::time::timeout;

use super::adapter::TOPIC;
use super::compare::Seen;
use super::error::DemoError;
use super::log::fact;

/// How long the next event may take.
const LIMIT: Duration = Duration::from_secs(20);
/// How long nothing must come behind the last event, so that it was the last.
const QUIET: Duration = Duration::from_millis(200);

/// All events of the topic, of every origin. `expected` is how many the node says there are; that
/// it delivers more or fewer is part of the answer.
pub async fn read_topic(client: &Client, expected: u64) -> Result<Vec<Seen>, DemoError> {
    let failed = |why: String| DemoError::Read(why);
    let consumer = client.consumer(TOPIC).from(Start::Earliest).build();
    let mut consumer = consumer.map_err(|error| failed(error.to_string()))?;
    let mut seen = Vec::new();
    loop {
        let is_all = seen.len() as u64 >= expected;
        let limit = if is_all { QUIET } else { LIMIT };
        let Ok(next) = timeout(limit, consumer.next()).await else { return Ok(seen) };
        let delivered = match next {
            Some(Ok(delivered)) => delivered,
            Some(Err(error)) => return Err(failed(error.to_string())),
            None => return Err(failed("the consumer has ended".to_owned())),
        };
        seen.push(Seen {
            origin: delivered.partition.origin.to_string(),
            partition: delivered.partition.number.get(),
            offset: delivered.offset.get(),
            order_sequence: delivered.order_sequence.map_or(0, OrderSequence::get),
            fact: fact(&delivered.event),
        });
    }
}
