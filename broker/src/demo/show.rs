//! What happens, as it happens: lines with the elapsed time and, on a terminal, a line below them
//! that says how everything stands.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use super::log::PLANTS;
use crate::cli::output::{Style, count};

/// How often a line says how everything stands where it cannot stay in its place.
const PLAIN_EVERY: Duration = Duration::from_secs(4);

/// What a line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// Something starts or is well again.
    Up,
    /// Something is killed or cut.
    Down,
    /// Somebody sends something again.
    Again,
    /// What came of it.
    Note,
}

impl Sign {
    /// Symbol, colour.
    fn of(self) -> (&'static str, &'static str) {
        match self {
            Self::Up => ("▲", "32"),
            Self::Down => ("✖", "31"),
            Self::Again => ("↻", "33"),
            Self::Note => ("·", "36"),
        }
    }
}

/// How everything stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// Sent and still without a receipt, per plant.
    pub plants: [(u64, u64); PLANTS.len()],
    /// Events at the hub, if it answers.
    pub hub: Option<u64>,
}

/// Where the lines go.
pub struct Show {
    out: Box<dyn Write + Send>,
    is_terminal: bool,
    colour: bool,
    style: Style,
    started: Instant,
    last_standing: Option<Instant>,
}

impl Show {
    /// Standard error if standard output is for a program, else standard output.
    pub fn new(to_stderr: bool) -> Self {
        let (out, is_terminal): (Box<dyn Write + Send>, bool) = if to_stderr {
            (Box::new(io::stderr()), io::stderr().is_terminal())
        } else {
            (Box::new(io::stdout()), io::stdout().is_terminal())
        };
        let no_color = std::env::var_os("NO_COLOR").filter(|value| !value.is_empty());
        Self {
            out,
            is_terminal,
            colour: is_terminal && no_color.is_none(),
            style: Style::new(is_terminal, no_color.as_deref()),
            started: Instant::now(),
            last_standing: None,
        }
    }

    /// Since the begin.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Something has happened.
    pub fn line(&mut self, sign: Sign, text: &str) {
        let (symbol, colour) = sign.of();
        let at = self.at();
        self.clear();
        // Who does not want to see it closes the pipe; the play goes on.
        let _ = match (self.is_terminal, self.colour) {
            (true, true) => writeln!(self.out, "{at}  \x1b[{colour}m{symbol}\x1b[0m {text}"),
            (true, false) => writeln!(self.out, "{at}  {symbol} {text}"),
            (false, _) => writeln!(self.out, "{at}  {text}"),
        };
        let _ = self.out.flush();
    }

    /// How everything stands.
    pub fn standing(&mut self, standing: &Standing) {
        let hub = standing.hub.map_or_else(|| "away".to_owned(), count);
        let plants = PLANTS.into_iter().zip(standing.plants).map(|(plant, (sent, open))| {
            format!("{plant} {} sent, {} open", count(sent), count(open))
        });
        let plants = plants.collect::<Vec<_>>().join(" | ");
        let text = format!("{plants} | hub {hub}");
        let at = self.at();
        if self.is_terminal {
            let _ = write!(self.out, "\r\x1b[K{at}  {text}");
            let _ = self.out.flush();
        } else if self.last_standing.is_none_or(|last| last.elapsed() >= PLAIN_EVERY) {
            self.last_standing = Some(Instant::now());
            let _ = writeln!(self.out, "{at}    {text}");
        }
    }

    /// The way for a table, with its style.
    pub fn table(&mut self) -> (&mut dyn Write, Style) {
        self.clear();
        (&mut self.out, self.style)
    }

    fn at(&self) -> String {
        format!("{:6.1} s", self.elapsed().as_secs_f64())
    }

    fn clear(&mut self) {
        if self.is_terminal {
            let _ = write!(self.out, "\r\x1b[K");
        }
    }
}
