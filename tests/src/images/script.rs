//! What a store is made to do, step by step.

use crate::events::Dice;

/// One step of a script. What it cannot do where it comes is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Publishes new events.
    Fresh,
    /// Publishes events again, under new sequences, and the last batch as it was.
    Repeat,
    /// Publishes new content under keys that are known, beside a new event.
    Conflict,
    /// Makes the next topic.
    CreateTopic,
    /// Opens the producer anew, in its next epoch.
    OpenProducer,
    /// Moves a cursor, or makes it.
    SetCursor,
    /// Publishes until the journal file is left.
    Roll,
    /// Lets time pass: retention.
    Retain,
    /// Does one job of the background.
    Job,
    /// Writes a mark.
    Mark,
    /// Stops without a word and starts again.
    Restart,
    /// Takes the origin's next batches.
    Mirror,
    /// Does all jobs, and what they bring.
    Settle,
    /// Stops as one should, and starts again.
    Stop,
}

impl Step {
    /// What all short sequences are made of.
    pub const ALPHABET: [Self; 11] = [
        Self::Fresh,
        Self::Repeat,
        Self::Conflict,
        Self::CreateTopic,
        Self::OpenProducer,
        Self::SetCursor,
        Self::Roll,
        Self::Retain,
        Self::Job,
        Self::Mark,
        Self::Restart,
    ];
}

/// A long script in which everything comes up, in an order that the seed gives.
pub fn long(seed: u64, steps: usize) -> Vec<Step> {
    const WEIGHTS: [(Step, u64); 14] = [
        (Step::Fresh, 20),
        (Step::Repeat, 7),
        (Step::Conflict, 9),
        (Step::CreateTopic, 2),
        (Step::OpenProducer, 3),
        (Step::SetCursor, 6),
        (Step::Roll, 12),
        (Step::Retain, 9),
        (Step::Job, 14),
        (Step::Mark, 4),
        (Step::Restart, 4),
        (Step::Mirror, 9),
        (Step::Settle, 8),
        (Step::Stop, 3),
    ];
    let mut dice = Dice::new(seed);
    let sum: u64 = WEIGHTS.iter().map(|(_, weight)| weight).sum();
    let one = |dice: &mut Dice| {
        let mut left = dice.below(sum);
        for (step, weight) in WEIGHTS {
            if left < weight {
                return step;
            }
            left -= weight;
        }
        Step::Fresh
    };
    let begin = [Step::CreateTopic, Step::OpenProducer, Step::Fresh, Step::Mirror, Step::Roll];
    begin.into_iter().chain(std::iter::repeat_with(|| one(&mut dice))).take(steps).collect()
}
