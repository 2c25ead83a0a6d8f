//! A disk that lies: the syncs of a plant are answered and keep nothing, then the power goes. No
//! plant can survive that alone. It must come out: the start refuses, or the hub holds more than
//! the plant. Meanwhile nobody of the plant reaches it; in the end the operator has what the disk
//! should have kept.

use std::collections::BTreeSet;
use std::sync::Arc;

use takt_storage::disk::Disk;

use super::weather::reports_damage;
use super::{Happening, Mend, World};
use crate::sim::agenda::SECOND;
use crate::sim::faults::{Fault, Lie};
use crate::sim::history::{Fate, IntentId};
use crate::sim::node::Lied;

impl World {
    /// A plant's disk begins to lie.
    pub(super) fn begin_lie(&mut self) {
        let number = self.dice.below(self.plan.plants as u64) as usize;
        let wait = SECOND + self.dice.below(30 * SECOND);
        let node = &self.nodes[number];
        if node.up.is_some() && node.has_no_copy() && node.has_sound_disk() && !node.full {
            self.say(|| format!("{}: the disk begins to lie", self.nodes[number].name));
            self.nodes[number].disk.lie();
            self.agenda.after(wait, Happening::Mend(Mend::Lie { node: number }));
        }
    }

    /// The power goes. What the disk should have kept, and might have, is set aside.
    pub(super) fn cut_power_of_liar(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        if !node.disk.lies() {
            return;
        }
        if self.healed || node.full || node.reads_fail || node.up.is_none() {
            return node.disk.make_good();
        }
        let honest = node.disk.crash_image(&mut |_| true);
        let style = node.below(3);
        let mut kept = Vec::new();
        for _ in 0..node.disk.pending(takt_storage::disk::sim::SECTOR_BYTES) {
            // Nothing, most of it, or half of it.
            kept.push(match style {
                0 => false,
                1 => node.below(50) != 0,
                _ => node.below(2) == 0,
            });
        }
        self.net.isolate(number, true);
        let node = &mut self.nodes[number];
        let up = node.up.take();
        node.disk.crash(&mut |n| kept[n]);
        node.original = Some(honest);
        node.lied = Some(Lied::default());
        self.fired.count(Fault::SyncLies);
        self.say(|| format!("{}: the power goes, and the disk had lied", self.nodes[number].name));
        self.bury(number, up);
        self.agenda.after(40 * SECOND, Happening::Mend(Mend::SwapBack { node: number }));
    }

    /// It comes out that the disk of a plant has lied, if it has: what comes first counts.
    pub(super) fn lie_comes_out(&mut self, number: usize, how: Lie) -> bool {
        let Some(lied) = &mut self.nodes[number].lied else { return false };
        lied.found.get_or_insert(how);
        true
    }

    /// Whether a lie has not come out that will once plant and hub meet.
    pub(super) fn lie_may_come_out(&self, number: usize) -> bool {
        let node = &self.nodes[number];
        let hidden = node.lied.is_some_and(|lied| lied.found.is_none());
        let hub = &self.nodes[self.plan.plants];
        let apart = node.up.is_none() || hub.up.is_none() || self.impostor_lacks(number).is_some();
        hidden && !self.healed && apart
    }

    /// The last look at a disk that has lied.
    pub(super) fn judge_lie(&mut self, number: usize) {
        let Some(lied) = self.nodes[number].lied.take() else { return };
        let how = lied.found.unwrap_or_else(|| self.look_for_lie(number));
        self.say(|| format!("{}: the lie: {}", self.nodes[number].name, how.text()));
        self.lies.count(how);
    }

    fn look_for_lie(&self, number: usize) -> Lie {
        let node = &self.nodes[number];
        let disk: Arc<dyn Disk> = Arc::new(node.disk.clone());
        if reports_damage(&disk) {
            return Lie::Damaged;
        }
        let Some(up) = &node.up else { return Lie::CutShort };
        let own = up.writer.view().all_partitions();
        let is_lost = |topic: usize, place: &takt_protocol::batch::Place| {
            let found = own
                .iter()
                .find(|own| own.id.topic == self.topics[topic] && own.id.number == place.partition);
            found.is_none_or(|own| place.offset >= own.end)
        };
        let of_plant = self.history.intents.iter().enumerate();
        let of_plant = of_plant.filter(|(_, intent)| intent.node == number);
        let lost: BTreeSet<usize> = of_plant
            .filter(|(_, intent)| match &intent.fate {
                Fate::Acknowledged { place, .. } => is_lost(intent.topic, place),
                Fate::Unknown | Fate::Refused => false,
            })
            .map(|(id, _)| id)
            .collect();
        if lost.is_empty() {
            Lie::Harmless
        } else if self.nodes[self.plan.plants].up.is_none() || self.impostor_lacks(number).is_some()
        {
            Lie::CutShort
        } else if self.is_remembered(&|id| lost.contains(&(id as usize))) {
            Lie::Remembered
        } else {
            Lie::Untold
        }
    }

    /// Whether an adapter that has not died since has been answered for one of these.
    fn is_remembered(&self, is_lost: &dyn Fn(IntentId) -> bool) -> bool {
        self.adapters.iter().any(|adapter| {
            let life = adapter.life.as_ref();
            let next = life.and_then(|life| life.session.next_sequence());
            let sends = &self.history.sends[adapter.number];
            next.is_some_and(|next| {
                sends.iter().any(|(sequence, id)| *sequence < next.get() && is_lost(*id))
            })
        })
    }
}
