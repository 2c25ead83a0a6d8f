//! A node: a store with its threads, the listener, a task for each session, and the uplink.

mod counters;
mod listener;
mod open;
mod options;
mod status;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use takt_client::Client;
use takt_client::tls::{Identity, TrustDomain};
use takt_client::transport::{FrameStream, PipeConnector, pipe};
use takt_protocol::codes::ErrorCode;
use takt_protocol::words::NodeName;
use takt_storage::disk::DiskCounters;
use takt_storage::store::{Answer, OpenReport, Operation};
use takt_storage::view::View;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use crate::access::Place;
use crate::logic::TicketError;
use crate::serve::serve;
use crate::writer::{Ticket, Writer, WriterEnd, WriterThreads};

pub(crate) use counters::NodeCounters;
pub use open::NodeOpenError;
pub use options::{NetworkOptions, NodeOptions, OptionsError, UpstreamOptions};
pub use status::{LinkReport, LinkState};

/// A broker in this process.
///
/// The same producers and consumers work over [`Node::client`] as over a connection.
/// [`Node::close`] ends it and waits until its directory is free. Dropping a node ends it too, in
/// the background: its directory stays locked until that is done.
pub struct Node {
    inner: Arc<Inner>,
    connector: PipeConnector,
    address: Option<SocketAddr>,
    endpoint: Option<quinn::Endpoint>,
    report: OpenReport,
    threads: Option<WriterThreads>,
    tasks: Vec<JoinHandle<()>>,
    stop: watch::Sender<bool>,
}

/// What all sessions of a node share.
pub(crate) struct Inner {
    pub name: NodeName,
    pub place: Place,
    pub view: View,
    pub writer: Writer,
    pub counters: NodeCounters,
    /// The byte budget that all sessions share, in units of 1 KiB.
    pub budget: Arc<Semaphore>,
    pub session_bytes_max: usize,
    pub connections_max: usize,
    pub disk: Arc<DiskCounters>,
    pub disk_free: Box<dyn Fn() -> u64 + Send + Sync>,
    /// All files of the data directory, spares and reserve included.
    pub disk_used: Box<dyn Fn() -> u64 + Send + Sync>,
    pub started: Instant,
    pub links: Mutex<HashMap<String, LinkReport>>,
    /// The live link of each origin: a newer one ends it.
    pub mirrors: Mutex<HashMap<NodeName, watch::Sender<bool>>>,
    pub stopping: watch::Receiver<bool>,
}

impl Inner {
    /// Asks the writer and waits for the answer.
    pub async fn ask(&self, operation: Operation) -> Result<Answer, TicketError> {
        let (ticket, answer) = Ticket::once();
        self.writer.submit(operation, ticket);
        answer.await.map_err(|_| TicketError::Stopped)
    }

    /// A peer broke the protocol, or its connection.
    pub fn refused_stream(&self, peer: &Identity, reason: &str) {
        self.counters.protocol_error();
        tracing::warn!(%peer, reason, "stream ended");
    }

    /// Says how a link stands.
    pub fn report_link(&self, peer: &str, change: impl FnOnce(&mut LinkReport)) {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        change(links.entry(peer.to_owned()).or_default());
    }
}

impl Node {
    /// A client in this process.
    pub fn client(&self) -> Client {
        Client::over(self.connector.clone())
    }

    /// Where the node listens; `None` without a network.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// What the start found and did.
    pub fn report(&self) -> &OpenReport {
        &self.report
    }

    /// What is durable, for reading.
    pub fn view(&self) -> &View {
        &self.inner.view
    }

    /// Counts at the disk seam since the start.
    pub fn disk_counters(&self) -> &DiskCounters {
        &self.inner.disk
    }

    /// Waits until the journal has failed, and says why. The node then acknowledges nothing more.
    pub async fn failed(&self) -> String {
        let mut end = self.inner.writer.end();
        let has_failed = |end: &Option<WriterEnd>| matches!(end, Some(WriterEnd::Failed { .. }));
        match end.wait_for(has_failed).await.as_deref() {
            Ok(Some(WriterEnd::Failed { reason })) => reason.clone(),
            Ok(_) | Err(_) => "the writer thread has ended".to_owned(),
        }
    }

    /// Tells who is connected that the node ends, so that they need not find out. Whoever waits for
    /// [`Node::failed`] does this after it; [`Node::close`] does it too.
    pub async fn hang_up(&self) {
        let Some(endpoint) = &self.endpoint else { return };
        endpoint.close(ErrorCode::Stopping.number().into(), b"");
        // A peer that is gone answers nothing.
        let _ = tokio::time::timeout(HANG_UP_DEADLINE, endpoint.wait_idle()).await;
    }

    /// Ends the node cleanly: sessions are closed, what was accepted becomes durable, and the
    /// journal gets its last mark.
    ///
    /// # Errors
    /// Why the journal could not be ended cleanly. Nothing acknowledged is lost by that.
    pub async fn close(mut self) -> Result<(), String> {
        self.stop_all();
        let mut end = self.inner.writer.end();
        let end = match end.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(WriterEnd::Stopped)) => Ok(()),
            Ok(Some(WriterEnd::Failed { reason })) => Err(reason.clone()),
            Ok(None) | Err(_) => Err("the writer thread has ended".to_owned()),
        };
        if let Some(threads) = self.threads.take() {
            // They have nothing left to do; this waits for the moment that their end takes.
            let _ = tokio::task::spawn_blocking(move || threads.join()).await;
        }
        self.hang_up().await;
        end
    }
}

impl Node {
    /// Ends all sessions and tells the writer to end.
    fn stop_all(&self) {
        self.stop.send_replace(true);
        for task in &self.tasks {
            task.abort();
        }
        self.inner.writer.stop();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop_all();
    }
}

/// Serves the streams that this process opens. It may do what an operator may.
fn serve_pipe(inner: &Arc<Inner>) -> (PipeConnector, JoinHandle<()>) {
    let domain = TrustDomain::new("embedded").expect("a domain");
    let identity = Identity::operator(&domain, "embedded").expect("a name");
    let (connector, mut listener) = pipe(identity.clone());
    let inner = Arc::clone(inner);
    let task = tokio::spawn(async move {
        while let Some(stream) = listener.accept().await {
            tokio::spawn(serve_until_stop(Arc::clone(&inner), identity.clone(), stream));
        }
    });
    (connector, task)
}

/// Serves one stream; a stopping node drops it.
async fn serve_until_stop(inner: Arc<Inner>, peer: Identity, stream: FrameStream) {
    let mut stopping = inner.stopping.clone();
    tokio::select! {
        () = serve(inner, peer, stream) => {}
        _ = stopping.wait_for(|stop| *stop) => {}
    }
}

/// How long a peer has for its handshake.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);
/// How long an ending node waits for its peers to have heard of it.
const HANG_UP_DEADLINE: Duration = Duration::from_secs(1);
