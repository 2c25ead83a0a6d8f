//! Makes the checksums of a directory good again after its content was changed, as `docs/format.md`
//! says: batches, commits with their chains, preambles, runs and side files.

use takt_protocol::varint::Cursor;
use takt_storage::runs::RunInfo;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::input::Files;

const BLOCK: usize = 4_096;
const COMMIT_HEADER: usize = 112;
/// Widths of the rows of a run's sections.
const RUN_ROWS: [usize; 6] = [48, 32, 48, 28, 14, 72];
/// Of each version: length of a run's header, and of a block of its keys.
const RUN_V1: (usize, usize) = (128, 64 << 10);
const RUN_V2: (usize, usize) = (168, 4 << 10);
const SIDE_HEADER: usize = 96;
const SIDE_ROW: usize = 40;

/// Makes all good; `before` is the directory before it was changed.
pub fn repair(before: &Files, files: &mut Files) {
    let mut sums = Vec::new();
    for (name, bytes) in files.iter_mut() {
        let sum_at = match name.rsplit('.').next() {
            Some("run") if repair_run(bytes).is_some() => run_version(bytes).0 - 16,
            Some("side") if repair_side(bytes).is_some() => SIDE_HEADER - 16,
            _ => continue,
        };
        let old = before.get(name).and_then(|old| array::<16>(old, sum_at));
        let new = array::<16>(bytes, sum_at);
        if let (Some(old), Some(new)) = (old, new)
            && old != new
        {
            sums.push((old, new));
        }
    }
    let mut chain = None;
    let mut chain_before = None;
    for (name, bytes) in files.iter_mut().filter(|(name, _)| name.ends_with(".log")) {
        // A file behind one that was dropped goes on from what is not there.
        let old = before.get(name);
        let follows =
            old.is_none_or(|old| chain_before.is_some() && array(old, 80) == chain_before);
        chain = chain.filter(|_| follows);
        chain_before = old.and_then(|old| repair_journal(&mut old.clone(), None));
        // The manifest, in entries and snapshots, has the checksum of each run and side file.
        for (old, new) in &sums {
            let mut at = 0;
            while let Some(found) = find(&bytes[at..], old) {
                bytes[at + found..at + found + 16].copy_from_slice(new);
                at += found + 16;
            }
        }
        chain = repair_journal(bytes, chain);
    }
}

fn find(bytes: &[u8], what: &[u8; 16]) -> Option<usize> {
    bytes.windows(16).position(|window| window == what)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    Some(u32::from_le_bytes(array(bytes, at)?) as usize)
}

fn long(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u64::from_le_bytes(array(bytes, at)?)).ok()
}

fn put(bytes: &mut [u8], at: usize, sum: u128) {
    bytes[at..at + 16].copy_from_slice(&sum.to_le_bytes());
}

/// Gives the chain behind its last commit, for the next file.
fn repair_journal(bytes: &mut [u8], chain: Option<[u8; 16]>) -> Option<[u8; 16]> {
    let salt: [u8; 16] = array(bytes, 32)?;
    let snapshot_end = number(bytes, 68)?.checked_mul(BLOCK)?;
    if let Some(chain) = chain {
        bytes.get_mut(80..96)?.copy_from_slice(&chain);
    }
    let snapshot = xxh3_128(bytes.get(BLOCK..snapshot_end)?);
    put(bytes, 96, snapshot);
    bytes[128..144].fill(0);
    let first = xxh3_128(&bytes[..BLOCK]);
    put(bytes, 128, first);

    let mut chain: [u8; 16] = array(bytes, 80)?;
    let mut at = snapshot_end;
    while let Some(header) = bytes.get(at..at + COMMIT_HEADER) {
        let Some(len) = number(header, 12) else { break };
        if header[..4] != *b"TkC\x01" || len < COMMIT_HEADER || at + len > bytes.len() {
            break;
        }
        // What a recycled file held before is left as it is.
        let position = long(bytes, 48)?.checked_add(at - snapshot_end);
        if long(header, 40) != position {
            break;
        }
        let commit = &mut bytes[at..at + len];
        repair_entries(&mut commit[COMMIT_HEADER..]);
        commit[64..80].copy_from_slice(&chain);
        let body = xxh3_128(&commit[COMMIT_HEADER..]);
        put(commit, 80, body);
        let mut salted = salt.to_vec();
        salted.extend_from_slice(&commit[..96]);
        put(commit, 96, xxh3_128(&salted));
        let mut next = chain.to_vec();
        next.extend_from_slice(&commit[40..48]);
        next.extend_from_slice(&commit[80..96]);
        chain = xxh3_128(&next).to_le_bytes();
        at += len.next_multiple_of(BLOCK);
    }
    Some(chain)
}

/// The CRCs of the batches in entries of the kinds 3 and 4.
fn repair_entries(mut entries: &mut [u8]) {
    while entries.len() > 5 {
        let (kind, Some(len)) = (entries[0], number(entries, 1)) else { return };
        if len > entries.len() - 5 {
            return;
        }
        let (entry, rest) = entries[5..].split_at_mut(len);
        if matches!(kind, 3 | 4) {
            repair_batch(entry);
        }
        entries = rest;
    }
}

fn repair_batch(entry: &mut [u8]) -> Option<()> {
    let stored = entry.get_mut(4..)?;
    let header = number(stored, 4)?;
    let end = header.checked_add(number(stored, 8)?)?;
    let client = stored.get_mut(header..end)?;
    let mut crc = crc32fast::Hasher::new();
    crc.update(client.get(..4)?);
    crc.update(client.get(8..)?);
    let crc = crc.finalize().to_le_bytes();
    client[4..8].copy_from_slice(&crc);
    stored.get_mut(64..68)?.copy_from_slice(&crc);
    Some(())
}

fn run_version(bytes: &[u8]) -> (usize, usize) {
    if bytes.get(8..10) == Some(&[2, 0]) { RUN_V2 } else { RUN_V1 }
}

/// Makes the checksums of a run good; `None` where its lengths do not fit. What its filters say stays
/// as it is.
pub fn repair_run(bytes: &mut [u8]) -> Option<()> {
    let (header_len, key_block) = run_version(bytes);
    let mut at = header_len;
    let mut fences = Vec::new();
    for (i, width) in RUN_ROWS.into_iter().enumerate() {
        let section =
            bytes.get(at..at.checked_add(long(bytes, 48 + i * 8)?.checked_mul(width)?)?)?;
        let block = if i < 2 { key_block } else { 64 << 10 };
        for block in section.chunks(block / width * width) {
            fences.extend_from_slice(&block[..width]);
            fences.extend_from_slice(&xxh3_64(block).to_le_bytes());
        }
        at += section.len();
    }
    bytes.get_mut(at..at + fences.len())?.copy_from_slice(&fences);
    put(bytes, 96, xxh3_128(&fences));
    if header_len == RUN_V2.0 {
        let filters = xxh3_128(&bytes[at + fences.len()..]);
        put(bytes, 136, filters);
    }
    let header = xxh3_128(&bytes[..header_len - 16]);
    put(bytes, header_len - 16, header);
    Some(())
}

/// A run as the manifest would name it.
pub fn run_info(bytes: &[u8]) -> Option<RunInfo> {
    let end = run_version(bytes).0;
    let fields = [32..48, 12..16, end - 16..end, 48..96];
    let fields: Option<Vec<&[u8]>> = fields.into_iter().map(|range| bytes.get(range)).collect();
    RunInfo::decode(&mut Cursor::new(&fields?.concat())).ok()
}

fn repair_side(bytes: &mut [u8]) -> Option<()> {
    let index_end = SIDE_HEADER.checked_add(long(bytes, 40)?.checked_mul(SIDE_ROW)?)?;
    bytes.get(..index_end)?;
    for row in (SIDE_HEADER..index_end).step_by(SIDE_ROW) {
        let (len, at) = (number(bytes, row + 4)?, long(bytes, row + 16)?);
        if let Some(batch) = bytes.get(at..at.saturating_add(len)) {
            let sum = xxh3_128(batch);
            put(bytes, row + 24, sum);
        }
    }
    let index = xxh3_128(&bytes[SIDE_HEADER..index_end]);
    put(bytes, 64, index);
    let header = xxh3_128(&bytes[..SIDE_HEADER - 16]);
    put(bytes, SIDE_HEADER - 16, header);
    Some(())
}
