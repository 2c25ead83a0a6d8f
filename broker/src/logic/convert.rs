//! Between the words of the wire and those of the store.

use takt_protocol::codes::ErrorCode;
use takt_protocol::session::Refusal;
use takt_protocol::wire::proto;
use takt_storage::entry::{OnConflict, TopicSettings};

/// Settings as they go over the wire.
pub(crate) fn settings_to_wire(settings: &TopicSettings) -> proto::TopicSettings {
    let on_conflict = match settings.on_conflict {
        OnConflict::Quarantine => proto::OnConflict::Quarantine,
        OnConflict::Refuse => proto::OnConflict::Refuse,
    };
    proto::TopicSettings {
        partitions: u32::from(settings.partitions),
        dedup: settings.dedup,
        horizon_s: settings.horizon_s,
        on_conflict: on_conflict.into(),
        retention_ms: settings.retention_ms,
        retention_bytes: settings.retention_bytes,
        lane: u32::from(settings.lane),
        compact: settings.compact,
    }
}

/// Settings as a peer sent them.
pub(crate) fn settings_from_wire(wire: &proto::TopicSettings) -> Result<TopicSettings, Refusal> {
    let bad = |what: &str| Refusal::new(ErrorCode::BadRequest, what);
    let on_conflict = match wire.on_conflict() {
        proto::OnConflict::Unspecified | proto::OnConflict::Quarantine => OnConflict::Quarantine,
        proto::OnConflict::Refuse => OnConflict::Refuse,
        proto::OnConflict::Revise => {
            return Err(bad("on_conflict = revise is not supported by this version"));
        }
    };
    let settings = TopicSettings {
        partitions: u16::try_from(wire.partitions).map_err(|_| bad("partitions: 1 to 1024"))?,
        dedup: wire.dedup,
        compact: wire.compact,
        horizon_s: wire.horizon_s,
        on_conflict,
        retention_ms: wire.retention_ms,
        retention_bytes: wire.retention_bytes,
        lane: u8::try_from(wire.lane).map_err(|_| bad("lane: 0 to 255"))?,
    };
    if settings.is_valid() { Ok(settings) } else { Err(bad("partitions: 1 to 1024")) }
}
