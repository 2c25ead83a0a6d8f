//! A set of sectors.

use std::ops::Range;

const BITS: usize = u64::BITS as usize;

/// One bit for each sector of a file.
#[derive(Debug, Clone, Default)]
pub(super) struct Sectors(Vec<u64>);

impl Sectors {
    pub(super) fn insert(&mut self, sectors: Range<usize>) {
        if self.0.len() < sectors.end.div_ceil(BITS) {
            self.0.resize(sectors.end.div_ceil(BITS), 0);
        }
        let mut at = sectors.start;
        while at < sectors.end {
            let (word, bit) = (at / BITS, at % BITS);
            let count = (BITS - bit).min(sectors.end - at);
            self.0[word] |= (u64::MAX >> (BITS - count)) << bit;
            at += count;
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Leaves those below `end` alone.
    pub(super) fn cut(&mut self, end: usize) {
        self.0.truncate(end.div_ceil(BITS));
        if !end.is_multiple_of(BITS)
            && let Some(last) = self.0.get_mut(end / BITS)
        {
            *last &= u64::MAX >> (BITS - end % BITS);
        }
    }

    /// Sectors that lie one behind the other, from the first to the last.
    pub(super) fn runs(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        let mut at = 0;
        std::iter::from_fn(move || {
            let start = self.next(at, 0)?;
            at = self.next(start, u64::MAX).unwrap_or(self.0.len() * BITS);
            Some(start..at)
        })
    }

    /// The first from `at` on whose bit is set, where `flip` is 0, or is not, where it is all ones.
    fn next(&self, at: usize, flip: u64) -> Option<usize> {
        let words = self.0.get(at / BITS..)?;
        let first = (words.first()? ^ flip) & (u64::MAX << (at % BITS));
        let rest = words.iter().skip(1).map(|word| word ^ flip);
        let mut words = std::iter::once(first).chain(rest).enumerate();
        let (index, word) = words.find(|(_, word)| *word != 0)?;
        Some((at / BITS + index) * BITS + word.trailing_zeros() as usize)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(steps in proptest::collection::vec((0_usize..400, 0_usize..150, 0_u8..8), 0..20)) {
            let (mut sectors, mut model) = (Sectors::default(), BTreeSet::new());
            for (from, len, kind) in steps {
                if kind == 0 {
                    sectors.cut(from);
                    model.retain(|sector| *sector < from);
                } else {
                    sectors.insert(from..from + len);
                    model.extend(from..from + len);
                }
                let found: Vec<usize> = sectors.runs().flatten().collect();
                prop_assert_eq!(found, model.iter().copied().collect::<Vec<_>>());
                let apart = sectors.runs().zip(sectors.runs().skip(1));
                prop_assert!(apart.into_iter().all(|(one, next)| one.end < next.start));
            }
        }
    }
}
