//! Byte strings that a batch names by number.

use xxhash_rust::xxh3::xxh3_64;

use crate::varint;

/// Numbers byte strings from 0 as they come, and lays each of them out once: the strings' bytes lie
/// in the table that goes into the batch, and nowhere else.
#[derive(Debug, Default)]
pub(super) struct Dictionary {
    /// Each string behind its length.
    table: Vec<u8>,
    entries: Vec<Entry>,
    /// Numbers from 1, by the low bits of the hash or behind them, around the end; 0 is free. At
    /// most half of it is used, and its length is a power of two.
    places: Vec<u32>,
}

#[derive(Debug)]
struct Entry {
    hash: u64,
    /// Where in the table its bytes begin and end.
    bytes: std::ops::Range<usize>,
}

impl Dictionary {
    /// The number of a string, which is added if it is new.
    pub(super) fn number(&mut self, string: &[u8]) -> usize {
        // Events in a row often name the same.
        if let Some(last) = self.entries.last()
            && self.table[last.bytes.clone()] == *string
        {
            return self.entries.len() - 1;
        }
        if self.entries.len() * 2 >= self.places.len() {
            self.grow();
        }
        let hash = xxh3_64(string);
        let mut at = self.home(hash);
        while let Some(number) = (self.places[at] as usize).checked_sub(1) {
            let entry = &self.entries[number];
            if entry.hash == hash && self.table[entry.bytes.clone()] == *string {
                return number;
            }
            at = (at + 1) & (self.places.len() - 1);
        }
        varint::put_slice(&mut self.table, string);
        let bytes = self.table.len() - string.len()..self.table.len();
        self.entries.push(Entry { hash, bytes });
        self.places[at] = u32::try_from(self.entries.len()).expect("a batch has few strings");
        self.entries.len() - 1
    }

    /// How many strings there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// All of them, laid out.
    pub(super) fn table(&self) -> &[u8] {
        &self.table
    }

    /// Forgets the strings and keeps the buffers.
    pub(super) fn clear(&mut self) {
        self.table.clear();
        self.entries.clear();
        self.places.fill(0);
    }

    #[expect(clippy::cast_possible_truncation, reason = "the low bits are wanted")]
    fn home(&self, hash: u64) -> usize {
        hash as usize & (self.places.len() - 1)
    }

    fn grow(&mut self) {
        let len = (self.places.len() * 2).max(16);
        self.places.clear();
        self.places.resize(len, 0);
        for (number, entry) in (1..).zip(&self.entries) {
            let mut at = self.home(entry.hash);
            while self.places[at] != 0 {
                at = (at + 1) & (len - 1);
            }
            self.places[at] = number;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_string_has_one_number_and_one_place(
            batches in prop::collection::vec(prop::collection::vec("[a-c]{0,4}", 0..200), 1..4)
        ) {
            let mut dictionary = Dictionary::default();
            for strings in batches {
                let mut seen: Vec<String> = Vec::new();
                for string in strings {
                    let known = seen.iter().position(|other| *other == string);
                    let number = dictionary.number(string.as_bytes());
                    prop_assert_eq!(number, known.unwrap_or(seen.len()));
                    if known.is_none() {
                        seen.push(string);
                    }
                }
                prop_assert_eq!(dictionary.len(), seen.len());
                let mut table = Vec::new();
                for string in &seen {
                    varint::put_slice(&mut table, string.as_bytes());
                }
                prop_assert_eq!(dictionary.table(), &table[..]);
                dictionary.clear();
            }
        }
    }
}
