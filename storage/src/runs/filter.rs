//! Which hashes a section cannot have: a binary fuse filter, 2.4 bytes a key.
//!
//! Each key has three positions, and its fingerprint is the exclusive or of what stands there. A
//! key that was not put in passes once in 65,536. Keys are split by their upper half into shards
//! of some 130,000, so that building one stays in the cache; larger ones would be 2.25 bytes a key.
//!
//! ```text
//! shards u32, reserved u32
//! for each shard: seed u64, segment bits u32, segments u32
//! for each shard: (segments + 2) << segment bits fingerprints, u16 each
//! ```
//! Key, shard and positions of a 128-bit hash: see [`Shard::positions`]. Without keys there is not
//! a byte. Construction as by Graf and Lemire, "Binary Fuse Filters: Fast and Smaller Than Xor
//! Filters" (2022).

use takt_protocol::varint::Cursor;

/// Keys whose positions are read together.
const AT_ONCE: usize = 32;
/// Keys of a shard, about: hashes are uniform.
const SHARD_KEYS: u64 = 1 << 17;
const HEAD: usize = 8;
const SHARD_HEAD: usize = 16;
/// Segments longer than this do not make the filter smaller.
const SEGMENT_BITS_MAX: u32 = 18;
const SEGMENT_BITS_MIN: u32 = 2;
/// With keys that differ, one seed in ten is bad at most; after so many, two are the same.
const SEEDS_BEFORE_SORT: u64 = 8;
/// A shard of no more keys than this has room for twice as many: peeling few keys is luck.
const FEW: usize = 64;

/// Says of a hash that it is not there, or may be.
#[derive(Debug, Default)]
pub(super) struct Filter {
    shards: Vec<(Shard, usize)>,
    /// As they were read: the fingerprints begin at `at`. There is no second copy of them, for the
    /// filter of many keys is most of what they take in memory.
    bytes: Vec<u8>,
    at: usize,
}

#[derive(Debug, Clone, Copy)]
struct Shard {
    seed: u64,
    segment_bits: u32,
    segments: u32,
}

impl Shard {
    /// The three positions of a key, and its fingerprint.
    #[inline]
    fn positions(&self, key: u64) -> ([usize; 3], u16) {
        self.positions_of(self.hash(key))
    }

    #[inline]
    fn hash(&self, key: u64) -> u64 {
        mix(key.wrapping_add(self.seed))
    }

    /// As [`Shard::positions`], from the hash of the key under the shard's seed.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "all are within the shard, or lower bits")]
    fn positions_of(&self, hash: u64) -> ([usize; 3], u16) {
        let len = 1_u64 << self.segment_bits;
        let first = high_half(hash, u64::from(self.segments) << self.segment_bits);
        let second = (first + len) ^ (hash >> 18 & (len - 1));
        let third = (first + 2 * len) ^ (hash & (len - 1));
        ([first as usize, second as usize, third as usize], (hash ^ hash >> 32) as u16)
    }

    fn len(&self) -> usize {
        (self.segments as usize + 2) << self.segment_bits
    }

    /// The hashes of the keys, one behind the other as their first positions rise from segment to
    /// segment: then what is looked at next is near.
    #[expect(clippy::cast_possible_truncation, reason = "segments are few")]
    fn hashes_by_segment(&self, keys: &[u64], hashes: &mut Vec<u64>) {
        let segments = u64::from(self.segments);
        // The segment of the first position, from the hash alone.
        let segment = |hash: u64| high_half(hash, segments) as usize;
        let mut ends = vec![0_usize; self.segments as usize + 1];
        for key in keys {
            ends[segment(self.hash(*key)) + 1] += 1;
        }
        for at in 1..ends.len() {
            ends[at] += ends[at - 1];
        }
        hashes.clear();
        hashes.resize(keys.len(), 0);
        for key in keys {
            let hash = self.hash(*key);
            let end = &mut ends[segment(hash)];
            hashes[*end] = hash;
            *end += 1;
        }
    }
}

/// How many keys have a position, and the exclusive or of their hashes.
#[derive(Debug, Clone, Copy, Default)]
struct Peeled {
    sum: u64,
    count: u32,
}

/// What building a shard needs: some megabytes, which are costly to be had anew for each.
#[derive(Debug, Default)]
struct Scratch {
    places: Vec<Peeled>,
    hashes: Vec<u64>,
    /// Positions that have had one key, of which the first so many are still to be looked at.
    alone: Vec<u32>,
    /// In the order in which they were taken out: where from, and the hash.
    taken: Vec<(u32, u64)>,
    fingerprints: Vec<u16>,
}

impl Filter {
    /// From its bytes; `None` where they are no filter.
    pub(super) fn decode(bytes: Vec<u8>) -> Option<Self> {
        if bytes.is_empty() {
            return Some(Self::default());
        }
        let mut cursor = Cursor::new(&bytes);
        let count = u32::from_le_bytes(cursor.array().ok()?);
        if count == 0 || cursor.array::<4>().ok()? != [0; 4] {
            return None;
        }
        let mut shards = Vec::new();
        let mut len = 0_usize;
        for _ in 0..count {
            let seed = u64::from_le_bytes(cursor.array().ok()?);
            let segment_bits = u32::from_le_bytes(cursor.array().ok()?);
            let segments = u32::from_le_bytes(cursor.array().ok()?);
            if !(SEGMENT_BITS_MIN..=SEGMENT_BITS_MAX).contains(&segment_bits)
                || segments == 0
                || segments > u32::MAX >> SEGMENT_BITS_MAX
            {
                return None;
            }
            let shard = Shard { seed, segment_bits, segments };
            shards.push((shard, len));
            len = len.checked_add(shard.len())?;
        }
        let rest = cursor.rest().len();
        if rest != len.checked_mul(2)? {
            return None;
        }
        let at = bytes.len() - rest;
        Some(Self { shards, bytes, at })
    }

    /// Adds the indexes of the hashes that may be there to `found`.
    ///
    /// Each position is a cache miss, so those of many keys are computed before the first is read:
    /// then no read waits for another.
    pub(super) fn pass(&self, hashes: &[u128], found: &mut Vec<u32>) {
        if self.shards.is_empty() {
            return;
        }
        let mut places = [([0; 3], 0); AT_ONCE];
        for (first, hashes) in (0..).step_by(AT_ONCE).zip(hashes.chunks(AT_ONCE)) {
            for (place, hash) in places.iter_mut().zip(hashes) {
                *place = self.places(*hash);
            }
            let mut hits = 0_u64;
            for (bit, place) in places.iter().enumerate().take(hashes.len()) {
                hits |= u64::from(self.holds(place)) << bit;
            }
            while hits > 0 {
                found.push(first + hits.trailing_zeros());
                hits &= hits - 1;
            }
        }
    }

    /// Whether the hash may be there.
    pub(super) fn may_have(&self, hash: u128) -> bool {
        !self.shards.is_empty() && self.holds(&self.places(hash))
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the halves are wanted")]
    fn places(&self, hash: u128) -> ([usize; 3], u16) {
        let shard = high_half((hash >> 64) as u64, self.shards.len() as u64) as usize;
        let (shard, at) = &self.shards[shard];
        let (positions, fingerprint) = shard.positions(hash as u64);
        (positions.map(|position| at + position), fingerprint)
    }

    #[inline]
    fn holds(&self, (positions, fingerprint): &([usize; 3], u16)) -> bool {
        let [first, second, third] = positions.map(|position| self.fingerprint(position));
        first ^ second ^ third == *fingerprint
    }

    #[inline]
    fn fingerprint(&self, position: usize) -> u16 {
        let at = self.at + 2 * position;
        let bytes = self.bytes[at..].first_chunk().expect("positions are within their shard");
        u16::from_le_bytes(*bytes)
    }

    /// Memory that is allocated, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.shards.capacity() * size_of::<(Shard, usize)>() + self.bytes.capacity()
    }
}

/// Builds a filter from hashes in ascending order, a shard at a time.
#[derive(Debug)]
pub(super) struct FilterBuilder {
    shards: u64,
    /// Of the shard that is filled.
    keys: Vec<u64>,
    last: Option<u128>,
    heads: Vec<u8>,
    done: u64,
    fingerprints: Vec<u8>,
    scratch: Scratch,
}

impl FilterBuilder {
    /// For so many hashes at most.
    pub(super) fn new(hashes_max: u64) -> Self {
        let shards = hashes_max.div_ceil(SHARD_KEYS);
        Self {
            shards,
            keys: Vec::new(),
            last: None,
            heads: Vec::new(),
            done: 0,
            fingerprints: Vec::with_capacity(bytes_expected(hashes_max, shards)),
            scratch: Scratch::default(),
        }
    }

    /// Adds a hash: the last one, or a higher one.
    #[expect(clippy::cast_possible_truncation, reason = "the halves are wanted")]
    pub(super) fn push(&mut self, hash: u128) {
        if self.last == Some(hash) {
            return;
        }
        debug_assert!(self.last < Some(hash), "hashes ascend");
        self.last = Some(hash);
        #[cfg(takt_planted)]
        if hash & 63 == 0 && takt_protocol::planted::is("filter_forgets") {
            return;
        }
        let shard = high_half((hash >> 64) as u64, self.shards);
        while self.done < shard {
            self.finish_shard();
        }
        self.keys.push(hash as u64);
    }

    /// The filter's bytes.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let Ok(shards) = u32::try_from(self.shards) else { return Vec::new() };
        if self.last.is_none() {
            return Vec::new();
        }
        while self.done < self.shards {
            self.finish_shard();
        }
        let mut head = shards.to_le_bytes().to_vec();
        head.extend_from_slice(&[0; 4]);
        head.append(&mut self.heads);
        // There is room for it: of many keys two of these would be much memory.
        let mut out = self.fingerprints;
        out.splice(0..0, head);
        out
    }

    fn finish_shard(&mut self) {
        let shard = self.scratch.build(&mut self.keys);
        self.keys.clear();
        self.done += 1;
        self.heads.reserve(SHARD_HEAD);
        self.heads.extend_from_slice(&shard.seed.to_le_bytes());
        self.heads.extend_from_slice(&shard.segment_bits.to_le_bytes());
        self.heads.extend_from_slice(&shard.segments.to_le_bytes());
        let before = self.fingerprints.len();
        self.fingerprints.resize(before + 2 * self.scratch.fingerprints.len(), 0);
        let places = self.fingerprints[before..].chunks_exact_mut(2);
        for (place, print) in places.zip(&self.scratch.fingerprints) {
            place.copy_from_slice(&print.to_le_bytes());
        }
    }
}

/// How long a shard of so many keys is made. The reader takes the lengths from the bytes, so they
/// may be chosen in other ways later.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a shard has some hundred thousand keys"
)]
fn sized(keys: usize) -> (u32, u32) {
    let count = keys.max(2) as f64;
    let bits = (count.ln() / 3.33_f64.ln() + 2.25).floor() as u32;
    let bits = bits.clamp(SEGMENT_BITS_MIN, SEGMENT_BITS_MAX);
    let factor = 1.125_f64.max(0.875 + 0.25 * 1e6_f64.ln() / count.ln());
    let room = if keys <= FEW { 2 * keys + 8 } else { (count * factor) as usize };
    let segments = room.div_ceil(1 << bits).saturating_sub(2).max(1);
    (bits, segments as u32)
}

/// How long the filter of so many hashes in so many shards will be, with a little to spare, in bytes.
fn bytes_expected(hashes: u64, shards: u64) -> usize {
    let (Ok(hashes), Ok(shards)) = (usize::try_from(hashes), usize::try_from(shards)) else {
        return 0;
    };
    let (segment_bits, segments) = sized(hashes / shards.max(1));
    let prints = shards.saturating_mul((segments as usize + 2) << segment_bits);
    HEAD + shards * SHARD_HEAD + prints.saturating_mul(2) + prints / 32
}

impl Scratch {
    /// Finds fingerprints under which all keys pass: keys that are alone at a position are taken out
    /// one by one, and put back in the other order.
    #[expect(clippy::cast_possible_truncation, reason = "a shard has fewer than 2^32 positions")]
    fn build(&mut self, keys: &mut Vec<u64>) -> Shard {
        let Self { places, hashes, alone, taken, fingerprints } = self;
        let (segment_bits, segments) = sized(keys.len());
        let mut shard = Shard { seed: 0, segment_bits, segments };
        for attempt in 1.. {
            places.clear();
            places.resize(shard.len(), Peeled::default());
            // Each position comes to have one key once at most; the last place is for what is no such.
            alone.resize(shard.len() + 1, 0);
            taken.clear();
            shard.seed = mix(attempt);
            shard.hashes_by_segment(keys, hashes);
            for hash in &*hashes {
                for at in shard.positions_of(*hash).0 {
                    places[at].sum ^= hash;
                    places[at].count += 1;
                }
            }
            // Whether a position has one key is a toss-up to the processor: so all are put down, and
            // only those stay that have.
            let mut left = 0;
            for (at, place) in (0..).zip(&*places) {
                alone[left] = at;
                left += usize::from(place.count == 1);
            }
            while left > 0 {
                left -= 1;
                let at = alone[left];
                let Peeled { count, sum: hash } = places[at as usize];
                if count != 1 {
                    continue;
                }
                taken.push((at, hash));
                for other in shard.positions_of(hash).0 {
                    let place = &mut places[other];
                    place.sum ^= hash;
                    place.count -= 1;
                    alone[left] = other as u32;
                    left += usize::from(place.count == 1);
                }
            }
            if taken.len() == keys.len() {
                break;
            }
            if attempt == SEEDS_BEFORE_SORT {
                keys.sort_unstable();
                keys.dedup();
            }
        }
        fingerprints.clear();
        fingerprints.resize(shard.len(), 0);
        for (at, hash) in taken.iter().rev() {
            let (positions, fingerprint) = shard.positions_of(*hash);
            // The position itself holds nothing yet.
            let others = positions.iter().fold(0, |sum, other| sum ^ fingerprints[*other]);
            fingerprints[*at as usize] = fingerprint ^ others;
        }
        shard
    }
}

/// The upper half of the product: `hash` as a fraction of `bound`.
fn high_half(hash: u64, bound: u64) -> u64 {
    ((u128::from(hash) * u128::from(bound)) >> 64) as u64
}

fn mix(mut hash: u64) -> u64 {
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ hash >> 33
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use xxhash_rust::xxh3::xxh3_128;

    use super::*;

    fn hashes(from: u64, count: u64) -> Vec<u128> {
        let mut hashes: Vec<u128> =
            (from..from + count).map(|n| xxh3_128(&n.to_le_bytes())).collect();
        hashes.sort_unstable();
        hashes
    }

    fn built(hashes: &[u128]) -> (Filter, usize) {
        let mut builder = FilterBuilder::new(hashes.len() as u64);
        for hash in hashes {
            builder.push(*hash);
        }
        let bytes = builder.finish();
        let len = bytes.len();
        (Filter::decode(bytes).unwrap(), len)
    }

    #[test]
    fn a_key_takes_19_bits_and_others_pass_once_in_65_536() {
        let keys = hashes(0, 2_500_000);
        let (filter, bytes) = built(&keys);
        assert_eq!(filter.shards.len(), 20);
        assert!(keys.iter().all(|hash| filter.may_have(*hash)));
        assert!(bytes * 1000 < keys.len() * 2375, "{bytes} bytes");
        let mut found = Vec::new();
        filter.pass(&hashes(10_000_000, 4_000_000), &mut found);
        // 61 are expected, with a deviation of 8.
        assert!((20..=110).contains(&found.len()), "{} of 4,000,000 pass", found.len());
    }

    #[test]
    fn nothing_passes_an_empty_one() {
        let (filter, bytes) = built(&[]);
        assert_eq!((bytes, filter.may_have(7)), (0, false));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        /// Few keys, keys twice, and keys whose lower halves are the same.
        #[test]
        fn every_key_passes(
            mut keys in prop::collection::vec(
                prop_oneof![any::<u128>(), 0..4_u128, (any::<u64>(), 0..3_u64)
                    .prop_map(|(high, low)| u128::from(high) << 64 | u128::from(low))],
                0..300,
            )
        ) {
            keys.sort_unstable();
            let (filter, _) = built(&keys);
            prop_assert!(keys.iter().all(|hash| filter.may_have(*hash)));
            let mut found = Vec::new();
            filter.pass(&keys, &mut found);
            prop_assert_eq!(found.len(), keys.len());
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), hash: u128) {
            if let Some(filter) = Filter::decode(bytes) {
                filter.may_have(hash);
            }
        }

        #[test]
        fn a_filter_is_as_long_as_it_says(count in 1..200_u64, cut in 1..40_usize) {
            let mut builder = FilterBuilder::new(count);
            for hash in hashes(0, count) {
                builder.push(hash);
            }
            let bytes = builder.finish();
            prop_assert!(Filter::decode(bytes[..bytes.len() - cut.min(bytes.len() - 1)].to_vec()).is_none());
        }
    }
}
