//! A table from 128-bit hashes to small entries that grows without moving them.

use std::fmt;

use super::places::{Place, Places};

/// Entries of the first chunk of a shard. Each further one has as many as there are before it, up to
/// [`CHUNK_MAX`]: it costs one allocation and no copy.
const CHUNK_MIN: usize = 8;
const CHUNK_MAX: usize = 128;
/// Shards: growth moves the numbers of one, and going through all in order has one in the cache.
const SHARDS: usize = 1 << 8;
/// A number is the one within a shard, and behind it the shard.
const SHARD_BITS: u32 = SHARDS.trailing_zeros();

/// Hashes whose places are read together.
const AT_ONCE: usize = 32;

/// What a [`KeyTable`] holds.
pub trait Entry: Copy + 'static {
    /// The node's hash of the key; uniform, and the same for the entry's life.
    fn hash(&self) -> u128;
}

/// Entries by the hash of their key; several may share one. Nothing is ever taken out.
pub struct KeyTable<E> {
    shards: Vec<Shard<E>>,
    len: usize,
}

/// The entries whose hashes begin with one byte.
struct Shard<E> {
    places: Places,
    /// In the order in which they came. All chunks are full but the last.
    chunks: Vec<Vec<E>>,
    len: u32,
}

impl<E> Default for KeyTable<E> {
    fn default() -> Self {
        let shard = || Shard { places: Places::default(), chunks: Vec::new(), len: 0 };
        Self { shards: std::iter::repeat_with(shard).take(SHARDS).collect(), len: 0 }
    }
}

impl<E: Entry> Shard<E> {
    fn entry(&self, number: u32) -> &E {
        let (chunk, index) = split(number);
        &self.chunks[chunk][index]
    }

    fn push(&mut self, entry: E) -> u32 {
        let number = self.len;
        self.places.insert(tag_of(entry.hash()), number);
        self.len += 1;
        let (chunk, _) = split(number);
        if chunk == self.chunks.len() {
            let room = (number as usize).clamp(CHUNK_MIN, CHUNK_MAX);
            self.chunks.push(Vec::with_capacity(room));
        }
        self.chunks[chunk].push(entry);
        number
    }

    fn get(&self, hash: u128) -> impl Iterator<Item = &E> {
        let numbers = self.places.get(tag_of(hash));
        numbers.map(|number| self.entry(number)).filter(move |e| e.hash() == hash)
    }

    fn bytes(&self) -> usize {
        let chunks: usize = self.chunks.iter().map(|chunk| chunk.capacity() * size_of::<E>()).sum();
        chunks + self.chunks.capacity() * size_of::<Vec<E>>() + self.places.bytes()
    }
}

impl<E: Entry> KeyTable<E> {
    /// All entries of the key, in no order that means anything: choose by content.
    pub fn get(&self, hash: u128) -> impl Iterator<Item = &E> {
        self.shards[shard_of(hash)].get(hash)
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
                *place = self.shards[shard_of(*hash)].places.first(tag_of(*hash));
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
                *place = self.shards[shard_of(*hash)].places.first(tag_of(*hash));
            }
            for ((number, hash), place) in numbers.iter_mut().zip(hashes).zip(&places) {
                let tag = tag_of(*hash);
                let numbers = || self.shards[shard_of(*hash)].places.get(tag).next();
                *number = place.may_have(tag).then(numbers).flatten();
            }
            // The first of its tag is the key's own, but for one in a million.
            let mut entries = [None; AT_ONCE];
            for ((entry, hash), number) in entries.iter_mut().zip(hashes).zip(numbers) {
                *entry = number.map(|number| self.shards[shard_of(*hash)].entry(number));
            }
            for (hash, entry) in hashes.iter().zip(entries) {
                each(match entry {
                    Some(entry) if entry.hash() == *hash => Some(entry),
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
        self.shards.iter_mut().for_each(|shard| shard.places.reserve(part + part / 16));
    }

    /// Adds an entry beside those that the key has, and returns its number.
    ///
    /// # Panics
    /// At 2^32 entries: some 200 GiB of memory.
    pub fn insert(&mut self, entry: E) -> u32 {
        let shard = shard_of(entry.hash());
        self.len += 1;
        number_in(self.shards[shard].push(entry), shard)
    }

    /// Puts `new` in place of the first entry of its key that `which` names, and adds it if it
    /// names none. Returns the number of the entry that `new` is now.
    ///
    /// # Panics
    /// As [`KeyTable::insert`].
    pub fn upsert(&mut self, new: E, mut which: impl FnMut(&E) -> bool) -> u32 {
        let hash = new.hash();
        let shard = &mut self.shards[shard_of(hash)];
        let old = shard.places.get(tag_of(hash)).find(|&number| {
            let found = shard.entry(number);
            found.hash() == hash && which(found)
        });
        let Some(number) = old else { return self.insert(new) };
        let (chunk, index) = split(number);
        shard.chunks[chunk][index] = new;
        number_in(number, shard_of(hash))
    }

    /// An entry by its number. Numbers begin at 0 and are dense, but for hashes that are not uniform.
    ///
    /// # Panics
    /// If there is none of that number.
    pub fn entry(&self, number: u32) -> &E {
        self.shards[number as usize % SHARDS].entry(number >> SHARD_BITS)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All entries by the upper 40 bits of their hashes; of those that share them, as they were added.
    pub fn nearly_sorted(&self) -> impl Iterator<Item = &E> {
        self.shards
            .iter()
            .flat_map(|shard| shard.places.numbers().map(|number| shard.entry(number)))
    }

    /// Memory that is allocated, in bytes.
    pub fn bytes(&self) -> usize {
        let shards: usize = self.shards.iter().map(Shard::bytes).sum();
        shards + self.shards.capacity() * size_of::<Shard<E>>()
    }
}

impl<E> fmt::Debug for KeyTable<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyTable").field("len", &self.len).finish_non_exhaustive()
    }
}

/// In which chunk of its shard an entry is, and where in it.
fn split(number: u32) -> (usize, usize) {
    let number = number as usize;
    let before = |chunk: u32| chunk.saturating_sub(CHUNK_MIN.ilog2()) as usize;
    if number < CHUNK_MIN {
        (0, number)
    } else if number < CHUNK_MAX {
        let power = number.ilog2();
        (before(power) + 1, number - (1 << power))
    } else {
        (before(CHUNK_MAX.ilog2()) + number / CHUNK_MAX, number % CHUNK_MAX)
    }
}

fn number_in(number: u32, shard: usize) -> u32 {
    assert!(number >> (u32::BITS - SHARD_BITS) == 0, "a table has fewer than 2^32 entries");
    number << SHARD_BITS | u32::try_from(shard).expect("there are few shards")
}

/// The top bits choose the shard, those behind them the place in it: so the table is sorted.
fn shard_of(hash: u128) -> usize {
    usize::from(hash.to_be_bytes()[0])
}

#[expect(clippy::cast_possible_truncation, reason = "these bits are wanted")]
fn tag_of(hash: u128) -> u32 {
    (hash >> 88) as u32
}
