//! `takt-tests kills`: a node is killed at random instants under load, over and over. What it holds
//! is then read from it and, by the second reader, from its files as the last kill left them.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use takt_client::admin::messages::{OnConflict, TopicSettings};
use takt_client::{Client, Offset};

use crate::account::{Stored, Violation};
use crate::check::read_all;
use crate::events::Dice;
use crate::outbox::{Outbox, SharedAccount, lock};
use crate::process::Process;
use crate::site::{Site, TOPIC};
use crate::{eventually, within};

/// A topic that would show every repeat: only the producer's sequence keeps it clean.
const NO_DEDUP: &str = "no-dedup";
const NODE: &str = "munich";
/// How many kills one directory lives through before it is checked.
const PER_SITE: u64 = 200;
/// The longest time from a sign of life to the kill.
const LIFE_MS_MAX: u64 = 60;
/// The longest time from the start of the process to a kill that does not wait for its life.
const BIRTH_MS_MAX: u64 = 80;

/// How often, and from which seed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many kills.
    #[arg(long, default_value_t = 100)]
    count: u64,
    /// The seed of the instants; the machine's timing is not in it.
    #[arg(long, default_value_t = 20_261_122)]
    seed: u64,
    /// Ends with one line of JSON.
    #[arg(long)]
    json: bool,
}

/// What it came to.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Report {
    /// How often the node was killed.
    pub kills: u64,
    /// With events that had no receipt yet.
    pub kills_unacknowledged: u64,
    /// While the node was starting.
    pub kills_starting: u64,
    /// How often a producer was ended without a word and made anew.
    pub producer_crashes: u64,
    /// Events with a receipt.
    pub acknowledged: u64,
    /// Events that were found.
    pub stored: u64,
    /// What must not be.
    pub violations: Vec<Violation>,
}

impl Report {
    /// Why the run proves nothing, if so.
    pub fn invalid(&self) -> Option<&'static str> {
        if self.kills_unacknowledged * 2 < self.kills {
            return Some("fewer than half of the kills had anything without a receipt");
        }
        (self.acknowledged < self.kills * 10).then_some("hardly anything was acknowledged")
    }
}

/// Runs it and prints what it came to.
///
/// # Panics
/// If there is no runtime, or a node does not start.
pub fn run(args: &Args) -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let started = Instant::now();
    let report = runtime.block_on(kill(args.count, args.seed));
    for violation in &report.violations {
        println!("{violation}");
    }
    let kills = u32::try_from(report.kills.max(1)).unwrap_or(u32::MAX);
    let per_kill = (started.elapsed() / kills).as_secs_f64();
    if args.json {
        let line = serde_json::json!({
            "kills": report.kills,
            "kills_unacknowledged": report.kills_unacknowledged,
            "kills_starting": report.kills_starting,
            "producer_crashes": report.producer_crashes,
            "acknowledged": report.acknowledged,
            "stored": report.stored,
            "violations": report.violations.len(),
            "invalid": report.invalid(),
            "seed": args.seed,
            "s_per_kill": per_kill,
        });
        println!("{line}");
    } else {
        println!("{report:#?}\n{per_kill:.3} s a kill, seed {}", args.seed);
    }
    if let Some(why) = report.invalid() {
        eprintln!("INVALID: {why}");
        return ExitCode::FAILURE;
    }
    if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Kills a node `count` times.
///
/// # Panics
/// If it does not start again.
pub async fn kill(count: u64, seed: u64) -> Report {
    let mut report = Report::default();
    let mut dice = Dice::new(seed);
    while report.kills < count && report.violations.is_empty() {
        let upto = count.min(report.kills + PER_SITE);
        one_site(upto, &mut dice, &mut report).await;
    }
    report
}

/// Kills the node of a new site until there are `upto` kills, and checks what it holds.
async fn one_site(upto: u64, dice: &mut Dice, report: &mut Report) {
    let site = Site::new(&[NODE]);
    let mut node = site.start(NODE).await;
    let settings = TopicSettings {
        partitions: 2,
        dedup: false,
        on_conflict: OnConflict::Quarantine.into(),
        ..TopicSettings::default()
    };
    let operator = site.operator(NODE).await;
    operator.admin().create_topic(NO_DEDUP, settings).await.expect("a topic is made");
    let client = site.client(NODE).await;
    let account = SharedAccount::default();
    let outbox = |topic, source, batch| Outbox::start(&client, topic, source, batch, &account);
    let mut outboxes =
        vec![outbox(TOPIC, "press", 20), outbox(TOPIC, "saw", 1), outbox(TOPIC, "drill", 7)];
    // A producer that crashes sends again what it has no receipt for: that needs dedup keys.
    let crashing = outboxes.len() as u64;
    outboxes.push(outbox(NO_DEDUP, "mill", 10));
    let acknowledged = || outboxes.iter().map(Outbox::acknowledged).sum::<u64>();
    loop {
        if dice.below(4) == 0 {
            tokio::time::sleep(Duration::from_millis(dice.below(BIRTH_MS_MAX))).await;
            report.kills_starting += 1;
        } else {
            let before = acknowledged();
            eventually("a receipt after a start", async || {
                node.assert_running();
                if acknowledged() > before { Ok(()) } else { Err("nothing") }
            })
            .await;
            tokio::time::sleep(Duration::from_millis(dice.below(LIFE_MS_MAX))).await;
        }
        if dice.below(3) == 0 {
            outboxes[usize::try_from(dice.below(crashing)).unwrap_or(0)].crash();
            report.producer_crashes += 1;
        }
        node.kill();
        report.kills += 1;
        let unacknowledged: u64 = outboxes.iter().map(Outbox::unacknowledged).sum();
        report.kills_unacknowledged += u64::from(unacknowledged > 0);
        if report.kills == upto {
            break;
        }
        node = Process::spawn(&mut site.command(NODE));
    }
    // As the kill left it; receipts that come from now on are of the next start.
    let at_kill = lock(&account).clone();
    for topic in [TOPIC, NO_DEDUP] {
        report.violations.extend(at_kill.check_files(&site.data_dir(NODE), NODE, topic));
    }
    let node = site.start(NODE).await;
    for outbox in outboxes {
        within("the last receipts", outbox.finish()).await;
    }
    let account = Arc::try_unwrap(account).map_or_else(
        |shared| lock(&shared).clone(),
        |account| account.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner),
    );
    for topic in [TOPIC, NO_DEDUP] {
        let stored = stored(&client, topic).await;
        report.stored += stored.len() as u64;
        report.violations.extend(account.check(topic, &stored, Offset::new(0)));
    }
    report.acknowledged += account.acknowledged() as u64;
    if !node.stop().await.success() {
        let what = "a node has not stopped cleanly".to_owned();
        report.violations.push(Violation { invariant: "I9", what });
    }
    for topic in [TOPIC, NO_DEDUP] {
        report.violations.extend(account.check_files(&site.data_dir(NODE), NODE, topic));
    }
}

async fn stored(client: &Client, topic: &str) -> Vec<Stored> {
    read_all(client, topic, None).await.iter().map(Stored::from).collect()
}
