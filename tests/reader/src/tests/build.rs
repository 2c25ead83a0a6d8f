//! Runs, packs and commits as a node would write them, from the format's description alone.

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::{Files, seal_commit};
use crate::{
    filter::{mix, scale},
    journal::Journal,
    manifest::Run,
    packs::PackFile,
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

/// A pack that is still to be laid out.
#[derive(Debug, Clone)]
pub(super) struct PackDraft {
    pub(super) journal: [u8; 16],
    pub(super) pack: PackFile,
    pub(super) blocks: Vec<BlockDraft>,
}

/// A block of a pack.
#[derive(Debug, Clone)]
pub(super) struct BlockDraft {
    pub(super) slot: u32,
    pub(super) zstd: bool,
    /// Numbers with stored batches.
    pub(super) batches: Vec<(u64, Vec<u8>)>,
}

impl BlockDraft {
    pub(super) fn plain(&self) -> Vec<u8> {
        let mut out = u32::try_from(self.batches.len()).unwrap().to_le_bytes().to_vec();
        for (number, batch) in &self.batches {
            out.extend_from_slice(&number.to_le_bytes());
            out.extend_from_slice(&u32::try_from(batch.len()).unwrap().to_le_bytes());
        }
        self.batches.iter().for_each(|(_, batch)| out.extend_from_slice(batch));
        out
    }
}

impl PackDraft {
    /// The file, and the pack as the manifest names it.
    pub(super) fn lay_out(&self) -> (Vec<u8>, PackFile) {
        let mut pack = self.pack;
        let (mut out, mut index) = (vec![0; 112], Vec::new());
        pack.batch_bytes = 0;
        for block in &self.blocks {
            let plain = block.plain();
            let zipped = block.zstd.then(|| zstd::bulk::compress(&plain, 1).unwrap());
            let bytes = zipped.as_ref().unwrap_or(&plain);
            index.extend_from_slice(&block.slot.to_le_bytes());
            index.extend_from_slice(&u32::from(block.zstd).to_le_bytes());
            index
                .extend_from_slice(&block.batches.first().map_or(0, |first| first.0).to_le_bytes());
            index.extend_from_slice(&(out.len() as u64).to_le_bytes());
            for len in [bytes.len(), plain.len()] {
                index.extend_from_slice(&u32::try_from(len).unwrap().to_le_bytes());
            }
            index.extend_from_slice(&xxh3_128(bytes).to_le_bytes());
            out.extend_from_slice(bytes);
            pack.batch_bytes +=
                block.batches.iter().map(|(_, batch)| batch.len() as u64).sum::<u64>();
        }
        pack.blocks = self.blocks.len() as u64;
        pack.len_bytes = (out.len() + index.len()) as u64;
        out.extend_from_slice(&index);
        out[..8].copy_from_slice(b"TAKTPAK\n");
        out[8] = 1;
        out[12..16].copy_from_slice(&pack.serial.to_le_bytes());
        out[16..32].copy_from_slice(&self.journal);
        let numbers = [pack.start, pack.end, pack.blocks, pack.len_bytes, pack.batch_bytes];
        let numbers = numbers.into_iter().chain([pack.compacted_upto]);
        for (at, number) in (32..).step_by(8).zip(numbers) {
            out[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
        pack.checksum = seal_pack(&mut out, self.blocks.len());
        (out, pack)
    }
}

/// Computes again what vouches for index and header; returns the header's checksum.
pub(super) fn seal_pack(pack: &mut [u8], blocks: usize) -> u128 {
    let index = xxh3_128(&pack[pack.len() - blocks * 48..]);
    pack[80..96].copy_from_slice(&index.to_le_bytes());
    let seal = xxh3_128(&pack[..96]);
    pack[96..112].copy_from_slice(&seal.to_le_bytes());
    seal
}

/// The words of a pack in the manifest.
pub(super) fn pack_words(pack: &PackFile) -> Vec<u8> {
    let mut out = Vec::new();
    let numbers = [pack.start, pack.end, u64::from(pack.serial), pack.blocks, pack.len_bytes];
    for number in numbers {
        varint(&mut out, number);
    }
    varint(&mut out, pack.batch_bytes);
    out.extend_from_slice(&pack.checksum.to_le_bytes());
    out
}
