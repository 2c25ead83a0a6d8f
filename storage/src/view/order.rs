//! The history of an order: where its events are, and the batches that hold them.

use std::collections::VecDeque;

use takt_protocol::batch::{StoredBatch, StoredHeader};
use takt_protocol::chunks::Chunks;
use takt_protocol::hashing::route;
use takt_protocol::words::{Offset, OrderKey, TopicName};

use super::{ReadError, View};
use crate::catalog::{ChainBefore, Placed};
use crate::runs::{Extent, Slot};

/// How many batches are looked up at a time.
const PAGE: usize = 64;
/// So many bytes of batches are fetched while one is read.
const AHEAD_BYTES: usize = 4 << 20;

impl View {
    /// Where the events of an order key are, of all origins: by origin, then offset; behind
    /// `after`, at most `max`.
    ///
    /// # Errors
    /// As [`View::read`].
    pub fn order(
        &self,
        topic: &TopicName,
        key: &OrderKey,
        after: Option<(Slot, Offset)>,
        max: usize,
    ) -> Result<Vec<(Slot, Offset)>, ReadError> {
        let mut slots: Vec<Slot> = self
            .directory()
            .origins(topic)
            .filter_map(|(settings, slots)| {
                let number = route(Some(key), settings.partitions);
                slots.get(usize::from(number.get())).copied()
            })
            .collect();
        slots.sort_unstable();
        let hash = self.key_hasher().order(topic, key.as_str().as_bytes());
        let mut places = Vec::new();
        for slot in slots {
            let behind = match after {
                Some((done, _)) if slot < done => continue,
                Some((done, offset)) if slot == done => Some(offset),
                Some(_) | None => None,
            };
            let found = self.catalog().order(hash, slot, behind, max - places.len());
            let found = self.noted(found)?;
            places.extend(found.into_iter().map(|offset| (slot, offset)));
            if places.len() >= max {
                break;
            }
        }
        Ok(places)
    }

    /// The batches that hold the records at `offsets`, ascending: one for each. For records that lie far
    /// apart: of each batch alone its own bytes are read, once, and some are fetched ahead.
    pub fn batches_at<'a>(&'a self, slot: Slot, offsets: &'a [Offset]) -> BatchesAt<'a> {
        let places = VecDeque::new();
        BatchesAt { view: self, slot, offsets, places, fetched: 0, fetched_bytes: 0, last: None }
    }

    /// The batch, verified by what it continues and by its own checksum, and not by those of the commit
    /// that it lies in. `None` where it does not verify or lies elsewhere.
    fn batch_alone(&self, placed: &Placed) -> Option<StoredBatch> {
        let Placed { extent, chain_before } = placed;
        if !self.is_in_journal(extent) {
            return None;
        }
        let chain_before = match chain_before.as_ref()? {
            ChainBefore::Known(chain) => *chain,
            ChainBefore::In(before) => {
                let front = self.shared.reader.read_raw(before.position, StoredHeader::CHAIN_END);
                StoredHeader::peek_chain(&front?)?
            }
        };
        let bytes = self.shared.reader.read_raw(extent.position, extent.len_bytes as usize)?;
        let batch = StoredBatch::take(&mut Chunks::from(bytes)).ok()?;
        let is_it = batch.header().batch_number == extent.batch_number
            && batch.header().base_offset == extent.base_offset
            && batch.continues(chain_before)
            && batch.kept().is_none()
            && batch.batch().check_crc().is_ok();
        is_it.then_some(batch)
    }

    fn prefetch(&self, placed: &Placed) {
        if self.is_in_journal(&placed.extent) {
            if let Some(ChainBefore::In(before)) = placed.chain_before {
                self.shared.reader.prefetch(before.position, StoredHeader::CHAIN_END);
            }
            let Extent { position, len_bytes, .. } = placed.extent;
            self.shared.reader.prefetch(position, len_bytes as usize);
        }
    }
}

/// The batches of many offsets, each with its offset: see [`View::batches_at`].
#[derive(Debug)]
pub struct BatchesAt<'a> {
    view: &'a View,
    slot: Slot,
    /// Those to come.
    offsets: &'a [Offset],
    /// Where the first of them are.
    places: VecDeque<Option<Placed>>,
    /// How many of the places are fetched.
    fetched: usize,
    /// Of batches that are fetched and not read yet.
    fetched_bytes: usize,
    last: Option<StoredBatch>,
}

impl Iterator for BatchesAt<'_> {
    /// [`ReadError`] as of [`View::read`]; `None` at the durable end.
    type Item = (Offset, Result<Option<StoredBatch>, ReadError>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.places.is_empty() {
            self.places = self.page().into();
            self.fetched_bytes = 0;
        }
        self.fetch_ahead();
        let (&offset, left) = self.offsets.split_first()?;
        self.offsets = left;
        let place = self.places.pop_front().flatten();
        self.fetched = self.fetched.saturating_sub(1);
        if !self.last_holds(offset) {
            match self.read(offset, place) {
                Ok(batch) => self.last = batch,
                Err(error) => return Some((offset, Err(error))),
            }
        }
        Some((offset, Ok(self.last.clone())))
    }
}

impl BatchesAt<'_> {
    /// Where the next offsets are. What cannot be said is left to the read, which says why.
    fn page(&self) -> Vec<Option<Placed>> {
        let page = &self.offsets[..self.offsets.len().min(PAGE)];
        let places = self.view.catalog().place(self.slot, page);
        places.unwrap_or_else(|_| vec![None; page.len()])
    }

    fn last_holds(&self, offset: Offset) -> bool {
        let holds =
            |last: &StoredBatch| (last.header().base_offset..last.end_offset()).contains(&offset);
        self.last.as_ref().is_some_and(holds)
    }

    fn fetch_ahead(&mut self) {
        while self.fetched_bytes < AHEAD_BYTES
            && let Some(place) = self.places.get(self.fetched)
        {
            let before = self.fetched.checked_sub(1).and_then(|before| self.places[before]);
            let is_new = |place: &Placed| {
                Some(*place) != before && !self.last_holds(place.extent.base_offset)
            };
            if let Some(place) = place.filter(is_new) {
                self.view.prefetch(&place);
                self.fetched_bytes += place.extent.len_bytes as usize;
            }
            self.fetched += 1;
        }
    }

    fn read(
        &mut self,
        offset: Offset,
        place: Option<Placed>,
    ) -> Result<Option<StoredBatch>, ReadError> {
        if let Some(place) = place {
            let len = place.extent.len_bytes as usize;
            self.fetched_bytes = self.fetched_bytes.saturating_sub(len);
            if let Some(batch) = self.view.batch_alone(&place) {
                return Ok(Some(batch));
            }
        }
        Ok(self.view.read(self.slot, offset, 1)?.into_iter().next())
    }
}
