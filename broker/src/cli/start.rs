//! Positions as they are written on the command line.

use std::str::FromStr;

use takt_client::Timestamp;
use takt_client::{NodeName, Offset, PartitionId, PartitionNumber, TopicName};

/// Where to begin to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    /// `earliest`
    Earliest,
    /// `latest`
    Latest,
    /// `cursor`
    Cursor,
    /// A number: this offset of each partition.
    Offset(Offset),
    /// A time in RFC 3339: what was appended at or after it.
    Time(Timestamp),
}

/// A text is no position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum PositionError {
    /// Not one to begin at.
    #[error("give earliest, latest, cursor, an offset, or a time such as 2026-11-22T06:15:00Z")]
    From,
    /// Not one for a cursor.
    #[error(
        "give earliest, latest, an offset for all partitions, a time such as 2026-11-22T06:15:00Z, \
         or ORIGIN/PARTITION=OFFSET with commas between"
    )]
    To,
}

impl FromStr for From {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        match text {
            "earliest" => return Ok(Self::Earliest),
            "latest" => return Ok(Self::Latest),
            "cursor" => return Ok(Self::Cursor),
            _ => {}
        }
        if let Ok(offset) = text.parse() {
            return Ok(Self::Offset(Offset::new(offset)));
        }
        let time: jiff::Timestamp = text.parse().map_err(|_| PositionError::From)?;
        Ok(Self::Time(Timestamp::from_micros(time.as_microsecond())))
    }
}

/// Where a cursor goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum To {
    /// One rule for all partitions; never [`From::Cursor`].
    All(From),
    /// `ORIGIN/PARTITION=OFFSET`, one or more; other partitions stay.
    Each(Vec<(NodeName, PartitionNumber, Offset)>),
}

impl FromStr for To {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        if text.contains('=') {
            let each = text.split(',').map(one).collect::<Option<_>>();
            return each.map(Self::Each).ok_or(PositionError::To);
        }
        match text.parse() {
            Ok(From::Cursor) | Err(_) => Err(PositionError::To),
            Ok(from) => Ok(Self::All(from)),
        }
    }
}

fn one(text: &str) -> Option<(NodeName, PartitionNumber, Offset)> {
    let (partition, offset) = text.trim().split_once('=')?;
    let (origin, number) = partition.split_once('/')?;
    let number = PartitionNumber::new(number.parse().ok()?);
    Some((NodeName::new(origin).ok()?, number, Offset::new(offset.parse().ok()?)))
}

/// The partition of an answer.
pub(super) fn partition(topic: &TopicName, origin: &str, number: u32) -> Option<PartitionId> {
    Some(PartitionId {
        origin: NodeName::new(origin).ok()?,
        topic: topic.clone(),
        number: PartitionNumber::new(u16::try_from(number).ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_read() {
        assert_eq!("earliest".parse(), Ok(From::Earliest));
        assert_eq!("cursor".parse(), Ok(From::Cursor));
        assert_eq!("17".parse(), Ok(From::Offset(Offset::new(17))));
        let second = From::Time(Timestamp::from_micros(1_000_000));
        assert_eq!("1970-01-01T00:00:01Z".parse(), Ok(second));
        for wrong in ["", "oldest", "-1", "2026-11-22", "1.5"] {
            assert_eq!(wrong.parse::<From>(), Err(PositionError::From), "{wrong}");
        }
    }

    #[test]
    fn goals_of_cursors_are_read() {
        assert_eq!("latest".parse(), Ok(To::All(From::Latest)));
        let each = |origin: &str, number, offset| {
            (NodeName::new(origin).unwrap(), PartitionNumber::new(number), Offset::new(offset))
        };
        let two = To::Each(vec![each("munich", 0, 17), each("lyon", 3, 0)]);
        assert_eq!("munich/0=17, lyon/3=0".parse(), Ok(two));
        for wrong in ["", "cursor", "munich=3", "munich/0=", "Munich/0=1", "munich/0=1,"] {
            assert_eq!(wrong.parse::<To>(), Err(PositionError::To), "{wrong}");
        }
    }
}
