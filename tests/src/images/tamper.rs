//! A directory that somebody has laid hands on: files deleted, swapped, cut, overwritten, or put
//! there. Each change is reported, by a start or by the verification, or changes nothing.

use std::sync::Arc;

use takt_client::Timestamp;
use takt_reader::{Unpacked, read_unpacked};
use takt_storage::disk::sim::SimDisk;
use takt_storage::disk::{Disk, DiskFile};
use takt_storage::journal::verify;
use takt_storage::store::{Store, sealed_ends, verify_runs};

use super::player::{self, Player};
use super::script::{self, Step};
use super::{Book, Violation, check, ensure, files};
use crate::compare;
use crate::events::Dice;

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The node does not start.
    Refused,
    /// It starts, and the verification reports it.
    Reported,
    /// It starts with all that it had.
    Harmless,
}

/// The directory of a node that was stopped as one should.
#[derive(Debug)]
pub struct Directory {
    disk: SimDisk,
    book: Book,
}

impl Directory {
    /// Lives through a run and stops.
    ///
    /// # Panics
    /// If the disk, which has no fault, fails.
    pub fn new(seed: u64) -> Self {
        let disk = SimDisk::new();
        let mut player =
            Player::open(&disk, player::options(), seed << 16).expect("the disk has no fault");
        for step in script::long(seed, 40).into_iter().filter(|step| *step != Step::Stop) {
            player.play(step).expect("the disk has no fault");
        }
        player.stop().expect("the disk has no fault");
        Self { disk, book: player.book }
    }

    /// The names of its files that begin with `prefix`.
    pub fn names(&self, prefix: &str) -> Vec<String> {
        let names = self.disk.names().into_iter();
        names.filter(|name| name.starts_with(prefix)).collect()
    }

    /// What a file holds; nothing if there is none.
    pub fn content(&self, name: &str) -> Vec<u8> {
        self.disk.content(name).unwrap_or_default()
    }

    /// Starts a node on a copy of the directory that was changed.
    ///
    /// # Errors
    /// If the change is not reported and something is not as it was.
    pub fn with(&self, change: &dyn Fn(&SimDisk)) -> Result<Outcome, Violation> {
        let disk = self.disk.crash_image(&mut |_| true);
        change(&disk);
        let seam: Arc<dyn Disk> = Arc::new(disk.clone());
        let reported = verify(&seam, &sealed_ends(&seam).unwrap_or_default())
            .map_or(true, |found| found.iter().any(|file| file.damage.is_some()))
            || verify_runs(&seam).map_or(true, |found| found.iter().any(|f| f.damage.is_some()));
        let at = Timestamp::from_micros(1_900_000_000_000_000);
        let opened = Store::<()>::open(seam, player::options(), &mut Dice::new(1), at);
        let Ok((store, _)) = opened else { return Ok(Outcome::Refused) };
        if reported {
            return Ok(Outcome::Reported);
        }
        let after = files(&disk);
        let unpacked = Unpacked::of(&after);
        let contents = read_unpacked(&after, &unpacked).map_err(|error| {
            Violation::new("I10", format!("what is not reported does not read: {error}"))
        })?;
        check::check(self.book.page(u64::MAX), &contents)?;
        compare::same(&contents, store.view()).map_err(|what| Violation::new("I10", what))?;
        let all = contents.partitions.iter().map(|p| p.records.len()).sum::<usize>();
        ensure(all > 0, "I10", || "nothing is left".to_owned())?;
        Ok(Outcome::Harmless)
    }
}

/// Puts `content` in place of a file's.
///
/// # Panics
/// If the disk, which has no fault, fails.
pub fn put(disk: &SimDisk, name: &str, content: &[u8]) {
    let file: Box<dyn DiskFile> = match disk.open(name, true) {
        Ok(file) => file,
        Err(_) => disk.create(name).expect("the disk has no fault"),
    };
    file.set_len(content.len() as u64).expect("the disk has no fault");
    file.write_at(0, content).expect("the disk has no fault");
    file.sync_all().expect("the disk has no fault");
}
