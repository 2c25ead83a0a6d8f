//! What a seed decides: how large the world is, how it is used, and what goes wrong in it. Every
//! seed draws its own weights and leaves some faults out, so that rare mixtures come up.

use std::time::Duration;

use takt_protocol::limits::HORIZON_S_DEFAULT;
use takt_protocol::words::TopicName;
use takt_storage::journal::JournalOptions;
use takt_storage::kept::PackCompression;

use super::agenda::{At, MS, SECOND};
use super::faults::Fault;
use super::net::Weather;
use crate::events::Dice;

/// The shortest time that faults go on, in simulated time.
pub const TIME_MIN: u64 = 10 * 60 * SECOND;

/// Of the dice of [`Plan::draw_more`].
const MORE: u64 = 0x5ec_1e83;

/// Of the dice of [`Plan::draw_limits`].
const LIMITS: u64 = 0x71_8de4;

/// Of the dice of [`Plan::draw_packs`].
const PACKS: u64 = 0x2901;

/// Of the dice of [`Plan::draw_compaction`].
const COMPACTION: u64 = 0x2902;

/// Of the dice of [`Plan::draw_generations`]: a number with which no seed that sees an older defect has any.
const GENERATIONS: u64 = 0x4510;

/// What a topic's own retention is at its plants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// How many bytes of each partition are kept at least; 0 is all.
    pub bytes: u64,
    /// For how long what is there is kept; `None` is for ever.
    pub age: Option<Duration>,
}

/// What a seed decides.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// Plants beside the hub.
    pub plants: usize,
    /// Topics of each plant, the same at all of them.
    pub topics: usize,
    /// Partitions of each topic.
    pub partitions: u16,
    /// Adapters of each plant.
    pub adapters: usize,
    /// Consumers of each node.
    pub consumers: usize,
    /// Events that each adapter makes.
    pub events: usize,
    /// Order keys of each topic.
    pub orders: u64,
    /// Data of an event is as long as a number below this, most of the time.
    pub data_max: u64,
    /// Of 1,000 events so many have much data.
    pub large: u64,
    /// Events of a batch, at most.
    pub batch_max: usize,
    /// Of 1,000 events so many repeat an older one of their plant.
    pub repeats: u64,
    /// Of 1,000 events so many have an older one's key and other content.
    pub conflicts: u64,
    /// Of 1,000 events so many have no key.
    pub unkeyed: u64,
    /// Of 1,000 new events with a key so many have two.
    pub two_keys: u64,
    /// Of 1,000 events so many have a key that is sent with many contents.
    pub many: u64,
    /// Of 1,000 events so many have no order.
    pub unordered: u64,
    /// Sizes of the journals.
    pub journal: JournalOptions,
    /// How many bytes of journal each plant keeps; 0 is all.
    pub retention_bytes: u64,
    /// For how long each plant keeps what it has; `None` is for ever.
    pub retention_age: Option<Duration>,
    /// After how long nodes pack their files; `None` is for never.
    pub pack_after: Option<Duration>,
    /// How they write packs.
    pub pack_compression: PackCompression,
    /// By topic, what each plant keeps of it at most.
    pub limits: Vec<Limits>,
    /// By topic, whether its plants keep the latest event of each order key alone.
    pub compact: Vec<bool>,
    /// So many runs of a node share a table.
    pub generation_runs: usize,
    /// A node leaves a journal file early at so many keys.
    pub file_keys_max: usize,
    /// For how long the node tells a repeat at least, in seconds.
    pub horizon_s: u64,
    /// How long an idle writer waits before its mark, in microseconds.
    pub mark_after: u64,
    /// How long a sync takes at least, in microseconds.
    pub sync_min: u64,
    /// How long faults go on.
    pub time: At,
    /// What goes wrong, and when.
    pub faults: Vec<(At, Fault)>,
    /// The network within plants.
    pub lan: Weather,
    /// The network between nodes.
    pub wan: Weather,
}

impl Plan {
    /// The plan of a seed.
    pub fn draw(seed: u64) -> Self {
        let dice = &mut Dice::new(seed.wrapping_mul(0xd129_42e9_6e2b_4b8f) ^ 0x7a6b_7400);
        let plants = pick(dice, &[1, 2, 2, 3]);
        let adapters = pick(dice, &[1, 2, 2, 3]);
        let total = 9_000 + dice.below(9_000);
        let commit_bytes_max = pick(dice, &[16 << 10, 32 << 10, 32 << 10, 64 << 10]);
        let file_bytes = commit_bytes_max as u64 * pick(dice, &[4, 8, 8, 16]);
        let time = TIME_MIN + dice.below(120) * SECOND;
        let journal = JournalOptions {
            file_bytes,
            commit_bytes_max,
            reserve_chunks: 4,
            reserve_chunk_bytes: (commit_bytes_max as u64 + (8 << 10)).next_multiple_of(4 << 10)
                + (64 << 10),
        };
        let makers = (plants * adapters) as u64;
        let mut plan = Self {
            seed,
            plants,
            topics: pick(dice, &[1, 1, 2]),
            partitions: pick(dice, &[1, 1, 1, 3]),
            adapters,
            consumers: pick(dice, &[0, 1, 1, 2]),
            events: usize::try_from(total / makers).expect("some thousands"),
            orders: pick(dice, &[1, 10, 100, 1_000, 10_000]),
            data_max: pick(dice, &[1, 64, 256, 256, 600]),
            large: pick(dice, &[0, 0, 2]),
            batch_max: pick(dice, &[1, 20, 100, 400, 1_000]),
            repeats: pick(dice, &[0, 20, 100]),
            conflicts: pick(dice, &[0, 5, 20]),
            unkeyed: pick(dice, &[0, 0, 50]),
            two_keys: 0,
            many: 0,
            unordered: pick(dice, &[0, 50, 500]),
            journal,
            retention_bytes: if dice.below(2) == 0 { file_bytes * (2 + dice.below(6)) } else { 0 },
            retention_age: None,
            pack_after: None,
            pack_compression: PackCompression::None,
            limits: Vec::new(),
            compact: Vec::new(),
            generation_runs: 1,
            file_keys_max: usize::MAX,
            horizon_s: HORIZON_S_DEFAULT,
            mark_after: 50 * MS,
            sync_min: pick(dice, &[100, 300, 2_000]),
            time,
            faults: [draw_faults(dice, time), draw_lies(seed, time)].concat(),
            lan: Weather { delay: 50, jitter: 200, loss: 0, double: 0 },
            wan: Weather {
                delay: pick(dice, &[2, 20, 100]) * MS,
                jitter: pick(dice, &[1, 5, 50]) * MS,
                loss: pick(dice, &[0, 0, 5, 50]),
                double: pick(dice, &[0, 0, 10]),
            },
        };
        plan.draw_more();
        plan.draw_limits();
        plan.draw_packs();
        plan.draw_compaction();
        plan.draw_generations();
        plan
    }

    /// The horizon in microseconds.
    ///
    /// # Panics
    /// Never: no plan draws one that long.
    pub fn horizon_us(&self) -> i64 {
        i64::try_from(self.horizon_s * SECOND).expect("at most 400 days")
    }

    /// Whether a node of this world forgets keys while it goes on.
    pub fn forgets(&self) -> bool {
        self.horizon_s < HORIZON_S_DEFAULT
    }

    /// Drawn apart, so that a world which has none of it is the same as if there were none. The
    /// number is one with which those that once found something are among them.
    fn draw_more(&mut self) {
        let dice = &mut Dice::new(self.seed.wrapping_mul(0xd129_42e9_6e2b_4b8f) ^ MORE);
        self.two_keys = pick(dice, &[0, 0, 300, 1_000]);
        self.many = pick(dice, &[0, 0, 10, 40]);
        if dice.below(3) == 0 {
            self.retention_age = Some(Duration::from_secs(60 + dice.below(300)));
            if dice.below(2) == 0 {
                self.retention_bytes = 0;
            }
        }
        if dice.below(3) == 0 {
            self.horizon_s = 5 + dice.below(90);
        }
        if dice.below(3) == 0 {
            self.file_keys_max = 50 + usize::try_from(dice.below(500)).expect("a small number");
        }
    }

    /// Drawn apart, as [`Plan::draw_limits`] is.
    fn draw_packs(&mut self) {
        let dice = &mut Dice::new(self.seed.wrapping_mul(0xd129_42e9_6e2b_4b8f) ^ PACKS);
        if dice.below(4) == 0 {
            self.pack_after = Some(Duration::from_secs(10 + dice.below(200)));
            self.pack_compression = pick(dice, &[PackCompression::None, PackCompression::Zstd]);
        }
    }

    /// Drawn apart, as [`Plan::draw_limits`] is.
    fn draw_compaction(&mut self) {
        let dice = &mut Dice::new(self.seed.wrapping_mul(0xd129_42e9_6e2b_4b8f) ^ COMPACTION);
        self.compact = vec![false; self.topics];
        if dice.below(4) == 0 {
            self.compact.fill_with(|| dice.below(4) != 0);
        }
    }

    /// Drawn apart, as [`Plan::draw_limits`] is.
    fn draw_generations(&mut self) {
        let dice = &mut Dice::new(self.seed.wrapping_mul(0xd129_42e9_6e2b_4b8f) ^ GENERATIONS);
        if dice.below(3) == 0 {
            self.generation_runs = pick(dice, &[2, 3, 8]);
        }
    }

    /// Drawn apart, as [`Plan::draw_more`] is: no seed that once found something, or sees a defect that
    /// is older than topics' limits, has any.
    fn draw_limits(&mut self) {
        let dice = &mut Dice::new(self.seed.wrapping_mul(0xd129_42e9_6e2b_4b8f) ^ LIMITS);
        self.limits = vec![Limits::default(); self.topics];
        if dice.below(3) != 0 {
            return;
        }
        let commit_bytes_max = self.journal.commit_bytes_max as u64;
        for limits in &mut self.limits {
            if dice.below(2) == 0 {
                limits.bytes = commit_bytes_max * (1 + dice.below(16));
            }
            if dice.below(2) == 0 {
                limits.age = Some(Duration::from_secs(60 + dice.below(240)));
            }
        }
        // Or the node's own limit would hide what those of topics do.
        if dice.below(4) != 0 {
            self.retention_bytes = 0;
        }
    }
}

/// The name of a topic, by its number.
///
/// # Panics
/// Never: the names hold.
pub fn topic_name(number: usize) -> TopicName {
    TopicName::new(&format!("topic-{number}")).expect("a name")
}

/// One of a list.
pub fn pick<T: Copy>(dice: &mut Dice, list: &[T]) -> T {
    list[usize::try_from(dice.below(list.len() as u64)).expect("below a length")]
}

/// Crashes come in any case; of the rest each seed leaves about half out.
fn draw_faults(dice: &mut Dice, time: At) -> Vec<(At, Fault)> {
    let mut kinds = Vec::new();
    for kind in Fault::ALL.iter().filter(|kind| **kind != Fault::SyncLies) {
        let weight = if dice.below(2) == 0 { 0 } else { 1 + dice.below(4) };
        kinds.extend(std::iter::repeat_n(*kind, usize::try_from(weight).expect("at most 4")));
    }
    let crashes: Vec<Fault> = Fault::ALL.iter().copied().filter(|kind| kind.is_crash()).collect();
    let count = 30 + dice.below(30);
    let mut faults = Vec::new();
    for number in 0..count {
        let kind =
            if number < 5 || kinds.is_empty() { pick(dice, &crashes) } else { pick(dice, &kinds) };
        faults.push((10 * SECOND + dice.below(time - 30 * SECOND), kind));
    }
    faults.sort_unstable();
    faults
}

/// Drawn apart, so that worlds in which no disk lies are the same with and without this fault. The
/// number is one with which those that have found something, or see a defect, are among them.
fn draw_lies(seed: u64, time: At) -> Vec<(At, Fault)> {
    let dice = &mut Dice::new(seed.wrapping_mul(0xd129_42e9_6e2b_4b8f) ^ 0x1_2022);
    let count = if dice.below(3) == 0 { 1 + dice.below(2) } else { 0 };
    let mut at = || 10 * SECOND + dice.below(time - 60 * SECOND);
    (0..count).map(|_| (at(), Fault::SyncLies)).collect()
}
