//! A node of the simulated world: the real store, writer and sessions over a simulated disk.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use takt_broker::logic::uplink::{Backoff, UplinkSession};
use takt_broker::logic::{Session, WriterCore};
use takt_protocol::words::{NodeName, Timestamp, TopicName};
use takt_storage::disk::sim::SimDisk;
use takt_storage::store::{Job, OpenError, PendingCommit, Store, StoreOptions};

use super::agenda::At;
use super::faults::{Branch, Dropping, Fault, Lie, Tally};
use super::history::Dropped;
use super::kept::Kept;
use super::net::ConnId;
use super::plan::{Limits, Plan, topic_name};
use crate::events::Dice;

/// 2026-01-01, in microseconds since 1970: when the world begins.
const BEGIN_US: i64 = 1_767_225_600_000_000;

/// Who waits for an answer of the writer.
#[derive(Debug, Clone, Copy)]
pub enum Ticket {
    /// A session, by its connection, and the number of its request.
    Session(ConnId, u64),
    /// Nobody.
    Nobody,
}

/// One session of a node.
pub struct Served {
    /// `None` until the first frame has said what it is.
    pub session: Option<Box<dyn Session>>,
    /// The origin, for a mirror's link.
    pub origin: Option<NodeName>,
    /// When it wants to be called.
    pub wake_at: Option<At>,
}

/// What lives while the process lives.
pub struct Running {
    /// The writer.
    pub writer: WriterCore<Ticket>,
    /// The sessions that peers have opened.
    pub sessions: BTreeMap<ConnId, Served>,
    /// Sessions that have something to do.
    pub dirty: BTreeSet<ConnId>,
    /// The plant's side of its link.
    pub uplink: Option<UplinkSession>,
    /// The uplink has something to do.
    pub uplink_dirty: bool,
    /// What is on its way to the disk.
    pub commit: Option<Box<PendingCommit<Ticket>>>,
    /// What the background does.
    pub job: Option<Job>,
    /// When the writer is called next.
    pub wake_at: At,
    /// It is asked to stop.
    pub stopping: bool,
}

/// A bit that turned.
#[derive(Debug, Clone)]
pub struct Turned {
    /// In which file.
    pub file: String,
    /// The file itself, by number: another one may get the name.
    pub inode: u64,
    /// Whether somebody has said so.
    pub reported: bool,
}

/// Its disk had lied.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lied {
    /// How that came out, if it has.
    pub found: Option<Lie>,
}

/// A node, running or not.
pub struct SimNode {
    /// Its number; the hub is the last.
    pub number: usize,
    /// Its name.
    pub name: NodeName,
    /// Its disk.
    pub disk: SimDisk,
    /// Counts the processes.
    pub boot: u64,
    /// The process, if there is one.
    pub up: Option<Running>,
    /// The connection of its uplink.
    pub uplink_conn: Option<ConnId>,
    /// When the uplink is dialled again.
    pub backoff: Backoff,
    /// What is to go wrong as soon as it can.
    pub ambush: Vec<Fault>,
    /// A bit of its disk that turned and was not turned back.
    pub turned: Option<Turned>,
    /// When a commit was last made durable.
    pub last_commit: At,
    /// An older copy of its disk.
    pub backup: Option<SimDisk>,
    /// Its own disk, while it runs on a copy.
    pub original: Option<SimDisk>,
    /// While it runs on what a disk that had lied has kept: how that has come out.
    pub lied: Option<Lied>,
    /// How long a sync takes at least, in microseconds.
    pub sync_min: u64,
    /// It starts again after a stop.
    pub restarts: bool,
    /// Its reads fail.
    pub reads_fail: bool,
    /// Its disk has no room.
    pub full: bool,
    /// A commit of it is failing.
    pub failing: bool,
    /// A commit was made durable since a write went astray.
    pub has_witness: bool,
    /// What this process has not dropped, and by which time it may drop.
    pub kept: Kept,
    options: StoreOptions,
    /// What its own topics' retention is.
    limits: BTreeMap<TopicName, Limits>,
    dice: Dice,
    /// How far its wall clock is off, in microseconds.
    skew: i64,
    /// Its wall clock stands still at this.
    stopped_at: Option<i64>,
}

/// What a start came to.
#[derive(Debug)]
pub enum Started {
    /// It runs.
    Up,
    /// Another crash came in between.
    Interrupted,
    /// It refuses to start: its disk is damaged.
    Refused,
    /// It could not, for now.
    Failed(String),
}

impl SimNode {
    /// A node with an empty disk.
    ///
    /// # Panics
    /// Never: the names hold.
    pub fn new(plan: &Plan, number: usize) -> Self {
        let is_hub = number == plan.plants;
        let name = if is_hub { "hub".to_owned() } else { format!("plant-{number}") };
        let name = NodeName::new(&name).expect("a name");
        let limits = (0..).zip(&plan.limits).filter(|_| !is_hub);
        let limits = limits.map(|(topic, limits)| (topic_name(topic), *limits)).collect();
        let retention = if is_hub { 0 } else { plan.retention_bytes };
        let options = StoreOptions {
            node: name.clone(),
            journal: plan.journal.clone(),
            keys_max: 10_000_000,
            heads_recent: 40,
            spare_files: 2,
            file_keys_max: plan.file_keys_max,
            generation_runs: plan.generation_runs,
            merge_pause: Duration::ZERO,
            retention_bytes: retention,
            retention_age: plan.retention_age.filter(|_| !is_hub),
            pack_after: plan.pack_after,
            pack_compression: plan.pack_compression,
        };
        Self {
            number,
            name,
            disk: SimDisk::new(),
            boot: 0,
            up: None,
            uplink_conn: None,
            backoff: Backoff::new(Duration::from_secs(10)),
            ambush: Vec::new(),
            turned: None,
            last_commit: 0,
            backup: None,
            original: None,
            lied: None,
            sync_min: plan.sync_min,
            restarts: true,
            reads_fail: false,
            full: false,
            failing: false,
            has_witness: false,
            kept: Kept::default(),
            options,
            limits,
            dice: Dice::new(plan.seed ^ (0xabcd_0000 + number as u64)),
            skew: 0,
            stopped_at: None,
        }
    }

    /// Its wall clock.
    pub fn wall(&self, now: At) -> Timestamp {
        Timestamp::from_micros(self.stopped_at.unwrap_or(right(now) + self.skew))
    }

    /// Its wall clock jumps.
    pub fn jump(&mut self, by_us: i64) {
        self.skew = by_us;
    }

    /// Its wall clock stands still, or goes on.
    pub fn stop_clock(&mut self, now: At, stopped: bool) {
        self.stopped_at = stopped.then(|| self.wall(now).as_micros());
    }

    /// How long the next sync takes, in microseconds.
    pub fn sync_time(&mut self) -> u64 {
        self.sync_min + self.dice.below(self.sync_min)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.dice.below(bound)
    }

    /// What retention has dropped since the last look, and must have been allowed to.
    pub fn look_at_drops(&mut self, now: At) -> Vec<(Dropped, Dropping)> {
        let Some(up) = &self.up else { return Vec::new() };
        self.kept.look(up.writer.view(), &self.options, &self.limits, now)
    }

    /// Starts a process.
    pub fn start(
        &mut self,
        plan: &Plan,
        now: At,
        instant: Instant,
        branches: &mut Tally<Branch>,
        fired: &mut Tally<Fault>,
    ) -> Started {
        self.boot += 1;
        let cut = self.ambush.iter().position(|fault| *fault == Fault::PowerCutInStart);
        if let Some(at) = cut {
            self.ambush.swap_remove(at);
            let at = self.disk.operations() + self.dice.below(25);
            self.disk.cut_power_at(at);
        }
        let mut entropy = Dice::new(self.dice.next_u64());
        let wall = self.wall(now);
        let disk = Arc::new(self.disk.clone());
        let opened = Store::open(disk, self.options.clone(), &mut entropy, wall);
        let power_gone = self.disk.is_off();
        self.disk.keep_power();
        if power_gone {
            fired.count(Fault::PowerCutInStart);
            branches.count(Branch::Interrupted);
            drop(opened);
            self.lose_power();
            return Started::Interrupted;
        }
        let (store, report) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.not_started(&error, branches),
        };
        for (taken, branch) in [
            (report.created, Branch::Created),
            (!report.created && report.copied_bytes == 0 && report.cut.is_none(), Branch::Clean),
            (report.copied_bytes > 0, Branch::Copied),
            (report.cut.is_some(), Branch::Cut),
            (report.replayed_commits > 0, Branch::Replayed),
            (report.runs_merged > 0, Branch::Merged),
            (report.packs > 0, Branch::Packed),
            (report.runs_rebuilt > 0, Branch::RunRebuilt),
            (report.used_reserve, Branch::UsedReserve),
        ] {
            if taken {
                branches.count(branch);
            }
        }
        if report.runs_rebuilt > 0
            && let Some(turned) = &mut self.turned
        {
            turned.reported = true;
        }
        self.kept = Kept::new(store.view(), wall, now);
        let mut writer = WriterCore::new(store, Duration::from_micros(plan.mark_after), instant);
        let is_hub = self.number == plan.plants;
        if is_hub {
            writer.hold_for_uplink(Some(BTreeMap::new()));
        }
        self.up = Some(Running {
            writer,
            sessions: BTreeMap::new(),
            dirty: BTreeSet::new(),
            uplink: None,
            uplink_dirty: false,
            commit: None,
            job: None,
            wake_at: 0,
            stopping: false,
        });
        Started::Up
    }

    fn not_started(&mut self, error: &OpenError, branches: &mut Tally<Branch>) -> Started {
        let text = describe(error);
        let damaged = self.turned.is_some() || self.disk.is_astray();
        if damaged && !text.contains("the reads fail") {
            if let Some(turned) = &mut self.turned {
                turned.reported = true;
            }
            branches.count(Branch::Refused);
            return Started::Refused;
        }
        Started::Failed(text)
    }

    /// The process is gone: what it had not written is lost, what it had not synced is in the page
    /// cache.
    pub fn die(&mut self) -> Option<Running> {
        let up = self.up.take();
        self.disk.kill();
        up
    }

    /// The power is gone: of what was not synced any part may be on the disk.
    pub fn lose_power(&mut self) -> Option<Running> {
        let up = self.up.take();
        // Where its disk lies, the power stays on for long enough: another fault decides of that.
        let style = if self.disk.lies() { 1 } else { self.dice.below(4) };
        let dice = &mut self.dice;
        let mut kept = true;
        self.disk.crash(&mut |_| match style {
            0 => false,
            1 => true,
            // What came first is there, what came later is not.
            2 => {
                kept = kept && dice.below(4) != 0;
                kept
            }
            _ => dice.below(2) == 0,
        });
        up
    }
}

/// What a clock that is right shows, in microseconds since 1970.
fn right(now: At) -> i64 {
    BEGIN_US + i64::try_from(now).expect("not that long")
}

/// An error with what is behind it.
pub fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}
