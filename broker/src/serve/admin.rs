//! An operator's stream: one answer for each request.

use std::sync::Arc;

use takt_client::tls::Identity;
use takt_protocol::batch::{RecordView, StoredBatch, StoredRecord};
use takt_protocol::codes::ErrorCode;
use takt_protocol::limits::HORIZON_S_MIN;
use takt_protocol::session::Refusal;
use takt_protocol::session::admin::{AdminAnswer, AdminAsk, AdminServer};
use takt_protocol::wire::proto::{self, set_cursor::To};
use takt_protocol::words::{
    CursorName, NodeName, Offset, OrderKey, OrderSequence, PartitionId, PartitionNumber, Timestamp,
    TopicName,
};
use takt_storage::entry::TopicSettings;
use takt_storage::runs::Slot;
use takt_storage::store::{Answer, Operation};
use takt_storage::view::{PartitionView, ReadError};

use super::{Stream, conflicts, now, receive, refusal};
use crate::access::Action;
use crate::logic::{convert, not_done, set_cursor};
use crate::node::Inner;

/// The most rows in one answer.
pub(super) const ROWS_MAX: usize = 1_000;
/// An answer with events ends when it has grown to this; more can be asked for.
const ANSWER_BYTES: usize = 512 << 10;

pub(super) async fn serve(
    node: &Arc<Inner>,
    peer: &Identity,
    mut stream: Stream,
) -> Result<(), String> {
    let admin = Admin { node, peer };
    let mut session = AdminServer::new();
    let result = loop {
        let frame = match receive(&mut stream.recv).await {
            Ok(frame) => frame,
            Err(end) => break end.result,
        };
        if let Err(error) = session.handle_frame(now(), frame) {
            break Err(error.to_string());
        }
        while let Some((id, request)) = session.poll_event() {
            let answer = admin.answer(request).await;
            session.on_answered(id, answer);
        }
        while let Some(frame) = session.poll_transmit() {
            stream.send.queue(frame);
        }
        if stream.send.flush().await.is_err() || session.is_closed() {
            break Ok(());
        }
    };
    stream.end(std::iter::from_fn(|| session.poll_transmit())).await;
    result
}

struct Admin<'a> {
    node: &'a Arc<Inner>,
    peer: &'a Identity,
}

impl Admin<'_> {
    async fn answer(&self, request: AdminAsk) -> Result<AdminAnswer, Refusal> {
        use AdminAnswer as Response;
        use AdminAsk as Request;
        let changes = matches!(
            request,
            Request::CreateTopic(_) | Request::SetRetention(_) | Request::SetCursor(_)
        );
        let action = if changes { Action::Administer } else { Action::Consume };
        self.node.allow(self.peer, action)?;
        Ok(match request {
            Request::CreateTopic(create) => Response::TopicCreated(self.create(&create).await?),
            Request::SetRetention(set) => Response::RetentionSet(self.set_retention(&set).await?),
            Request::ListTopics(_) => Response::Topics(self.topics()),
            Request::TopicInfo(topic) => Response::Topic(self.topic(&topic_name(&topic.name)?)?),
            Request::Order(order) => Response::Order(self.order(order).await?),
            Request::ListCursors(list) => Response::Cursors(self.cursors(&list.topic)),
            Request::SetCursor(set) => Response::CursorSet(self.set_cursor(set).await?),
            Request::ListConflicts(list) => {
                Response::Conflicts(conflicts::list(self.node, list).await?)
            }
            Request::ShowConflict(address) => {
                Response::Conflict(Box::new(conflicts::show(self.node, address).await?))
            }
            Request::Status(_) => {
                let node = Arc::clone(self.node);
                Response::Status(blocking(move || Ok(node.status())).await?)
            }
        })
    }

    async fn create(&self, create: &proto::CreateTopic) -> Result<proto::TopicInfo, Refusal> {
        let name = topic_name(&create.name)?;
        let settings = match &create.settings {
            Some(settings) if (1..HORIZON_S_MIN).contains(&settings.horizon_s) => {
                let detail = format!("horizon_s: at least {HORIZON_S_MIN}, or 0 for 400 days");
                return Err(refusal(ErrorCode::BadRequest, detail));
            }
            Some(settings) => convert::settings_from_wire(settings)?,
            None => TopicSettings::default(),
        };
        let operation = Operation::CreateTopic { name: name.clone(), settings };
        match self.node.ask(operation).await {
            Ok(Answer::TopicCreated { .. }) => self.topic(&name),
            other => Err(not_done(other)),
        }
    }

    async fn set_retention(&self, set: &proto::SetRetention) -> Result<proto::TopicInfo, Refusal> {
        let name = topic_name(&set.name)?;
        let operation = Operation::SetRetention {
            name: name.clone(),
            retention_ms: set.retention_ms,
            retention_bytes: set.retention_bytes,
            compact: set.compact,
        };
        match self.node.ask(operation).await {
            Ok(Answer::RetentionSet) => self.topic(&name),
            other => Err(not_done(other)),
        }
    }

    fn topics(&self) -> proto::TopicList {
        let mut names: Vec<TopicName> =
            self.node.view.topics().into_iter().map(|topic| topic.name).collect();
        names.dedup();
        let topics = names.iter().filter_map(|name| self.topic(name).ok()).collect();
        proto::TopicList { topics }
    }

    fn topic(&self, name: &TopicName) -> Result<proto::TopicInfo, Refusal> {
        let view = &self.node.view;
        let topics = view.topics();
        let Some(topic) = topics.iter().find(|topic| topic.name == *name) else {
            return Err(refusal(ErrorCode::UnknownTopic, format!("there is no topic {name}")));
        };
        let partitions = view.partitions(name);
        let partition = |partition: PartitionView| proto::PartitionInfo {
            origin: partition.id.origin.to_string(),
            number: u32::from(partition.id.number.get()),
            start_offset: partition.start.get(),
            end_offset: partition.end.get(),
            batches: partition.end_batch.get() - partition.start_batch.get(),
            bytes: partition.len_bytes,
        };
        Ok(proto::TopicInfo {
            name: name.to_string(),
            settings: Some(convert::settings_to_wire(&topic.settings)),
            partitions: partitions.into_iter().map(partition).collect(),
            keys: 0,
        })
    }

    async fn order(&self, order: proto::GetOrder) -> Result<proto::OrderHistory, Refusal> {
        let topic = topic_name(&order.topic)?;
        let key = OrderKey::new(&order.key).map_err(bad)?;
        let origin = if order.origin.is_empty() {
            None
        } else {
            Some(NodeName::new(&order.origin).map_err(bad)?)
        };
        let max = usize::try_from(order.max).unwrap_or(ROWS_MAX).clamp(1, ROWS_MAX);
        let view = self.node.view.clone();
        let behind = Behind { sequence: order.after, offset: order.behind_offset };
        blocking(move || history(&view, &topic, &key, origin.as_ref(), behind, max)).await
    }

    fn cursors(&self, topic: &str) -> proto::CursorList {
        let view = &self.node.view;
        let cursors = view.cursors().into_iter();
        let cursors = cursors
            .filter(|cursor| topic.is_empty() || cursor.topic.as_str() == topic)
            .map(|cursor| proto::CursorInfo {
                name: cursor.name.to_string(),
                topic: cursor.topic.to_string(),
                hold: cursor.hold,
                positions: cursor
                    .positions
                    .iter()
                    .filter_map(|(slot, offset)| {
                        let partition = view.partition(*slot)?;
                        Some(proto::CursorPosition {
                            origin: partition.id.origin.to_string(),
                            number: u32::from(partition.id.number.get()),
                            offset: offset.get(),
                            end_offset: partition.end.get(),
                        })
                    })
                    .collect(),
            })
            .collect();
        proto::CursorList { cursors }
    }

    async fn set_cursor(&self, set: proto::SetCursor) -> Result<proto::CursorInfo, Refusal> {
        let name = CursorName::new(&set.name).map_err(bad)?;
        if set.remove {
            return match self.node.ask(Operation::RemoveCursor { name }).await {
                Ok(Answer::CursorRemoved) => {
                    Ok(proto::CursorInfo { name: set.name, ..Default::default() })
                }
                other => Err(not_done(other)),
            };
        }
        let topic = topic_name(&set.topic)?;
        let positions = self.positions(&topic, set.to)?;
        let operation = set_cursor(&self.node.view, name, &topic, set.hold, &positions)?;
        match self.node.ask(operation).await {
            Ok(Answer::CursorSet) => {}
            other => return Err(not_done(other)),
        }
        let mut list = self.cursors("").cursors;
        list.retain(|cursor| cursor.name == set.name);
        list.pop().ok_or_else(|| refusal(ErrorCode::NotFound, "the cursor was removed meanwhile"))
    }

    fn positions(
        &self,
        topic: &TopicName,
        to: Option<To>,
    ) -> Result<Vec<(PartitionId, Offset)>, Refusal> {
        let partitions = self.node.view.partitions(topic);
        if partitions.is_empty() {
            return Err(refusal(ErrorCode::UnknownTopic, format!("there is no topic {topic}")));
        }
        let of_each = |offset: &dyn Fn(&PartitionView) -> Result<Offset, Refusal>| {
            partitions.iter().map(|p| Ok((p.id.clone(), offset(p)?))).collect()
        };
        match to {
            None | Some(To::Earliest(_)) => of_each(&|partition| Ok(partition.start)),
            Some(To::Latest(_)) => of_each(&|partition| Ok(partition.end)),
            Some(To::TimeUs(micros)) => of_each(&|partition| {
                let time = Timestamp::from_micros(micros);
                self.node.view.offset_at(partition.slot, time).map_err(|e| read_failed(&e))
            }),
            Some(To::Offsets(offsets)) => offsets
                .positions
                .into_iter()
                .map(|position| {
                    let number = u16::try_from(position.number)
                        .map_err(|_| refusal(ErrorCode::BadRequest, "no such partition"))?;
                    let id = PartitionId {
                        origin: NodeName::new(&position.origin).map_err(bad)?,
                        topic: topic.clone(),
                        number: PartitionNumber::new(number),
                    };
                    Ok((id, Offset::new(position.offset)))
                })
                .collect(),
        }
    }
}

/// Behind what the history of an order is asked for.
#[derive(Clone, Copy)]
struct Behind {
    sequence: u64,
    offset: Option<u64>,
}

fn history(
    view: &takt_storage::view::View,
    topic: &TopicName,
    key: &OrderKey,
    origin: Option<&NodeName>,
    behind: Behind,
    max: usize,
) -> Result<proto::OrderHistory, Refusal> {
    let mut records = Vec::new();
    let mut bytes = 0;
    let mut last: Option<(Slot, Offset)> = None;
    loop {
        let places = view.order(topic, key, last, ROWS_MAX).map_err(|e| read_failed(&e))?;
        let Some(end) = places.last() else { break };
        last = Some(*end);
        for of_one in places.chunk_by(|(a, _), (b, _)| a == b) {
            let slot = of_one[0].0;
            let Some(partition) = view.partition(slot) else { continue };
            if origin.is_some_and(|origin| *origin != partition.id.origin) {
                continue;
            }
            let wanted = |offset: &Offset| behind.offset.is_none_or(|behind| behind < offset.get());
            let offsets: Vec<_> = of_one.iter().map(|place| place.1).filter(wanted).collect();
            for (offset, batch) in view.batches_at(slot, &offsets) {
                let batch = match batch {
                    Ok(Some(batch)) => batch,
                    Ok(None) | Err(ReadError::Trimmed { .. }) => continue,
                    Err(error) => return Err(read_failed(&error)),
                };
                let Some(record) = of_order(&partition.id, &batch, offset, key)? else { continue };
                if record.order_sequence <= behind.sequence {
                    continue;
                }
                if records.len() == max || bytes > ANSWER_BYTES {
                    return Ok(proto::OrderHistory { records, more: true });
                }
                bytes += record.event.as_ref().map_or(0, |event| event.data.len()) + 256;
                records.push(record);
            }
        }
    }
    Ok(proto::OrderHistory { records, more: false })
}

/// The event at an offset; `None` where it is not, or not of the order.
fn of_order(
    partition: &PartitionId,
    batch: &StoredBatch,
    offset: Offset,
    key: &OrderKey,
) -> Result<Option<proto::OrderRecord>, Refusal> {
    // Where compaction has left it out, the index names it all the same.
    let Some(found) = visible(batch, offset)? else { return Ok(None) };
    // The index goes by the key's hash: another key with the same one is not of the order.
    if found.record.order_key != Some(key.as_str().as_bytes()) {
        return Ok(None);
    }
    Ok(Some(proto::OrderRecord {
        origin: partition.origin.to_string(),
        partition: u32::from(partition.number.get()),
        offset: offset.get(),
        order_sequence: found.order_sequence().map_or(0, OrderSequence::get),
        append_time_us: batch.header().append_time.as_micros(),
        producer_id: batch.header().producer.to_string(),
        event: Some(event_of(batch, &found.record)?),
    }))
}

/// The record at a place of a batch.
pub(super) fn record(batch: &StoredBatch, index: usize) -> Result<RecordView<'_>, Refusal> {
    let found = find(batch, |found| found.index == index)?;
    found.map(|found| found.record).ok_or_else(|| read_failed(&ReadError::NotFound))
}

/// The visible record with this offset; `None` where compaction has left it out.
pub(super) fn visible(
    batch: &StoredBatch,
    offset: Offset,
) -> Result<Option<StoredRecord<'_>>, Refusal> {
    find(batch, |found| found.offset == Some(offset))
}

fn find(
    batch: &StoredBatch,
    mut is_it: impl FnMut(&StoredRecord<'_>) -> bool,
) -> Result<Option<StoredRecord<'_>>, Refusal> {
    let mut records = batch.records().map_err(internal)?;
    let found = records.find(|found| found.as_ref().map_or(true, &mut is_it));
    found.transpose().map_err(internal)
}

pub(super) fn event_of(
    batch: &StoredBatch,
    at: &RecordView<'_>,
) -> Result<proto::EventMessage, Refusal> {
    let payload = batch.batch().raw_payload().map_err(internal)?;
    let end = at.data_at + at.data_len;
    if end > payload.len() {
        return Err(read_failed(&ReadError::NotFound));
    }
    Ok(at.to_event(payload.slice(at.data_at..end)).map_err(internal)?.into())
}

pub(super) async fn blocking<R: Send + 'static>(
    read: impl FnOnce() -> Result<R, Refusal> + Send + 'static,
) -> Result<R, Refusal> {
    match tokio::task::spawn_blocking(read).await {
        Ok(result) => result,
        Err(_) => Err(refusal(ErrorCode::Stopping, "the node is stopping")),
    }
}

pub(super) fn topic_name(name: &str) -> Result<TopicName, Refusal> {
    TopicName::new(name).map_err(bad)
}

fn bad(error: impl std::fmt::Display) -> Refusal {
    refusal(ErrorCode::BadRequest, error.to_string())
}

fn internal(error: impl std::fmt::Display) -> Refusal {
    refusal(ErrorCode::Internal, error.to_string())
}

pub(super) fn read_failed(error: &ReadError) -> Refusal {
    let code = match error {
        ReadError::Trimmed { .. } => ErrorCode::Trimmed,
        ReadError::NotFound => ErrorCode::NotFound,
        ReadError::Corrupt(_) | ReadError::Io(_) | ReadError::Gone => ErrorCode::Internal,
    };
    refusal(code, error.to_string())
}
