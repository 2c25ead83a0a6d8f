//! The network's faults, and the mending of all that lasts for a while.

use std::sync::Arc;

use takt_storage::disk::Disk;
use takt_storage::journal;
use takt_storage::store::{sealed_ends, verify_runs};

use super::{Happening, Mend, World};
use crate::sim::agenda::{MS, SECOND};
use crate::sim::faults::Fault;
use crate::sim::net::{Host, Weather};

impl World {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the caller gives faults of the network")]
    pub(super) fn strike_network(&mut self, fault: Fault, a_while: u64) {
        match fault {
            Fault::ConnectionCut => {
                let dice = self.dice.next_u64();
                if let Some(conn) = self.net.pick(dice) {
                    self.fired.count(fault);
                    self.net.cut(conn);
                }
            }
            Fault::Partition | Fault::HalfPartition => {
                let (from, to) = self.some_way();
                self.fired.count(fault);
                self.net.block(from, to, true);
                self.agenda.after(a_while, Happening::Mend(Mend::Way { from, to }));
                if fault == Fault::Partition {
                    self.net.block(to, from, true);
                    let mend = Mend::Way { from: to, to: from };
                    self.agenda.after(a_while, Happening::Mend(mend));
                }
            }
            _ => {
                let loss = 10 + self.dice.below(290);
                let double = self.dice.below(200);
                let jitter = self.dice.below(200) * MS;
                self.net.set_wan(Weather { jitter, loss, double, ..self.plan.wan });
                self.net.set_lan(Weather {
                    jitter: jitter / 100,
                    loss: loss / 4,
                    double,
                    ..self.plan.lan
                });
                self.fired.count(fault);
                self.agenda.after(a_while, Happening::Mend(Mend::Noise));
            }
        }
    }

    /// A way that is used: from a plant to the hub or back, or between a node and who uses it.
    fn some_way(&mut self) -> (Host, Host) {
        let hub = Host::Node(self.plan.plants);
        let way = if self.dice.below(2) == 0 {
            (Host::Node(self.dice.below(self.plan.plants as u64) as usize), hub)
        } else {
            let adapter = self.dice.below(self.adapters.len() as u64) as usize;
            (Host::Near(adapter), Host::Node(self.adapters[adapter].node))
        };
        if self.dice.below(2) == 0 { way } else { (way.1, way.0) }
    }

    pub(super) fn mend(&mut self, mend: Mend) {
        match mend {
            Mend::Reads { node } => {
                self.nodes[node].disk.fail_reads(false);
                self.nodes[node].reads_fail = false;
            }
            Mend::Capacity { node } => {
                self.nodes[node].disk.set_capacity(None);
                self.nodes[node].full = false;
            }
            Mend::Sync { node } => self.nodes[node].sync_min = self.plan.sync_min,
            Mend::Clock { node } => self.nodes[node].stop_clock(self.agenda.now(), false),
            Mend::Rot { node } => self.mend_rot(node),
            Mend::Swap { node } => self.swap(node),
            Mend::SwapBack { node } if self.lie_may_come_out(node) => {
                self.agenda.after(10 * SECOND, Happening::Mend(mend));
            }
            Mend::SwapBack { node } => self.swap_back(node),
            Mend::Lie { node } => self.cut_power_of_liar(node),
            Mend::Way { from, to } => self.net.block(from, to, false),
            Mend::Noise => {
                self.net.set_wan(self.plan.wan);
                self.net.set_lan(self.plan.lan);
            }
        }
    }

    /// I10: damage is reported, by whoever met it or by a look through the directory, unless what
    /// turned says nothing. Then the disk gets back what it had.
    fn mend_rot(&mut self, number: usize) {
        let node = &self.nodes[number];
        let disk: Arc<dyn Disk> = Arc::new(node.disk.clone());
        if let Some(turned) = node.turned.clone()
            && !turned.reported
            && node.disk.inode(&turned.file) == Some(turned.inode)
            && !reports_damage(&disk)
        {
            // The other reader says whether what turned says anything.
            let files = node.disk.files();
            let unpacked = takt_reader::Unpacked::of(&files);
            let read =
                takt_reader::read_unpacked(&files, &unpacked).map_err(|error| error.to_string());
            let whole = read.and_then(|contents| {
                let runs = takt_reader::check_runs(&files, &contents);
                runs.map_err(|error| error.to_string())
            });
            if let Err(damage) = whole {
                let what = format!("{}: {turned:?} is not reported: {damage}", node.name);
                self.history.violated("I10", what);
            }
        }
        if let Some((file, at)) = self.nodes[number].disk.astray()
            && self.nodes[number].has_witness
            && !reports_damage(&disk)
        {
            let name = &self.nodes[number].name;
            let what = format!(
                "{name}: a write that went astray, meant for {at} of {file}, is not reported"
            );
            self.history.violated("I10", what);
        }
        self.turn_back(number);
    }

    /// The disk gets back what it had.
    pub(super) fn turn_back(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        node.disk.put_right();
        node.turned = None;
    }

    /// From now on nothing goes wrong, and everything that waits must come to its end.
    pub(super) fn heal(&mut self) {
        self.say(|| "faults end".to_owned());
        self.healed = true;
        let hosts: Vec<_> = (0..self.nodes.len())
            .map(Host::Node)
            .chain((0..self.adapters.len()).map(Host::Near))
            .collect();
        for from in &hosts {
            for to in &hosts {
                self.net.block(*from, *to, false);
            }
        }
        self.mend(Mend::Noise);
        for node in 0..self.nodes.len() {
            self.mend(Mend::Reads { node });
            self.mend(Mend::Capacity { node });
            self.mend(Mend::Sync { node });
            self.mend(Mend::Clock { node });
            self.nodes[node].disk.make_good();
            self.swap_back(node);
            self.mend_rot(node);
            self.nodes[node].ambush.clear();
        }
        for adapter in 0..self.adapters.len() {
            // What is left to be made is made now.
            self.agenda.after(SECOND, Happening::Make { adapter });
        }
        self.agenda.after(2 * SECOND, Happening::Look);
    }
}

/// Whether a look through the whole directory finds damage.
pub(super) fn reports_damage(disk: &Arc<dyn Disk>) -> bool {
    let ends = sealed_ends(disk).unwrap_or_default();
    let journal = journal::verify(disk, &ends);
    let damaged = journal.map_or(true, |files| files.iter().any(|file| file.damage.is_some()));
    damaged
        || verify_runs(disk).map_or(true, |files| files.iter().any(|file| file.damage.is_some()))
}
