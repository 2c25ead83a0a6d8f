//! Order sequences: how the events of an order key follow each other in a partition.

use std::collections::HashMap;

use crate::{
    contents::Record,
    entry::Settings,
    input::{Why, ensure},
};

/// The last order sequence of each order key, and when it was appended.
#[derive(Default)]
pub(crate) struct Orders<'a> {
    last: HashMap<&'a [u8], (u64, i64)>,
}

impl<'a> Orders<'a> {
    /// Takes the records of the next batch. `whole` where the partition's first batch was the first
    /// here: else what came before is not known.
    pub(crate) fn follow(
        &mut self,
        records: &[Record<'a>],
        settings: &Settings,
        append_time: i64,
        whole: bool,
    ) -> Result<(), Why> {
        for record in records {
            let Some((key, sequence)) = record.order_key.zip(record.order_sequence) else {
                continue;
            };
            let last = self.last.insert(key, (sequence, append_time));
            let begins = sequence == 1;
            let follows = match last {
                Some((last, _)) if last.checked_add(1) == Some(sequence) => !record.restarted,
                // Once it was quiet for longer than the horizon; whether that is said or not, since
                // it may have been forgotten.
                Some((_, at)) => begins && settings.is_past_horizon(at, append_time),
                None if record.restarted => begins && !whole,
                None => begins || !whole && sequence > 0,
            };
            ensure(follows, "an order sequence does not follow")?;
        }
        Ok(())
    }
}
