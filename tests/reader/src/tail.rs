//! How far the newest file was proved durable, and what lies behind the journal's end.

use crate::{
    commit::{Found, Header},
    error::ReadError,
    input::wide,
    journal::JournalFile,
    preamble::BLOCK,
};

/// The end of a journal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tail {
    /// Proved durable, exclusive: by the newest file's existence or by a commit's `synced_upto`.
    pub(crate) durable_upto: u64,
    /// Bytes behind the end that a start sets aside.
    pub(crate) cut: u64,
}

impl Tail {
    /// Judges the newest file, whose commits were taken as far as they belong.
    pub(crate) fn of(last: &JournalFile<'_>) -> Result<Self, ReadError> {
        let start = last.preamble.start;
        let witness = last.commits.iter().map(|commit| commit.header.synced_upto).max();
        let behind = Behind::of(last);
        let durable_upto = start.max(witness.unwrap_or(start)).max(behind.witness);
        if durable_upto > last.end {
            let why = last.stopped.map_or("it ends early", |why| why.0);
            return Err(last.damaged(last.end, why));
        }
        let mut begins = last.commits.iter().map(|commit| commit.header.position);
        if durable_upto != last.end && !begins.any(|position| position == durable_upto) {
            return Err(last.damaged(durable_upto, "a commit witnesses a part of another"));
        }
        Ok(Self { durable_upto, cut: behind.end - last.end })
    }
}

/// What the blocks behind the first that does not belong say.
struct Behind {
    /// The highest `synced_upto` of a commit that is this file's, whole or not.
    witness: u64,
    /// Behind the last thing that is not free space.
    end: u64,
}

impl Behind {
    fn of(file: &JournalFile<'_>) -> Self {
        let limit = file.limit();
        let mut behind = Self { witness: file.preamble.start, end: file.end };
        let mut position = file.end;
        while position < limit {
            let bytes = file.at(position);
            let block_end = position + wide(BLOCK);
            match Header::find(bytes, &file.preamble, position) {
                Found::Header(header) => {
                    behind.witness = behind.witness.max(header.synced_upto);
                    behind.end = behind.end.max(header.end.min(limit));
                }
                Found::Torn => behind.end = behind.end.max(block_end),
                // Old content of a recycled file is nobody's.
                Found::Foreign if file.preamble.recycled => {}
                Found::Foreign => {
                    let block = bytes.first_chunk::<BLOCK>();
                    if block.is_some_and(|block| block.iter().any(|&byte| byte != 0)) {
                        behind.end = behind.end.max(block_end);
                    }
                }
            }
            position = block_end;
        }
        behind
    }
}
