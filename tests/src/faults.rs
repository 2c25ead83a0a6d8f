//! `takt-tests faults`: a fault in each system call of a node's scripted life, one after the other.
//! After each one the directory is read by the second reader as it lies, and a copy of it is
//! started and read from the node; then the next life, with the next fault, goes on in it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use takt_broker::node::Node;
use takt_client::{Offset, PartitionNumber, Place};
use tempfile::TempDir;

use crate::account::{Account, Stored};
use crate::check::read_all;
use crate::process::beside;
use crate::script::{ENDED, FAILED, NODE, NOT_OPENED, SOURCE, TOPIC, options};
use crate::strace::{self, Effect, Ended, Fault, Scope};

/// After so many faults a new directory is begun, so that old files are few.
const PER_DIRECTORY: u32 = 40;

/// How a shell and the dynamic loader say that a program cannot be loaded.
const NOT_LOADED: u8 = 127;

/// The calls in which each effect is put, and whose.
const KILLS: &[&str] = &[
    "openat",
    "pwrite64",
    "write",
    "fdatasync",
    "fsync",
    "rename",
    "unlink",
    "ftruncate",
    "fallocate",
];
const EIO: &[&str] =
    &["openat", "pwrite64", "pread64", "fdatasync", "fsync", "rename", "unlink", "ftruncate"];
const ENOSPC: &[&str] = &["openat", "pwrite64", "rename", "ftruncate", "fallocate"];
const THREADS: &[&str] = &["takt-writer", "takt-sync", "takt-jobs"];

/// Which faults.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only every so manieth call, beginning with a different one for each kind.
    #[arg(long, default_value_t = 1)]
    every: u32,
    /// Only this effect.
    #[arg(long)]
    effect: Option<Effect>,
    /// Ends with one line of JSON.
    #[arg(long)]
    json: bool,
}

impl clap::ValueEnum for Effect {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Kill, Self::Eio, Self::Enospc]
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        let name = match self {
            Self::Kill => "kill",
            Self::Eio => "eio",
            Self::Enospc => "enospc",
        };
        Some(clap::builder::PossibleValue::new(name))
    }
}

/// What it came to.
#[derive(Debug, Default)]
pub struct Report {
    /// How often each kind of fault has hit.
    pub hits: BTreeMap<(Effect, &'static str, Scope), u32>,
    /// How many of them were errors in writing or syncing a commit.
    pub commits: u32,
    /// How often the node ended with each exit code; `None` where it was killed.
    pub ends: BTreeMap<Option<u8>, u32>,
    /// How many events were acknowledged.
    pub acknowledged: usize,
    /// What must not be, with its fault.
    pub violations: Vec<String>,
}

impl Report {
    /// How many faults have hit.
    pub fn hit(&self) -> u32 {
        self.hits.values().sum()
    }
}

/// Runs it and prints what it came to.
///
/// # Panics
/// If there is no runtime.
pub fn run(args: &Args) -> ExitCode {
    if let Err(why) = strace::usable() {
        eprintln!("SKIPPED: no fault was put into a system call: {why}");
        return ExitCode::FAILURE;
    }
    let started = Instant::now();
    let effects = args.effect.map_or(vec![Effect::Kill, Effect::Eio, Effect::Enospc], |e| vec![e]);
    let mut report = Report::default();
    for effect in effects {
        enumerate(effect, args.every, &mut report);
    }
    for violation in &report.violations {
        println!("{violation}");
    }
    if args.json {
        let hits = report.hits.iter().map(|((effect, call, scope), hits)| {
            (format!("{effect:?} {call} {scope:?}"), (*hits).into())
        });
        let line = serde_json::json!({
            "faults": report.hit(),
            "in_commits": report.commits,
            "hits": hits.collect::<serde_json::Map<_, _>>(),
            "acknowledged": report.acknowledged,
            "violations": report.violations.len(),
            "every": args.every,
            "s": started.elapsed().as_secs_f64(),
        });
        println!("{line}");
    } else {
        println!("{:#?}\n{} faults in {:.0?}", report.hits, report.hit(), started.elapsed());
    }
    if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Puts one effect into every `every`th call of each kind until the script ends without it.
///
/// # Panics
/// If a process cannot be started.
pub fn enumerate(effect: Effect, every: u32, report: &mut Report) {
    let calls = match effect {
        Effect::Kill => KILLS,
        Effect::Eio => EIO,
        Effect::Enospc => ENOSPC,
    };
    let scopes = std::iter::once(Scope::All).chain(THREADS.iter().map(|name| Scope::Thread(name)));
    let mut kind = 0;
    let mut bench = Bench::new();
    for scope in scopes {
        for call in calls {
            kind += 1;
            let mut when = 1 + kind % every;
            loop {
                let fault = Fault { call, scope, when, effect };
                if bench.faults >= PER_DIRECTORY {
                    report.acknowledged += bench.account.acknowledged();
                    bench = Bench::new();
                }
                if !bench.round(&fault, report) {
                    break;
                }
                *report.hits.entry((effect, call, scope)).or_default() += 1;
                when += every;
            }
        }
    }
    report.acknowledged += bench.account.acknowledged();
}

/// A directory, and what is known of it.
struct Bench {
    home: TempDir,
    account: Account,
    /// The first event without a receipt.
    next: u64,
    faults: u32,
    script: PathBuf,
    runtime: tokio::runtime::Runtime,
}

impl Bench {
    fn new() -> Self {
        // A kill takes nothing from a page cache: in memory it is the same, and fast.
        let memory = Path::new("/dev/shm");
        let home = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
        Self {
            home: home.expect("a temporary directory"),
            account: Account::default(),
            next: 1,
            faults: 0,
            script: beside("takt-test-script"),
            runtime: tokio::runtime::Runtime::new().expect("a runtime"),
        }
    }

    /// One life with one fault; whether the fault has hit.
    fn round(&mut self, fault: &Fault, report: &mut Report) -> bool {
        self.faults += 1;
        let data = self.home.path().join("data");
        let dir = data.to_str().expect("a path that is text").to_owned();
        let from = self.next.to_string();
        let ended = strace::run(&self.script, &[&dir, &from], fault, self.home.path());
        let ended = ended.unwrap_or_else(|error| panic!("{fault}: {error}"));
        *report.ends.entry(ended.code).or_default() += 1;
        report.commits += u32::from(is_commit(fault, &ended));
        self.take_down(&ended.out);
        let mut wrong: Vec<String> = Vec::new();
        wrong.extend(judge(fault, &ended));
        if data.is_dir() {
            let found = self.account.check_files(&data, NODE, TOPIC);
            wrong.extend(found.iter().map(|found| format!("in the files, {found}")));
            let copy = self.home.path().join("copy");
            copy_files(&data, &copy).expect("the directory can be copied");
            let found = self.runtime.block_on(self.start(&copy));
            wrong.extend(found);
            std::fs::remove_dir_all(&copy).expect("a directory of ours");
        }
        report.violations.extend(wrong.iter().map(|wrong| format!("{fault}: {wrong}")));
        if !wrong.is_empty() {
            eprintln!("{fault}: {wrong:#?}\n{}\n{}", ended.out, ended.err);
            // What is wrong once would be found in each round that follows.
            *self = Self::new();
        }
        ended.hit
    }

    /// Takes down what the script said.
    fn take_down(&mut self, said: &str) {
        for line in said.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let numbers: Vec<u64> = words.iter().skip(1).map_while(|w| w.parse().ok()).collect();
            match (words.first(), &numbers[..]) {
                (Some(&"sending"), [upto]) => self.account.sending(TOPIC, SOURCE, *upto),
                (Some(&"ack"), [id, partition, offset]) => {
                    let partition = PartitionNumber::new(u16::try_from(*partition).unwrap_or(0));
                    let place = Place { partition, offset: Offset::new(*offset) };
                    self.account.told(TOPIC, SOURCE, *id, place);
                    self.next = id + 1;
                }
                _ => {}
            }
        }
    }

    /// Starts a node in a directory and reads it.
    async fn start(&self, dir: &Path) -> Vec<String> {
        let node = match Node::open(options(dir)).await {
            Ok(node) => node,
            Err(error) => return vec![format!("the next start fails: {error}")],
        };
        let client = node.client();
        let info = client.admin().topic_info(TOPIC).await.expect("the topic is there");
        let kept_from = info.partitions.iter().map(|p| p.start_offset).max().unwrap_or(0);
        let stored = read_all(&client, TOPIC, None).await;
        let stored: Vec<Stored> = stored.iter().map(Stored::from).collect();
        let mut found = self.account.check(TOPIC, &stored, Offset::new(kept_from));
        drop(client);
        if let Err(reason) = node.close().await {
            found.push(crate::account::Violation { invariant: "I9", what: reason });
        }
        found.iter().map(|found| format!("from the node, {found}")).collect()
    }
}

/// What may not be said of how the script ended.
fn judge(fault: &Fault, ended: &Ended) -> Vec<String> {
    let mut wrong = Vec::new();
    if ended.hung {
        wrong.push("it does not end".to_owned());
        return wrong;
    }
    if ended.out.lines().any(|line| line.starts_with("late")) {
        wrong.push("a failed node has acknowledged an event".to_owned());
    }
    let expected: &[Option<u8>] = match (ended.hit, fault.effect, fault.scope, fault.call) {
        (false, ..) => &[Some(ENDED)],
        (true, Effect::Kill, ..) => &[None],
        // It was a call of the dynamic loader, before anything of the node.
        (true, Effect::Eio | Effect::Enospc, Scope::All, _) if ended.code == Some(NOT_LOADED) => {
            &[Some(NOT_LOADED)]
        }
        // A commit that is not known to be on the disk ends the node, whatever the error.
        _ if is_commit(fault, ended) => &[Some(FAILED)],
        // Anywhere else it may be done again or done without; at a start it is told.
        (true, ..) => &[Some(ENDED), Some(FAILED), Some(NOT_OPENED)],
    };
    if !expected.contains(&ended.code) {
        wrong.push(format!("it ends with {:?}, not with one of {expected:?}", ended.code));
    }
    if ended.err.contains("panicked") {
        wrong.push("it panics".to_owned());
    }
    wrong
}

/// Whether the fault was an error in writing or syncing a commit: what the threads of an open node do
/// with a journal file.
fn is_commit(fault: &Fault, ended: &Ended) -> bool {
    matches!(fault.call, "pwrite64" | "fdatasync")
        && matches!(fault.scope, Scope::Thread("takt-writer" | "takt-sync"))
        && ended.file.as_ref().is_some_and(|name| name.starts_with("journal-"))
}

fn copy_files(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::create_dir(to)?;
    for file in std::fs::read_dir(from)? {
        let file = file?;
        std::fs::copy(file.path(), to.join(file.file_name()))?;
    }
    Ok(())
}
