//! Control messages as frames.

use prost::Message;

use super::frame::{Frame, FrameError, FrameKind, OutFrame};
use super::proto;

/// What a control message says.
pub type ControlBody = proto::control::Body;

/// Why a frame is no control message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// The frame is of another kind.
    #[error("a frame of the kind {0:?} where a control message belongs")]
    Kind(FrameKind),
    /// The protobuf does not decode.
    #[error("a control message does not decode: {0}")]
    Decode(#[from] prost::DecodeError),
    /// A message that this version does not know.
    #[error("a control message of an unknown kind")]
    Unknown,
}

/// Lays out a control message.
///
/// # Errors
/// [`FrameError::TooLarge`] where it is over the limit of a frame.
pub fn encode_control(body: ControlBody) -> Result<OutFrame, FrameError> {
    let control = proto::Control { body: Some(body) };
    OutFrame::new(FrameKind::Control, &control.encode_to_vec(), [])
}

/// Reads a control message. Unknown fields are skipped.
///
/// # Errors
/// [`ControlError`] where it is none.
pub fn decode_control(frame: Frame) -> Result<ControlBody, ControlError> {
    let Frame { kind, mut body } = frame;
    if kind != FrameKind::Control {
        return Err(ControlError::Kind(kind));
    }
    let len = body.len();
    let control = proto::Control::decode(body.take_contiguous(len).unwrap_or_default())?;
    control.body.ok_or(ControlError::Unknown)
}
