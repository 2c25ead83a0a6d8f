//! What one consumer reads of a topic, checked event by event.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use takt_client::{ConsumeError, Consumer, Delivered};
use takt_protocol::words::Offset;
use tokio::time::timeout;

use super::BenchError;

/// How long the next batch may take; all of them are there from the beginning.
const LIMIT: Duration = Duration::from_secs(30);

/// Why what was delivered is not what was published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadingError {
    /// An event was left out, came again, or came before its turn.
    #[error("offset {found} was delivered where {expected} was due")]
    Offset {
        /// What was delivered.
        found: Offset,
        /// What was due.
        expected: Offset,
    },
    /// There is more than was published.
    #[error("offset {found} was delivered, but only {records} events were published")]
    TooMany {
        /// What was delivered.
        found: Offset,
        /// How many events there are.
        records: u64,
    },
    /// An event has other data than was published.
    #[error("the event at offset {at} has {found} bytes of data; {expected} were published")]
    Data {
        /// Where it stands.
        at: Offset,
        /// Its bytes.
        found: u64,
        /// What each event was given.
        expected: u64,
    },
}

/// How far one consumer has read a topic of one partition: each event once, in order of offset,
/// beginning with 0.
#[derive(Debug)]
pub(super) struct Reading {
    expected: u64,
    size: u64,
    records: u64,
    data_bytes: u64,
}

impl Reading {
    /// Of a topic that holds `records` events with `size` bytes of data each.
    pub fn new(records: u64, size: u32) -> Self {
        Self { expected: records, size: size.into(), records: 0, data_bytes: 0 }
    }

    /// Takes the next event.
    pub fn take(&mut self, delivered: &Delivered) -> Result<(), ReadingError> {
        let (found, expected) = (delivered.offset, Offset::new(self.records));
        if found != expected {
            return Err(ReadingError::Offset { found, expected });
        }
        if self.is_complete() {
            return Err(ReadingError::TooMany { found, records: self.expected });
        }
        let size = delivered.event.data.len() as u64;
        if size != self.size {
            return Err(ReadingError::Data { at: found, found: size, expected: self.size });
        }
        self.records += 1;
        self.data_bytes += size;
        Ok(())
    }

    pub const fn is_complete(&self) -> bool {
        self.records == self.expected
    }

    pub const fn records(&self) -> u64 {
        self.records
    }

    pub const fn data_bytes(&self) -> u64 {
        self.data_bytes
    }
}

/// Reads to the end; gives when the last event had come. `so_far` counts along.
pub(super) async fn read(
    mut consumer: Consumer,
    mut reading: Reading,
    so_far: Arc<AtomicU64>,
) -> Result<(Reading, Instant), BenchError> {
    while !reading.is_complete() {
        let (read, records) = (reading.records, reading.expected);
        let stalled = |_| BenchError::Stalled { read, records, limit: LIMIT };
        let batch = timeout(LIMIT, consumer.next_batch()).await.map_err(stalled)?;
        // It ends with an error only, and that has been returned.
        let batch = batch.expect("a consumer that has not ended")?;
        let events = batch.events().map_err(|source| ConsumeError::Damaged {
            partition: batch.partition.clone(),
            source,
        })?;
        for event in &events {
            reading.take(event)?;
        }
        so_far.fetch_add(events.len() as u64, Ordering::Relaxed);
    }
    Ok((reading, Instant::now()))
}

#[cfg(test)]
mod tests {
    use takt_protocol::event::Event;
    use takt_protocol::words::{NodeName, PartitionId, PartitionNumber, Timestamp, TopicName};

    use super::*;

    fn delivered(offset: u64, size: usize) -> Delivered {
        Delivered {
            partition: PartitionId {
                origin: NodeName::new("bench").unwrap(),
                topic: TopicName::new("bench").unwrap(),
                number: PartitionNumber::new(0),
            },
            offset: Offset::new(offset),
            order_sequence: None,
            append_time: Timestamp::from_micros(0),
            event: Event { data: vec![0; size].into(), ..Event::default() },
        }
    }

    fn reading_of(offsets: &[u64]) -> Result<Reading, ReadingError> {
        let mut reading = Reading::new(3, 10);
        for &offset in offsets {
            reading.take(&delivered(offset, 10))?;
        }
        Ok(reading)
    }

    #[test]
    fn each_event_once_and_in_order_is_complete() {
        let reading = reading_of(&[0, 1, 2]).unwrap();
        assert!(reading.is_complete());
        assert_eq!((reading.records(), reading.data_bytes()), (3, 30));
        assert!(!reading_of(&[0, 1]).unwrap().is_complete());
    }

    #[test]
    fn what_is_missing_repeated_or_too_much_is_said() {
        let offset = |found, expected| ReadingError::Offset {
            found: Offset::new(found),
            expected: Offset::new(expected),
        };
        assert_eq!(reading_of(&[1]).unwrap_err(), offset(1, 0));
        assert_eq!(reading_of(&[0, 2]).unwrap_err(), offset(2, 1));
        assert_eq!(reading_of(&[0, 1, 1]).unwrap_err(), offset(1, 2));
        let too_many = reading_of(&[0, 1, 2, 3]).unwrap_err();
        assert_eq!(too_many, ReadingError::TooMany { found: Offset::new(3), records: 3 });
    }

    #[test]
    fn other_data_is_said() {
        let error = Reading::new(3, 10).take(&delivered(0, 9)).unwrap_err();
        assert_eq!(error, ReadingError::Data { at: Offset::new(0), found: 9, expected: 10 });
    }
}
