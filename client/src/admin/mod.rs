//! Questions and orders to a node: topics, cursors, conflicts, the history of an order, status.
//!
//! Each call is one stream and one request. What only asks, and [`Admin::create_topic`],
//! [`Admin::set_retention`] and [`Admin::set_cursor`], may be asked again after an error: asking twice does no harm.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use takt_protocol::codes::ErrorCode;
use takt_protocol::event::Event;
use takt_protocol::session::admin::{AdminAnswer, AdminAsk, AdminClient, AdminEvent};
use takt_protocol::session::{Refusal, SessionError};
use takt_protocol::wire::{EventMessageError, proto};
use takt_protocol::words::{
    NodeName, Offset, OrderSequence, PartitionId, PartitionNumber, Timestamp, TopicName,
};

pub use takt_protocol::wire::proto as messages;

use crate::connection::session::now;
use crate::connection::{ConnectError, Connector};
use crate::consumer::Delivered;
use crate::transport::TransportError;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection was lost before the answer came.
    #[error("no answer: {0}")]
    Lost(#[from] TransportError),
    /// The node ended the stream without an answer.
    #[error("the node ended the stream without an answer")]
    Ended,
    /// The node refused.
    #[error("{code}: {detail}")]
    Refused {
        /// Why.
        code: ErrorCode,
        /// More about it, from the node.
        detail: String,
    },
    /// The answer is none, or one to something else.
    #[error("the node's answer does not hold: {0}")]
    Answer(#[from] SessionError),
}

impl From<Refusal> for AdminError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused { code: refusal.code, detail: refusal.detail }
    }
}

impl From<EventMessageError> for AdminError {
    fn from(error: EventMessageError) -> Self {
        Self::Answer(error.into())
    }
}

/// A part of the history of an order key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderPage {
    /// Its events, in the order of their sequences.
    pub events: Vec<Delivered>,
    /// Whether there are events behind the last one.
    pub more: bool,
}

/// Where a cursor is to be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CursorTo {
    /// Before the oldest record that is kept.
    Earliest,
    /// Behind the newest record.
    Latest,
    /// Before the first record appended at or after this.
    Time(Timestamp),
    /// At these offsets; other partitions stay where they are.
    Offsets(Vec<(PartitionId, Offset)>),
    /// Nowhere: it is removed.
    Removed,
}

/// Asks a node. Made by [`crate::Client::admin`].
#[derive(Debug, Clone)]
pub struct Admin {
    connector: Arc<Connector>,
}

/// Asks, and takes the one kind of answer that belongs to the question.
macro_rules! ask {
    ($admin:expr, $ask:expr, $answer:ident) => {
        match $admin.ask($ask).await? {
            AdminAnswer::$answer(answer) => Ok(answer),
            _ => Err(unexpected()),
        }
    };
}

impl Admin {
    pub(crate) fn new(connector: Arc<Connector>) -> Self {
        Self { connector }
    }

    /// Makes a topic. It is no error where it is there with the same settings.
    ///
    /// # Errors
    /// [`AdminError`], here and in every other call.
    pub async fn create_topic(
        &self,
        name: &str,
        settings: messages::TopicSettings,
    ) -> Result<messages::TopicInfo, AdminError> {
        let ask = proto::CreateTopic { name: name.to_owned(), settings: Some(settings) };
        ask!(self, AdminAsk::CreateTopic(ask), TopicCreated)
    }

    /// Changes what is kept of a topic that the node has made; what is `None` stays as it is.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn set_retention(
        &self,
        ask: messages::SetRetention,
    ) -> Result<messages::TopicInfo, AdminError> {
        ask!(self, AdminAsk::SetRetention(ask), RetentionSet)
    }

    /// Every topic.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn topics(&self) -> Result<Vec<messages::TopicInfo>, AdminError> {
        let answer = ask!(self, AdminAsk::ListTopics(proto::ListTopics {}), Topics);
        answer.map(|list| list.topics)
    }

    /// One topic, with its partitions.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn topic_info(&self, name: &str) -> Result<messages::TopicInfo, AdminError> {
        ask!(self, AdminAsk::TopicInfo(proto::GetTopic { name: name.to_owned() }), Topic)
    }

    /// The history of an order key: at most `max` events behind the offset `behind` (`None`: from the
    /// first). `origin`: where it was judged; an order of one origin lies in one partition.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn order(
        &self,
        topic: &str,
        key: &str,
        origin: Option<&str>,
        behind: Option<Offset>,
        max: u32,
    ) -> Result<OrderPage, AdminError> {
        let (name, key) = (topic.to_owned(), key.to_owned());
        let origin = origin.unwrap_or_default().to_owned();
        let behind_offset = behind.map(Offset::get);
        let ask = proto::GetOrder { topic: name, key, origin, after: 0, max, behind_offset };
        let history: proto::OrderHistory = ask!(self, AdminAsk::Order(ask), Order)?;
        let topic = TopicName::new(topic).map_err(SessionError::from)?;
        let event = |record| delivered(&topic, record);
        let events = history.records.into_iter().map(event).collect::<Result<_, _>>()?;
        Ok(OrderPage { events, more: history.more })
    }

    /// The cursors of a topic, or of every topic.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn cursors(
        &self,
        topic: Option<&str>,
    ) -> Result<Vec<messages::CursorInfo>, AdminError> {
        let topic = topic.unwrap_or_default().to_owned();
        let answer = ask!(self, AdminAsk::ListCursors(proto::ListCursors { topic }), Cursors);
        answer.map(|list| list.cursors)
    }

    /// Sets a cursor of a topic, or makes it. `hold`: whether it holds retention back; `None`: as it
    /// is, and a new one does not.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn set_cursor(
        &self,
        topic: &str,
        name: &str,
        hold: Option<bool>,
        to: CursorTo,
    ) -> Result<messages::CursorInfo, AdminError> {
        use proto::set_cursor::To;
        let remove = to == CursorTo::Removed;
        let to = match to {
            CursorTo::Earliest => Some(To::Earliest(proto::Unit {})),
            CursorTo::Latest => Some(To::Latest(proto::Unit {})),
            CursorTo::Time(time) => Some(To::TimeUs(time.as_micros())),
            CursorTo::Offsets(offsets) => {
                let positions = offsets.into_iter().map(|(partition, offset)| {
                    let (origin, number) = (partition.origin.to_string(), partition.number.get());
                    let (number, offset) = (u32::from(number), offset.get());
                    proto::PartitionPosition { origin, number, offset }
                });
                Some(To::Offsets(proto::PartitionPositions { positions: positions.collect() }))
            }
            CursorTo::Removed => None,
        };
        let (name, topic) = (name.to_owned(), topic.to_owned());
        let ask = proto::SetCursor { name, topic, hold, remove, to };
        ask!(self, AdminAsk::SetCursor(ask), CursorSet)
    }

    /// Open conflicts of a topic: at most `max`, behind the one at `after`.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn conflicts(
        &self,
        topic: &str,
        after: Option<messages::ConflictAddress>,
        max: u32,
    ) -> Result<messages::ConflictList, AdminError> {
        let ask = proto::ListConflicts { topic: topic.to_owned(), after, max };
        ask!(self, AdminAsk::ListConflicts(ask), Conflicts)
    }

    /// One conflict, with both contents. Their events convert to [`Event`] with `try_into`.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn conflict(
        &self,
        address: messages::ConflictAddress,
    ) -> Result<messages::ConflictDetail, AdminError> {
        ask!(self, AdminAsk::ShowConflict(address), Conflict).map(|detail| *detail)
    }

    /// How the node stands.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn status(&self) -> Result<messages::Status, AdminError> {
        ask!(self, AdminAsk::Status(proto::GetStatus {}), Status)
    }

    async fn ask(&self, ask: AdminAsk) -> Result<AdminAnswer, AdminError> {
        let mut stream = self.connector.open_stream().await?;
        let mut session = AdminClient::new();
        let id = session.ask(ask);
        loop {
            match session.poll_event() {
                Some(AdminEvent::Answered(answered, answer)) if answered == id => {
                    stream.send.finish();
                    return Ok(answer?);
                }
                Some(AdminEvent::Answered(..)) => return Err(unexpected()),
                Some(AdminEvent::Closed(refusal)) => return Err(refusal.into()),
                None => {}
            }
            while let Some(frame) = session.poll_transmit() {
                stream.send.send(frame).await?;
            }
            let frame = stream.recv.recv().await?.ok_or(AdminError::Ended)?;
            session.handle_frame(now(), frame)?;
        }
    }
}

fn delivered(topic: &TopicName, record: proto::OrderRecord) -> Result<Delivered, AdminError> {
    let number = u16::try_from(record.partition).map_err(|_| unexpected())?;
    let partition = PartitionId {
        origin: NodeName::new(&record.origin).map_err(SessionError::from)?,
        topic: topic.clone(),
        number: PartitionNumber::new(number),
    };
    Ok(Delivered {
        partition,
        offset: Offset::new(record.offset),
        order_sequence: Some(OrderSequence::new(record.order_sequence)),
        append_time: Timestamp::from_micros(record.append_time_us),
        event: Event::try_from(record.event.unwrap_or_default())?,
    })
}

fn unexpected() -> AdminError {
    SessionError::Unexpected { what: "the answer belongs to another question" }.into()
}
