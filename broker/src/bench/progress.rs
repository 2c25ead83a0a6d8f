//! A line on standard error while it lasts.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::cli::output::count;

/// How often it changes. What is done before the first time shows nothing.
const EVERY: Duration = Duration::from_secs(1);

/// Shows how far `acknowledged` is on the way to `records`, until it is dropped.
#[derive(Debug)]
pub(super) struct Progress(JoinHandle<()>);

impl Progress {
    pub fn start(acknowledged: Arc<AtomicU64>, records: u64) -> Self {
        Self(tokio::spawn(async move {
            let mut tick = tokio::time::interval(EVERY);
            tick.tick().await;
            let mut before = 0;
            loop {
                tick.tick().await;
                let now = acknowledged.load(Ordering::Relaxed);
                show(&line(now, records, now - before));
                before = now;
            }
        }))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.abort();
        if std::io::stderr().is_terminal() {
            show("");
        }
    }
}

fn line(acknowledged: u64, records: u64, in_the_last_second: u64) -> String {
    format!(
        "{} of {} events acknowledged, {} in the last second",
        count(acknowledged),
        count(records),
        count(in_the_last_second)
    )
}

/// On a terminal the line is replaced; in a file each stands for itself.
fn show(line: &str) {
    let mut out = std::io::stderr().lock();
    // Nobody may be reading it: the measurement goes on.
    let _ = if out.is_terminal() {
        write!(out, "\r\x1b[K{line}").and_then(|()| out.flush())
    } else {
        writeln!(out, "{line}")
    };
}
