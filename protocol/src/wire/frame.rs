//! Frames: cutting a stream into them, and laying them out.

use bytes::{Bytes, BytesMut};

use crate::chunks::Chunks;
use crate::codes::ErrorCode;
use crate::limits::FRAME_BYTES_MAX;

/// Length field and kind of a frame in bytes.
pub const FRAME_HEADER_BYTES: usize = 5;
/// Slices below this are gathered as they arrive, so that a peer that sends byte by byte costs no
/// more memory than its bytes.
const GATHER_BELOW_BYTES: usize = 256;

/// What a frame holds. The number is on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameKind {
    /// A control message.
    Control,
    /// Batches of a producer.
    Publish,
    /// Receipts for batches.
    Receipts,
    /// Stored batches for a subscriber.
    Deliver,
    /// A stored batch for a mirror.
    Mirror,
}

impl FrameKind {
    /// The number on the wire.
    pub const fn number(self) -> u8 {
        match self {
            Self::Control => 1,
            Self::Publish => 2,
            Self::Receipts => 3,
            Self::Deliver => 4,
            Self::Mirror => 5,
        }
    }

    /// The kind of a number.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Control,
            2 => Self::Publish,
            3 => Self::Receipts,
            4 => Self::Deliver,
            5 => Self::Mirror,
            _ => return None,
        })
    }
}

/// Why bytes are no frame. The stream cannot go on behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Longer than the limit.
    #[error("a frame of {len} bytes; at most {FRAME_BYTES_MAX} are allowed")]
    TooLarge {
        /// The length that it states.
        len: usize,
    },
    /// Without a kind.
    #[error("a frame of no bytes")]
    Empty,
    /// Of a kind that this version does not know.
    #[error("a frame of the unknown kind {number}")]
    Kind {
        /// The number of the kind.
        number: u8,
    },
}

impl FrameError {
    /// The code to close the stream with.
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::TooLarge { .. } => ErrorCode::FrameTooLarge,
            Self::Empty | Self::Kind { .. } => ErrorCode::Protocol,
        }
    }
}

/// A frame as it arrived.
#[derive(Debug, Clone)]
pub struct Frame {
    /// What it holds.
    pub kind: FrameKind,
    /// The body, without header.
    pub body: Chunks,
}

/// Cuts a stream into frames.
#[derive(Debug)]
pub struct FrameDecoder {
    chunks: Chunks,
    /// Small slices behind `chunks`, gathered.
    tail: BytesMut,
    /// How many bytes must be there before it is worth looking.
    need: usize,
    failed: Option<FrameError>,
}

impl Default for FrameDecoder {
    fn default() -> Self {
        let (chunks, tail) = (Chunks::default(), BytesMut::new());
        Self { chunks, tail, need: FRAME_HEADER_BYTES - 1, failed: None }
    }
}

impl FrameDecoder {
    /// At the beginning of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes as they arrive. Call [`Self::next`] until it has none before the next push.
    pub fn push(&mut self, part: Bytes) {
        if part.len() < GATHER_BELOW_BYTES {
            self.tail.extend_from_slice(&part);
        } else {
            self.flush();
            self.chunks.push(part);
        }
    }

    /// The next whole frame, or `None` where more bytes are needed.
    ///
    /// # Errors
    /// [`FrameError`], as soon as a header says so and before its body is buffered; and then for
    /// ever.
    #[expect(clippy::should_implement_trait, reason = "an iterator cannot go on after None")]
    pub fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if self.chunks.len() + self.tail.len() < self.need {
            return Ok(None);
        }
        self.flush();
        self.cut().inspect_err(|error| self.failed = Some(*error))
    }

    /// Whether the stream may end here: no frame has begun.
    pub fn is_between_frames(&self) -> bool {
        self.chunks.is_empty() && self.tail.is_empty()
    }

    fn cut(&mut self) -> Result<Option<Frame>, FrameError> {
        let mut len = [0; 4];
        if !self.chunks.peek(&mut len) {
            return Ok(None);
        }
        let len = u32::from_le_bytes(len) as usize;
        match len {
            0 => return Err(FrameError::Empty),
            _ if len > FRAME_BYTES_MAX => return Err(FrameError::TooLarge { len }),
            _ => {}
        }
        let mut header = [0; FRAME_HEADER_BYTES];
        if !self.chunks.peek(&mut header) {
            self.need = FRAME_HEADER_BYTES;
            return Ok(None);
        }
        let number = header[FRAME_HEADER_BYTES - 1];
        let kind = FrameKind::from_number(number).ok_or(FrameError::Kind { number })?;
        self.need = FRAME_HEADER_BYTES - 1 + len;
        if self.chunks.len() < self.need {
            return Ok(None);
        }
        self.need = FRAME_HEADER_BYTES - 1;
        let taken = self.chunks.take(FRAME_HEADER_BYTES).and_then(|_| self.chunks.take(len - 1));
        let body = taken.expect("as many bytes as needed are there");
        Ok(Some(Frame { kind, body }))
    }

    fn flush(&mut self) {
        if !self.tail.is_empty() {
            self.chunks.push(self.tail.split().freeze());
        }
    }
}

/// A frame to be sent: slices, in order, to be written as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutFrame {
    /// The slices, header first.
    pub parts: Vec<Bytes>,
    len: usize,
}

impl OutFrame {
    /// Lays out a frame: its body is `head` and then `parts`.
    ///
    /// # Errors
    /// [`FrameError::TooLarge`] where it is over the limit.
    pub fn new(
        kind: FrameKind,
        head: &[u8],
        parts: impl IntoIterator<Item = Bytes>,
    ) -> Result<Self, FrameError> {
        let mut all = vec![Bytes::new()];
        all.extend(parts);
        let body = head.len() + all.iter().map(Bytes::len).sum::<usize>();
        let len = body + 1;
        let field = u32::try_from(len).unwrap_or(u32::MAX);
        if len > FRAME_BYTES_MAX {
            return Err(FrameError::TooLarge { len });
        }
        let mut first = Vec::with_capacity(FRAME_HEADER_BYTES + head.len());
        first.extend_from_slice(&field.to_le_bytes());
        first.push(kind.number());
        first.extend_from_slice(head);
        all[0] = first.into();
        Ok(Self { parts: all, len: FRAME_HEADER_BYTES + body })
    }

    /// Length on the wire in bytes, header included.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never: a frame has a header.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// All bytes in one piece, copied.
    pub fn to_bytes(&self) -> Bytes {
        self.parts.concat().into()
    }
}
