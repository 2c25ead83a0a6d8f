//! A table from 128-bit hashes to small entries that grows without moving them.

use std::fmt;

use hashbrown::HashTable;

/// Entries per chunk; a new one costs one allocation and no copy.
const CHUNK: usize = 1 << 10;
/// Shards of the index: growth moves the numbers of one shard.
const SHARDS: usize = 1 << 8;

/// What a [`KeyTable`] holds.
pub trait Entry: Copy + 'static {
    /// The node's hash of the key; uniform, and the same for the entry's life.
    fn hash(&self) -> u128;
}

/// Entries by the hash of their key; several may share one. Nothing is ever taken out.
pub struct KeyTable<E> {
    /// All full but the last.
    chunks: Vec<Vec<E>>,
    shards: Vec<HashTable<u32>>,
    len: u32,
    entries_max: usize,
}

impl<E: Entry> KeyTable<E> {
    /// An empty table that should hold at most `entries_max`: the caller asks
    /// [`KeyTable::remaining`] before it adds more.
    pub fn new(entries_max: usize) -> Self {
        let shards = std::iter::repeat_with(HashTable::new).take(SHARDS).collect();
        Self { chunks: Vec::new(), shards, len: 0, entries_max }
    }

    /// All entries of the key, in no order that means anything: choose by content.
    pub fn get(&self, hash: u128) -> impl Iterator<Item = &E> {
        self.shards[shard_of(hash)]
            .iter_hash(slot_of(hash))
            .map(|&number| entry(&self.chunks, number))
            .filter(move |entry| entry.hash() == hash)
    }

    /// Makes room in the index for `additional` entries that are about to come: it then grows once
    /// instead of doubling its way up, and to the same size.
    pub fn reserve(&mut self, additional: usize) {
        let chunks = &self.chunks;
        for shard in &mut self.shards {
            // Hashes are uniform. A shard that gets a few more than its part grows by itself.
            shard.reserve(additional / SHARDS, |&number| slot_of(entry(chunks, number).hash()));
        }
    }

    /// Adds an entry beside those that the key has.
    ///
    /// # Panics
    /// At 2^32 entries: some 200 GiB of memory.
    pub fn insert(&mut self, entry_: E) {
        let number = self.len;
        self.len = self.len.checked_add(1).expect("a table has fewer than 2^32 entries");
        let last = match self.chunks.last_mut() {
            Some(last) if last.len() < CHUNK => last,
            Some(_) | None => {
                self.chunks.push(Vec::with_capacity(CHUNK));
                self.chunks.last_mut().expect("just pushed")
            }
        };
        last.push(entry_);
        let hash = entry_.hash();
        let chunks = &self.chunks;
        self.shards[shard_of(hash)]
            .insert_unique(slot_of(hash), number, |&number| slot_of(entry(chunks, number).hash()));
    }

    /// Puts `new` in place of the first entry of its key that `which` names, and returns that
    /// one; `None`, and nothing is changed, if there is none.
    pub fn update(&mut self, new: E, mut which: impl FnMut(&E) -> bool) -> Option<E> {
        let hash = new.hash();
        let chunks = &mut self.chunks;
        let &number = self.shards[shard_of(hash)].find(slot_of(hash), |&number| {
            let found = entry(chunks, number);
            found.hash() == hash && which(found)
        })?;
        let (chunk, index) = split(number);
        Some(std::mem::replace(&mut chunks[chunk][index], new))
    }

    /// As [`KeyTable::update`], and adds `new` if `which` names none. Returns the old entry.
    pub fn upsert(&mut self, new: E, which: impl FnMut(&E) -> bool) -> Option<E> {
        let old = self.update(new, which);
        if old.is_none() {
            self.insert(new);
        }
        old
    }

    /// How many entries there are: the number that the next one gets.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many more there should be; 0 also where there are too many already.
    pub fn remaining(&self) -> usize {
        self.entries_max.saturating_sub(self.len())
    }

    /// The entries from number `first` on, in the order in which they were added: what is new
    /// since [`KeyTable::len`] was `first`. Entries updated since, with a lower number, are not
    /// among them.
    pub fn entries_from(&self, first: usize) -> impl Iterator<Item = &E> {
        let chunks = self.chunks.get(first / CHUNK..).unwrap_or_default();
        chunks.iter().flatten().skip(first % CHUNK)
    }

    /// Memory that is allocated, in bytes.
    pub fn bytes(&self) -> usize {
        let chunks: usize = self.chunks.iter().map(|chunk| chunk.capacity() * size_of::<E>()).sum();
        let shards: usize = self.shards.iter().map(HashTable::allocation_size).sum();
        chunks
            + self.chunks.capacity() * size_of::<Vec<E>>()
            + shards
            + self.shards.capacity() * size_of::<HashTable<u32>>()
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

fn entry<E>(chunks: &[Vec<E>], number: u32) -> &E {
    let (chunk, index) = split(number);
    &chunks[chunk][index]
}

/// The top bits choose the shard, the low half the place in it: they are independent.
fn shard_of(hash: u128) -> usize {
    usize::from(hash.to_be_bytes()[0])
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is wanted")]
fn slot_of(hash: u128) -> u64 {
    hash as u64
}
