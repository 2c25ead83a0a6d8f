//! How a node stands, as an operator asks for it.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use takt_protocol::wire::proto;
use takt_protocol::words::{BatchNumber, Timestamp};
use takt_storage::runs::Slot;

use super::{Inner, UpstreamOptions};
use crate::access::Place;

/// How a link stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LinkState {
    /// It is being dialled.
    #[default]
    Connecting,
    /// Batches flow.
    Up,
    /// It is gone; at a plant it will be dialled again.
    Down,
    /// Origin and mirror do not hold the same batches: it stays stopped until an operator acts.
    Diverged,
}

impl LinkState {
    /// As it is shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Up => "up",
            Self::Down => "down",
            Self::Diverged => "diverged",
        }
    }
}

/// What is known of a link.
#[derive(Debug, Clone, Default)]
pub struct LinkReport {
    /// How it stands.
    pub state: LinkState,
    /// Why, where that is to be said.
    pub detail: String,
    /// At a plant: what goes up this link.
    pub upstream: Option<UpstreamOptions>,
    /// At a plant: how far the hub is known to have each partition, by slot.
    pub acked: BTreeMap<Slot, BatchNumber>,
    /// When the upstream last acknowledged something.
    pub last_ack: Option<Timestamp>,
}

impl Inner {
    /// Records and batches that are durable here and not known to be at the hub.
    fn backlog(&self, link: &LinkReport) -> (u64, u64) {
        let Some(upstream) = &link.upstream else { return (0, 0) };
        let (mut records, mut batches) = (0, 0);
        for partition in self.view.all_partitions() {
            if partition.id.origin != self.name || !upstream.mirrors(&partition.id.topic) {
                continue;
            }
            let acked = link.acked.get(&partition.slot).copied();
            let acked = acked.unwrap_or(partition.start_batch).max(partition.start_batch);
            if acked >= partition.end_batch {
                continue;
            }
            batches += partition.end_batch.get() - acked.get();
            let from = match self.view.read_from_batch(partition.slot, acked, 1) {
                Ok(read) => read.first().map_or(partition.end, |batch| batch.header().base_offset),
                Err(_) => partition.start,
            };
            records += partition.end.get().saturating_sub(from.get());
        }
        (records, batches)
    }

    /// The node's status as it goes over the wire.
    pub fn status(&self) -> proto::Status {
        let store = self.view.status();
        let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let mut links: Vec<_> = links
            .iter()
            .map(|(peer, link)| {
                let (backlog_records, backlog_batches) = self.backlog(link);
                proto::LinkStatus {
                    peer: peer.clone(),
                    state: link.state.as_str().to_owned(),
                    detail: link.detail.clone(),
                    backlog_records,
                    backlog_batches,
                    last_ack_us: link.last_ack.map_or(0, Timestamp::as_micros),
                }
            })
            .collect();
        links.sort_by(|a, b| a.peer.cmp(&b.peer));
        let counts = store.counters;
        let mut counters = BTreeMap::from(
            [
                ("commits", counts.commits),
                ("batches", counts.batches),
                ("records", counts.records),
                ("visible", counts.visible),
                ("duplicates", counts.duplicates),
                ("conflicts", counts.conflicts),
                ("no_identity", counts.no_identity),
                ("refused", counts.refused),
                ("mirrored", counts.mirrored),
                ("conflicts_open", store.conflicts as u64),
                ("conflicts_kept_bytes", store.conflicts_kept_bytes),
                ("retention_blocked", counts.retention_blocked),
                ("producers", store.producers as u64),
                ("orders", store.orders as u64),
                ("unreadable", counts.unreadable),
                ("damaged_reads", self.view.damaged_reads()),
                ("keys_memory_bytes", store.keys_memory_bytes as u64),
                ("keys_disk_bytes", store.keys_disk_bytes),
                ("key_runs", store.runs as u64),
                ("journal_files", store.journal_files as u64),
                ("journal_bytes", store.journal_bytes),
                ("packs", store.packs as u64),
                ("packs_bytes", store.packs_bytes),
                ("syncs", self.disk.syncs()),
                ("disk_bytes_written", self.disk.bytes_written()),
            ]
            .map(|(name, count)| (name.to_owned(), count)),
        );
        self.counters.fill(&mut counters);
        proto::Status {
            node: self.name.to_string(),
            role: match self.place {
                Place::Plant(_) => "plant".to_owned(),
                Place::Hub => "hub".to_owned(),
            },
            journal_id: self.view.journal().as_bytes().to_vec().into(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            position_start: store.journal_start.get(),
            position_durable: store.journal_durable.get(),
            position_end: store.journal_durable.get(),
            disk_bytes: (self.disk_used)(),
            disk_free_bytes: (self.disk_free)(),
            keys: store.keys as u64,
            keys_max: store.keys_max as u64,
            full: store.full,
            links,
            counters: counters.into_iter().collect(),
        }
    }
}
