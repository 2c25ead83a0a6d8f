//! Long runs, recorded once and cut at every moment.

use takt_storage::disk::sim::SimDisk;
use takt_storage::store::StoreOptions;

use super::choices::{self, Effort, Tried};
use super::player::{self, Player};
use super::recover::{Counts, check_image, names};
use super::{Book, script};
use crate::events::Dice;

/// Steps of a run.
pub const STEPS: usize = 60;

/// A run, with the disk at each of its moments.
#[derive(Debug)]
pub struct Recorded {
    /// What the run follows from.
    pub seed: u64,
    book: Book,
    options: StoreOptions,
    /// By the count of operations.
    moments: Vec<(u64, SimDisk)>,
}

/// What one moment came to.
#[derive(Debug)]
pub struct Moment {
    /// How much was tried.
    pub tried: Tried,
    /// What was done.
    pub counts: Counts,
    /// What should not have been, with what the image held.
    pub violation: Option<String>,
}

impl Recorded {
    /// Plays the run of a seed.
    ///
    /// # Panics
    /// If the disk, which has no fault, fails.
    pub fn new(seed: u64, steps: usize) -> Self {
        let disk = SimDisk::new();
        disk.record();
        let options = player::options();
        let mut player = Player::closed(&disk, options.clone(), seed << 16);
        player.start().expect("the disk works");
        for step in script::long(seed, steps) {
            player.play(step).expect("the disk works");
        }
        let moments = disk.recorded().into_iter().collect();
        Self { seed, book: player.book, options, moments }
    }

    /// How many moments there are.
    pub fn moments(&self) -> usize {
        self.moments.len()
    }

    /// Tries what a power cut at moment `index` can leave.
    ///
    /// # Panics
    /// If there is no such moment.
    pub fn cut(&self, index: usize, effort: Effort) -> Moment {
        let (at, disk) = &self.moments[index];
        let mut counts = Counts::default();
        let seed = self.seed << 20 | *at;
        let mut dice = Dice::new(seed);
        let mut number = 0;
        let tried = choices::images(disk, effort, seed, &mut |image| {
            number += 1;
            let held = names(&image);
            let page = self.book.page(*at);
            check_image(&image, &self.options, page, &mut dice, &mut counts).map_err(|found| {
                format!(
                    "seed {} moment {index} (operation {at}) image {}: {found}\n  it held {held:?}",
                    self.seed,
                    number - 1
                )
            })
        });
        match tried {
            Ok(tried) => Moment { tried, counts, violation: None },
            Err(found) => Moment { tried: Tried::default(), counts, violation: Some(found) },
        }
    }
}

/// The moments of a run in an order that shows all of it early, the same for the same seed.
pub fn spread(seed: u64, moments: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..moments).collect();
    let mut dice = Dice::new(seed);
    for last in (1..moments).rev() {
        order.swap(last, choices::below(&mut dice, last + 1));
    }
    order
}
