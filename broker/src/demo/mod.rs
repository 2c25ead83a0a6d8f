//! `takt demo`: a hub and two plants as processes of their own, a production log played through
//! them, and what happens in life.
//!
//! Lines are cut, nodes are killed at work, an adapter restarts and sends its last events again, an
//! hour of the log is sent twice, and a report is corrected under its old id. Then the hub is read
//! back and compared with the file, order by order: every report once, in its place, with its
//! pieces.
//!
//! A kill counts only if events were without a receipt, or not yet mirrored, when the process was
//! gone.

mod adapter;
mod compare;
mod error;
mod log;
mod nodes;
mod plan;
mod play;
mod read;
mod report;
mod show;
mod tally;
pub mod wan;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use self::error::DemoError;
use self::log::{Log, LogError};
use self::nodes::Nodes;
use self::plan::LENGTH;
use self::play::Play;
use self::report::Report;
use self::show::{Show, Sign};
use crate::cli::output::json_line;
use crate::generator::{generate, to_csv};

/// How many orders a log has that is made here.
const ORDERS: u32 = 200;

/// What to play.
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// A production log as CSV; without it, one is made from the seed.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// End with one JSON object on standard output; all else goes to standard error.
    #[arg(long)]
    json: bool,
    /// A directory for everything, which is kept. Without it, a temporary one is removed at the
    /// end, unless something goes wrong.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// What the log is made from where there is no input.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
}

/// Plays, and says what came of it: success only if nothing is lost, doubled or out of order.
///
/// All processes are gone when this returns.
pub async fn run(args: DemoArgs) -> ExitCode {
    let mut show = Show::new(args.json);
    let result = tokio::select! {
        result = in_directory(&args, &mut show) => result,
        () = interrupted() => Err(DemoError::Interrupted),
    };
    // After an interrupt this is a second one on the same output.
    drop(show);
    let mut show = Show::new(args.json);
    match result {
        Ok(report) => {
            let wrong = report.wrong();
            let (mut out, style) = show.table();
            // Who closes the pipe still gets the exit status.
            let _ = report.write(&mut out, style);
            for words in &wrong {
                let _ = writeln!(out, "wrong: {words}");
            }
            let _ = out.flush();
            if args.json {
                let _ = json_line(&mut std::io::stdout().lock(), &report);
            }
            ExitCode::from(u8::from(!wrong.is_empty()))
        }
        Err(error) => {
            eprintln!("takt demo: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Plays in the directory that is kept, or in a temporary one that stays if something is wrong.
async fn in_directory(args: &DemoArgs, show: &mut Show) -> Result<Report, DemoError> {
    let log = read_log(args)?;
    if let Some(dir) = &args.keep {
        make_empty(dir)?;
        return play(&log, dir, show).await;
    }
    let dir = tempfile::Builder::new().prefix("takt-demo-").tempdir();
    let mut dir = dir.map_err(DemoError::io("make a temporary directory"))?;
    let result = play(&log, dir.path(), show).await;
    if !matches!(&result, Ok(report) if report.wrong().is_empty()) {
        dir.disable_cleanup(true);
        let words = format!("everything is kept in {}", dir.path().display());
        show.line(Sign::Note, &words);
    }
    result
}

async fn play(log: &Log, dir: &Path, show: &mut Show) -> Result<Report, DemoError> {
    let mut nodes = Nodes::make(dir).await?;
    show.line(Sign::Note, &format!("{} reports to play, in {}", log.len(), dir.display()));
    Play::new(log, &mut nodes, show).run().await
}

fn read_log(args: &DemoArgs) -> Result<Log, DemoError> {
    let Some(path) = &args.input else {
        let csv = to_csv(&generate(args.seed, ORDERS));
        let path = PathBuf::from(format!("seed {}", args.seed));
        return Log::read(csv.as_slice(), LENGTH).map_err(|source| DemoError::Log { path, source });
    };
    let named = |source: LogError| DemoError::Log { path: path.clone(), source };
    let file = File::open(path).map_err(DemoError::io(format!("read {}", path.display())))?;
    Log::read(file, LENGTH).map_err(named)
}

fn make_empty(dir: &Path) -> Result<(), DemoError> {
    let what = || format!("make {}", dir.display());
    fs::create_dir_all(dir).map_err(DemoError::io(what()))?;
    match fs::read_dir(dir).map_err(DemoError::io(what()))?.next() {
        None => Ok(()),
        Some(_) => Err(DemoError::NotEmpty { path: dir.to_owned() }),
    }
}

/// Waits for SIGINT or SIGTERM.
async fn interrupted() {
    let (interrupt, terminate) = (SignalKind::interrupt(), SignalKind::terminate());
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(interrupt), signal(terminate)) else {
        // Without handlers the signals end the process at once.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
