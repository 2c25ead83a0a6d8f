//! Virtual time: what happens when. Ties are broken by the order in which things were planned.

use std::collections::BTreeMap;

/// Microseconds since the world began.
pub type At = u64;

/// A millisecond.
pub const MS: u64 = 1_000;
/// A second.
pub const SECOND: u64 = 1_000_000;

/// What is to happen, in the order of time.
#[derive(Debug)]
pub struct Agenda<T> {
    now: At,
    next: u64,
    planned: BTreeMap<(At, u64), T>,
}

impl<T> Agenda<T> {
    /// Nothing is planned; it is time 0.
    pub fn new() -> Self {
        Self { now: 0, next: 0, planned: BTreeMap::new() }
    }

    /// Now.
    pub fn now(&self) -> At {
        self.now
    }

    /// Plans something; what lies in the past happens next.
    pub fn at(&mut self, at: At, what: T) {
        self.planned.insert((at.max(self.now), self.next), what);
        self.next += 1;
    }

    /// Plans something for `delay` microseconds from now.
    pub fn after(&mut self, delay: u64, what: T) {
        self.at(self.now.saturating_add(delay), what);
    }

    /// Moves to what happens next; `None` where nothing is planned.
    pub fn next(&mut self) -> Option<T> {
        let ((at, _), what) = self.planned.pop_first()?;
        self.now = at;
        Some(what)
    }
}

impl<T> Default for Agenda<T> {
    fn default() -> Self {
        Self::new()
    }
}
