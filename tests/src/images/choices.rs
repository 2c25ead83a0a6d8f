//! Which pending changes survive a power cut: all subsets where they are few, otherwise those that
//! tell most, and some by chance.

use takt_storage::disk::sim::{Kept, SECTOR_BYTES, SimDisk};

use crate::events::Dice;

/// Up to so many pending changes all subsets are tried.
pub const EXHAUSTIVE_MAX: usize = 12;
/// A block of a device, in bytes.
const BLOCK_BYTES: usize = 4_096;

/// How much is tried where it is not all.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Subsets by chance where there are too many.
    pub sampled: usize,
    /// Torn ends, within a sector.
    pub torn: usize,
    /// Whether whole blocks are tried beside sectors.
    pub blocks: bool,
}

/// What was tried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tried {
    /// Images.
    pub images: u64,
    /// All subsets were among them.
    pub exhaustive: bool,
}

/// Goes through all sequences of choices, whatever each makes possible (TigerBeetle's exhaustigen).
#[derive(Debug, Default)]
struct Odometer {
    chosen: Vec<bool>,
    at: usize,
}

impl Odometer {
    fn choose(&mut self) -> bool {
        if self.at == self.chosen.len() {
            self.chosen.push(false);
        }
        self.at += 1;
        self.chosen[self.at - 1]
    }

    /// The next sequence; false behind the last.
    fn advance(&mut self) -> bool {
        self.chosen.truncate(self.at);
        self.at = 0;
        while self.chosen.pop_if(|last| *last).is_some() {}
        match self.chosen.last_mut() {
            Some(last) => {
                *last = true;
                true
            }
            None => false,
        }
    }
}

/// Gives all images of `disk` to `each`, until that fails. The same for the same `seed`.
///
/// # Errors
/// What `each` says.
pub fn images<E>(
    disk: &SimDisk,
    effort: Effort,
    seed: u64,
    each: &mut dyn FnMut(SimDisk) -> Result<(), E>,
) -> Result<Tried, E> {
    let mut tried = Tried::default();
    let mut give = |image: SimDisk| {
        tried.images += 1;
        each(image)
    };
    let pending = disk.pending(SECTOR_BYTES);
    let exhaustive = pending <= EXHAUSTIVE_MAX;
    if exhaustive {
        all(disk, SECTOR_BYTES, &mut give)?;
    } else {
        some(disk, pending, effort.sampled, seed, &mut give)?;
    }
    if effort.blocks && (2..=EXHAUSTIVE_MAX).contains(&disk.pending(BLOCK_BYTES)) && pending > 1 {
        all(disk, BLOCK_BYTES, &mut give)?;
    }
    let mut dice = Dice::new(seed);
    for _ in 0..if pending > 0 { effort.torn } else { 0 } {
        let last = below(&mut dice, pending);
        let bytes = 1 + below(&mut dice, SECTOR_BYTES - 1);
        // All before the end of the write, the first bytes of what was being written, or any of
        // those before.
        let mut holes = (dice.below(2) == 0).then(|| dice.clone());
        give(disk.crash_image_by(SECTOR_BYTES, &mut |n| match n.cmp(&last) {
            std::cmp::Ordering::Less => holes.as_mut().is_none_or(|dice| dice.below(3) > 0).into(),
            std::cmp::Ordering::Equal => Kept::First(bytes),
            std::cmp::Ordering::Greater => Kept::Lost,
        }))?;
    }
    tried.exhaustive = exhaustive;
    Ok(tried)
}

fn all<E>(
    disk: &SimDisk,
    grain_bytes: usize,
    give: &mut dyn FnMut(SimDisk) -> Result<(), E>,
) -> Result<(), E> {
    let mut odometer = Odometer::default();
    loop {
        give(disk.crash_image_by(grain_bytes, &mut |_| odometer.choose().into()))?;
        if !odometer.advance() {
            return Ok(());
        }
    }
}

/// All, each prefix (also none), each single loss, and some by chance.
fn some<E>(
    disk: &SimDisk,
    pending: usize,
    sampled: usize,
    seed: u64,
    give: &mut dyn FnMut(SimDisk) -> Result<(), E>,
) -> Result<(), E> {
    for prefix in 0..=pending {
        give(disk.crash_image(&mut |n| n < prefix))?;
    }
    for lost in 0..pending.saturating_sub(1) {
        give(disk.crash_image(&mut |n| n != lost))?;
    }
    let mut dice = Dice::new(seed);
    for _ in 0..sampled {
        let density = 1 + dice.below(7);
        give(disk.crash_image(&mut |_| dice.below(8) < density))?;
    }
    Ok(())
}

/// One image by chance.
pub fn by_chance(disk: &SimDisk, dice: &mut Dice) -> SimDisk {
    let density = dice.below(9);
    disk.crash_image(&mut |_| dice.below(8) < density)
}

/// A number below `bound`, which is not 0.
pub fn below(dice: &mut Dice, bound: usize) -> usize {
    usize::try_from(dice.below(bound as u64)).expect("below a usize")
}
