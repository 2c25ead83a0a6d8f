//! Small scope, all of it: every sequence of up to three steps, cut at every moment of its last
//! step, with all subsets of what is pending where that is little. The moments of the steps before
//! are those of the shorter sequences.

use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Instant;

use takt_storage::disk::sim::SimDisk;
use takt_storage::journal::JournalOptions;
use takt_storage::store::StoreOptions;

use super::choices::{self, Effort};
use super::player::{self, Player};
use super::recover::{Counts, check_image, names};
use super::run::{COMMAND, case, in_parallel};
use super::script::Step;
use crate::events::Dice;

/// The longest sequence.
pub const LEN_MAX: u32 = 3;
/// What is tried where there are too many subsets: prefixes, single losses, none and all.
const EFFORT: Effort = Effort { sampled: 0, torn: 0, blocks: false };

/// What to go through.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only every so many sequences.
    #[arg(long, default_value_t = 1)]
    every: usize,
    /// Only this sequence.
    #[arg(long)]
    only: Option<usize>,
    /// How many threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Ends with one line of JSON.
    #[arg(long)]
    json: bool,
}

/// What some sequences came to.
#[derive(Debug, Default)]
pub struct Sum {
    /// Sequences.
    pub sequences: u64,
    /// Moments at which the power was cut.
    pub moments: u64,
    /// Moments of which all subsets were tried.
    pub exhaustive: u64,
    /// What was done.
    pub counts: Counts,
    /// What should not have been.
    pub violations: Vec<String>,
}

/// How many sequences there are: of no step, which is the making of the store, of one, two, three.
pub fn sequences() -> usize {
    (0..=LEN_MAX).map(|len| Step::ALPHABET.len().pow(len)).sum()
}

/// Sequence `number`, the shorter ones first.
pub fn sequence(number: usize) -> Vec<Step> {
    let base = Step::ALPHABET.len();
    let mut rest = number;
    let mut len = 0;
    while rest >= base.pow(len) {
        rest -= base.pow(len);
        len += 1;
    }
    let steps = (0..len).rev().map(|place| Step::ALPHABET[rest / base.pow(place) % base]);
    steps.collect()
}

fn options() -> StoreOptions {
    StoreOptions {
        journal: JournalOptions {
            file_bytes: 24 << 10,
            reserve_chunk_bytes: 24 << 10,
            ..player::options().journal
        },
        retention_bytes: 48 << 10,
        ..player::options()
    }
}

/// Plays a sequence behind what makes it worth playing, and cuts its last step.
///
/// # Panics
/// If the disk, which has no fault, fails.
pub fn cut(number: usize, sum: &mut Sum) {
    let steps = sequence(number);
    let disk = SimDisk::new();
    let mut player = Player::closed(&disk, options(), 1 << 40);
    if steps.is_empty() {
        disk.record();
    }
    player.start().expect("the disk works");
    for step in [Step::CreateTopic, Step::Fresh, Step::Conflict] {
        player.play(step).expect("the disk works");
    }
    for (index, step) in steps.iter().enumerate() {
        if index + 1 == steps.len() {
            disk.record();
        }
        player.play(*step).expect("the disk works");
    }
    let begun = disk.recorded().keys().next().copied().unwrap_or(0);
    let mut dice = Dice::new(number as u64);
    for (at, moment) in disk.recorded() {
        // The first moment is the last of the sequence without this step.
        if at == begun && !steps.is_empty() {
            continue;
        }
        let mut image_number = 0;
        let page = player.book.page(at);
        let tried = choices::images(&moment, EFFORT, at, &mut |image| {
            image_number += 1;
            let held = names(&image);
            check_image(&image, &options(), page, &mut dice, &mut sum.counts).map_err(|found| {
                let image = image_number - 1;
                format!("{number} {steps:?} operation {at} image {image}: {found}\n  {held:?}")
            })
        });
        sum.moments += 1;
        match tried {
            Ok(tried) => sum.exhaustive += u64::from(tried.exhaustive),
            Err(violation) => {
                sum.violations.push(violation);
                break;
            }
        }
    }
    sum.sequences += 1;
}

impl Sum {
    fn add(&mut self, other: Self) {
        self.sequences += other.sequences;
        self.moments += other.moments;
        self.exhaustive += other.exhaustive;
        self.counts += other.counts;
        self.violations.extend(other.violations);
    }
}

/// Goes through the sequences.
///
/// # Panics
/// If the store does.
pub fn run(args: &Args) -> ExitCode {
    let every = args.every.max(1);
    let numbers: Vec<usize> = match args.only {
        Some(only) => vec![only],
        None => (0..sequences()).step_by(every).collect(),
    };
    let (sum, started) = (Mutex::new(Sum::default()), Instant::now());
    in_parallel(args.threads, numbers.len(), &|index| {
        let replay = format!("scope --only {}", numbers[index]);
        case(replay.clone());
        let mut found = Sum::default();
        cut(numbers[index], &mut found);
        for violation in &found.violations {
            eprintln!("{violation}\nreplay: {COMMAND} {replay}");
        }
        let mut sum = sum.lock().expect("no thread has panicked");
        sum.add(found);
        if sum.sequences.is_multiple_of(100) {
            let (sequences, images) = (sum.sequences, sum.counts.images);
            eprintln!("{sequences} sequences, {images} images, {} s", started.elapsed().as_secs());
        }
        sum.violations.is_empty()
    });
    let sum = sum.into_inner().expect("no thread has panicked");
    let line = serde_json::json!({
        "sequences": sum.sequences,
        "crash_points": sum.moments,
        "exhaustive_crash_points": sum.exhaustive,
        "images": sum.counts.images,
        "recoveries": sum.counts.recoveries,
        "violations": sum.violations.len(),
        "seconds": started.elapsed().as_secs(),
    });
    println!("{}", if args.json { line.to_string() } else { format!("{line:#}") });
    if sum.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
