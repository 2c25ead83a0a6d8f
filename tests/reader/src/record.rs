//! The records of a stored batch: its index block, its payload and its verdicts side by side.

use xxhash_rust::xxh3::xxh3_64;

use crate::{
    batch::Stored,
    contents::{DedupKey, Record},
    input::{Input, Why, ensure, text},
    payload::{Covered, Data, Digester, Payload},
    verdict::{Judged, Verdict},
};

const FLAG_TIME: u8 = 1;
const FLAG_KEY: u8 = 2;
const FLAG_SECOND_KEY: u8 = 4;
const FLAG_ATTRIBUTES: u8 = 8;
/// Attributes with a number of their own, from 1.
const NAMES_KNOWN: u64 = 22;

/// The tables that records point into.
struct Tables<'a> {
    orders: Vec<&'a [u8]>,
    strings: Vec<&'a str>,
}

/// Reads all records of a batch of a topic with `partitions` to the end of `records`.
pub(crate) fn read<'a>(
    batch: &Stored<'a>,
    partitions: u16,
    digester: &mut Digester,
    records: &mut Vec<Record<'a>>,
) -> Result<(), Why> {
    let client = &batch.client;
    let payload = Payload::of(client);
    let mut index = Input::new(client.index);
    let tables = Tables::read(batch, partitions, &mut index)?;
    let mut verdicts = Input::new(batch.verdicts);
    let (mut data_at, mut offset) = (0_u64, batch.base_offset);
    for (number, sequence) in (0..u32::from(client.records)).zip(client.first_sequence..) {
        let judged = Judged::read(&mut verdicts)?;
        let entry = IndexEntry::read(&mut index, &tables, client.base_time)?;
        let data_end = data_at.saturating_add(entry.data_len);
        ensure(data_end <= client.raw_len, "a record's data ends behind the payload")?;
        let data = payload.data(data_at, entry.data_len)?;
        data_at = data_end;
        let hashes = match data {
            Data::Plain(data) | Data::Unpacked(data) => Some(digester.digest(&entry.covered, data)),
            Data::Broken => None,
        };
        let plain = match data {
            Data::Plain(data) => Some(data),
            Data::Unpacked(_) | Data::Broken => None,
        };
        let digest_computed = hashes.map(|(digest, _)| digest);
        let proved = plain.is_none() || digest_computed == Some(entry.digest);
        ensure(proved, "a digest does not fit its record")?;
        let visible = judged.verdict == Verdict::Visible;
        let ordered = judged.order_sequence.is_some() == entry.covered.order_key.is_some();
        ensure(!visible || ordered, "an order sequence does not fit its record")?;
        records.push(Record {
            offset: visible.then_some(offset),
            batch: batch.number,
            index: number,
            producer: batch.producer,
            sequence,
            order_key: entry.covered.order_key,
            order_sequence: judged.order_sequence,
            restarted: judged.restarted,
            dedup_keys: entry.dedup_keys,
            id: entry.id,
            source: entry.source,
            kind: entry.covered.kind,
            content_type: entry.covered.content_type,
            time: entry.covered.time,
            attributes: entry.attributes,
            digest: entry.digest,
            digest_computed,
            data: plain,
            data_hash: hashes.map(|(_, hash)| hash),
            data_len: entry.data_len,
            verdict: judged.verdict,
        });
        offset += u64::from(visible);
    }
    index.end()?;
    verdicts.end()?;
    ensure(data_at == client.raw_len, "the payload is not all of its records' data")?;
    let visible = offset - batch.base_offset;
    ensure(visible == u64::from(batch.visible), "visible records are not as many as it says")
}

impl<'a> Tables<'a> {
    fn read(batch: &Stored<'a>, partitions: u16, index: &mut Input<'a>) -> Result<Self, Why> {
        let client = &batch.client;
        let mut tables = Self { orders: Vec::new(), strings: Vec::new() };
        for _ in 0..client.orders {
            let key = index.slice()?;
            ensure((1..=255).contains(&key.len()), "an order key is too short or too long")?;
            text(key)?;
            let routed = if partitions > 1 { xxh3_64(key) % u64::from(partitions) } else { 0 };
            let here = routed == u64::from(client.partition);
            ensure(here, "an order key belongs to another partition")?;
            tables.orders.push(key);
        }
        for _ in 0..client.strings {
            tables.strings.push(index.text()?);
        }
        Ok(tables)
    }

    fn string(&self, index: u64) -> Result<&'a str, Why> {
        entry(&self.strings, index)
    }
}

fn entry<T: Copy>(table: &[T], index: u64) -> Result<T, Why> {
    let found = usize::try_from(index).ok().and_then(|index| table.get(index));
    found.copied().ok_or(Why("a record points behind a table"))
}

/// One record of the index block.
struct IndexEntry<'a> {
    covered: Covered<'a>,
    source: &'a str,
    id: &'a str,
    dedup_keys: [Option<DedupKey<'a>>; 2],
    attributes: &'a [u8],
    digest: u128,
    data_len: u64,
}

impl<'a> IndexEntry<'a> {
    fn read(index: &mut Input<'a>, tables: &Tables<'a>, base_time: i64) -> Result<Self, Why> {
        let flags = index.u8()?;
        let has = |flag: u8| flags & flag != 0;
        let known = flags < 16 && (has(FLAG_KEY) || !has(FLAG_SECOND_KEY));
        ensure(known, "a record's flags are not known")?;
        let (source, kind) = (tables.string(index.varint()?)?, tables.string(index.varint()?)?);
        ensure(!source.is_empty() && !kind.is_empty(), "a record has no source or no type")?;
        // 0 stands for none.
        let order_key = match index.varint()? {
            0 => None,
            number => Some(entry(&tables.orders, number - 1)?),
        };
        let content_type = match index.varint()? {
            0 => None,
            number => Some(tables.string(number - 1)?),
        };
        let time = if has(FLAG_TIME) {
            let time = base_time.checked_add(index.signed()?);
            Some(time.ok_or(Why("a record's time is out of bounds"))?)
        } else {
            None
        };
        let data_len = index.varint()?;
        let digest = index.u128()?;
        let id = index.text()?;
        let key = if has(FLAG_KEY) { Some(key(index)?) } else { None };
        let second = if has(FLAG_SECOND_KEY) { Some(self::key(index)?) } else { None };
        let attributes = if has(FLAG_ATTRIBUTES) { index.slice()? } else { &[] };
        check_attributes(attributes)?;
        let (source_bytes, id_bytes) = (source.as_bytes(), id.as_bytes());
        let own = DedupKey::SourceAndId { source: source_bytes, id: id_bytes };
        let first = key.or((!id.is_empty()).then_some(own));
        let covered = Covered { order_key, kind, content_type, time };
        let dedup_keys = [first, second];
        Ok(Self { covered, source, id, dedup_keys, attributes, digest, data_len })
    }
}

fn key<'a>(index: &mut Input<'a>) -> Result<DedupKey<'a>, Why> {
    let key = index.slice()?;
    ensure(!key.is_empty(), "a dedup key is empty")?;
    Ok(DedupKey::Key(key))
}

/// Each is a number, twice shifted over its type; for number 0 a name; and a value.
fn check_attributes(bytes: &[u8]) -> Result<(), Why> {
    let mut input = Input::new(bytes);
    while !input.rest().is_empty() {
        let tag = input.varint()?;
        let name = tag >> 2;
        ensure(name <= NAMES_KNOWN, "an attribute's name is not known")?;
        ensure(name != 0 || !input.text()?.is_empty(), "an attribute has no name")?;
        let value = input.slice()?;
        let valid = match tag & 3 {
            0 => std::str::from_utf8(value).is_ok(),
            1 => value.len() == 4,
            2 => matches!(value, [0 | 1]),
            _ => true,
        };
        ensure(valid, "an attribute's value is none of its type")?;
    }
    Ok(())
}
