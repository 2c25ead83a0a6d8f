//! A line on standard error while it lasts.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::cli::output::count;

/// How often it changes. What is done before the first time shows nothing.
const EVERY: Duration = Duration::from_secs(1);

/// Shows how many events are `done`, of how many where that is known, until it is dropped.
#[derive(Debug)]
pub(super) struct Progress(JoinHandle<()>);

impl Progress {
    /// `what` was done, in one word.
    pub fn start(what: &'static str, done: &Arc<AtomicU64>, records: Option<u64>) -> Self {
        let done = Arc::clone(done);
        Self(tokio::spawn(async move {
            let mut tick = tokio::time::interval(EVERY);
            tick.tick().await;
            let mut before = 0;
            loop {
                tick.tick().await;
                let now = done.load(Ordering::Relaxed);
                show(&line(what, now, records, now - before));
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

fn line(what: &str, done: u64, records: Option<u64>, in_the_last_second: u64) -> String {
    let of = records.map_or(String::new(), |records| format!(" of {}", count(records)));
    format!("{}{of} events {what}, {} in the last second", count(done), count(in_the_last_second))
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
