//! Where the entries of a hash are: their numbers, in one flat array sorted by tag.

/// A place holds a tag in its upper half and a number plus 1 in its lower; this one is free.
const FREE: u64 = 0;
/// Homes that the first entry gets.
const HOMES_MIN: u32 = 8;
/// Places behind the last home, for what is pushed beyond it; more are added where they are needed.
const BEHIND: usize = 8;

/// Numbers by a tag of 32 uniform bits; several may share one. Nothing is ever taken out.
///
/// A tag's home is its share of the array, so homes rise with tags, and a number is put at its
/// home or behind it, before the first higher tag: the whole array is sorted. So a look-up reads
/// one cache line or two and ends at the first higher tag, and growing is one pass in order that
/// looks at nothing else. An array is at most 7/8 full, and grows by half: 9 to 14 bytes a number.
#[derive(Default)]
pub(super) struct Places {
    array: Vec<u64>,
    homes: u32,
    len: u32,
}

/// What stands at a place.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place(u64);

impl Place {
    /// Whether a tag, whose home this is, may have numbers.
    #[inline]
    pub(super) fn may_have(self, tag: u32) -> bool {
        self.0 != FREE && tag_of(self.0) <= tag
    }
}

impl Places {
    /// The numbers that the tag has.
    pub(super) fn get(&self, tag: u32) -> impl Iterator<Item = u32> {
        let behind = &self.array[self.home(tag).min(self.array.len())..];
        let until =
            behind.iter().take_while(move |place| **place != FREE && tag_of(**place) <= tag);
        until.filter(move |place| tag_of(**place) == tag).map(|place| number_of(*place))
    }

    /// All numbers, by their tags.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> {
        self.array.iter().filter(|place| **place != FREE).map(|place| number_of(*place))
    }

    /// What stands at a tag's home: the first that [`Places::get`] looks at.
    #[inline]
    pub(super) fn first(&self, tag: u32) -> Place {
        Place(self.array.get(self.home(tag)).copied().unwrap_or(FREE))
    }

    /// Adds a number beside those that the tag has.
    ///
    /// # Panics
    /// For the number 2^32 - 1.
    pub(super) fn insert(&mut self, tag: u32, number: u32) {
        if !self.has_room(u64::from(self.len) + 1) {
            self.grow_to(u64::from(self.homes) * 3 / 2);
        }
        self.len += 1;
        let number = number.checked_add(1).expect("a table has fewer than 2^32 - 1 entries");
        let mut carried = u64::from(tag) << 32 | u64::from(number);
        let mut at = self.home(tag);
        while self.array.get(at).is_some_and(|place| *place != FREE && tag_of(*place) <= tag) {
            at += 1;
        }
        // All behind it move on by one, up to the first free place.
        while let Some(place) = self.array.get_mut(at) {
            std::mem::swap(place, &mut carried);
            if carried == FREE {
                return;
            }
            at += 1;
        }
        if self.array.len() == self.array.capacity() {
            self.array.reserve_exact(BEHIND);
        }
        self.array.push(carried);
    }

    /// Makes room for so many more, with a quarter to spare: then little is pushed on.
    pub(super) fn reserve(&mut self, additional: usize) {
        let len = u64::from(self.len) + additional as u64;
        if !self.has_room(len) {
            self.grow_to(len * 4 / 3);
        }
    }

    /// Memory that is allocated, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.array.capacity() * size_of::<u64>()
    }

    fn home(&self, tag: u32) -> usize {
        ((u64::from(tag) * u64::from(self.homes)) >> 32) as usize
    }

    fn has_room(&self, len: u64) -> bool {
        len * 8 <= u64::from(self.homes) * 7
    }

    fn grow_to(&mut self, homes: u64) {
        self.homes = u32::try_from(homes).expect("fewer than 2^32 homes").max(HOMES_MIN);
        let mut array = Vec::with_capacity(self.homes as usize + BEHIND);
        for place in self.array.iter().filter(|place| **place != FREE) {
            let home = self.home(tag_of(*place));
            if array.len() < home {
                array.resize(home, FREE);
            }
            array.push(*place);
        }
        let len = array.len().max(self.homes as usize);
        array.resize(len, FREE);
        self.array = array;
    }
}

fn tag_of(place: u64) -> u32 {
    (place >> 32) as u32
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half is wanted")]
fn number_of(place: u64) -> u32 {
    (place as u32) - 1
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Tags that lie close, equal or at both ends, so that numbers are pushed far from home and
        /// beyond the last one.
        #[test]
        fn every_number_is_found_under_its_tag_alone(
            tags in prop::collection::vec(
                prop_oneof![any::<u32>(), 0..4_u32, u32::MAX - 40..=u32::MAX, 1 << 31..(1_u32 << 31) + 9],
                0..600,
            )
        ) {
            let mut places = Places::default();
            let mut model: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
            for (tag, number) in tags.iter().zip(0..) {
                places.insert(*tag, number);
                model.entry(*tag).or_default().push(number);
            }
            for (tag, numbers) in &model {
                let mut found: Vec<u32> = places.get(*tag).collect();
                found.sort_unstable();
                prop_assert_eq!(&found, numbers);
                let next = tag.wrapping_add(1);
                prop_assert_eq!(places.get(next).next().is_some(), model.contains_key(&next));
                prop_assert!(places.first(*tag).may_have(*tag));
                prop_assert!(places.first(next).may_have(next) || !model.contains_key(&next));
            }
            let held: Vec<u64> = places.array.iter().copied().filter(|p| *p != FREE).collect();
            prop_assert_eq!(held.len(), tags.len());
            prop_assert!(held.is_sorted_by_key(|place| tag_of(*place)));
        }
    }

    #[test]
    fn an_empty_one_holds_nothing() {
        let places = Places::default();
        assert_eq!(places.get(0).chain(places.get(u32::MAX)).next(), None);
        assert!(!places.first(7).may_have(7));
    }
}
