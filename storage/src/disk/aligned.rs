//! Buffers that a disk can take as they lie in memory.

use bytes::Bytes;

/// What the offset, the length and the place in memory of a write must be a multiple of, for the
/// operating system not to copy it first, in bytes.
pub const ALIGNMENT: usize = 4096;

/// Bytes that begin at a multiple of [`ALIGNMENT`] in memory, and stay so while they grow.
#[derive(Debug, Default)]
pub struct AlignedBuf {
    /// The bytes lie behind `lead` others, which mean nothing.
    vec: Vec<u8>,
    lead: usize,
}

impl AlignedBuf {
    /// An empty one with room for `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        let mut buffer = Self::default();
        buffer.reserve(capacity);
        buffer
    }

    /// An empty one in the memory of bytes that nobody else holds; in new memory if somebody does.
    pub fn reuse(used: Bytes) -> Self {
        let Ok(mut used) = used.try_into_mut() else { return Self::default() };
        // What is empty need not be moved to the front.
        used.clear();
        let mut buffer = Self { vec: used.into(), lead: 0 };
        buffer.align();
        buffer
    }

    /// The bytes, to be changed.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.vec[self.lead..]
    }

    /// Makes room for so many more bytes.
    pub fn reserve(&mut self, additional: usize) {
        if self.vec.capacity() - self.vec.len() >= additional {
            return;
        }
        let len = self.len();
        let capacity = (len + additional).max(2 * len);
        let mut larger = Self { vec: Vec::with_capacity(capacity + ALIGNMENT), lead: 0 };
        larger.align();
        larger.vec.extend_from_slice(self);
        *self = larger;
    }

    /// Adds a byte.
    pub fn push(&mut self, byte: u8) {
        self.extend_from_slice(&[byte]);
    }

    /// Adds bytes.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        self.vec.extend_from_slice(bytes);
    }

    /// Cuts it, or extends it with zeros.
    pub fn resize(&mut self, len: usize) {
        self.reserve(len.saturating_sub(self.len()));
        self.vec.resize(self.lead + len, 0);
    }

    /// Takes the first `len` bytes away.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn consume(&mut self, len: usize) {
        self.vec.drain(self.lead..self.lead + len);
    }

    /// The bytes, shared; [`AlignedBuf::reuse`] takes their memory back.
    pub fn freeze(self) -> Bytes {
        Bytes::from(self.vec).slice(self.lead..)
    }

    /// Of an empty vector: puts as many bytes in front as make what follows aligned.
    fn align(&mut self) {
        debug_assert!(self.vec.is_empty());
        let lead = self.vec.as_ptr().align_offset(ALIGNMENT);
        if lead <= self.vec.capacity() {
            self.vec.resize(lead, 0);
            self.lead = lead;
        } else {
            self.vec = Vec::new();
            self.lead = 0;
        }
    }
}

impl std::ops::Deref for AlignedBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.vec[self.lead..]
    }
}

/// Whether the operating system can take a write without a copy.
pub(super) fn is_aligned(at: u64, bytes: &[u8]) -> bool {
    at.is_multiple_of(ALIGNMENT as u64)
        && bytes.len().is_multiple_of(ALIGNMENT)
        && bytes.as_ptr().align_offset(ALIGNMENT) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_aligned_while_it_grows_and_when_it_is_used_again() {
        let mut buffer = AlignedBuf::default();
        let mut expected = Vec::new();
        for round in 0..40_u8 {
            let more = vec![round; usize::from(round) * 211 + 1];
            buffer.extend_from_slice(&more);
            expected.extend_from_slice(&more);
            assert_eq!(*buffer, expected[..]);
            assert_eq!(buffer.as_ptr().align_offset(ALIGNMENT), 0);
        }
        buffer.consume(4096);
        assert_eq!(*buffer, expected[4096..]);
        buffer.resize(8192);
        assert!(is_aligned(4096, &buffer));
        assert!(!is_aligned(4095, &buffer) && !is_aligned(0, &buffer[..4095]));
        assert!(!is_aligned(0, &buffer[1..4097]));

        let bytes = buffer.freeze();
        assert_eq!(bytes[..4096], expected[4096..8192]);
        let place = bytes.as_ptr();
        let again = AlignedBuf::reuse(bytes);
        assert!(again.is_empty());
        assert_eq!(again.as_ptr(), place, "the memory is the same");
    }

    #[test]
    fn memory_that_somebody_reads_is_left_alone() {
        let mut buffer = AlignedBuf::with_capacity(10);
        buffer.extend_from_slice(b"read");
        let bytes = buffer.freeze();
        let held = bytes.slice(1..3);
        let mut again = AlignedBuf::reuse(bytes);
        again.extend_from_slice(b"written");
        assert_eq!(held[..], b"ea"[..]);
        assert_eq!(again.as_ptr().align_offset(ALIGNMENT), 0);
    }
}
