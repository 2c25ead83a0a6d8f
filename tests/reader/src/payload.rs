//! The payload block, and the digests over it.

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::{
    batch::{Client, Compression},
    input::{Input, Why, wide},
};

/// The data of a batch's records, one behind the other.
#[derive(Debug)]
pub(crate) enum Payload<'a> {
    /// As it lies in the file.
    Plain(&'a [u8]),
    /// Decompressed.
    Unpacked(Vec<u8>),
    /// It does not decompress. A node checks only some compressed batches, so it may be stored.
    Broken,
}

/// The data of one record.
#[derive(Debug)]
pub(crate) enum Data<'p, 'a> {
    Plain(&'a [u8]),
    Unpacked(&'p [u8]),
    Broken,
}

impl<'a> Payload<'a> {
    pub(crate) fn of(client: &Client<'a>) -> Self {
        let raw_len = usize::try_from(client.raw_len).unwrap_or(0);
        let unpacked = match client.compression {
            Compression::None => return Self::Plain(client.payload),
            Compression::Lz4 => lz4_flex::block::decompress(client.payload, raw_len).ok(),
            Compression::Zstd => zstd::bulk::decompress(client.payload, raw_len).ok(),
        };
        match unpacked {
            Some(raw) if wide(raw.len()) == client.raw_len => Self::Unpacked(raw),
            Some(_) | None => Self::Broken,
        }
    }

    /// The data of a record that begins at `at`.
    pub(crate) fn data(&self, at: u64, len: u64) -> Result<Data<'_, 'a>, Why> {
        match self {
            Self::Plain(bytes) => slice(bytes, at, len).map(Data::Plain),
            Self::Unpacked(bytes) => slice(bytes, at, len).map(Data::Unpacked),
            Self::Broken => Ok(Data::Broken),
        }
    }
}

fn slice(bytes: &[u8], at: u64, len: u64) -> Result<&[u8], Why> {
    let mut input = Input::new(bytes);
    input.take(at)?;
    input.take(len)
}

/// What a digest covers beside the data.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Covered<'a> {
    pub(crate) order_key: Option<&'a [u8]>,
    pub(crate) kind: &'a str,
    pub(crate) content_type: Option<&'a str>,
    pub(crate) time: Option<i64>,
}

/// Computes digests and the hashes of data.
pub(crate) struct Digester {
    hasher: Xxh3,
    prefix: Vec<u8>,
}

impl Digester {
    pub(crate) fn new() -> Self {
        Self { hasher: Xxh3::new(), prefix: Vec::new() }
    }

    /// The digest of a record and the hash of its data.
    pub(crate) fn digest(&mut self, covered: &Covered<'_>, data: &[u8]) -> (u128, u128) {
        self.prefix.clear();
        let kind = Some(covered.kind.as_bytes());
        for field in [covered.order_key, kind, covered.content_type.map(str::as_bytes)] {
            let len = field.map_or(u32::MAX, |field| u32::try_from(field.len()).unwrap_or(0));
            self.prefix.extend_from_slice(&len.to_le_bytes());
            self.prefix.extend_from_slice(field.unwrap_or_default());
        }
        match covered.time {
            None => self.prefix.push(0),
            Some(time) => {
                self.prefix.push(1);
                self.prefix.extend_from_slice(&time.to_le_bytes());
            }
        }
        self.hasher.reset();
        self.hasher.update(&self.prefix);
        self.hasher.update(data);
        (self.hasher.digest128(), xxh3_128(data))
    }
}
