//! The hashes of a batch's keys: what the ledger, the order heads and the order index know keys by.
//!
//! A session computes them, in parallel with others, under the secret of its node, so that no
//! client can forge a hash or flood a bucket. Replay computes the same again.

use std::fmt;
use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher24};
use takt_protocol::batch::{
    Batch, BatchError, DedupKeyRef, RecordView, RecordVisitor, StoredBatch, StoredError,
};
use takt_protocol::hashing::DigestHasher;
use takt_protocol::numbers::Numbers;
use takt_protocol::words::TopicName;

/// Stands in [`RecordKeys::order`] for a record without an order key.
const NO_ORDER: u16 = u16::MAX;

const DOMAIN_ORDER: u8 = 1;
const DOMAIN_SOURCE_AND_ID: u8 = 2;
const DOMAIN_KEY: u8 = 3;

/// Hashes keys with the secret of a node: SipHash-2-4 with 128 bits over a domain byte, the topic's
/// name and the key, each behind its length.
#[derive(Clone)]
pub struct KeyHasher {
    sip: SipHasher24,
}

impl fmt::Debug for KeyHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHasher(..)")
    }
}

/// One record's hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordKeys {
    /// The first 8 bytes of the digest, little-endian.
    pub digest64: u64,
    dedup: [u128; 2],
    dedup_count: u8,
    order: u16,
}

impl RecordKeys {
    /// Of a record that is not there.
    const GONE: Self = Self { digest64: 0, dedup: [0; 2], dedup_count: 0, order: NO_ORDER };

    /// The hashes of its dedup keys: none, one, or two different ones.
    pub fn dedup(&self) -> &[u128] {
        &self.dedup[..usize::from(self.dedup_count)]
    }

    /// Whether a repeat of it can be told by its content.
    pub const fn has_identity(&self) -> bool {
        self.dedup_count > 0
    }

    /// Which of [`KeyHashes::orders`] is its order key's hash.
    pub fn order(&self) -> Option<usize> {
        (self.order != NO_ORDER).then_some(usize::from(self.order))
    }
}

/// The hashes of a batch's keys; the buffers can be used again for another batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyHashes {
    orders: Vec<u128>,
    records: Vec<RecordKeys>,
}

impl KeyHashes {
    /// The hashes of the batch's order keys. Where a batch lists a key twice, records name the
    /// first of the two.
    pub fn orders(&self) -> &[u128] {
        &self.orders
    }

    /// One for each record, in order; of what compaction has left out, without a key.
    pub fn records(&self) -> &[RecordKeys] {
        &self.records
    }

    /// The hash of a record's order key.
    pub fn order_of(&self, record: &RecordKeys) -> Option<u128> {
        record.order().and_then(|i| self.orders.get(i).copied())
    }
}

impl KeyHasher {
    /// With the secret of the node.
    pub fn new(secret: [u8; 16]) -> Self {
        Self { sip: SipHasher24::new_with_key(&secret) }
    }

    /// Hashes the keys of all records of a batch into `out`, whose content is replaced.
    ///
    /// # Errors
    /// [`BatchError`] where the batch's index does not decode.
    pub fn hash_batch(
        &self,
        topic: &TopicName,
        batch: &Batch,
        out: &mut KeyHashes,
    ) -> Result<(), BatchError> {
        let records = batch.records()?;
        let mut hashing = self.hashing(topic, batch, out);
        hashing.orders(records.order_keys());
        for record in records {
            hashing.record(&record?);
        }
        Ok(())
    }

    /// As [`KeyHasher::hash_batch`], of a stored batch, of which compaction may have left out records.
    ///
    /// # Errors
    /// [`StoredError`] where the batch does not decode.
    pub fn hash_stored(
        &self,
        topic: &TopicName,
        batch: &StoredBatch,
        out: &mut KeyHashes,
    ) -> Result<(), StoredError> {
        if batch.kept().is_none() {
            return Ok(self.hash_batch(topic, batch.batch(), out)?);
        }
        let records = batch.batch().records()?;
        let mut hashing = self.hashing(topic, batch.batch(), out);
        hashing.orders(records.order_keys());
        for found in batch.records()? {
            let found = found?;
            hashing.out.records.resize(found.index, RecordKeys::GONE);
            hashing.record(&found.record);
        }
        out.records.resize(batch.header().records, RecordKeys::GONE);
        Ok(())
    }

    /// As [`KeyHasher::hash_batch`] of what a peer sent: it is checked as by
    /// [`Batch::check_and_visit`].
    ///
    /// # Errors
    /// [`BatchError`] with the first rule that is broken.
    pub fn check_and_hash(
        &self,
        topic: &TopicName,
        batch: &Batch,
        partitions: u16,
        digests: Option<&mut DigestHasher>,
        out: &mut KeyHashes,
    ) -> Result<(), BatchError> {
        batch.check_and_visit(partitions, digests, &mut self.hashing(topic, batch, out))
    }

    fn hashing<'a>(
        &'a self,
        topic: &TopicName,
        batch: &Batch,
        out: &'a mut KeyHashes,
    ) -> Hashing<'a> {
        out.orders.clear();
        out.records.clear();
        out.records.reserve(batch.header().records);
        let orders = self.begin(DOMAIN_ORDER, topic);
        Hashing { orders, keys: DedupHasher::new(self, topic), aliases: Aliases::default(), out }
    }

    /// The hash of an order key.
    pub fn order(&self, topic: &TopicName, key: &[u8]) -> u128 {
        self.begin(DOMAIN_ORDER, topic).with(key).hash()
    }

    /// What all keys of a kind in a topic begin with.
    fn begin(&self, domain: u8, topic: &TopicName) -> Prefix {
        let mut sip = self.sip;
        sip.write(&[domain]);
        Prefix(sip).with(topic.as_str().as_bytes())
    }
}

/// Hashes the keys of a batch as they are shown.
struct Hashing<'a> {
    orders: Prefix,
    keys: DedupHasher<'a>,
    aliases: Aliases,
    out: &'a mut KeyHashes,
}

impl<'a> RecordVisitor<'a> for Hashing<'a> {
    fn orders(&mut self, keys: &[&'a [u8]]) {
        self.out.orders.extend(keys.iter().map(|key| self.orders.with(key).hash()));
        self.aliases = Aliases::of(&self.out.orders);
    }

    fn record(&mut self, record: &RecordView<'a>) {
        let order = self.aliases.resolve(record.order_index);
        self.out.records.push(self.keys.record(record, order));
    }
}

/// A key of which so much is hashed.
#[derive(Clone, Copy)]
struct Prefix(SipHasher24);

impl Prefix {
    /// With another part, behind its length.
    fn with(mut self, part: &[u8]) -> Self {
        self.0.write(&u32::try_from(part.len()).expect("keys are short").to_le_bytes());
        self.0.write(part);
        self
    }

    fn hash(self) -> u128 {
        self.0.finish128().as_u128()
    }
}

/// Hashes the dedup keys of a batch's records, and what they have in common once.
struct DedupHasher<'a> {
    keys: Prefix,
    sources: Prefix,
    /// Records in a row often have one source.
    source: Option<(&'a [u8], Prefix)>,
}

impl<'a> DedupHasher<'a> {
    fn new(hasher: &KeyHasher, topic: &TopicName) -> Self {
        Self {
            keys: hasher.begin(DOMAIN_KEY, topic),
            sources: hasher.begin(DOMAIN_SOURCE_AND_ID, topic),
            source: None,
        }
    }

    fn record(&mut self, record: &RecordView<'a>, order: Option<usize>) -> RecordKeys {
        let mut dedup = [0; 2];
        let mut dedup_count = 0;
        for key in record.dedup_keys().into_iter().flatten() {
            let hash = match key {
                DedupKeyRef::SourceAndId(source, id) => self.source(source).with(id).hash(),
                DedupKeyRef::Key(key) => self.keys.with(key).hash(),
            };
            if dedup_count == 0 || dedup[0] != hash {
                dedup[usize::from(dedup_count)] = hash;
                dedup_count += 1;
            }
        }
        let order = order.map_or(NO_ORDER, |order| {
            u16::try_from(order).expect("a batch has at most 4,096 order keys")
        });
        let digest64 = u64::from_le_bytes(
            record.digest.as_bytes()[..8].try_into().expect("a digest has 16 bytes"),
        );
        RecordKeys { digest64, dedup, dedup_count, order }
    }

    fn source(&mut self, source: &'a [u8]) -> Prefix {
        match self.source {
            Some((same, prefix)) if std::ptr::eq(same, source) => prefix,
            _ => {
                let prefix = self.sources.with(source);
                self.source = Some((source, prefix));
                prefix
            }
        }
    }
}

/// Which order keys of a batch stand for an earlier one: a hostile client may list a key twice, and
/// its order must still be one.
#[derive(Default)]
struct Aliases(Vec<(usize, usize)>);

impl Aliases {
    fn of(orders: &[u128]) -> Self {
        let mut numbers = Numbers::default();
        numbers.reset(orders.len());
        let mut aliases = Vec::new();
        for (i, hash) in orders.iter().enumerate() {
            let first = numbers.get(low_half(*hash)).find(|first| orders[*first] == *hash);
            match first {
                Some(first) => aliases.push((i, first)),
                None => numbers.insert(low_half(*hash), i, |i| low_half(orders[i])),
            }
        }
        Self(aliases)
    }

    fn resolve(&self, order: Option<usize>) -> Option<usize> {
        let alias = |i| self.0.binary_search_by_key(&i, |(alias, _)| *alias);
        order.map(|i| alias(i).map_or(i, |at| self.0[at].1))
    }
}

/// Half of a hash, which is as uniform as the whole.
#[expect(clippy::cast_possible_truncation, reason = "the low half is wanted")]
pub(crate) fn low_half(hash: u128) -> u64 {
    hash as u64
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use takt_protocol::batch::{BatchBuilder, Compression};
    use takt_protocol::chunks::Chunks;
    use takt_protocol::event::{DedupKeys, Event};
    use takt_protocol::words::{OrderKey, PartitionNumber, Sequence};

    use super::*;

    fn hashes(events: &[Event], topic: &str) -> KeyHashes {
        let mut builder = BatchBuilder::new(Compression::None);
        for event in events {
            builder.push(event).unwrap();
        }
        let bytes = builder.finish(PartitionNumber::new(0), Sequence::new(1)).unwrap();
        let batch = Batch::take(&mut Chunks::from(bytes)).unwrap();
        let mut out = KeyHashes::default();
        let hasher = KeyHasher::new([7; 16]);
        hasher.hash_batch(&TopicName::new(topic).unwrap(), &batch, &mut out).unwrap();
        out
    }

    fn event(id: &str, order: Option<&str>, dedup: DedupKeys) -> Event {
        Event {
            id: id.into(),
            source: "//s".into(),
            kind: "k".into(),
            order_key: order.map(|key| OrderKey::new(key).unwrap()),
            dedup,
            ..Event::default()
        }
    }

    #[test]
    fn equal_keys_have_equal_hashes_in_one_topic_only() {
        let events = [
            event("a", Some("x"), DedupKeys::SourceAndId),
            event("a", Some("x"), DedupKeys::SourceAndId),
            event("b", Some("y"), DedupKeys::Key(Bytes::from_static(b"//sa"))),
            event("", None, DedupKeys::SourceAndId),
            event("c", None, DedupKeys::Two(Bytes::from_static(b"q"), Bytes::from_static(b"q"))),
        ];
        let here = hashes(&events, "t");
        let there = hashes(&events, "u");
        let records = here.records();
        assert_eq!(records[0].dedup(), records[1].dedup());
        assert_eq!(here.order_of(&records[0]), here.order_of(&records[1]));
        assert_ne!(records[0].dedup(), records[2].dedup(), "a named key is no source and id");
        assert_ne!(here.order_of(&records[0]), here.order_of(&records[2]));
        assert!(!records[3].has_identity());
        assert_eq!(here.order_of(&records[3]), None);
        assert_eq!(records[4].dedup().len(), 1, "the same key twice is one");
        assert_ne!(records[0].dedup(), there.records()[0].dedup());
        assert_ne!(here.orders(), there.orders());
    }

    #[test]
    fn the_hash_of_an_order_key_never_changes() {
        let hasher = KeyHasher::new([0; 16]);
        let hash = hasher.order(&TopicName::new("t").unwrap(), b"order-1");
        assert_eq!(format!("{hash:032x}"), "307785d4ea363bea743c528554b048ac");
    }

    #[test]
    fn a_key_listed_twice_is_one_order() {
        let aliases = Aliases::of(&[5, 6, 5, 5]);
        let resolved = (0..4).map(|i| aliases.resolve(Some(i)));
        assert_eq!(resolved.collect::<Vec<_>>(), [0, 1, 0, 0].map(Some));
        assert_eq!(aliases.resolve(None), None);
    }
}
