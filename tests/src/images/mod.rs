//! Crash images: everything that a power cut can leave on a disk, and every single fault of a disk,
//! enumerated over the recorded operations of a store.
//!
//! - A [`script`] of [`Step`]s is played by a [`Player`] on a simulated disk. What it asks for and
//!   what is acknowledged goes into a [`Book`], each with the number of disk operations until then.
//! - At each moment of the disk, [`choices`] says which pending changes survive, and [`recover`]
//!   opens what is left: what was acknowledged by then is there, nothing else is, the independent
//!   reader reads the same, and starting again, also with crashes inside of the starts, ends in the
//!   same state.
//! - [`recorded`] does this for long runs, [`scope`] for all short sequences of steps, [`errors`]
//!   fails every call of a run once, [`flips`] turns every bit of what lies still, [`stopped`]
//!   damages the index of listings, [`tamper`] changes whole files, and [`transactions`] holds redb
//!   itself to the crash model.
//!
//! All follows from numbers: [`run`] prints the command that replays what it found.

pub mod book;
mod check;
pub mod choices;
pub mod errors;
pub mod flips;
mod life;
mod listings;
pub mod player;
pub mod recorded;
pub mod recover;
pub mod run;
pub mod scope;
pub mod script;
pub mod stopped;
pub mod tamper;
pub mod transactions;

use std::collections::BTreeMap;
use std::fmt;

use takt_storage::disk::sim::SimDisk;

pub use book::Book;
pub use player::{Halt, Player};
pub use script::Step;

/// What must never be, and was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The invariant's name, as in the checks of the simulated world.
    pub invariant: &'static str,
    /// What was found.
    pub what: String,
}

impl Violation {
    fn new(invariant: &'static str, what: impl Into<String>) -> Self {
        Self { invariant, what: what.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

/// `Ok` where `holds`, else a violation of the invariant.
fn ensure(
    holds: bool,
    invariant: &'static str,
    what: impl FnOnce() -> String,
) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation::new(invariant, what())) }
}

/// What the independent reader takes of a disk.
fn files(disk: &SimDisk) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for name in disk.names() {
        if ["journal-", "run-", "keys-", "conflicts-", "pack-"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
            && let Some(content) = disk.content(&name)
        {
            files.insert(name, content);
        }
    }
    files
}
