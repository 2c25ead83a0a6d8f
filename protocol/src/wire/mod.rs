//! What goes over a stream: frames, and what is in them.
//!
//! ```text
//! frame     length of what follows (u32, at most 1 MiB), kind (u8), body
//! Control   one message of `takt.v1` (protobuf)
//! Publish   1 to 64 batches, back to back
//! Receipts  receipts, back to back: see [`BatchReceipt`]
//! Deliver   slot (u32), stored batches of that partition, back to back
//! Mirror    topic index (u16), partition (u16), length of a bitmap (u16, 0 in this version),
//!           one stored batch
//! ```
//! Numbers of a fixed width are little-endian. Payloads are never copied on the way in or out.

mod body;
mod control;
mod event;
mod frame;
pub mod proto;
mod receipt;

pub use body::{
    BodyError, MirrorHead, deliver_frame, mirror_frame, publish_frame, take_batches, take_deliver,
    take_mirror,
};
pub use control::{ControlBody, ControlError, decode_control, encode_control};
pub use event::EventMessageError;
pub use frame::{FRAME_HEADER_BYTES, Frame, FrameDecoder, FrameError, FrameKind, OutFrame};
pub use receipt::{BatchReceipt, Receipt, ReceiptError, receipts_frame, take_receipts};
