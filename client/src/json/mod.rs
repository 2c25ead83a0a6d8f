//! CloudEvents 1.0 as JSON (structured content mode) at the edges, and [`Event`](crate::Event) within.
//!
//! What is kept, and how:
//!
//! - JSON data stays the very bytes that it was, so that its digest is the same after any number of
//!   trips; text (`text/*`, XML, YAML) is a JSON string; all else, and JSON that would not come back
//!   byte for byte, is `data_base64`.
//! - `partitionkey` is the order key. `time` is kept to the microsecond; finer digits are dropped.
//! - `taktdedupkey` and `taktdedupkey2` name dedup keys other than source and id. A key that is not
//!   text is written as `taktdedupkeybase64` or `taktdedupkey2base64`.
//! - Unknown attributes are kept in their order: text, whole numbers of 32 bits, yes and no. A
//!   binary attribute is written as base64 text and so comes back as text: JSON has no type for it.
//! - An attribute with the value `null` is an absent one, as CloudEvents says.
//! - `id` may be absent: the event then has no identity that could tell a repeat.

mod base64;
mod decode;
mod encode;

#[cfg(test)]
mod tests;

pub use decode::{BatchError, DecodeError, decode, decode_batch};
pub use encode::{EncodeError, encode, encode_line};

/// The media type of one event.
pub const CONTENT_TYPE: &str = "application/cloudevents+json";
/// The media type of a JSON array of events.
pub const BATCH_CONTENT_TYPE: &str = "application/cloudevents-batch+json";

const DEDUP_KEYS: [&str; 2] = ["taktdedupkey", "taktdedupkey2"];
const DEDUP_KEYS_BASE64: [&str; 2] = ["taktdedupkeybase64", "taktdedupkey2base64"];

/// How data of a content type stands in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// As it is. Also where there is no content type.
    Json,
    /// As a string.
    Text,
    /// As base64.
    Binary,
}

impl Form {
    fn of(content_type: Option<&str>) -> Self {
        let Some(content_type) = content_type else { return Self::Json };
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        let essence = essence.to_ascii_lowercase();
        let (kind, subtype) = essence.split_once('/').unwrap_or((&essence, ""));
        let suffix = subtype.rsplit('+').next().unwrap_or_default();
        match suffix {
            "json" => Self::Json,
            "xml" | "yaml" => Self::Text,
            _ if kind == "text" => Self::Text,
            _ => Self::Binary,
        }
    }
}
