//! The one place of the node that reads the wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

use takt_protocol::words::Timestamp;

/// Now, by the wall clock; 1970 for a clock before it.
pub fn wall_now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
