//! `takt-tests cuts`: real power cuts. A node writes to a file system that is shut down under load
//! without being flushed; mounted anew, a start must find all that was acknowledged. A canary beside
//! the node shows that the cuts are real: what it writes without syncing must be lost.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use takt_client::{Client, Offset};

use crate::account::{Stored, Violation};
use crate::check::read_all;
use crate::events::Dice;
use crate::eventually;
use crate::outbox::{Outbox, SharedAccount, lock};
use crate::power::PowerDisk;
use crate::process::{Process, binary};
use crate::site::{Site, TOPIC};

const NODE: &str = "munich";
/// Room for a node's reserve and its files.
const DISK_BYTES: u64 = 512 << 20;
/// How many cuts one file system lives through.
const PER_DISK: u64 = 25;
/// The longest time from a sign of life to the cut.
const LIFE_MS_MAX: u64 = 80;
/// The longest time from the start of the process to a cut that does not wait for its life.
const BIRTH_MS_MAX: u64 = 150;

/// How often, and from which seed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many cuts.
    #[arg(long, default_value_t = 10)]
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
    /// How often the power was cut.
    pub cuts: u64,
    /// After how many cuts what the canary had not synced was lost.
    pub losses: u64,
    /// After how many cuts what the canary had synced was there.
    pub kept: u64,
    /// With events that had no receipt yet.
    pub cuts_unacknowledged: u64,
    /// While the node was starting.
    pub cuts_starting: u64,
    /// Events with a receipt.
    pub acknowledged: u64,
    /// What must not be.
    pub violations: Vec<Violation>,
}

impl Report {
    /// Why the run proves nothing, if so.
    pub fn invalid(&self) -> Option<&'static str> {
        if self.losses * 20 < self.cuts * 19 {
            return Some("what was not synced was there after more than one cut in twenty");
        }
        if self.kept < self.cuts {
            return Some("what was synced was lost: the file system breaks its promise");
        }
        let few = self.cuts_unacknowledged * 2 < self.cuts;
        few.then_some("fewer than half of the cuts had anything without a receipt")
    }
}

/// Runs it and prints what it came to.
///
/// # Panics
/// If there is no runtime, or a node does not start.
pub fn run(args: &Args) -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let started = Instant::now();
    let report = match runtime.block_on(cut(args.count, args.seed)) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("SKIPPED: no power was cut: {error}");
            return ExitCode::FAILURE;
        }
    };
    for violation in &report.violations {
        println!("{violation}");
    }
    if args.json {
        let line = serde_json::json!({
            "cuts": report.cuts,
            "losses": report.losses,
            "cuts_unacknowledged": report.cuts_unacknowledged,
            "cuts_starting": report.cuts_starting,
            "acknowledged": report.acknowledged,
            "violations": report.violations.len(),
            "invalid": report.invalid(),
            "seed": args.seed,
            "s": started.elapsed().as_secs_f64(),
        });
        println!("{line}");
    } else {
        println!("{report:#?}\nin {:.1?}, seed {}", started.elapsed(), args.seed);
    }
    if let Some(why) = report.invalid() {
        eprintln!("INVALID: {why}");
        return ExitCode::FAILURE;
    }
    if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Cuts the power `count` times.
///
/// # Errors
/// Where this machine or this user cannot mount such a disk.
///
/// # Panics
/// If the node does not start again, or the file system cannot be mounted again.
pub async fn cut(count: u64, seed: u64) -> io::Result<Report> {
    let mut report = Report::default();
    let mut dice = Dice::new(seed);
    while report.cuts < count && report.violations.is_empty() {
        let upto = count.min(report.cuts + PER_DISK);
        one_disk(upto, &mut dice, &mut report).await?;
    }
    Ok(report)
}

async fn one_disk(upto: u64, dice: &mut Dice, report: &mut Report) -> io::Result<()> {
    let site = Site::new(&[NODE]);
    let data = site.data_dir(NODE);
    std::fs::create_dir_all(&data)?;
    let mut disk = PowerDisk::mount(&site.dir().join("disk.img"), &data, DISK_BYTES)?;
    let start =
        |disk: &PowerDisk| Process::spawn(&mut site.command_in(NODE, disk.enter(&binary())));
    let mut node = start(&disk);
    node.ready().await;
    let client = site.client(NODE).await;
    let account = SharedAccount::default();
    let outbox = |source, batch| Outbox::start(&client, TOPIC, source, batch, &account);
    let outboxes = [outbox("press", 20), outbox("saw", 1), outbox("drill", 7)];
    let acknowledged = || outboxes.iter().map(Outbox::acknowledged).sum::<u64>();
    loop {
        let canary = Canary::write(&disk.home(), dice.next_u64())?;
        if dice.below(4) == 0 {
            tokio::time::sleep(Duration::from_millis(dice.below(BIRTH_MS_MAX))).await;
            report.cuts_starting += 1;
        } else {
            let before = acknowledged();
            eventually("a receipt after a start", async || {
                node.assert_running();
                if acknowledged() > before { Ok(()) } else { Err("nothing") }
            })
            .await;
            tokio::time::sleep(Duration::from_millis(dice.below(LIFE_MS_MAX))).await;
        }
        disk.cut()?;
        report.cuts += 1;
        let unacknowledged: u64 = outboxes.iter().map(Outbox::unacknowledged).sum();
        report.cuts_unacknowledged += u64::from(unacknowledged > 0);
        // It may have ended by itself: its disk is gone.
        drop(node);
        // After the cut and the node's end there is no receipt until the next start.
        disk.again()?;
        let (lost, kept) = canary.is_lost_and_kept(&disk.home());
        report.losses += u64::from(lost);
        report.kept += u64::from(kept);
        let at_cut = lock(&account).clone();
        let found = at_cut.check_files(&disk.home(), NODE, TOPIC);
        report.violations.extend(found);
        node = start(&disk);
        if report.cuts == upto || !report.violations.is_empty() {
            break;
        }
    }
    node.ready().await;
    for outbox in outboxes {
        crate::within("the last receipts", outbox.finish()).await;
    }
    let account = lock(&account).clone();
    report.acknowledged += account.acknowledged() as u64;
    let stored = stored(&client).await;
    report.violations.extend(account.check(TOPIC, &stored, Offset::new(0)));
    drop(client);
    node.kill();
    Ok(())
}

async fn stored(client: &Client) -> Vec<Stored> {
    read_all(client, TOPIC, None).await.iter().map(Stored::from).collect()
}

/// Two files beside the node's, of which one is synced. They are new each time: nothing old can
/// stand for them, and ext4 writes out a file that takes the place of an older one.
struct Canary {
    synced: String,
    unsynced: String,
}

impl Canary {
    const CONTENT: &[u8] = b"alive";

    fn write(home: &Path, number: u64) -> io::Result<Self> {
        let [synced, unsynced] =
            ["synced", "unsynced"].map(|kind| format!("canary-{kind}-{number:016x}"));
        let mut file = std::fs::File::create(home.join(&synced))?;
        file.write_all(Self::CONTENT)?;
        file.sync_all()?;
        std::fs::File::open(home)?.sync_all()?;
        std::fs::write(home.join(&unsynced), Self::CONTENT)?;
        Ok(Self { synced, unsynced })
    }

    /// The content of the one that was not synced is gone (its name may be there, by the journal
    /// of the file system); that of the other is there.
    fn is_lost_and_kept(&self, home: &Path) -> (bool, bool) {
        let read = |name| std::fs::read(home.join(name)).unwrap_or_default();
        (read(&self.unsynced) != Self::CONTENT, read(&self.synced) == Self::CONTENT)
    }
}
