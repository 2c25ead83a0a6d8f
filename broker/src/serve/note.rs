//! What sessions have to say, in the node's log, its counts and its table of links.

use std::sync::PoisonError;

use takt_client::tls::Identity;
use takt_protocol::codes::ErrorCode;
use takt_protocol::words::NodeName;
use tokio::sync::watch;

use crate::clock::wall_now;
use crate::logic::SessionEvent;
use crate::node::{Inner, LinkState};

impl Inner {
    /// Takes note of what a peer's session says.
    pub(super) fn note(&self, peer: &Identity, event: SessionEvent) {
        match event {
            SessionEvent::Denied(action) => {
                tracing::warn!(%peer, ?action, "denied");
                self.counters.denied();
            }
            SessionEvent::BadBatch { producer, detail } => {
                tracing::warn!(%producer, error = detail, "a batch was refused");
                self.counters.bad_batch();
            }
            SessionEvent::LinkOpened(origin) => tracing::debug!(%origin, "a link is open"),
            SessionEvent::LinkUp(origin) => {
                tracing::info!(%origin, "a link is up");
                self.report_link(origin.as_str(), |link| {
                    link.state = LinkState::Up;
                    link.detail.clear();
                });
            }
            SessionEvent::LinkAcked(origin) => {
                let now = wall_now();
                self.report_link(origin.as_str(), |link| link.last_ack = Some(now));
            }
            SessionEvent::LinkRefused(refused) => {
                let (code, detail) = (refused.code, refused.detail);
                tracing::warn!(%peer, ?code, detail, "link refused");
                self.report_link(peer.plant().unwrap_or("unknown"), |link| {
                    let diverged = code == ErrorCode::Diverged;
                    link.state = if diverged { LinkState::Diverged } else { LinkState::Down };
                    link.detail = detail;
                });
            }
            // One that has diverged leaves what its end has said.
            SessionEvent::LinkClosed(origin) => self.report_link(origin.as_str(), |link| {
                if link.state == LinkState::Up {
                    link.state = LinkState::Down;
                }
            }),
            SessionEvent::ReadFailed { slot, detail } => {
                tracing::error!(slot = slot.get(), error = detail, "a read failed");
            }
        }
    }

    /// One live link for each origin: this one ends the one before.
    pub(super) fn take_over(&self, origin: &NodeName) -> watch::Receiver<bool> {
        let (sender, receiver) = watch::channel(false);
        let mut mirrors = self.mirrors.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(older) = mirrors.insert(origin.clone(), sender) {
            older.send_replace(true);
        }
        receiver
    }
}
