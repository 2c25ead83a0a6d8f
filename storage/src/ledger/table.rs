//! A table from 128-bit hashes to small entries that grows without moving them.

use std::fmt;

use super::places::{Place, Places};

/// Entries per chunk; a new one costs one allocation and no copy.
const CHUNK: usize = 1 << 10;
/// Shards of the index: growth moves the numbers of one shard.
const SHARDS: usize = 1 << 8;

/// Hashes whose places are read together.
const AT_ONCE: usize = 32;

/// What a [`KeyTable`] holds.
pub trait Entry: Copy + 'static {
    /// The node's hash of the key; uniform, and the same for the entry's life.
    fn hash(&self) -> u128;
}

/// Entries by the hash of their key; several may share one. Nothing is ever taken out.
pub struct KeyTable<E> {
    /// All full but the last.
    chunks: Vec<Vec<E>>,
    shards: Vec<Places>,
    len: u32,
}

impl<E> Default for KeyTable<E> {
    fn default() -> Self {
        let shards = std::iter::repeat_with(Places::default).take(SHARDS).collect();
        Self { chunks: Vec::new(), shards, len: 0 }
    }
}

impl<E: Entry> KeyTable<E> {
    /// All entries of the key, in no order that means anything: choose by content.
    pub fn get(&self, hash: u128) -> impl Iterator<Item = &E> {
        self.numbers(hash).map(|number| self.entry(number)).filter(move |e| e.hash() == hash)
    }

    /// Adds the indexes of those `hashes` to `found` that have entries.
    ///
    /// Each hash is a cache miss, so the places of many are read before the first is judged: then no
    /// read waits for another.
    pub fn pass(&self, hashes: &[u128], found: &mut Vec<u32>) {
        if self.len == 0 {
            return;
        }
        let mut places = [Place::default(); AT_ONCE];
        for (first, hashes) in (0..).step_by(AT_ONCE).zip(hashes.chunks(AT_ONCE)) {
            for (place, hash) in places.iter_mut().zip(hashes) {
                *place = self.shards[shard_of(*hash)].first(tag_of(*hash));
            }
            for ((index, hash), place) in (first..).zip(hashes).zip(&places) {
                if place.may_have(tag_of(*hash)) && self.get(*hash).next().is_some() {
                    found.push(index);
                }
            }
        }
    }

    /// As [`KeyTable::get`], of the first entry of each hash alone, in the order of the `hashes`.
    pub fn firsts(&self, hashes: &[u128], mut each: impl FnMut(Option<&E>)) {
        let mut places = [Place::default(); AT_ONCE];
        let mut numbers = [None; AT_ONCE];
        for hashes in hashes.chunks(AT_ONCE) {
            for (place, hash) in places.iter_mut().zip(hashes) {
                *place = self.shards[shard_of(*hash)].first(tag_of(*hash));
            }
            for ((number, hash), place) in numbers.iter_mut().zip(hashes).zip(&places) {
                *number =
                    if place.may_have(tag_of(*hash)) { self.numbers(*hash).next() } else { None };
            }
            // The first of its tag is the key's own, but for one in a million.
            let hash_of = |number: &Option<u32>| number.map(|number| self.entry(number).hash());
            let found = numbers.each_ref().map(hash_of);
            for ((hash, number), found) in hashes.iter().zip(numbers).zip(found) {
                each(match number {
                    Some(number) if found == Some(*hash) => Some(self.entry(number)),
                    Some(_) => self.get(*hash).next(),
                    None => None,
                });
            }
        }
    }

    /// Makes room in the index for `additional` entries that are about to come: it then grows once
    /// instead of working its way up.
    pub fn reserve(&mut self, additional: usize) {
        // Hashes are uniform: few shards get a sixteenth more than their part, and those grow by
        // themselves.
        let part = additional / SHARDS;
        self.shards.iter_mut().for_each(|shard| shard.reserve(part + part / 16));
    }

    /// Adds an entry beside those that the key has, and returns its number: they count from 0.
    ///
    /// # Panics
    /// At 2^32 - 1 entries: some 200 GiB of memory.
    pub fn insert(&mut self, entry: E) -> u32 {
        let number = self.len;
        self.shards[shard_of(entry.hash())].insert(tag_of(entry.hash()), number);
        self.len += 1;
        let last = match self.chunks.last_mut() {
            Some(last) if last.len() < CHUNK => last,
            Some(_) | None => {
                self.chunks.push(Vec::with_capacity(CHUNK));
                self.chunks.last_mut().expect("just pushed")
            }
        };
        last.push(entry);
        number
    }

    /// Puts `new` in place of the first entry of its key that `which` names, and adds it if it
    /// names none. Returns the number of the entry that `new` is now.
    ///
    /// # Panics
    /// As [`KeyTable::insert`].
    pub fn upsert(&mut self, new: E, mut which: impl FnMut(&E) -> bool) -> u32 {
        let hash = new.hash();
        let old = self.numbers(hash).find(|&number| {
            let found = self.entry(number);
            found.hash() == hash && which(found)
        });
        let Some(number) = old else { return self.insert(new) };
        let (chunk, index) = split(number);
        self.chunks[chunk][index] = new;
        number
    }

    /// An entry by its number.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn entry(&self, number: u32) -> &E {
        let (chunk, index) = split(number);
        &self.chunks[chunk][index]
    }

    /// How many entries there are: the number that the next one gets.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All entries, in the order in which they were added.
    pub fn entries(&self) -> impl Iterator<Item = &E> {
        self.chunks.iter().flatten()
    }

    /// All entries by the upper 40 bits of their hashes; of those that share them, as they were added.
    pub fn nearly_sorted(&self) -> impl Iterator<Item = &E> {
        self.shards.iter().flat_map(Places::numbers).map(|number| self.entry(number))
    }

    /// Memory that is allocated, in bytes.
    pub fn bytes(&self) -> usize {
        let chunks: usize = self.chunks.iter().map(|chunk| chunk.capacity() * size_of::<E>()).sum();
        let shards: usize = self.shards.iter().map(Places::bytes).sum();
        chunks
            + self.chunks.capacity() * size_of::<Vec<E>>()
            + shards
            + self.shards.capacity() * size_of::<Places>()
    }

    fn numbers(&self, hash: u128) -> impl Iterator<Item = u32> {
        self.shards[shard_of(hash)].get(tag_of(hash))
    }
}

impl<E> fmt::Debug for KeyTable<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyTable").field("len", &self.len).finish_non_exhaustive()
    }
}

fn split(number: u32) -> (usize, usize) {
    (number as usize / CHUNK, number as usize % CHUNK)
}

/// The top bits choose the shard, those behind them the place in it: so the table is sorted.
fn shard_of(hash: u128) -> usize {
    usize::from(hash.to_be_bytes()[0])
}

#[expect(clippy::cast_possible_truncation, reason = "these bits are wanted")]
fn tag_of(hash: u128) -> u32 {
    (hash >> 88) as u32
}
