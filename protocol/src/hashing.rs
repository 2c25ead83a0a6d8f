//! The public hashes: the same on every machine and for ever, with golden vectors.

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::words::{Digest, OrderKey, PartitionNumber, Timestamp};

/// The partition, of `partitions`, that holds a record with this order key: xxh3-64 of its bytes
/// modulo the count; number 0 without a key.
///
/// # Panics
/// If `partitions` is 0.
pub fn route(order_key: Option<&OrderKey>, partitions: u16) -> PartitionNumber {
    route_bytes(order_key.map(|key| key.as_str().as_bytes()), partitions)
}

/// As [`route`], from the bytes of a key.
///
/// # Panics
/// If `partitions` is 0.
pub fn route_bytes(order_key: Option<&[u8]>, partitions: u16) -> PartitionNumber {
    assert!(partitions > 0, "a topic has a partition");
    let number = match order_key {
        Some(key) if partitions > 1 => xxh3_64(key) % u64::from(partitions),
        Some(_) | None => 0,
    };
    PartitionNumber::new(u16::try_from(number).expect("less than the count of partitions"))
}

/// Computes digests; keeps its state between records so that a batch allocates nothing.
///
/// A digest is xxh3-128 over, in this order: the order key, the type and the content type, each
/// behind its length as 4 bytes little-endian (an absent one has the length `0xffff_ffff`); the
/// time in microseconds as 8 bytes little-endian behind a byte 1, or a byte 0 alone; the data.
/// Transport attributes (id, source and all others) are no part of it.
#[derive(Clone)]
pub struct DigestHasher {
    hasher: Xxh3,
    prefix: Vec<u8>,
}

impl std::fmt::Debug for DigestHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DigestHasher")
    }
}

impl Default for DigestHasher {
    fn default() -> Self {
        Self { hasher: Xxh3::new(), prefix: Vec::with_capacity(256) }
    }
}

/// What of a record a digest covers beside its data.
#[derive(Debug, Clone, Copy)]
pub struct DigestFields<'a> {
    /// The order key.
    pub order_key: Option<&'a [u8]>,
    /// The event's type.
    pub kind: &'a [u8],
    /// The event's content type.
    pub content_type: Option<&'a [u8]>,
    /// When it occurred.
    pub time: Option<Timestamp>,
}

impl DigestHasher {
    /// The digest of a record whose data comes in pieces.
    pub fn digest<'d>(
        &mut self,
        fields: &DigestFields<'_>,
        data: impl IntoIterator<Item = &'d [u8]>,
    ) -> Digest {
        self.prefix.clear();
        for field in [fields.order_key, Some(fields.kind), fields.content_type] {
            let len =
                field.map_or(u32::MAX, |bytes| u32::try_from(bytes.len()).unwrap_or(u32::MAX - 1));
            self.prefix.extend_from_slice(&len.to_le_bytes());
            self.prefix.extend_from_slice(field.unwrap_or_default());
        }
        match fields.time {
            Some(time) => {
                self.prefix.push(1);
                self.prefix.extend_from_slice(&time.as_micros().to_le_bytes());
            }
            None => self.prefix.push(0),
        }
        self.hasher.reset();
        self.hasher.update(&self.prefix);
        for piece in data {
            self.hasher.update(piece);
        }
        Digest::from_u128(self.hasher.digest128())
    }
}
