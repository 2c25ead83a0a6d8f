//! Stored batches as an origin would lay them out, and what compaction would leave of them.

use xxhash_rust::xxh3::xxh3_128;

use super::build::varint;
use crate::{
    input::Input,
    payload::{Covered, Digester},
};

/// A record and what its origin says of it.
#[derive(Debug, Clone)]
pub(super) struct RecordDraft {
    pub(super) key: Option<&'static str>,
    /// Code first.
    pub(super) verdict: Vec<u64>,
}

/// An event of an order.
pub(super) fn event(key: &'static str, sequence: u64) -> RecordDraft {
    RecordDraft { key: Some(key), verdict: vec![1, sequence] }
}

/// A record with another verdict.
pub(super) fn record(key: Option<&'static str>, verdict: &[u64]) -> RecordDraft {
    RecordDraft { key, verdict: verdict.to_vec() }
}

impl RecordDraft {
    pub(super) fn is_visible(&self) -> bool {
        self.verdict[0] < 3
    }

    pub(super) fn is_listed(&self) -> bool {
        self.verdict[0] == 5
    }

    pub(super) fn verdict_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.verdict.iter().for_each(|number| varint(&mut out, *number));
        out
    }
}

/// A batch that is still to be laid out.
#[derive(Debug, Clone)]
pub(super) struct BatchDraft {
    pub(super) number: u64,
    pub(super) base_offset: u64,
    pub(super) append_time: i64,
    pub(super) first_sequence: u64,
    /// The chain before it.
    pub(super) previous: [u8; 16],
    pub(super) records: Vec<RecordDraft>,
}

pub(super) const PRODUCER: &str = "p";
const BASE_TIME: i64 = 1_000;

impl BatchDraft {
    pub(super) fn visible(&self) -> u64 {
        self.records.iter().filter(|record| record.is_visible()).count() as u64
    }

    pub(super) fn verdicts(&self) -> Vec<u8> {
        self.records.iter().flat_map(RecordDraft::verdict_bytes).collect()
    }

    fn client(&self) -> Vec<u8> {
        let (mut tables, mut index, mut payload) = (Vec::new(), Vec::new(), Vec::new());
        let mut keys: Vec<_> = self.records.iter().filter_map(|record| record.key).collect();
        keys.sort_unstable();
        keys.dedup();
        let strings = ["s", "k"];
        for text in keys.iter().chain(&strings) {
            varint(&mut tables, text.len() as u64);
            tables.extend_from_slice(text.as_bytes());
        }
        for (at, record) in (self.first_sequence..).zip(&self.records) {
            let data = vec![u8::try_from(at % 251).unwrap(); 100];
            let order_key = record.key.map(str::as_bytes);
            let time = Some(BASE_TIME + 5);
            let covered = Covered { order_key, kind: "k", content_type: None, time };
            let (digest, _) = Digester::new().digest(&covered, &data);
            let key = record.key.and_then(|key| keys.iter().position(|known| *known == key));
            // Time; source, type; order key; no content type; 5 µs behind the base.
            index.extend_from_slice(&[1, 0, 1]);
            index.extend_from_slice(&[key.map_or(0, |key| u8::try_from(key + 1).unwrap()), 0, 10]);
            varint(&mut index, data.len() as u64);
            index.extend_from_slice(&digest.to_le_bytes());
            // No id.
            index.push(0);
            payload.extend(data);
        }
        let mut out = vec![0xb7, 1, 0, 0, 0, 0, 0, 0];
        let index = [tables, index].concat();
        for len in [48 + index.len() + payload.len(), index.len(), payload.len()] {
            out.extend_from_slice(&u32::try_from(len).unwrap().to_le_bytes());
        }
        for count in [self.records.len(), keys.len(), strings.len(), 0] {
            out.extend_from_slice(&u16::try_from(count).unwrap().to_le_bytes());
        }
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.first_sequence.to_le_bytes());
        out.extend_from_slice(&BASE_TIME.to_le_bytes());
        out.extend(index);
        out.extend(payload);
        seal_client(&mut out);
        out
    }

    /// The stored batch, and the chain behind it.
    pub(super) fn lay_out(&self) -> (Vec<u8>, [u8; 16]) {
        let client = self.client();
        let header_len = 73 + PRODUCER.len() + self.verdicts().len();
        let mut header = vec![0x7b, 1, 0, 0];
        for len in [header_len, client.len()] {
            header.extend_from_slice(&u32::try_from(len).unwrap().to_le_bytes());
        }
        for count in [self.records.len() as u64, self.visible()] {
            header.extend_from_slice(&u16::try_from(count).unwrap().to_le_bytes());
        }
        header.extend_from_slice(&self.number.to_le_bytes());
        header.extend_from_slice(&self.base_offset.to_le_bytes());
        header.extend_from_slice(&self.append_time.to_le_bytes());
        header.extend_from_slice(&[0; 16]);
        // Epoch.
        header.extend_from_slice(&1_u64.to_le_bytes());
        header.extend_from_slice(&client[4..8]);
        header.extend_from_slice(&[0; 4]);
        header.push(u8::try_from(PRODUCER.len()).unwrap());
        header.extend_from_slice(PRODUCER.as_bytes());
        header.extend(self.verdicts());
        let chain = xxh3_128(&[&self.previous[..], &header].concat()).to_le_bytes();
        header[40..56].copy_from_slice(&chain);
        ([header, client].concat(), chain)
    }
}

fn le32(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

fn seal_client(client: &mut [u8]) {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&client[..4]);
    crc.update(&client[8..]);
    client[4..8].copy_from_slice(&crc.finalize().to_le_bytes());
}

/// Where the client's part of a compacted batch begins.
pub(super) fn client_at(compacted: &[u8]) -> usize {
    16 + le32(compacted, 4) + (le32(compacted, 28) & 0xffff).div_ceil(8)
}

/// Computes again all that who changes a compacted batch can compute.
pub(super) fn seal_compacted(compacted: &mut [u8]) {
    let (front, client) = compacted.split_at_mut(client_at(compacted));
    seal_client(client);
    let crc = crc32fast::hash(&front[16..]);
    front[12..16].copy_from_slice(&crc.to_le_bytes());
}

/// What is left of a stored batch when these of its records are kept, by their places.
pub(super) fn compacted(stored: &[u8], kept: &[usize]) -> Vec<u8> {
    let (header, client) = stored.split_at(le32(stored, 4));
    assert_eq!(client[2..4], [0; 2], "it is not compressed");
    let (front, rest) = client.split_at(48);
    let (index, mut payload) = rest.split_at(le32(client, 12));
    let counts: Vec<usize> = (0..3).map(|at| le32(client, 20 + 2 * at) & 0xffff).collect();
    let mut input = Input::new(index);
    for _ in 0..counts[1] + counts[2] {
        input.slice().unwrap();
    }
    let mut client = front.to_vec();
    let (mut bits, mut raw) = (vec![0; counts[0].div_ceil(8)], Vec::new());
    if kept.is_empty() {
        client[22..26].fill(0);
    } else {
        client.extend_from_slice(&index[..index.len() - input.rest().len()]);
    }
    for at in 0..counts[0] {
        let record = input.rest();
        let data_len = usize::try_from(skip_record(&mut input)).unwrap();
        let (data, rest) = payload.split_at(data_len);
        payload = rest;
        if kept.contains(&at) {
            client.extend_from_slice(&record[..record.len() - input.rest().len()]);
            raw.extend_from_slice(data);
            bits[at / 8] |= 1_u8 << (at % 8);
        }
    }
    let lens = [client.len() + raw.len(), client.len() - 48, raw.len()];
    for (at, len) in [8, 12, 16].into_iter().zip(lens) {
        client[at..at + 4].copy_from_slice(&u32::try_from(len).unwrap().to_le_bytes());
    }
    client[20..22].copy_from_slice(&u16::try_from(kept.len()).unwrap().to_le_bytes());
    client.extend(raw);
    let mut out = vec![0x7b, 1, 1, 0];
    for len in [header.len(), client.len(), 0] {
        out.extend_from_slice(&u32::try_from(len).unwrap().to_le_bytes());
    }
    let mut out = [&out, header, &bits, &client].concat();
    seal_compacted(&mut out);
    out
}

/// Takes a record from an index block; returns the length of its data.
fn skip_record(input: &mut Input<'_>) -> u64 {
    let flags = input.u8().unwrap();
    let numbers = if flags & 1 == 0 { 4 } else { 5 };
    for _ in 0..numbers {
        input.varint().unwrap();
    }
    let data_len = input.varint().unwrap();
    input.take(16).unwrap();
    for _ in 0..=(flags & 0b1110).count_ones() {
        input.slice().unwrap();
    }
    data_len
}
