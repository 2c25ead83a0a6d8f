//! Numbers that look random and are the same for the same seed.

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
#[derive(Debug, Clone)]
pub(crate) struct SplitMix(u64);

impl SplitMix {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of `low` to `high`, both inclusive. The bias of the modulo is below 2^-32 and of no
    /// matter here.
    pub(super) fn between(&mut self, low: u32, high: u32) -> u32 {
        assert!(low <= high, "a range has a number in it");
        let span = u64::from(high - low) + 1;
        low + u32::try_from(self.next() % span).expect("less than the span")
    }

    /// True `per_mille` times in 1,000.
    pub(super) fn chance(&mut self, per_mille: u32) -> bool {
        self.between(1, 1_000) <= per_mille
    }
}
