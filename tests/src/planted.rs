//! Defects on purpose, one by one: does the simulated world see each of them?
//!
//! A defect is chosen for a whole program, and may make it fall over, so each one gets a process.

use std::process::{Command, ExitCode, Stdio};

use takt_protocol::planted::ALL;

/// Which seed sees which defect: `defect seed` on each line. A line per defect, kept up to date by
/// `takt-tests planted --search`.
const KNOWN: &str = include_str!("planted.txt");

/// What to see.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this defect.
    #[arg(long)]
    bug: Option<String>,
    /// Looks for the first seed that sees a defect, instead of trying the known one.
    #[arg(long)]
    search: bool,
    /// How many seeds a search tries.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
}

/// Tries the defects.
///
/// # Panics
/// If this program cannot be run again.
pub fn run(args: &Args) -> ExitCode {
    let mut missed = 0;
    let wanted = |name: &str| args.bug.as_ref().is_none_or(|bug| bug == name);
    for (name, what) in ALL.iter().filter(|(name, _)| wanted(name)) {
        let known = KNOWN.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let (from, seeds) = match known {
            Some(seed) if !args.search => (seed.to_owned(), 1),
            Some(_) | None => ("0".to_owned(), args.seeds),
        };
        match caught(name, &from, seeds) {
            Some(how) => println!("{name}: caught: {how}"),
            None => {
                missed += 1;
                println!("{name}: MISSED by {seeds} seeds from {from}: {what}");
            }
        }
    }
    let count = ALL.len();
    println!("{count} defects are known, {missed} of those tried were missed");
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// How a defect was seen, if it was.
fn caught(name: &str, from: &str, seeds: u64) -> Option<String> {
    let this = std::env::current_exe().expect("this program has a path");
    let output = Command::new(this)
        .args(["simulate", "--planted", name, "--from", from, "--threads", "1"])
        .args(["--seeds", &seeds.to_string()])
        .stdin(Stdio::null())
        .output()
        .expect("this program runs again");
    if output.status.success() {
        return None;
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let first = said.lines().find(|line| line.starts_with("seed "));
    Some(first.map_or_else(|| format!("it ended with {}", output.status), str::to_owned))
}
