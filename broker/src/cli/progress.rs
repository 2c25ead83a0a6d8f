//! How far long work has come, on standard error: nothing for work that takes less than a second.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use super::output::count;

const ON_TERMINAL: Duration = Duration::from_secs(1);
const IN_FILE: Duration = Duration::from_secs(10);

/// Counts what is done, and says so from time to time.
#[derive(Debug)]
pub(super) struct Progress {
    what: &'static str,
    every: Duration,
    next: Instant,
    terminal: bool,
    shown: bool,
}

impl Progress {
    /// Of `what`, such as `rows`.
    pub fn new(what: &'static str) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let every = if terminal { ON_TERMINAL } else { IN_FILE };
        Self { what, every, next: Instant::now() + every, terminal, shown: false }
    }

    /// So many are done by now.
    pub fn at(&mut self, done: u64) {
        let now = Instant::now();
        if now < self.next {
            return;
        }
        self.next = now + self.every;
        let mut stderr = std::io::stderr();
        let text = format!("{} {}", count(done), self.what);
        // Nobody is left to be told where this fails.
        let _ = if self.terminal {
            self.shown = true;
            write!(stderr, "\r{text} ").and_then(|()| stderr.flush())
        } else {
            writeln!(stderr, "{text}")
        };
    }

    /// Leaves the line free for what comes.
    pub fn end(&mut self) {
        if self.shown {
            self.shown = false;
            let _ = writeln!(std::io::stderr());
        }
    }
}
