//! Frames that wait to be sent.

use std::collections::VecDeque;

use prost::Message;

use crate::limits::FRAME_BYTES_MAX;
use crate::wire::{ControlBody, FrameError, OutFrame, encode_control};

use super::refusal::Refusal;

/// A control message that is small by construction: numbers, names, a shortened detail.
pub(super) fn small(body: ControlBody) -> OutFrame {
    encode_control(body).expect("names and details are bounded far below a frame")
}

/// Frames that wait to be sent, in order.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    frames: VecDeque<OutFrame>,
}

impl Outbox {
    pub fn push(&mut self, frame: OutFrame) {
        self.frames.push_back(frame);
    }

    pub fn small(&mut self, body: ControlBody) {
        self.push(small(body));
    }

    /// For what the application sizes: positions, names.
    pub fn control(&mut self, body: ControlBody) -> Result<(), FrameError> {
        self.push(encode_control(body)?);
        Ok(())
    }

    pub fn error(&mut self, refusal: Refusal) {
        self.small(ControlBody::Error(refusal.into_error(None)));
    }

    pub fn pop(&mut self) -> Option<OutFrame> {
        self.frames.pop_front()
    }

    pub fn clear(&mut self) {
        self.frames.clear();
    }
}

/// Cuts a list into parts that fit a frame each; always at least one part. With each part comes
/// whether more follow.
pub(super) fn split<T: Message>(items: Vec<T>) -> Vec<(Vec<T>, bool)> {
    const PART_BYTES_MAX: usize = FRAME_BYTES_MAX / 2;
    let mut parts = vec![(Vec::new(), false)];
    let mut bytes = 0;
    for item in items {
        let len = item.encoded_len() + 8;
        let part = parts.last_mut().expect("there is always a part");
        if bytes + len > PART_BYTES_MAX && !part.0.is_empty() {
            part.1 = true;
            parts.push((vec![item], false));
            bytes = len;
        } else {
            part.0.push(item);
            bytes += len;
        }
    }
    parts
}
