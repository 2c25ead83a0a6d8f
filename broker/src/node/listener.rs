//! The door: QUIC connections with a certificate, and what identities may come in.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use takt_client::tls::{Identity, TrustDomain, peer_identity};
use takt_client::transport::FrameStream;
use takt_protocol::codes::ErrorCode;

use super::{HANDSHAKE_DEADLINE, Inner, serve_until_stop};
use crate::access::{Action, is_allowed};

/// More handshakes than this at once, and addresses must prove themselves first.
const UNVALIDATED_MAX: usize = 64;

/// Accepts until the endpoint is closed.
pub(super) async fn listen(inner: Arc<Inner>, endpoint: quinn::Endpoint, domain: TrustDomain) {
    let handshakes = Arc::new(AtomicUsize::new(0));
    let open = Arc::new(AtomicUsize::new(0));
    while let Some(incoming) = endpoint.accept().await {
        let crowded = handshakes.load(Ordering::Relaxed) >= UNVALIDATED_MAX;
        if crowded && !incoming.remote_address_validated() {
            // It fails only for an address that is validated.
            let _ = incoming.retry();
            continue;
        }
        if open.load(Ordering::Relaxed) >= inner.connections_max {
            inner.counters.refused_connection();
            tracing::warn!(from = %incoming.remote_address(), "refused: connections_max is reached");
            incoming.refuse();
            continue;
        }
        let guard = (Count::up(&handshakes), Count::up(&open));
        tokio::spawn(connection(Arc::clone(&inner), incoming, domain.clone(), guard));
    }
}

/// Counts something for as long as it lives.
struct Count(Arc<AtomicUsize>);

impl Count {
    fn up(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn connection(
    inner: Arc<Inner>,
    incoming: quinn::Incoming,
    domain: TrustDomain,
    (handshake, open): (Count, Count),
) {
    let from = incoming.remote_address();
    let refused = |reason: &str| {
        inner.counters.refused_connection();
        tracing::warn!(%from, reason, "connection refused");
    };
    let connecting = match incoming.accept() {
        Ok(connecting) => connecting,
        Err(error) => return refused(&error.to_string()),
    };
    let connection = match tokio::time::timeout(HANDSHAKE_DEADLINE, connecting).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return refused(&error.to_string()),
        Err(_) => return refused("the handshake took too long"),
    };
    drop(handshake);
    let close = |code: ErrorCode| connection.close(code.number().into(), b"");
    let identity = match peer_identity(&connection, &domain) {
        Ok(identity) => identity,
        Err(error) => {
            close(ErrorCode::Forbidden);
            return refused(&error.to_string());
        }
    };
    if !may_enter(&inner, &identity) {
        close(ErrorCode::Forbidden);
        return refused(&format!("{identity} has no business at this node"));
    }
    inner.counters.connected();
    tracing::debug!(%from, %identity, "connected");
    let mut stopping = inner.stopping.clone();
    loop {
        let stream = tokio::select! {
            stream = connection.accept_bi() => stream,
            _ = stopping.wait_for(|stop| *stop) => {
                close(ErrorCode::Stopping);
                break;
            }
        };
        // An error is the end of the connection, for whatever reason: its sessions see it too.
        let Ok(stream) = stream else { break };
        let stream = FrameStream::quic(stream);
        tokio::spawn(serve_until_stop(Arc::clone(&inner), identity.clone(), stream));
    }
    drop(open);
}

/// Whether there is anything at all that the identity may do here.
fn may_enter(inner: &Inner, identity: &Identity) -> bool {
    [Action::Produce, Action::Consume, Action::Administer, Action::Replicate]
        .into_iter()
        .any(|action| is_allowed(identity, action, &inner.place))
}
