//! The events of order keys in the file that is being written.

use std::sync::Arc;

use takt_protocol::words::Offset;

use crate::runs::{OrderRow, Slot};

/// Events per chunk: half a mebibyte.
const CHUNK: usize = 1 << 14;

/// Events of order keys in the order in which they came.
///
/// A list and no index: each event is added once, on the writer's path, and of the one file that
/// has no run yet few histories are asked for. A look-up reads the list, outside of any lock: 32
/// bytes for each event of one journal file.
#[derive(Debug, Clone, Default)]
pub struct OrderEvents {
    /// Shared by those who look.
    full: Vec<Arc<Vec<OrderRow>>>,
    last: Vec<OrderRow>,
}

impl OrderEvents {
    /// All, in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = &OrderRow> {
        self.full.iter().flat_map(|chunk| chunk.iter()).chain(&self.last)
    }

    /// What there is of an order key in a partition and may be found later: the events that are in
    /// no full chunk, and the full chunks.
    pub(super) fn of(&self, hash: u128, slot: Slot) -> Self {
        let last = self.last.iter().filter(|event| event.hash == hash && event.slot == slot);
        Self { full: self.full.clone(), last: last.copied().collect() }
    }

    /// The order key's offsets behind `after` (from the first without it), in their order.
    pub(super) fn history(
        &self,
        hash: u128,
        slot: Slot,
        after: Option<Offset>,
    ) -> impl Iterator<Item = Offset> {
        self.iter()
            .filter(move |event| event.hash == hash && event.slot == slot)
            .map(|event| event.offset)
            .filter(move |offset| after.is_none_or(|after| after < *offset))
    }
}

impl Extend<OrderRow> for OrderEvents {
    fn extend<I: IntoIterator<Item = OrderRow>>(&mut self, events: I) {
        for event in events {
            if self.last.len() == CHUNK {
                let full = std::mem::replace(&mut self.last, Vec::with_capacity(CHUNK));
                self.full.push(Arc::new(full));
            }
            self.last.push(event);
        }
    }
}
