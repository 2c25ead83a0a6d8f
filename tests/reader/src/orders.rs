//! Order sequences: how the events of an order key follow each other in a partition.

use std::collections::HashMap;

use crate::{
    contents::{LeftOut, Record},
    entry::Settings,
    input::{Why, ensure},
    record::OfBatch,
};

/// What is said of an event by which it follows the one before in its order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    pub(crate) sequence: u64,
    /// The order key began again at 1.
    pub(crate) restarted: bool,
    pub(crate) append_time: i64,
}

impl Step {
    /// Whether it follows the one before, or is the first. `whole` where no event of the partition came
    /// before those that are known.
    pub(crate) fn follows(&self, before: Option<Self>, settings: &Settings, whole: bool) -> bool {
        let begins = self.sequence == 1;
        match before {
            Some(last) if last.sequence.checked_add(1) == Some(self.sequence) => !self.restarted,
            // Once it was quiet for longer than the horizon; whether that is said or not, since
            // it may have been forgotten.
            Some(last) => begins && self.is_past_horizon(last, settings),
            None if self.restarted => begins && !whole,
            None => begins || !whole && self.sequence > 0,
        }
    }

    fn is_past_horizon(&self, last: Self, settings: &Settings) -> bool {
        settings.is_past_horizon(last.append_time, self.append_time)
    }
}

/// The last event of each order key, and how many were left out before it.
#[derive(Default)]
pub(crate) struct Orders<'a> {
    last: HashMap<&'a [u8], (Step, u64)>,
    left_out: LeftOutSteps,
}

impl<'a> Orders<'a> {
    /// Takes the records of the next batch. `whole` where the partition's first batch was the first
    /// here: else what came before is not known.
    pub(crate) fn follow(
        &mut self,
        batch: OfBatch<'_, 'a>,
        settings: &Settings,
        append_time: i64,
        whole: bool,
    ) -> Result<(), Why> {
        let mut gone = batch.left_out.iter().peekable();
        for record in batch.there {
            while let Some(gone) = gone.next_if(|gone| gone.index < record.index) {
                self.left_out.add(gone);
            }
            let follows = self.is_next(record, settings, append_time, whole);
            ensure(follows, "an order sequence does not follow")?;
        }
        gone.for_each(|gone| self.left_out.add(gone));
        Ok(())
    }

    fn is_next(
        &mut self,
        record: &Record<'a>,
        settings: &Settings,
        append_time: i64,
        whole: bool,
    ) -> bool {
        let Some((key, sequence)) = record.order_key.zip(record.order_sequence) else {
            return true;
        };
        let step = Step { sequence, restarted: record.restarted, append_time };
        let last = self.last.insert(key, (step, self.left_out.count));
        step.follows(last.map(|(last, _)| last), settings, whole)
            || self.left_out.explain(step, last, settings)
    }
}

/// Events of a partition that were left out: of which keys, nothing there says.
#[derive(Default)]
struct LeftOutSteps {
    count: u64,
    /// For each order sequence, how many there were up to and with the last that has it.
    by_sequence: HashMap<u64, u64>,
}

impl LeftOutSteps {
    fn add(&mut self, gone: &LeftOut) {
        if let Some(sequence) = gone.order_sequence.filter(|_| gone.offset.is_some()) {
            self.count += 1;
            self.by_sequence.insert(sequence, self.count);
        }
    }

    /// Whether what was left out since the last event that is there can be what is between: the one
    /// right before it, and as many as it takes.
    fn explain(&self, step: Step, last: Option<(Step, u64)>, settings: &Settings) -> bool {
        let since = last.map_or(0, |(_, count)| count);
        let is_gone = |sequence: u64| self.by_sequence.get(&sequence).is_some_and(|at| *at > since);
        if step.restarted {
            // What it began again after was left out, all of it.
            return last.is_none() && step.sequence == 1 && is_gone(1);
        }
        let Some(right_before) = step.sequence.checked_sub(1) else { return false };
        let between = match last {
            Some((last, _)) if right_before > last.sequence => right_before - last.sequence,
            // It began again, and that was left out.
            Some((last, _)) if step.is_past_horizon(last, settings) => right_before,
            None => right_before,
            Some(_) => return false,
        };
        is_gone(right_before) && between <= self.count - since
    }
}
