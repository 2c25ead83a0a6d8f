//! Who may do what at a node: deny by default, decided by the certificate's kind and the node's
//! own place.

use takt_client::tls::{Identity, IdentityKind};
use takt_protocol::codes::ErrorCode;
use takt_protocol::session::Refusal;

/// What a session wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Publish events.
    Produce,
    /// Read events; keep cursors.
    Consume,
    /// Create topics, set cursors of others.
    Administer,
    /// Mirror the partitions of the plant that the certificate names.
    Replicate,
}

/// Where the node stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// At the plant of this name.
    Plant(String),
    /// At the hub.
    Hub,
}

/// Whether `identity` may do `action` at a node that stands at `place`.
///
/// Operators may do all but replicate. A plant's client may produce and consume at its own plant,
/// a hub's client at the hub. A plant's node may replicate to the hub, and nothing else.
pub fn is_allowed(identity: &Identity, action: Action, place: &Place) -> bool {
    match identity.kind() {
        IdentityKind::Operator { .. } => action != Action::Replicate,
        IdentityKind::PlantClient { plant, .. } => {
            matches!(place, Place::Plant(own) if own == plant) && is_for_clients(action)
        }
        IdentityKind::HubClient { .. } => *place == Place::Hub && is_for_clients(action),
        IdentityKind::PlantNode { .. } => *place == Place::Hub && action == Action::Replicate,
        IdentityKind::HubNode { .. } => false,
    }
}

/// [`is_allowed`], or what to answer.
///
/// # Errors
/// The refusal for one who has no right to it.
pub fn allow(identity: &Identity, action: Action, place: &Place) -> Result<(), Refusal> {
    if is_allowed(identity, action, place) {
        return Ok(());
    }
    Err(Refusal::new(ErrorCode::Forbidden, format!("{identity} may not do this")))
}

fn is_for_clients(action: Action) -> bool {
    matches!(action, Action::Produce | Action::Consume)
}

#[cfg(test)]
mod tests {
    use super::*;
    use takt_client::tls::TrustDomain;

    /// The rule once more, as a table: identity by place by action.
    #[test]
    fn the_whole_matrix() {
        let domain = TrustDomain::new("takt.local").unwrap();
        let identities = [
            (Identity::operator(&domain, "a"), ["pca", "pca", "pca"]),
            (Identity::plant_client(&domain, "munich", "a"), ["pc", "", ""]),
            (Identity::plant_client(&domain, "lyon", "a"), ["", "pc", ""]),
            (Identity::hub_client(&domain, "a"), ["", "", "pc"]),
            (Identity::plant_node(&domain, "munich", "a"), ["", "", "r"]),
            (Identity::hub_node(&domain, "a"), ["", "", ""]),
        ];
        let places = [Place::Plant("munich".into()), Place::Plant("lyon".into()), Place::Hub];
        let actions = [
            ('p', Action::Produce),
            ('c', Action::Consume),
            ('a', Action::Administer),
            ('r', Action::Replicate),
        ];
        for (identity, allowed) in &identities {
            let identity = identity.as_ref().unwrap();
            for (place, allowed) in places.iter().zip(allowed) {
                for (letter, action) in actions {
                    assert_eq!(
                        is_allowed(identity, action, place),
                        allowed.contains(letter),
                        "{identity} {action:?} {place:?}"
                    );
                }
            }
        }
    }
}
