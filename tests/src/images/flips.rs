//! Bits that turn in what lies still: a sealed journal file, its run, a pack, the index of listings. Each
//! is found, or changes nothing; nobody is ever served what was not stored.

use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use takt_client::{Event, OrderKey, Timestamp};
use takt_storage::disk::Disk;
use takt_storage::disk::sim::SimDisk;
use takt_storage::entry::TopicSettings;
use takt_storage::journal::verify;
use takt_storage::store::{Store, StoreOptions, sealed_ends, verify_runs};
use takt_storage::view::{ReadError, View};
use xxhash_rust::xxh3::Xxh3;

use super::player::topic_name;
use super::run::{COMMAND, case, in_parallel};
use super::stopped::Stopped;
use super::{Violation, ensure};
use crate::driver::{self, Driver};
use crate::events::{Dice, events};

const TOPIC: &str = "t";
/// Bits that one thread turns in a row.
const STRETCH: u64 = 1 << 12;
/// Every so many bits a reader is asked too, and every so many of those a start is tried.
const READ_EVERY: u64 = 16;
/// Order keys of the events.
const ORDERS: u64 = 300;
/// Events of a batch.
const PER_BATCH: u64 = 150;
/// Where a preamble says how many blocks it has, and how long a block is.
const PREAMBLE_BLOCKS: std::ops::Range<usize> = 68..72;
const BLOCK_BYTES: u64 = 4_096;

/// What to turn.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only every so many bits.
    #[arg(long, default_value_t = 1)]
    every: u64,
    /// How often the index is damaged.
    #[arg(long, default_value_t = 100_000)]
    index: u64,
    /// How many threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Ends with one line of JSON.
    #[arg(long)]
    json: bool,
}

/// What turning bits of one file came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sum {
    /// Length of the file, in bytes.
    pub len_bytes: u64,
    /// Bits that were turned.
    pub turned: u64,
    /// Those that the verification reports.
    pub detected: u64,
    /// Those in the free space behind the last commit, which nothing reads.
    pub free: u64,
    /// Readers that were asked meanwhile.
    pub reads: u64,
    /// Readers that got an error instead of wrong data.
    pub refused: u64,
    /// Of these, such that still got the histories of orders, whose batches are read alone.
    pub apart: u64,
    /// Starts that were tried meanwhile.
    pub starts: u64,
    /// Starts that were refused.
    pub not_started: u64,
    /// What should not have been.
    pub violations: Vec<String>,
}

/// A store with sealed files that lies still, open.
#[derive(Debug)]
pub struct Still {
    disk: SimDisk,
    driver: Driver,
    target: Target,
    /// Where the free space of the oldest journal file begins.
    free_from: u64,
    answers: [u128; 2],
    digest: u128,
}

/// The file whose bits are turned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The oldest journal file, of 96 KiB.
    Journal,
    /// Its run.
    Run,
    /// The pack that took the place of such a file.
    Pack,
}

impl Target {
    const fn text(self) -> &'static str {
        match self {
            Self::Journal => "journal-",
            Self::Run => "run-",
            Self::Pack => "pack-",
        }
    }
}

/// With files that are long enough for a run of 64 KiB, which are packed at once if there is to be a
/// pack.
fn options(target: Target) -> StoreOptions {
    let mut options = driver::options("plant");
    options.journal.file_bytes = 96 << 10;
    options.pack_after = (target == Target::Pack).then_some(Duration::ZERO);
    options
}

impl Still {
    /// Fills two files, the second of which goes on; for a pack the first is packed.
    ///
    /// # Panics
    /// If the disk, which has no fault, fails.
    pub fn filled(target: Target) -> Self {
        let disk = SimDisk::new();
        let at = Arc::new(disk.clone());
        let (mut driver, _) = Driver::open(at, options(target), 3, TOPIC).expect("an empty disk");
        driver.begin(TopicSettings::default());
        let mut from = 0;
        let is_filled = |driver: &Driver| {
            let status = driver.store.view().status();
            if target == Target::Pack { status.packs > 0 } else { status.journal_files > 1 }
        };
        while !is_filled(&driver) {
            driver.publish(&small(from..from + PER_BATCH, 0));
            // Repeats, and conflicts, which are listed.
            driver.publish(&small(from..from + 2, u64::from(from % (2 * PER_BATCH) == 0)));
            from += PER_BATCH;
        }
        driver.settle();
        // A new process has nothing in memory: readers read the files.
        drop(driver);
        let at = Arc::new(disk.clone());
        let (mut driver, _) = Driver::open(at, options(target), 4, TOPIC).expect("the disk works");
        driver.settle();
        let answers = answers(driver.store.view()).map(|part| part.expect("the disk works"));
        let digest = driver.store.state_digest();
        let mut still = Self { disk, driver, target, free_from: 0, answers, digest };
        still.free_from = still.written();
        still
    }

    /// The end of the oldest journal file's last commit, as an offset in the file.
    fn written(&self) -> u64 {
        let content = self.disk.content(&self.name(Target::Journal)).expect("the file is there");
        let blocks = content[PREAMBLE_BLOCKS].try_into().expect("four bytes");
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let reports =
            verify(&disk, &sealed_ends(&disk).unwrap_or_default()).expect("nothing is damaged");
        assert!(reports.iter().all(|report| report.damage.is_none()), "nothing is damaged");
        u64::from(u32::from_le_bytes(blocks)) * BLOCK_BYTES + reports[0].bytes
    }

    /// The name of a file.
    ///
    /// # Panics
    /// If there is none.
    pub fn name(&self, target: Target) -> String {
        let mut names = self.disk.names().into_iter();
        names.find(|name| name.starts_with(target.text())).expect("the file is there")
    }

    /// Turns a stretch of a file's bits, each on its own.
    pub fn turn(&self, bits: std::ops::Range<u64>, every: u64) -> Sum {
        let name = self.name(self.target);
        let content = self.disk.content(&name).unwrap_or_default();
        let mut sum = Sum { len_bytes: content.len() as u64, ..Sum::default() };
        let every = every.max(1);
        let bits = bits.start..bits.end.min(sum.len_bytes * 8);
        for bit in bits.step_by(usize::try_from(every).unwrap_or(usize::MAX)) {
            self.disk.flip_bit(&name, bit);
            sum.turned += 1;
            if let Err(found) = self.look(&name, bit, every, &mut sum) {
                sum.violations.push(format!("bit {bit} of {name}: {found}"));
            }
            self.disk.flip_bit(&name, bit);
        }
        sum
    }

    fn look(&self, name: &str, bit: u64, every: u64, sum: &mut Sum) -> Result<(), Violation> {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let reported = match self.target {
            Target::Journal => {
                let reports = verify(&disk, &sealed_ends(&disk).unwrap_or_default());
                reports.map_or(true, |files| {
                    files.iter().any(|file| file.name == name && file.damage.is_some())
                })
            }
            Target::Run | Target::Pack => verify_runs(&disk).map_or(true, |files| {
                files.iter().any(|file| file.info.name() == name && file.damage.is_some())
            }),
        };
        let free = self.target == Target::Journal && bit / 8 >= self.free_from;
        ensure(reported != free, "I10", || format!("reported: {reported}, free space: {free}"))?;
        sum.detected += u64::from(reported);
        sum.free += u64::from(free);
        if (bit / every).is_multiple_of(READ_EVERY) {
            sum.reads += 1;
            // Who has a block of a pack in memory does not read it again.
            let is_served = if self.target == Target::Pack {
                self.starts(bit)?.unwrap_or_default()
            } else {
                self.serves(self.driver.store.view())?
            };
            sum.refused += u64::from(is_served != [true; 2]);
            sum.apart += u64::from(is_served == [false, true]);
        }
        if (bit / every).is_multiple_of(READ_EVERY * READ_EVERY) {
            sum.starts += 1;
            sum.not_started += u64::from(self.starts(bit)?.is_none());
        }
        Ok(())
    }

    /// Whether readers are served all of each kind; if they are, as it was stored.
    fn serves(&self, view: &View) -> Result<[bool; 2], Violation> {
        let found = answers(view);
        let is_served = found.each_ref().map(Result::is_ok);
        for (found, stored) in found.into_iter().zip(self.answers) {
            ensure(found.is_err() || found == Ok(stored), "I10", || {
                "a reader is served what was not stored".to_owned()
            })?;
        }
        Ok(is_served)
    }

    /// Whether a node starts; if so, in the same state, and whether it serves all.
    fn starts(&self, seed: u64) -> Result<Option<[bool; 2]>, Violation> {
        let disk = Arc::new(self.disk.crash_image(&mut |_| true));
        let at = Timestamp::from_micros(1_900_000_000_000_000);
        let Ok((store, _)) =
            Store::<()>::open(disk, options(self.target), &mut Dice::new(seed), at)
        else {
            return Ok(None);
        };
        ensure(store.state_digest() == self.digest, "I10", || {
            "it starts in another state".to_owned()
        })?;
        self.serves(store.view()).map(Some)
    }
}

/// Events without data, so that a file holds many.
fn small(ids: std::ops::Range<u64>, content: u64) -> Vec<Event> {
    let mut events = events(ids, ORDERS, content);
    for event in &mut events {
        event.data = Bytes::from(content.to_string());
    }
    events
}

/// All that readers are served, as hashes: what lies side by side, and the histories of orders, which
/// are read and verified in another way.
fn answers(view: &View) -> [Result<u128, String>; 2] {
    [partitions(view), histories(view)].map(|part| part.map_err(|error| error.to_string()))
}

/// Batches, and offsets by time.
fn partitions(view: &View) -> Result<u128, ReadError> {
    let mut hasher = Xxh3::new();
    for partition in view.all_partitions() {
        let batches = view.read_from_batch(partition.slot, partition.start_batch, usize::MAX);
        for batch in batches? {
            batch.pieces().for_each(|piece| hasher.update(piece));
        }
        let last = partition.last_append.as_micros();
        for back in [0, 3_000, 30_000] {
            let time = Timestamp::from_micros(last - back);
            let offset = view.offset_at(partition.slot, time)?;
            hasher.update(&offset.get().to_le_bytes());
        }
    }
    Ok(hasher.digest128())
}

/// Orders by their index, with the batches that hold their events.
fn histories(view: &View) -> Result<u128, ReadError> {
    let mut hasher = Xxh3::new();
    for order in (0..ORDERS).step_by(37) {
        let key = OrderKey::new(&format!("order-{order}")).expect("an order key");
        let places = view.order(&topic_name(TOPIC), &key, None, usize::MAX)?;
        for of_one in places.chunk_by(|(a, _), (b, _)| a == b) {
            let slot = of_one[0].0;
            hasher.update(&slot.get().to_le_bytes());
            let offsets: Vec<_> = of_one.iter().map(|place| place.1).collect();
            for (offset, batch) in view.batches_at(slot, &offsets) {
                hasher.update(&offset.get().to_le_bytes());
                if let Some(batch) = batch? {
                    batch.pieces().for_each(|piece| hasher.update(piece));
                }
            }
        }
    }
    Ok(hasher.digest128())
}

impl Sum {
    fn add(&mut self, other: Self) {
        self.len_bytes = other.len_bytes;
        self.turned += other.turned;
        self.detected += other.detected;
        self.free += other.free;
        self.reads += other.reads;
        self.refused += other.refused;
        self.apart += other.apart;
        self.starts += other.starts;
        self.not_started += other.not_started;
        self.violations.extend(other.violations);
    }

    fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "bytes": self.len_bytes,
            "turned": self.turned,
            "detected": self.detected,
            "in_free_space": self.free,
            "reads": self.reads,
            "reads_refused": self.refused,
            "histories_served": self.apart,
            "starts": self.starts,
            "starts_refused": self.not_started,
        })
    }
}

/// Turns all bits of one file.
fn all(target: Target, args: &Args) -> Sum {
    let still = Still::filled(target);
    let bits = still.disk.content(&still.name(target)).map_or(0, |file| file.len() as u64 * 8);
    let stretch = STRETCH * args.every.max(1);
    let stretches = usize::try_from(bits.div_ceil(stretch)).expect("a small file");
    let sum = Mutex::new(Sum::default());
    in_parallel(args.threads, stretches, &|number| {
        let from = number as u64 * stretch;
        case(format!("flips --every {}", args.every));
        let found = Still::filled(target).turn(from..bits.min(from + stretch), args.every);
        let mut sum = sum.lock().expect("no thread has panicked");
        sum.add(found);
        eprintln!("{} bits of a {}file", sum.turned, target.text());
        sum.violations.is_empty()
    });
    sum.into_inner().expect("no thread has panicked")
}

/// Turns bits of a journal file, of its run, of a pack, and of the index.
///
/// # Panics
/// If the store does.
pub fn run(args: &Args) -> ExitCode {
    let started = Instant::now();
    let [journal, run, pack] =
        [Target::Journal, Target::Run, Target::Pack].map(|target| all(target, args));
    let index = Mutex::new((0_u64, Vec::new()));
    match Stopped::new() {
        Ok(stopped) => {
            let count = usize::try_from(args.index).unwrap_or(usize::MAX);
            in_parallel(args.threads, count, &|seed| {
                case(format!("flips, index damage {seed}"));
                let found = stopped.damage(seed as u64);
                let mut index = index.lock().expect("no thread has panicked");
                index.0 += 1;
                if let Err(found) = found {
                    index.1.push(format!("index damage {seed}: {found}"));
                }
                if index.0.is_multiple_of(5_000) {
                    eprintln!("{} damages of the index", index.0);
                }
                index.1.is_empty()
            });
        }
        Err(found) => index.lock().expect("nobody has it").1.push(found.to_string()),
    }
    let (damages, of_index) = index.into_inner().expect("no thread has panicked");
    let of_files = [&journal, &run, &pack].into_iter().flat_map(|sum| &sum.violations);
    let violations: Vec<&String> = of_files.chain(&of_index).collect();
    for violation in &violations {
        eprintln!(
            "{violation}
replay: {COMMAND} flips --every {}",
            args.every
        );
    }
    let line = serde_json::json!({
        "journal": journal.json(),
        "run": run.json(),
        "pack": pack.json(),
        "index_damages": damages,
        "violations": violations.len(),
        "seconds": started.elapsed().as_secs(),
    });
    println!("{}", if args.json { line.to_string() } else { format!("{line:#}") });
    if violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
