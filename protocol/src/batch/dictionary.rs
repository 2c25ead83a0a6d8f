//! Byte strings that a batch names by number.

use xxhash_rust::xxh3::xxh3_64;

use crate::{numbers::Numbers, varint};

/// Numbers byte strings from 0 as they come, and lays each of them out once: the strings' bytes lie
/// in the table that goes into the batch, and nowhere else.
#[derive(Debug, Default)]
pub(super) struct Dictionary {
    /// Each string behind its length.
    table: Vec<u8>,
    entries: Vec<Entry>,
    numbers: Numbers,
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
        let hash = xxh3_64(string);
        let known = self.numbers.get(hash).find(|number| {
            let entry = &self.entries[*number];
            entry.hash == hash && self.table[entry.bytes.clone()] == *string
        });
        if let Some(number) = known {
            return number;
        }
        let number = self.entries.len();
        self.numbers.insert(hash, number, |number| self.entries[number].hash);
        varint::put_slice(&mut self.table, string);
        let bytes = self.table.len() - string.len()..self.table.len();
        self.entries.push(Entry { hash, bytes });
        number
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
        let room = self.entries.len();
        self.table.clear();
        self.entries.clear();
        self.numbers.reset(room);
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
