//! The newest durable commits, in memory.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::journal::Position;

/// How many bytes of commits stay in memory.
const RECENT_BYTES: usize = 32 << 20;

/// Commits one behind the other; the oldest leave first.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    commits: VecDeque<(Position, Bytes)>,
    bytes: usize,
}

impl Recent {
    /// Adds the commit behind the newest. Returns those that it drives out.
    pub(crate) fn push(&mut self, position: Position, bytes: Bytes) -> Vec<Bytes> {
        self.bytes += bytes.len();
        self.commits.push_back((position, bytes));
        let mut out = Vec::new();
        while self.bytes > RECENT_BYTES {
            let Some((_, oldest)) = self.commits.pop_front() else { break };
            self.bytes -= oldest.len();
            out.push(oldest);
        }
        out
    }

    /// What lies before `end` is read from elsewhere from now on.
    pub(crate) fn forget(&mut self, end: Position) {
        while let Some((_, oldest)) = self.commits.pop_front_if(|(start, _)| *start < end) {
            self.bytes -= oldest.len();
        }
    }

    /// `len` bytes from `position` on, if they are here.
    pub(crate) fn slice(&self, position: Position, len: usize) -> Option<Bytes> {
        let behind = self.commits.partition_point(|(start, _)| *start <= position);
        let (start, bytes) = self.commits.get(behind.checked_sub(1)?)?;
        let at = usize::try_from(position.since(*start)).ok()?;
        let end = at.checked_add(len)?;
        (end <= bytes.len()).then(|| bytes.slice(at..end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_within_a_kept_commit_is_found() {
        let mut recent = Recent::default();
        recent.push(Position::new(4096), Bytes::from_static(b"abcdef"));
        recent.push(Position::new(8192), Bytes::from_static(b"ghi"));
        assert_eq!(recent.slice(Position::new(4098), 3).as_deref(), Some(&b"cde"[..]));
        assert_eq!(recent.slice(Position::new(8192), 3).as_deref(), Some(&b"ghi"[..]));
        assert_eq!(recent.slice(Position::new(8192), 4), None);
        assert_eq!(recent.slice(Position::new(5000), 1), None);
        assert_eq!(recent.slice(Position::new(0), 1), None);
    }

    #[test]
    fn what_a_pack_has_compacted_leaves() {
        let mut recent = Recent::default();
        recent.push(Position::new(4096), Bytes::from_static(b"abcdef"));
        recent.push(Position::new(8192), Bytes::from_static(b"ghi"));
        recent.forget(Position::new(8192));
        assert_eq!(recent.slice(Position::new(4096), 1), None);
        assert_eq!(
            (recent.slice(Position::new(8192), 3).as_deref(), recent.bytes),
            (Some(&b"ghi"[..]), 3)
        );
    }

    #[test]
    fn the_oldest_leave() {
        let mut recent = Recent::default();
        let big = Bytes::from(vec![0; RECENT_BYTES / 2 + 1]);
        assert!(recent.push(Position::new(0), big.clone()).is_empty());
        assert_eq!(recent.push(Position::new(1 << 30), big).len(), 1);
        assert_eq!(recent.slice(Position::new(0), 1), None);
    }
}
