//! Settings of a consumer.

use std::sync::Arc;

use takt_protocol::session::subscriber::{self, SubscriberClient, Subscription};
use takt_protocol::words::{CursorName, NodeName, Offset, PartitionId, Timestamp, TopicName};
use tokio::sync::mpsc;

use super::Consumer;
use super::error::BuildError;
use super::task::{Core, Task};
use crate::connection::Connector;

const CREDIT_BYTES: usize = 4 << 20;
const CREDIT_BYTES_MAX: usize = 1 << 30;

/// Where a consumer begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// With the oldest record that is kept.
    Earliest,
    /// With the next record.
    Latest,
    /// With the first record appended at or after this.
    Time(Timestamp),
    /// At these offsets; a partition that is not named begins at its start.
    Offsets(Vec<(PartitionId, Offset)>),
    /// Where the cursor of this name stands, earliest where it stands nowhere yet. Commits go there.
    Cursor(String),
}

/// Settings of a consumer; [`ConsumerBuilder::build`] starts it.
#[derive(Debug, Clone)]
#[must_use]
pub struct ConsumerBuilder {
    connector: Arc<Connector>,
    topic: String,
    start: Option<Start>,
    cursor: Option<String>,
    hold: Option<bool>,
    credit_bytes: usize,
    origin: Option<String>,
}

impl ConsumerBuilder {
    pub(crate) fn new(connector: Arc<Connector>, topic: &str) -> Self {
        Self {
            connector,
            topic: topic.to_owned(),
            start: None,
            cursor: None,
            hold: None,
            credit_bytes: CREDIT_BYTES,
            origin: None,
        }
    }

    /// Where to begin: by default at the cursor, and without one at the earliest.
    pub fn from(mut self, start: Start) -> Self {
        self.start = Some(start);
        self
    }

    /// Names the durable position that [`Consumer::commit`] moves.
    pub fn cursor(mut self, name: &str) -> Self {
        self.cursor = Some(name.to_owned());
        self
    }

    /// Whether the cursor holds retention back until it has passed, from its first commit on. By
    /// default it stays as it is, and a new one does not.
    pub fn hold(mut self, hold: bool) -> Self {
        self.hold = Some(hold);
        self
    }

    /// How many bytes of batches may be on their way or wait here: 4 MiB by default. One batch more
    /// may come.
    pub fn credit_bytes(mut self, bytes: usize) -> Self {
        self.credit_bytes = bytes;
        self
    }

    /// Reads only the partitions of this origin: of all by default.
    pub fn origin(mut self, node: &str) -> Self {
        self.origin = Some(node.to_owned());
        self
    }

    /// Starts the consumer. It connects by itself.
    ///
    /// # Errors
    /// [`BuildError`] where a name or a setting does not hold.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn build(self) -> Result<Consumer, BuildError> {
        let Self { connector, topic, start, cursor, hold, credit_bytes, origin } = self;
        if !(1..=CREDIT_BYTES_MAX).contains(&credit_bytes) {
            return Err(BuildError::Credit { value: credit_bytes });
        }
        let topic = TopicName::new(&topic)?;
        let (start, cursor) = where_to_begin(start, cursor)?;
        let cursor = cursor.map(|name| CursorName::new(&name)).transpose()?;
        let has_cursor = cursor.is_some();
        let origin = origin.map(|name| NodeName::new(&name)).transpose()?;
        let session = SubscriberClient::new(Subscription {
            topic: topic.clone(),
            start,
            cursor,
            hold,
            credit_bytes,
            origin,
        });
        // Bounded by the credit.
        let (sender, items) = mpsc::unbounded_channel();
        let (commands, received) = mpsc::unbounded_channel();
        let core = Core::new(session, sender);
        tokio::spawn(Task { topic, connector, commands: received, core }.run());
        Ok(Consumer::new(items, commands, has_cursor))
    }
}

fn where_to_begin(
    start: Option<Start>,
    cursor: Option<String>,
) -> Result<(subscriber::Start, Option<String>), BuildError> {
    let start = match (start, &cursor) {
        (None, None) | (Some(Start::Earliest), _) => subscriber::Start::Earliest,
        (None, Some(_)) => subscriber::Start::Cursor,
        (Some(Start::Latest), _) => subscriber::Start::Latest,
        (Some(Start::Time(time)), _) => subscriber::Start::Time(time),
        (Some(Start::Offsets(offsets)), _) => subscriber::Start::Offsets(offsets),
        (Some(Start::Cursor(start)), Some(cursor)) if start != *cursor => {
            return Err(BuildError::TwoCursors { start, cursor: cursor.clone() });
        }
        (Some(Start::Cursor(name)), _) => return Ok((subscriber::Start::Cursor, Some(name))),
    };
    Ok((start, cursor))
}
