//! Streams within a process, for a node that is embedded beside its client.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::FrameStream;
use crate::tls::Identity;

/// Slices that may wait in one direction of a stream.
const SLICES: usize = 64;
/// Streams that may wait to be accepted.
const STREAMS: usize = 32;

/// The node at the other end of a pipe is gone; it does not come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the embedded node has stopped")]
pub struct PipeClosed;

/// The client's end: opens streams. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PipeConnector {
    streams: mpsc::Sender<FrameStream>,
    identity: Arc<Identity>,
}

/// The node's end: accepts streams.
#[derive(Debug)]
pub struct PipeListener {
    streams: mpsc::Receiver<FrameStream>,
    identity: Arc<Identity>,
}

/// A pipe to a node, whose client counts as `identity`.
pub fn pipe(identity: Identity) -> (PipeConnector, PipeListener) {
    let (sender, receiver) = mpsc::channel(STREAMS);
    let identity = Arc::new(identity);
    let connector = PipeConnector { streams: sender, identity: Arc::clone(&identity) };
    (connector, PipeListener { streams: receiver, identity })
}

impl PipeConnector {
    /// Opens a stream. Waits where 32 are waiting to be accepted.
    ///
    /// # Errors
    /// [`PipeClosed`] where the listener was dropped.
    pub async fn open(&self) -> Result<FrameStream, PipeClosed> {
        let (there, theirs) = mpsc::channel(SLICES);
        let (back, ours) = mpsc::channel(SLICES);
        let remote = FrameStream::piped(back, theirs);
        self.streams.send(remote).await.map_err(|_| PipeClosed)?;
        Ok(FrameStream::piped(there, ours))
    }

    /// Who the client is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }
}

impl PipeListener {
    /// The next stream, or `None` once every connector is gone.
    pub async fn accept(&mut self) -> Option<FrameStream> {
        self.streams.recv().await
    }

    /// Who the client is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }
}
