//! Keeps a plant's link to its hub: dials, drives an [`UplinkSession`] until it ends, and dials
//! again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use takt_client::tls::{self, Credentials, Refusals, Transport, TrustDomain};
use takt_client::transport::{FrameStream, SendHalf, TransportError};
use takt_protocol::codes::ErrorCode;

use crate::clock::wall_now;
use crate::logic::uplink::{End, UplinkEvent};
use crate::logic::{Backoff, UplinkSession};
use crate::node::{Inner, LinkState, UpstreamOptions};
use crate::serve::{Stream, now, run_read};

/// How long a dial may take.
const DIAL_DEADLINE: Duration = Duration::from_secs(5);

/// The name of the upstream in the status.
const PEER: &str = "hub";

/// What one attempt leaves for the next.
struct Attempts {
    backoff: Backoff,
    /// What the log has said of a partition that cannot be read.
    unread: Option<String>,
}

/// Keeps the link for as long as the node runs.
pub(crate) async fn run(
    node: Arc<Inner>,
    upstream: UpstreamOptions,
    credentials: Credentials,
    domain: TrustDomain,
) {
    let mut attempts = Attempts { backoff: Backoff::new(upstream.backoff_max), unread: None };
    node.report_link(PEER, |link| link.upstream = Some(upstream.clone()));
    loop {
        let end = link(&node, &upstream, &credentials, &domain, &mut attempts).await;
        // Until the hub says again what it holds, nothing that is mirrored may be dropped.
        node.writer.hold_for_uplink(None);
        match &end {
            End::TopicsChanged => continue,
            End::Lost(reason) | End::Unread(reason) => {
                tracing::info!(reason, "the link to the hub is down");
                set_state(&node, LinkState::Down, reason);
            }
            End::Replaced(reason) => {
                tracing::warn!(reason, "another link of this node is open: is there a copy of it?");
                set_state(&node, LinkState::Down, reason);
            }
            End::Diverged(reason) => {
                tracing::error!(reason, "the link to the hub has diverged; nothing is mirrored");
                set_state(&node, LinkState::Diverged, reason);
            }
        }
        tokio::time::sleep(attempts.backoff.pause(&end, random_fraction())).await;
    }
}

fn set_state(node: &Inner, state: LinkState, detail: &str) {
    node.report_link(PEER, |link| {
        link.state = state;
        detail.clone_into(&mut link.detail);
    });
}

/// From 0 to 1; without randomness the pause is the whole one.
fn random_fraction() -> f64 {
    let mut byte = [0];
    getrandom::fill(&mut byte).map_or(1.0, |()| f64::from(byte[0]) / 256.0)
}

async fn link(
    node: &Arc<Inner>,
    upstream: &UpstreamOptions,
    credentials: &Credentials,
    domain: &TrustDomain,
    attempts: &mut Attempts,
) -> End {
    let (endpoint, connection, stream) = match dial(upstream, credentials, domain).await {
        Ok(dialled) => dialled,
        Err(reason) => return End::Lost(reason),
    };
    let session = UplinkSession::new(node.view.clone(), upstream.topics.clone());
    let end = match drive(node, stream, session, attempts).await {
        Ok(end) => end,
        Err(error) => End::Lost(error.to_string()),
    };
    connection.close(ErrorCode::Stopping.number().into(), b"");
    endpoint.close(ErrorCode::Stopping.number().into(), b"");
    end
}

/// Carries frames, reads and what the hub holds between a session and the world until it ends.
async fn drive(
    node: &Inner,
    stream: FrameStream,
    mut session: UplinkSession,
    attempts: &mut Attempts,
) -> Result<End, TransportError> {
    let FrameStream { send, recv } = stream;
    let mut stream = Stream { send, recv };
    let mut durable = node.writer.commits();
    // The first partition that cannot be read is in the status.
    let mut shown = false;
    session.on_connected(now());
    loop {
        durable.borrow_and_update();
        session.on_durable();
        while let Some(event) = session.poll_event() {
            note(node, event, &mut attempts.backoff);
        }
        if let Some(reason) = session.unread().filter(|_| !shown) {
            shown = true;
            set_state(node, LinkState::Up, reason);
            if attempts.unread.as_deref() != Some(reason) {
                tracing::error!(reason, "a partition is not mirrored; the others go on");
                attempts.unread = Some(reason.to_owned());
            }
        }
        if let Some(end) = session.ended().cloned() {
            if let (End::Diverged(_), Some(last)) = (&end, session.poll_transmit()) {
                // What was found here is shown there too.
                stream.end([last]).await;
            }
            return Ok(end);
        }
        if !stream.send.has_queued() && !fill(node, &mut stream.send, &mut session).await {
            return Ok(lost("a read was cancelled"));
        }
        if session.ended().is_some() {
            continue;
        }
        let unsent = stream.send.has_queued();
        tokio::select! {
            sent = stream.send.flush(), if unsent => sent?,
            changed = durable.changed(), if !unsent => {
                if changed.is_err() { return Ok(lost("this node is stopping")); }
            }
            received = stream.recv.recv() => match received? {
                Some(frame) => session.handle_frame(now(), frame),
                None => return Ok(lost("the hub has ended the link")),
            },
        }
    }
}

fn lost(reason: &str) -> End {
    End::Lost(reason.to_owned())
}

/// Queues what the session has to send, or what the next read brings. Whether the node still
/// reads.
async fn fill(node: &Inner, send: &mut SendHalf, session: &mut UplinkSession) -> bool {
    loop {
        while let Some(frame) = session.poll_transmit() {
            send.queue(frame);
        }
        if send.has_queued() {
            return true;
        }
        let Some(read) = session.poll_read() else { return true };
        let Some(read) = run_read(&node.view, read).await else { return false };
        session.on_read(read);
    }
}

fn note(node: &Inner, event: UplinkEvent, backoff: &mut Backoff) {
    backoff.on_event(&event);
    let ends = match event {
        UplinkEvent::Up(ends) => {
            tracing::info!(partitions = ends.len(), "the link to the hub is up");
            set_state(node, LinkState::Up, "");
            ends
        }
        UplinkEvent::Acked(ends) => {
            node.report_link(PEER, |link| link.last_ack = Some(wall_now()));
            ends
        }
    };
    node.report_link(PEER, |link| link.acked.clone_from(&ends));
    node.writer.hold_for_uplink(Some(ends));
}

async fn dial(
    upstream: &UpstreamOptions,
    credentials: &Credentials,
    domain: &TrustDomain,
) -> Result<(quinn::Endpoint, quinn::Connection, FrameStream), String> {
    let mut addresses = tokio::net::lookup_host(&upstream.address)
        .await
        .map_err(|e| format!("{} is not found: {e}", upstream.address))?;
    let address: SocketAddr =
        addresses.next().ok_or_else(|| format!("{} has no address", upstream.address))?;
    let refusals = Refusals::default();
    let mut config = tls::client_config_reporting(
        credentials,
        domain,
        upstream.server.clone(),
        Transport::Link,
        refusals.clone(),
    )
    .map_err(|e| e.to_string())?;
    config.transport_config(Transport::Link.towards(address));
    let endpoint = tls::dialer(address).map_err(|e| e.to_string())?;
    let connecting =
        endpoint.connect_with(config, address, tls::SERVER_NAME).map_err(|e| e.to_string())?;
    let connection = match tokio::time::timeout(DIAL_DEADLINE, connecting).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => {
            let why = refusals.take().map_or_else(|| error.to_string(), |r| r.to_string());
            return Err(format!("{address}: {why}"));
        }
        Err(_) => return Err(format!("{address} does not answer")),
    };
    let stream = connection.open_bi().await.map_err(|e| e.to_string())?;
    Ok((endpoint, connection, FrameStream::quic(stream)))
}
