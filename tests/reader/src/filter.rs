//! The filters of a run: binary fuse filters that say of which hashes a section may have rows.

use crate::input::{Input, Why, ensure, wide};

/// A filter that is read.
#[derive(Debug)]
pub(crate) struct Filter<'a> {
    shards: Vec<Shard<'a>>,
}

/// The part of a filter for a range of the hashes.
#[derive(Debug)]
struct Shard<'a> {
    seed: u64,
    segment_bits: u32,
    segments: u64,
    /// Two bytes each.
    fingerprints: &'a [u8],
}

impl<'a> Filter<'a> {
    /// Reads a filter that takes all of `bytes`.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, Why> {
        let mut input = Input::new(bytes);
        let count = input.u32()?;
        ensure(count > 0 && input.u32()? == 0, "a filter's header is none")?;
        let mut shards = Vec::new();
        for _ in 0..count {
            let seed = input.u64()?;
            let (segment_bits, segments) = (input.u32()?, u64::from(input.u32()?));
            let known = (2..=18).contains(&segment_bits) && segments > 0;
            ensure(known, "a filter's segments are none")?;
            shards.push(Shard { seed, segment_bits, segments, fingerprints: &[] });
        }
        for shard in &mut shards {
            shard.fingerprints = input.take(2 * ((shard.segments + 2) << shard.segment_bits))?;
        }
        input.end()?;
        Ok(Self { shards })
    }

    /// Whether the section may have rows of the hash with these halves.
    pub(crate) fn passes(&self, upper: u64, low: u64) -> bool {
        let shard = scale(upper, wide(self.shards.len()));
        usize::try_from(shard).ok().and_then(|at| self.shards.get(at)).is_some_and(|s| s.has(low))
    }
}

impl Shard<'_> {
    fn has(&self, low: u64) -> bool {
        let h = mix(low.wrapping_add(self.seed));
        let len = 1_u64 << self.segment_bits;
        let at = scale(h, self.segments * len);
        let places = [at, (at + len) ^ ((h >> 18) & (len - 1)), (at + 2 * len) ^ (h & (len - 1))];
        let found = places.into_iter().try_fold(0, |found, at| Some(found ^ self.fingerprint(at)?));
        found.map(u64::from) == Some((h ^ (h >> 32)) & 0xffff)
    }

    fn fingerprint(&self, at: u64) -> Option<u16> {
        let bytes = self.fingerprints.get(usize::try_from(at).ok()? * 2..)?;
        bytes.first_chunk().map(|bytes| u16::from_le_bytes(*bytes))
    }
}

/// Spreads numbers of 64 bits over `0..bound`.
pub(crate) const fn scale(number: u64, bound: u64) -> u64 {
    ((number as u128 * bound as u128) >> 64) as u64
}

pub(crate) const fn mix(mut x: u64) -> u64 {
    x ^= x >> 33;
    x = x.wrapping_mul(0xff51_afd7_ed55_8ccd);
    x ^= x >> 33;
    x = x.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ (x >> 33)
}
