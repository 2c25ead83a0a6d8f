//! The records of a stored batch: its index block, its payload and its verdicts side by side. What
//! compaction has left out has a verdict alone.

use xxhash_rust::xxh3::xxh3_64;

use crate::{
    batch::Stored,
    contents::{DedupKey, LeftOut, Record},
    input::{Input, Why, ensure, text},
    origin::OriginHeader,
    payload::{Covered, Data, Digester, Payload},
    verdict::{Judged, Verdict},
};

const FLAG_TIME: u8 = 1;
const FLAG_KEY: u8 = 2;
const FLAG_SECOND_KEY: u8 = 4;
const FLAG_ATTRIBUTES: u8 = 8;
/// Attributes with a number of their own, from 1.
const NAMES_KNOWN: u64 = 22;

/// Records of batches, in order.
#[derive(Debug, Default)]
pub(crate) struct Records<'a> {
    pub(crate) there: Vec<Record<'a>>,
    /// What compaction has left out.
    pub(crate) left_out: Vec<LeftOut>,
}

/// Those of one batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OfBatch<'r, 'a> {
    pub(crate) there: &'r [Record<'a>],
    pub(crate) left_out: &'r [LeftOut],
}

impl<'a> Records<'a> {
    /// Those from a place in both lists on.
    pub(crate) fn since(&self, (there, left_out): (usize, usize)) -> OfBatch<'_, 'a> {
        OfBatch {
            there: self.there.get(there..).unwrap_or_default(),
            left_out: self.left_out.get(left_out..).unwrap_or_default(),
        }
    }

    /// The end of both lists.
    pub(crate) fn end(&self) -> (usize, usize) {
        (self.there.len(), self.left_out.len())
    }
}

/// What is said of a record outside of the client's batch.
struct Said {
    index: u32,
    sequence: u64,
    /// Of a visible one.
    offset: Option<u64>,
    judged: Judged,
}

/// Reads all records of a batch of a topic with `partitions` to the end of `records`.
pub(crate) fn read<'a>(
    batch: &Stored<'a>,
    partitions: u16,
    digester: &mut Digester,
    records: &mut Records<'a>,
) -> Result<(), Why> {
    let header = &batch.header;
    let mut laid_out = LaidOut::of(batch, partitions)?;
    let mut verdicts = Input::new(header.verdicts);
    let mut visible_count = 0;
    for (index, sequence) in (0..u32::from(header.records)).zip(batch.client.first_sequence..) {
        let judged = Judged::read(&mut verdicts)?;
        let visible = judged.verdict == Verdict::Visible;
        let offset = visible.then_some(header.base_offset.saturating_add(visible_count));
        visible_count += u64::from(visible);
        let said = Said { index, sequence, offset, judged };
        if batch.has(index) {
            records.there.push(laid_out.next(&said, header, digester)?);
        } else {
            records.left_out.push(said.left_out(header.number));
        }
    }
    laid_out.index.end()?;
    verdicts.end()?;
    let whole = laid_out.data_at == batch.client.raw_len;
    ensure(whole, "the payload is not all of its records' data")?;
    let same = visible_count == u64::from(header.visible);
    ensure(same, "visible records are not as many as it says")
}

impl Said {
    fn left_out(&self, batch: u64) -> LeftOut {
        LeftOut {
            offset: self.offset,
            batch,
            index: self.index,
            sequence: self.sequence,
            order_sequence: self.judged.order_sequence,
            restarted: self.judged.restarted,
            verdict: self.judged.verdict,
        }
    }
}

/// A client's batch whose records are taken one by one.
struct LaidOut<'a> {
    tables: Tables<'a>,
    index: Input<'a>,
    payload: Payload<'a>,
    raw_len: u64,
    base_time: i64,
    /// Where in the payload the next record's data begins.
    data_at: u64,
}

impl<'a> LaidOut<'a> {
    fn of(batch: &Stored<'a>, partitions: u16) -> Result<Self, Why> {
        let client = &batch.client;
        let payload = Payload::of(client);
        // Who left out records had the others' data before it.
        let broken = matches!(payload, Payload::Broken) && batch.kept.is_some();
        ensure(!broken || client.records == 0, "what is kept of a batch does not decompress")?;
        let mut index = Input::new(client.index);
        let tables = Tables::read(batch, partitions, &mut index)?;
        let (raw_len, base_time) = (client.raw_len, client.base_time);
        Ok(Self { tables, index, payload, raw_len, base_time, data_at: 0 })
    }

    fn next(
        &mut self,
        said: &Said,
        header: &OriginHeader<'a>,
        digester: &mut Digester,
    ) -> Result<Record<'a>, Why> {
        let entry = IndexEntry::read(&mut self.index, &self.tables, self.base_time)?;
        let data_end = self.data_at.saturating_add(entry.data_len);
        ensure(data_end <= self.raw_len, "a record's data ends behind the payload")?;
        let data = self.payload.data(self.data_at, entry.data_len)?;
        self.data_at = data_end;
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
        let judged = &said.judged;
        let ordered = judged.order_sequence.is_some() == entry.covered.order_key.is_some();
        let fits = said.offset.is_none() || ordered;
        ensure(fits, "an order sequence does not fit its record")?;
        Ok(Record {
            offset: said.offset,
            batch: header.number,
            index: said.index,
            producer: header.producer,
            sequence: said.sequence,
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
        })
    }
}

/// The tables that records point into.
struct Tables<'a> {
    orders: Vec<&'a [u8]>,
    strings: Vec<&'a str>,
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
