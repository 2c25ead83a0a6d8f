//! A task for each stream that a peer opens: the shell around the sessions.
//!
//! What a session decides is in [`crate::logic`]; rights are in [`crate::access`]; what is stored
//! is the writer's. What is left here is to carry values between them without ever waiting for one
//! peer on behalf of another.

mod admin;
mod conflicts;
mod note;
mod run;

use std::sync::Arc;
use std::time::{Duration, Instant};

use takt_client::tls::Identity;
use takt_client::transport::{FrameStream, RecvHalf, SendHalf, TransportError};
use takt_protocol::codes::ErrorCode;
use takt_protocol::session::{Refusal, StreamKind, accept, refusal_frame};
use takt_protocol::wire::{Frame, OutFrame};

use crate::access::{Action, allow};
use crate::logic::{Context, MirrorSession, ProducerSession, SessionEvent, SubscriberSession};
use crate::node::Inner;

use run::run;
pub(crate) use run::run_read;

/// How long a peer may take to read the last frames of a stream that ends.
const END_DEADLINE: Duration = Duration::from_secs(2);
/// How long a peer may take to say what a stream is for.
const GREETING_DEADLINE: Duration = Duration::from_secs(10);

impl Inner {
    /// Whether the peer may do this here.
    fn allow(&self, peer: &Identity, action: Action) -> Result<(), Refusal> {
        allow(peer, action, &self.place)
            .inspect_err(|_| self.note(peer, SessionEvent::Denied(action)))
    }

    /// What a session of the peer has to know.
    fn context(&self, peer: &Identity) -> Context {
        Context {
            place: self.place.clone(),
            peer: peer.clone(),
            view: self.view.clone(),
            session_bytes_max: self.session_bytes_max,
        }
    }
}

fn refusal(code: ErrorCode, detail: impl Into<String>) -> Refusal {
    Refusal::new(code, detail)
}

/// The monotonic clock, for the sessions' timers.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Serves one stream until either side ends it.
pub(crate) async fn serve(node: Arc<Inner>, peer: Identity, stream: FrameStream) {
    let FrameStream { send, mut recv } = stream;
    let first = match tokio::time::timeout(GREETING_DEADLINE, recv.recv()).await {
        Ok(Ok(Some(frame))) => frame,
        Ok(Ok(None)) => return,
        Ok(Err(error)) => {
            Stream { send, recv }.end(None).await;
            if let Err(reason) = ended(&error) {
                node.refused_stream(&peer, &reason);
            }
            return;
        }
        Err(_) => return node.refused_stream(&peer, "no greeting came"),
    };
    let kind = accept(first);
    let mut stream = Stream { send, recv };
    let result = match kind {
        Ok(StreamKind::Producer) => {
            run(&node, &peer, stream, ProducerSession::new(node.context(&peer))).await
        }
        Ok(StreamKind::Subscriber) => {
            run(&node, &peer, stream, SubscriberSession::new(node.context(&peer))).await
        }
        Ok(StreamKind::Mirror) => {
            run(&node, &peer, stream, MirrorSession::new(node.context(&peer))).await
        }
        Ok(StreamKind::Admin) => admin::serve(&node, &peer, stream).await,
        Err(error) => {
            let reason = error.to_string();
            stream.end(Some(refusal_frame(refusal(error.code(), reason.clone())))).await;
            Err(reason)
        }
    };
    if let Err(reason) = result {
        node.refused_stream(&peer, &reason);
    }
}

/// Both halves of a stream behind its greeting.
pub(crate) struct Stream {
    pub send: SendHalf,
    pub recv: RecvHalf,
}

impl Stream {
    /// Sends what is left to say, with the error where what came was no frame, and ends the
    /// stream. A peer that does not read it in time has to do without.
    pub async fn end(&mut self, last: impl IntoIterator<Item = OutFrame>) {
        for frame in last {
            self.send.queue(frame);
        }
        if let Some(error) = self.recv.failure() {
            self.send.queue(refusal_frame(refusal(error.code(), error.to_string())));
        }
        let send = &mut self.send;
        let said = async {
            if send.flush().await.is_ok() {
                send.finish();
                send.delivered().await;
            }
        };
        // Whether it was heard changes nothing for this side.
        let _ = tokio::time::timeout(END_DEADLINE, said).await;
        self.recv.stop(ErrorCode::Stopping);
    }
}

/// What an error of the transport means for the session: a lost connection is no fault of the
/// peer, bytes that are no frame are.
fn ended(error: &TransportError) -> Result<(), String> {
    if let TransportError::Frame(error) = error {
        return Err(error.to_string());
    }
    tracing::debug!(%error, "a stream was cut");
    Ok(())
}

/// How a stream has ended.
struct Ended {
    /// The connection is gone, and nobody has said why.
    lost: bool,
    /// What the peer did wrong.
    result: Result<(), String>,
}

/// The next frame, or that the stream has ended, and how.
async fn receive(recv: &mut RecvHalf) -> Result<Frame, Ended> {
    match recv.recv().await {
        Ok(Some(frame)) => Ok(frame),
        Ok(None) => Err(Ended { lost: false, result: Ok(()) }),
        Err(error) => Err(Ended { lost: error.is_lost(), result: ended(&error) }),
    }
}
