//! Runs and commits as a node would write them, from the format's description alone.

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::{Files, seal_commit};
use crate::{
    filter::{mix, scale},
    journal::Journal,
    manifest::Run,
};

pub(super) const WIDTHS: [usize; 6] = [48, 32, 48, 28, 14, 72];

/// A filter of the hashes: each is given its fingerprint where no other that is left needs it.
pub(super) fn filter(hashes: &[u128], shards: u32) -> Vec<u8> {
    let mut out = [shards.to_le_bytes(), [0; 4]].concat();
    let mut tables = Vec::new();
    for shard in 0..u64::from(shards) {
        let of_shard = |hash: &&u128| scale((**hash >> 64) as u64, u64::from(shards)) == shard;
        let mut lows: Vec<_> = hashes.iter().filter(of_shard).map(low).collect();
        lows.sort_unstable();
        lows.dedup();
        let bits = if lows.len() < 100 { 2 } else { 6 };
        let segments = u32::try_from((lows.len() * 3 / 2) >> bits).unwrap() + 4;
        let mut seeds = (0..200_u64).map(mix);
        let (seed, table) =
            seeds.find_map(|seed| Some((seed, table(&lows, seed, bits, segments)?))).unwrap();
        out.extend_from_slice(&seed.to_le_bytes());
        out.extend_from_slice(&bits.to_le_bytes());
        out.extend_from_slice(&segments.to_le_bytes());
        tables.extend(table.into_iter().flat_map(u16::to_le_bytes));
    }
    [out, tables].concat()
}

pub(super) fn low(hash: &u128) -> u64 {
    u64::from_le_bytes(hash.to_le_bytes()[..8].try_into().unwrap())
}

fn table(lows: &[u64], seed: u64, bits: u32, segments: u32) -> Option<Vec<u16>> {
    let len = 1_u64 << bits;
    let places = |low: u64| {
        let h = mix(low.wrapping_add(seed));
        let at = scale(h, u64::from(segments) * len);
        let places = [at, (at + len) ^ ((h >> 18) & (len - 1)), (at + 2 * len) ^ (h & (len - 1))];
        (places.map(|at| usize::try_from(at).unwrap()), ((h ^ (h >> 32)) & 0xffff) as u16)
    };
    let mut table = vec![0_u16; (segments as usize + 2) << bits];
    let mut left = lows.to_vec();
    let mut order = Vec::new();
    while !left.is_empty() {
        let mut wanted = vec![0; table.len()];
        left.iter().flat_map(|low| places(*low).0).for_each(|at| wanted[at] += 1);
        let before = left.len();
        left.retain(|low| {
            let (at, _) = places(*low);
            let alone = at.into_iter().find(|at| wanted[*at] == 1);
            order.extend(alone.map(|at| (*low, at)));
            alone.is_none()
        });
        if left.len() == before {
            return None;
        }
    }
    for (low, alone) in order.into_iter().rev() {
        let (at, fingerprint) = places(low);
        table[alone] = at.iter().fold(fingerprint ^ table[alone], |sum, at| sum ^ table[*at]);
    }
    Some(table)
}

/// A run that is still to be laid out.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub(super) journal: [u8; 16],
    pub(super) run: Run,
    pub(super) sections: [Vec<u8>; 6],
    pub(super) new_orders: u64,
    pub(super) filters: [Vec<u8>; 2],
}

impl Draft {
    /// With filters that fit.
    pub(super) fn new(journal: [u8; 16], run: Run, sections: [Vec<u8>; 6]) -> Self {
        let hashes = |section: usize| -> Vec<u128> {
            let rows = sections[section].chunks(WIDTHS[section]);
            rows.map(|row| u128::from_le_bytes(row[..16].try_into().unwrap())).collect()
        };
        let filters = [0, 1].map(|section| {
            let hashes = hashes(section);
            let shards = if section == 0 { 1 } else { 2 };
            if hashes.is_empty() { Vec::new() } else { filter(&hashes, shards) }
        });
        Self { journal, run, sections, new_orders: 0, filters }
    }

    /// The file, and the run as the manifest names it.
    pub(super) fn lay_out(&self) -> (Vec<u8>, Run) {
        let mut run = self.run;
        let (mut rows, mut fences) = (Vec::new(), Vec::new());
        for (index, section) in self.sections.iter().enumerate() {
            let width = WIDTHS[index];
            run.rows[index] = (section.len() / width) as u64;
            let block = if index < 2 { 4 << 10 } else { 64 << 10 };
            for block in section.chunks(block / width * width) {
                fences.extend_from_slice(&block[..width]);
                fences.extend_from_slice(&xxh3_64(block).to_le_bytes());
            }
            rows.extend_from_slice(section);
        }
        let filters = self.filters.concat();
        let mut head = b"TAKTRUN\n\x02\0\0\0".to_vec();
        head.extend_from_slice(&run.incarnation.to_le_bytes());
        head.extend_from_slice(&self.journal);
        head.extend_from_slice(&run.start.to_le_bytes());
        head.extend_from_slice(&run.end.to_le_bytes());
        head.extend(run.rows.iter().flat_map(|count| count.to_le_bytes()));
        head.extend_from_slice(&xxh3_128(&fences).to_le_bytes());
        head.extend_from_slice(&self.new_orders.to_le_bytes());
        head.extend(self.filters.iter().flat_map(|filter| (filter.len() as u64).to_le_bytes()));
        head.extend_from_slice(&xxh3_128(&filters).to_le_bytes());
        assert_eq!(head.len(), 152);
        run.checksum = xxh3_128(&head);
        head.extend_from_slice(&run.checksum.to_le_bytes());
        ([head, rows, fences, filters].concat(), run)
    }
}

/// The words of a run in the manifest.
pub(super) fn words(run: &Run) -> Vec<u8> {
    let mut out = [run.start.to_le_bytes(), run.end.to_le_bytes()].concat();
    out.extend_from_slice(&run.incarnation.to_le_bytes());
    out.extend_from_slice(&run.checksum.to_le_bytes());
    out.extend(run.rows.iter().flat_map(|count| count.to_le_bytes()));
    assert_eq!(out.len(), 84);
    out
}

pub(super) fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap());
}

/// Puts a commit with entries at the journal's end.
pub(super) fn commit(files: &mut Files, entries: &[(u8, Vec<u8>)]) {
    let (name, at, mut commit, salt) = {
        let journal = Journal::collect(files).unwrap();
        let last = journal.last();
        let file = &last.preamble;
        let mut body = Vec::new();
        for (kind, bytes) in entries {
            body.push(*kind);
            body.extend_from_slice(&u32::try_from(bytes.len()).unwrap().to_le_bytes());
            body.extend_from_slice(bytes);
        }
        let total = (112 + body.len()).next_multiple_of(4096);
        let mut commit = b"TkC\x01\x01\0\0\0".to_vec();
        for number in [body.len(), total, entries.len(), file.incarnation as usize] {
            commit.extend_from_slice(&u32::try_from(number).unwrap().to_le_bytes());
        }
        commit.extend_from_slice(&file.journal);
        commit.extend_from_slice(&last.end.to_le_bytes());
        commit.extend_from_slice(&journal.tail.durable_upto.to_le_bytes());
        commit.extend_from_slice(&[0; 8]);
        commit.extend_from_slice(&last.chain);
        commit.resize(112, 0);
        commit.extend(body);
        commit.resize(total, 0);
        let at = file.len + usize::try_from(last.end - file.start).unwrap();
        (last.name.to_owned(), at, commit, file.salt)
    };
    seal_commit(&mut commit, &salt);
    let file = files.get_mut(&name).unwrap();
    file.resize(file.len().max(at + commit.len()), 0);
    file[at..at + commit.len()].copy_from_slice(&commit);
}
