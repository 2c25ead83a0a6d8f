//! Processes that begin, stop, fail and die, and disks that lie.

use takt_storage::disk::Disk;

use super::{Happening, Mend, User, World};
use crate::sim::adapter::Life;
use crate::sim::agenda::{MS, SECOND};
use crate::sim::faults::{Fault, Lie};
use crate::sim::net::Host;
use crate::sim::node::{Running, SimNode, Started, Turned};

/// A block of a journal file.
const BLOCK_BYTES: usize = 4_096;
/// For so long something that a life has sent may still arrive after its end.
const RIVALS_FOR: u64 = 120 * SECOND;
/// Ten years, in microseconds.
const TEN_YEARS_US: i64 = 10 * 365 * 24 * 3_600 * 1_000_000;

impl World {
    pub(super) fn start_node(&mut self, number: usize) {
        if self.nodes[number].up.is_some() || self.stopping {
            return;
        }
        let (now, instant) = (self.agenda.now(), self.instant());
        let node = &mut self.nodes[number];
        let started = node.start(&self.plan, now, instant, &mut self.branches, &mut self.fired);
        self.say(|| format!("{} starts: {started:?}", self.nodes[number].name));
        let again = Happening::Start { node: number };
        match started {
            Started::Up => {
                if number == self.plan.plants {
                    self.check_hub();
                }
                self.set_up(number);
            }
            Started::Interrupted => self.agenda.after(SECOND, again),
            Started::Refused => {
                // The operator brings back what the disk had.
                self.turn_back(number);
                self.agenda.after(SECOND, again);
            }
            Started::Failed(why) => {
                let excused = self.nodes[number].is_hampered();
                if !excused && !self.lie_comes_out(number, Lie::Refused) {
                    let name = &self.nodes[number].name;
                    self.history.violated("I9", format!("{name} does not start: {why}"));
                }
                self.agenda.after(SECOND, again);
            }
        }
    }

    /// I1, at the level of the hub: what it has acknowledged to a plant survives its power.
    fn check_hub(&mut self) {
        let hub = self.nodes[self.plan.plants].up.as_ref().expect("it has just begun");
        let held = hub.writer.view().all_partitions();
        for (partition, end) in self.history.at_hub.clone() {
            let found = held.iter().find(|held| held.id == partition).map(|held| held.end_batch);
            if found.is_none_or(|found| found < end) {
                let what =
                    format!("the hub acknowledged {partition} up to {end} and has {found:?}");
                self.history.violated("I1", what);
            }
        }
    }

    /// A node loses its memory, and perhaps its power, and begins again some time later.
    pub(super) fn crash(&mut self, number: usize, fault: Fault, power: bool) {
        let node = &mut self.nodes[number];
        let up = if power { node.lose_power() } else { node.die() };
        if up.is_none() {
            return;
        }
        self.say(|| format!("{}: {}", self.nodes[number].name, fault.text()));
        self.fired.count(fault);
        self.bury(number, up);
    }

    /// What hung on a process hangs on nothing now. It begins again after a while.
    pub(super) fn bury(&mut self, number: usize, up: Option<Running>) {
        if let Some(up) = up {
            for conn in up.sessions.keys() {
                self.net.close(*conn, 1);
            }
        }
        let node = &mut self.nodes[number];
        if let Some(conn) = node.uplink_conn.take() {
            self.net.close(conn, 0);
        }
        // A write that went astray must be found by the next start, unless it was the last: nobody
        // can know of that one.
        if node.disk.is_astray() && !node.has_witness {
            node.disk.put_right();
        }
        let most = [100 * MS, SECOND, 20 * SECOND];
        let most = most[usize::try_from(node.below(3)).expect("below 3")];
        let wait = 10 * MS + node.below(most);
        if node.restarts {
            self.agenda.after(wait, Happening::Start { node: number });
        }
    }

    /// A node has stopped as it was asked to.
    pub(super) fn node_stopped(&mut self, number: usize) {
        let Some(mut up) = self.nodes[number].up.take() else { return };
        self.say(|| format!("{} has stopped", self.nodes[number].name));
        for conn in std::mem::take(&mut up.sessions).into_keys() {
            self.net.close_loudly(self.agenda.now(), conn, 1);
        }
        let Running { writer, .. } = up;
        writer.close();
        self.nodes[number].disk.kill();
        self.bury(number, None);
    }

    /// A node's journal has failed: the process ends, as one that must not go on.
    pub(super) fn node_failed(&mut self, number: usize, reason: &str) {
        let excused = self.nodes[number].is_hampered();
        if !excused && !self.lie_comes_out(number, Lie::Damaged) {
            let name = &self.nodes[number].name;
            self.history.violated("I9", format!("{name} has failed: {reason}"));
        }
        self.say(|| format!("{} has failed: {reason}", self.nodes[number].name));
        let node = &mut self.nodes[number];
        node.disk.keep_power();
        node.failing = false;
        let up = node.die();
        self.bury(number, up);
    }

    /// A fault that waited for a commit.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the caller gives faults of commits only")]
    pub(super) fn strike_commit(&mut self, number: usize, fault: Fault) {
        let node = &mut self.nodes[number];
        let Some(up) = &mut node.up else { return };
        let Some(commit) = &up.commit else { return };
        match fault {
            Fault::KillInCommit | Fault::PowerCutInCommit => {
                let within = node.disk.operations() + self.dice.below(3);
                node.disk.cut_power_at(within);
                drop(commit.write_and_sync());
                self.crash(number, fault, fault == Fault::PowerCutInCommit);
            }
            Fault::PowerCutAfterSync => {
                drop(commit.write_and_sync());
                self.crash(number, fault, true);
            }
            Fault::SyncFails | Fault::WriteFails => {
                if commit.len_bytes() == 0 {
                    node.ambush.push(fault);
                } else {
                    if fault == Fault::SyncFails {
                        node.disk.fail_sync_at(node.disk.syncs());
                    } else {
                        node.disk.fail_write_at(node.disk.writes());
                    }
                    node.failing = true;
                    self.fired.count(fault);
                }
                self.tell_commit(number);
            }
            Fault::Misdirect => {
                if commit.len_bytes() > 0 && node.has_sound_disk() {
                    let by = 4_096 * (1 + self.dice.below(3));
                    node.disk.misdirect_write_at(node.disk.writes(), by);
                    node.has_witness = false;
                }
                self.tell_commit(number);
                let node = &mut self.nodes[number];
                node.disk.keep_power();
                if node.disk.is_astray() {
                    self.fired.count(fault);
                    let wait = SECOND + self.dice.below(5 * SECOND);
                    self.agenda.after(wait, Happening::Mend(Mend::Rot { node: number }));
                }
            }
            _ => unreachable!("no fault of commits"),
        }
    }

    /// The time of a fault has come.
    pub(super) fn strike(&mut self, fault: Fault) {
        if self.healed {
            return;
        }
        let number = self.some_node();
        let now = self.agenda.now();
        let a_while = SECOND + self.dice.below(40 * SECOND);
        match fault {
            Fault::Kill => self.crash(number, fault, false),
            Fault::PowerCut => self.crash(number, fault, true),
            Fault::KillInCommit
            | Fault::PowerCutInCommit
            | Fault::PowerCutAfterSync
            | Fault::PowerCutInJob
            | Fault::SyncFails
            | Fault::WriteFails
            | Fault::Misdirect => self.nodes[number].ambush.push(fault),
            Fault::PowerCutInStart => {
                for _ in 0..=self.dice.below(3) {
                    self.nodes[number].ambush.push(fault);
                }
                self.crash(number, Fault::PowerCut, true);
            }
            Fault::ReadsFail => {
                self.nodes[number].disk.fail_reads(true);
                self.fired.count(fault);
                self.nodes[number].reads_fail = true;
                self.agenda
                    .after(a_while.min(10 * SECOND), Happening::Mend(Mend::Reads { node: number }));
            }
            Fault::DiskFull => {
                let node = &mut self.nodes[number];
                let used: u64 = node.disk.list().map_or(0, |files| files.iter().map(|f| f.1).sum());
                node.disk.set_capacity(Some(used + self.dice.below(64 << 10)));
                node.full = true;
                self.fired.count(fault);
                self.agenda.after(a_while, Happening::Mend(Mend::Capacity { node: number }));
            }
            Fault::DiskSlow => {
                self.nodes[number].sync_min = SECOND + self.dice.below(5 * SECOND);
                self.fired.count(fault);
                self.agenda.after(a_while, Happening::Mend(Mend::Sync { node: number }));
            }
            Fault::Rot => self.turn_bit(number),
            Fault::RotAtEnd => self.turn_last_bit(number),
            Fault::Restored => self.back_up(),
            Fault::SyncLies => self.begin_lie(),
            Fault::Forged => self.begin_forger(),
            Fault::Restart => {
                if let Some(up) = &mut self.nodes[number].up {
                    up.stopping = true;
                    up.writer.stop();
                    self.fired.count(fault);
                    self.drive_node(number);
                }
            }
            Fault::ClockJumps => {
                let by = self.dice.below(2 * TEN_YEARS_US as u64) as i64 - TEN_YEARS_US;
                self.nodes[number].jump(by);
                self.fired.count(fault);
            }
            Fault::ClockStops => {
                self.nodes[number].stop_clock(now, true);
                self.fired.count(fault);
                self.agenda.after(a_while, Happening::Mend(Mend::Clock { node: number }));
            }
            Fault::AdapterCrash => {
                let adapter = self.some_adapter();
                if let Some(Life { conn, .. }) = self.adapters[adapter].life.take() {
                    self.fired.count(fault);
                    self.adapters[adapter].rivals_until = now + RIVALS_FOR;
                    self.give_up(conn);
                    let wait = self.dice.below(5 * SECOND);
                    self.agenda.after(wait, Happening::AdapterBegins { adapter });
                }
            }
            Fault::AdapterZombie => self.pause_adapter(),
            Fault::ConsumerCrash => {
                if self.consumers.is_empty() {
                    return;
                }
                let consumer = self.dice.below(self.consumers.len() as u64) as usize;
                self.fired.count(fault);
                self.consumers[consumer].die();
                let conn = self.consumers[consumer].conn.take();
                self.give_up(conn);
                // Sometimes so long that retention would like to drop what it has not read.
                let most = if self.dice.below(3) == 0 { 300 * SECOND } else { 5 * SECOND };
                let wait = self.dice.below(most);
                self.agenda.after(wait, Happening::ConsumerBegins { consumer });
            }
            Fault::Hostile => {
                let host = Host::Near(10_000 + self.dice.below(10_000) as usize);
                self.connect(User::Hostile, host, number);
                self.fired.count(fault);
            }
            Fault::ConnectionCut | Fault::Partition | Fault::HalfPartition | Fault::Noise => {
                self.strike_network(fault, a_while);
            }
        }
    }

    /// A process that is gone says nothing any more.
    fn give_up(&mut self, conn: Option<u64>) {
        if let Some(conn) = conn {
            if self.dice.below(2) == 0 {
                self.net.close(conn, 0);
            } else {
                self.net.close_loudly(self.agenda.now(), conn, 0);
            }
        }
    }

    fn pause_adapter(&mut self) {
        let number = self.some_adapter();
        let adapter = &mut self.adapters[number];
        // One whose stream is not open yet would take the name over when it wakes.
        let life = adapter.life.as_ref().filter(|life| life.is_open);
        let Some(conn) = life.and_then(|life| life.conn) else { return };
        if adapter.zombie.is_some() {
            return;
        }
        adapter.pause();
        adapter.rivals_until = self.agenda.now() + RIVALS_FOR;
        self.users.insert(conn, (User::Zombie(number), self.adapters[number].node));
        self.fired.count(Fault::AdapterZombie);
        let takes_over = self.dice.below(2 * SECOND);
        self.agenda.after(takes_over, Happening::AdapterBegins { adapter: number });
        let wakes = takes_over + self.dice.below(6 * SECOND);
        self.agenda.after(wakes, Happening::ZombieWakes { adapter: number });
    }

    /// A bit turns in a file that is closed: what is proved durable there must be missed.
    fn turn_bit(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        if !node.has_sound_disk() {
            return;
        }
        let files: Vec<_> = node.disk.list().unwrap_or_default();
        let journals: Vec<_> =
            files.iter().filter(|file| file.0.starts_with("journal-")).cloned().collect();
        let is_run = |name: &str| name.starts_with("run-") || name.starts_with("keys-");
        let runs = files.iter().filter(|file| is_run(&file.0)).cloned();
        let closed = journals.len().saturating_sub(1);
        let candidates: Vec<_> = journals.into_iter().take(closed).chain(runs).collect();
        if candidates.is_empty() {
            return;
        }
        let at = self.dice.below(candidates.len() as u64) as usize;
        let (file, len) = candidates[at].clone();
        if len == 0 {
            return;
        }
        let bit = self.dice.below(len * 8);
        let inode = node.disk.inode(&file).expect("it was listed");
        node.disk.rot(&file, bit);
        self.say(|| format!("{}: bit {bit} of {file} has turned", self.nodes[number].name));
        self.nodes[number].turned = Some(Turned { file, inode, reported: false });
        self.fired.count(Fault::Rot);
        let wait = SECOND + self.dice.below(30 * SECOND);
        self.agenda.after(wait, Happening::Mend(Mend::Rot { node: number }));
    }

    /// A bit turns in one of the last two blocks that were written, after some quiet: what was
    /// acknowledged last has its witness by then, so a start must miss it.
    fn turn_last_bit(&mut self, number: usize) {
        let now = self.agenda.now();
        let node = &mut self.nodes[number];
        let quiet = node.up.as_ref().is_some_and(|up| up.commit.is_none())
            && now > node.last_commit + SECOND
            && node.has_sound_disk();
        let files = node.disk.list().unwrap_or_default();
        let newest = files.iter().filter(|file| file.0.starts_with("journal-"));
        let Some((file, _)) = newest.max_by_key(|file| file.0.clone()).filter(|_| quiet) else {
            return;
        };
        let content = node.disk.content(file).expect("it was listed");
        let mut blocks = content.chunks(BLOCK_BYTES);
        let is_written = |block: &[u8]| block.iter().any(|byte| *byte != 0);
        let last = blocks.rposition(is_written).unwrap_or_default();
        let block = last.saturating_sub(usize::from(self.dice.below(2) == 0));
        let bit = (block * BLOCK_BYTES * 8) as u64 + self.dice.below(BLOCK_BYTES as u64 * 8);
        let inode = node.disk.inode(file).expect("it was listed");
        node.disk.rot(file, bit);
        node.turned = Some(Turned { file: file.clone(), inode, reported: false });
        self.fired.count(Fault::RotAtEnd);
        self.crash(number, Fault::Kill, false);
        let wait = 30 * SECOND;
        self.agenda.after(wait, Happening::Mend(Mend::Rot { node: number }));
    }

    /// Somebody copies the disk of a plant. Some time later the plant is started from that copy.
    fn back_up(&mut self) {
        let number = self.dice.below(self.plan.plants as u64) as usize;
        let wait = 5 * SECOND + self.dice.below(30 * SECOND);
        let node = &mut self.nodes[number];
        if node.has_no_copy() && node.has_sound_disk() && !node.full {
            // What is not durable yet the plant may lose, and a copy that brings it to the hub would
            // be right to be told apart from the plant later.
            let backup = node.disk.crash_image(&mut |_| false);
            backup.fail_reads(false);
            node.backup = Some(backup);
            self.agenda.after(wait, Happening::Mend(Mend::Swap { node: number }));
        }
    }

    /// A plant goes on from a copy of its disk. Nobody of the plant reaches it, or what it
    /// acknowledges would be lost with the copy.
    pub(super) fn swap(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        let Some(backup) = node.backup.take() else { return };
        let sound = node.has_sound_disk() && !node.full;
        if self.healed || !sound || node.reads_fail || node.up.is_none() {
            return;
        }
        self.net.isolate(number, true);
        self.crash(number, Fault::Kill, false);
        let node = &mut self.nodes[number];
        node.original = Some(std::mem::replace(&mut node.disk, backup));
        self.fired.count(Fault::Restored);
        self.agenda.after(40 * SECOND, Happening::Mend(Mend::SwapBack { node: number }));
    }

    /// The operator brings the plant's own disk back.
    pub(super) fn swap_back(&mut self, number: usize) {
        self.judge_lie(number);
        let node = &mut self.nodes[number];
        node.backup = None;
        let Some(original) = node.original.take() else { return };
        node.turned = None;
        self.crash(number, Fault::Kill, false);
        let node = &mut self.nodes[number];
        node.disk = original;
        node.disk.fail_reads(false);
        node.disk.set_capacity(None);
        node.ambush.clear();
        (node.reads_fail, node.full, node.failing) = (false, false, false);
        self.net.isolate(number, false);
        if self.nodes[number].up.is_none() {
            self.agenda.after(SECOND, Happening::Start { node: number });
        }
    }

    /// A partition of which the hub holds more than a plant that runs on a copy.
    pub(super) fn impostor_lacks(&self, number: usize) -> Option<String> {
        let node = &self.nodes[number];
        node.original.as_ref()?;
        let hub = self.nodes[self.plan.plants].up.as_ref()?.writer.view().all_partitions();
        let own = node.up.as_ref()?.writer.view().all_partitions();
        own.iter().find_map(|own| {
            let mirror = hub.iter().find(|mirror| mirror.id == own.id)?;
            (mirror.end_batch > own.end_batch).then(|| own.id.to_string())
        })
    }

    fn some_node(&mut self) -> usize {
        usize::try_from(self.dice.below(self.nodes.len() as u64)).expect("an index")
    }

    fn some_adapter(&mut self) -> usize {
        usize::try_from(self.dice.below(self.adapters.len() as u64)).expect("an index")
    }
}

impl SimNode {
    /// Whether its disk has what was written to it, where it was written, and does as it says.
    pub(super) fn has_sound_disk(&self) -> bool {
        let lies = self.disk.lies() || self.lied.is_some();
        self.turned.is_none() && !self.disk.is_astray() && !lies
    }

    /// Whether no copy of its disk is kept or used.
    pub(super) fn has_no_copy(&self) -> bool {
        self.backup.is_none() && self.original.is_none()
    }

    /// Whether something is wrong with its disk that excuses a failed start or commit.
    pub(super) fn is_hampered(&self) -> bool {
        self.reads_fail
            || self.full
            || self.failing
            || self.turned.is_some()
            || self.disk.is_astray()
    }
}
