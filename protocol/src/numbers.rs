//! A table from hashes to the numbers of what lies in a list.

/// Numbers by the hash of what they stand for, in one array that is used again: for what a batch
/// holds, which has few of everything. Whoever asks compares what the numbers stand for.
#[derive(Debug, Default)]
pub struct Numbers {
    /// A number plus 1, at its home or behind it, around the end; 0 is free. At most half of it is
    /// used, and its length is a power of two.
    places: Vec<u32>,
    len: usize,
}

/// Places of the smallest table.
const PLACES_MIN: usize = 16;

impl Numbers {
    /// Forgets all numbers and makes room for so many.
    pub fn reset(&mut self, room: usize) {
        self.places.clear();
        self.places.resize((room * 2).next_power_of_two().max(PLACES_MIN), 0);
        self.len = 0;
    }

    /// All numbers under the hash, and now and then one under another, in no order that means
    /// anything.
    pub fn get(&self, hash: u64) -> impl Iterator<Item = usize> {
        let (before, behind) = self.places.split_at(self.home(hash));
        let numbers = behind.iter().chain(before).take_while(|number| **number > 0);
        numbers.map(|number| *number as usize - 1)
    }

    /// Adds a number. Where the table grows, `hash_of` is asked for the hashes of those that are
    /// there.
    ///
    /// # Panics
    /// For a number of 2^32 - 1 and more.
    pub fn insert(&mut self, hash: u64, number: usize, hash_of: impl Fn(usize) -> u64) {
        if (self.len + 1) * 2 > self.places.len() {
            let known: Vec<u32> = self.places.iter().copied().filter(|place| *place > 0).collect();
            self.reset(2 * known.len());
            for place in known {
                self.put(hash_of(place as usize - 1), place);
            }
        }
        let place = number.checked_add(1).and_then(|place| u32::try_from(place).ok());
        self.put(hash, place.expect("lists of a batch are short"));
    }

    fn put(&mut self, hash: u64, place: u32) {
        let mut at = self.home(hash);
        while self.places[at] > 0 {
            at = (at + 1) & (self.places.len() - 1);
        }
        self.places[at] = place;
        self.len += 1;
    }

    #[expect(clippy::cast_possible_truncation, reason = "the low bits are wanted")]
    fn home(&self, hash: u64) -> usize {
        hash as usize & self.places.len().saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Few hashes, which share homes and lie at both ends of the table.
        #[test]
        fn what_was_added_is_found(
            room in 0..40_usize,
            hashes in prop::collection::vec(prop_oneof![0..3_u64, 13..17_u64, any::<u64>()], 0..100),
        ) {
            let mut numbers = Numbers::default();
            prop_assert_eq!(numbers.get(7).next(), None);
            for _ in 0..2 {
                numbers.reset(room);
                for (number, hash) in hashes.iter().enumerate() {
                    numbers.insert(*hash, number, |number| hashes[number]);
                }
                for hash in &hashes {
                    let found: Vec<usize> =
                        numbers.get(*hash).filter(|number| hashes[*number] == *hash).collect();
                    let same = (0..hashes.len()).filter(|number| hashes[*number] == *hash);
                    let mut sorted = found.clone();
                    sorted.sort_unstable();
                    prop_assert_eq!(sorted, same.collect::<Vec<_>>());
                }
            }
        }
    }
}
