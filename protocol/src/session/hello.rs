//! The first frame of every stream.

use crate::wire::{ControlBody, Frame, decode_control, proto};

use super::error::SessionError;

/// The version that must be the same on both sides.
pub const VERSION_MAJOR: u32 = 1;
/// The version that says what a peer may know in addition.
pub const VERSION_MINOR: u32 = 0;

/// What a stream is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StreamKind {
    /// A producer's session.
    Producer,
    /// A subscription.
    Subscriber,
    /// The link of an origin to its upstream.
    Mirror,
    /// Requests of an administrator.
    Admin,
}

pub(super) fn hello(kind: StreamKind) -> ControlBody {
    let kind = match kind {
        StreamKind::Producer => proto::StreamKind::Producer,
        StreamKind::Subscriber => proto::StreamKind::Subscriber,
        StreamKind::Mirror => proto::StreamKind::Mirror,
        StreamKind::Admin => proto::StreamKind::Admin,
    };
    let (major, minor) = (VERSION_MAJOR, VERSION_MINOR);
    ControlBody::Hello(proto::Hello { major, minor, kind: kind.into() })
}

/// Reads the first frame of a stream that a peer has opened and says which session it is for.
/// After an error, send [`super::refusal_frame`] of it and close the stream.
///
/// # Errors
/// [`SessionError`] where it is no hello, or one of another version.
pub fn accept(first: Frame) -> Result<StreamKind, SessionError> {
    let ControlBody::Hello(hello) = decode_control(first)? else {
        return Err(SessionError::unexpected("a stream begins with a hello"));
    };
    if hello.major != VERSION_MAJOR {
        return Err(SessionError::Version { major: hello.major });
    }
    match hello.kind() {
        proto::StreamKind::Producer => Ok(StreamKind::Producer),
        proto::StreamKind::Subscriber => Ok(StreamKind::Subscriber),
        proto::StreamKind::Mirror => Ok(StreamKind::Mirror),
        proto::StreamKind::Admin => Ok(StreamKind::Admin),
        proto::StreamKind::Unspecified => {
            Err(SessionError::unexpected("a hello for a stream of an unknown kind"))
        }
    }
}
