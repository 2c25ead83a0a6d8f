//! Bytes as they arrive: a queue of slices that is consumed from the front without copying.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// A queue of slices. Payloads stay as the packets brought them until they go into a commit.
#[derive(Debug, Clone, Default)]
pub struct Chunks {
    parts: VecDeque<Bytes>,
    len: usize,
}

impl Chunks {
    /// All bytes together.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends a slice.
    pub fn push(&mut self, part: Bytes) {
        if !part.is_empty() {
            self.len += part.len();
            self.parts.push_back(part);
        }
    }

    /// The slices, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Bytes> {
        self.parts.iter()
    }

    /// Takes `len` bytes off the front as they are, or nothing where there are fewer.
    pub fn take(&mut self, len: usize) -> Option<Self> {
        if len > self.len {
            return None;
        }
        let mut taken = Self::default();
        while taken.len < len {
            let mut part = self.parts.pop_front()?;
            if part.len() > len - taken.len {
                let rest = part.split_off(len - taken.len);
                self.parts.push_front(rest);
            }
            self.len -= part.len();
            taken.push(part);
        }
        Some(taken)
    }

    /// Takes `len` bytes off the front as one slice; copies only where they lie in several.
    pub fn take_contiguous(&mut self, len: usize) -> Option<Bytes> {
        let mut taken = self.take(len)?;
        match taken.parts.len() {
            0 => Some(Bytes::new()),
            1 => taken.parts.pop_front(),
            _ => Some(taken.to_bytes()),
        }
    }

    /// Copies the first bytes into `out` without taking them; false where there are fewer.
    pub fn peek(&self, out: &mut [u8]) -> bool {
        if out.len() > self.len {
            return false;
        }
        let mut filled = 0;
        for part in &self.parts {
            let n = part.len().min(out.len() - filled);
            out[filled..filled + n].copy_from_slice(&part[..n]);
            filled += n;
            if filled == out.len() {
                break;
            }
        }
        true
    }

    /// All bytes as one slice; copies only where they lie in several.
    pub fn to_bytes(&self) -> Bytes {
        if let (Some(only), 1) = (self.parts.front(), self.parts.len()) {
            return only.clone();
        }
        let mut all = BytesMut::with_capacity(self.len);
        for part in &self.parts {
            all.extend_from_slice(part);
        }
        all.freeze()
    }
}

impl From<Bytes> for Chunks {
    fn from(part: Bytes) -> Self {
        let mut chunks = Self::default();
        chunks.push(part);
        chunks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn taking_is_cutting(parts: Vec<Vec<u8>>, cut: usize) {
            let all: Vec<u8> = parts.concat();
            let mut chunks = Chunks::default();
            for part in &parts {
                chunks.push(Bytes::copy_from_slice(part));
            }
            let cut = if all.is_empty() { 0 } else { cut % (all.len() + 1) };
            let mut front = vec![0; cut];
            prop_assert!(chunks.peek(&mut front));
            prop_assert_eq!(&front[..], &all[..cut]);
            let taken = chunks.take(cut).expect("so much is there");
            prop_assert_eq!(&taken.to_bytes()[..], &all[..cut]);
            prop_assert_eq!(&chunks.to_bytes()[..], &all[cut..]);
            prop_assert_eq!(chunks.len(), all.len() - cut);
            prop_assert!(chunks.take(all.len() - cut + 1).is_none());
        }
    }
}
