//! A node at rest whose index of listings is damaged: it is made again, and nobody sees a thing.

use takt_storage::disk::sim::SimDisk;

use super::choices::below;
use super::player::{self, Player};
use super::script::{self, Step};
use super::{Violation, ensure, listings};
use crate::events::Dice;

/// A node that was stopped as one should, and what it lists.
#[derive(Debug)]
pub struct Stopped {
    disk: SimDisk,
    told: String,
}

impl Stopped {
    /// Lives through a run and stops.
    ///
    /// # Errors
    /// A violation where the listings are not the same with and without the index.
    ///
    /// # Panics
    /// If the disk, which has no fault, fails.
    pub fn new() -> Result<Self, Violation> {
        let disk = SimDisk::new();
        let mut player = Player::open(&disk, player::options(), 11).expect("the disk has no fault");
        let steps = script::long(5, 30).into_iter();
        for step in steps.filter(|step| !matches!(step, Step::Restart | Step::Stop)) {
            player.play(step).expect("the disk has no fault");
        }
        player.stop().expect("the disk has no fault");
        assert!(disk.inode("index.redb").is_some(), "there is an index");
        let told = listings::told(&copy(&disk), &player::options(), &mut Dice::new(1))?;
        Ok(Self { disk, told })
    }

    /// Turns bits of the index or of its stamp, as `seed` says, and asks for the listings.
    ///
    /// # Errors
    /// If they are not what they were.
    pub fn damage(&self, seed: u64) -> Result<(), Violation> {
        let disk = copy(&self.disk);
        let mut dice = Dice::new(seed);
        let name = if dice.below(16) == 0 { "index.stamp" } else { "index.redb" };
        let bits = disk.content(name).map_or(0, |content| content.len() * 8);
        for _ in 0..=dice.below(4) {
            let first = below(&mut dice, bits - 64) as u64;
            // One bit, or some of a few bytes.
            let mask = if dice.below(2) == 0 { 1 } else { dice.next_u64() | 1 };
            for bit in (0..64).filter(|bit| mask >> bit & 1 == 1) {
                disk.flip_bit(name, first + bit);
            }
        }
        let told = listings::told(&disk, &player::options(), &mut dice)?;
        ensure(told == self.told, "D8", || format!("{told} is listed, not {}", self.told))
    }
}

fn copy(disk: &SimDisk) -> SimDisk {
    disk.crash_image(&mut |_| true)
}
