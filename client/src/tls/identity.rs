//! Names of nodes and people, as certificates carry them.
//!
//! ```text
//! spiffe://<trust domain>/plant/<plant>/node/<node>
//! spiffe://<trust domain>/plant/<plant>/client/<name>
//! spiffe://<trust domain>/hub/node/<name>
//! spiffe://<trust domain>/hub/client/<name>
//! spiffe://<trust domain>/operator/<name>
//! ```
//!
//! The form follows SPIFFE-ID 1.0, with a narrower set of characters, so that a name is also safe
//! in a path, a log line and a producer's id.

use std::fmt;
use std::str::FromStr;

/// The longest segment of a name, and the longest trust domain, in bytes (inclusive). The longest
/// identity stays below 255 bytes.
const SEGMENT_BYTES_MAX: usize = 63;

/// Why a name was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The URI does not begin with `spiffe://`.
    #[error("\"{uri}\" is not a spiffe:// URI")]
    NotSpiffe {
        /// What was given, with control characters escaped.
        uri: String,
    },
    /// The URI belongs to another trust domain.
    #[error("trust domain \"{found}\" is not \"{expected}\"")]
    OtherTrustDomain {
        /// The one that this side belongs to.
        expected: TrustDomain,
        /// The one in the URI, with control characters escaped.
        found: String,
    },
    /// The path is none of the five known ones.
    #[error("\"{path}\" names no plant node, plant client, hub node, hub client or operator")]
    UnknownKind {
        /// The path, with control characters escaped.
        path: String,
    },
    /// A segment or a trust domain has a character, a length or a form that is not allowed.
    #[error(
        "\"{segment}\" is not a name: 1 to 63 of a-z, 0-9, '.', '_', '-', \
         beginning with a letter or digit, without \"..\""
    )]
    BadSegment {
        /// The segment, with control characters escaped.
        segment: String,
    },
    /// A server was to be `hub` or `plant/<name>` and is neither.
    #[error("\"{text}\" names no server; write \"hub\" or \"plant/<name>\"")]
    NotAServer {
        /// What was given, with control characters escaped.
        text: String,
    },
}

fn shown(text: &str) -> String {
    text.chars().take(300).collect::<String>().escape_default().to_string()
}

/// Checks one segment: `[a-z0-9][a-z0-9._-]{0,62}`, without two dots in a row.
fn segment(text: &str) -> Result<String, NameError> {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let allowed = |byte: u8| inner(byte) || matches!(byte, b'.' | b'_' | b'-');
    let fits = text.len() <= SEGMENT_BYTES_MAX
        && text.bytes().next().is_some_and(inner)
        && text.bytes().all(allowed)
        && !text.contains("..");
    if fits { Ok(text.to_owned()) } else { Err(NameError::BadSegment { segment: shown(text) }) }
}

/// The domain within which identities mean something. Certificates of another one are refused even
/// if the same authority signed them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrustDomain(String);

impl TrustDomain {
    /// Checks a trust domain: 1 to 63 of `a-z`, `0-9`, `.`, `_`, `-`.
    ///
    /// # Errors
    /// [`NameError::BadSegment`] for anything else.
    pub fn new(name: &str) -> Result<Self, NameError> {
        segment(name).map(Self)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for TrustDomain {
    fn default() -> Self {
        Self("takt.local".to_owned())
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TrustDomain {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

/// Who a certificate speaks for, within its [`TrustDomain`]. It can only be made from checked
/// names. `Display` is the URI.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    trust_domain: TrustDomain,
    kind: IdentityKind,
}

/// The kind of an [`Identity`] and its names, for matching.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IdentityKind {
    /// The broker of a plant.
    PlantNode {
        /// The plant.
        plant: String,
        /// The node in it.
        node: String,
    },
    /// A producer or consumer at a plant.
    PlantClient {
        /// The plant.
        plant: String,
        /// The client's name.
        name: String,
    },
    /// The hub's broker.
    HubNode {
        /// The node's name.
        name: String,
    },
    /// A producer or consumer at the hub.
    HubClient {
        /// The client's name.
        name: String,
    },
    /// A person or a tool that administers nodes, at the hub and at plants.
    Operator {
        /// The operator's name.
        name: String,
    },
}

impl Identity {
    /// Reads the URI of a certificate.
    ///
    /// # Errors
    /// [`NameError`] if it is not one of the five forms in the given trust domain, byte for byte:
    /// nothing is decoded, lowercased or trimmed.
    pub fn parse(uri: &str, trust_domain: &TrustDomain) -> Result<Self, NameError> {
        let rest = uri
            .strip_prefix("spiffe://")
            .ok_or_else(|| NameError::NotSpiffe { uri: shown(uri) })?;
        let (domain, path) = rest.split_once('/').unwrap_or((rest, ""));
        if domain != trust_domain.as_str() {
            return Err(NameError::OtherTrustDomain {
                expected: trust_domain.clone(),
                found: shown(domain),
            });
        }
        let segments: Vec<&str> = path.split('/').take(5).collect();
        let kind = match segments.as_slice() {
            ["plant", plant, "node", node] => {
                IdentityKind::PlantNode { plant: segment(plant)?, node: segment(node)? }
            }
            ["plant", plant, "client", name] => {
                IdentityKind::PlantClient { plant: segment(plant)?, name: segment(name)? }
            }
            ["hub", "node", name] => IdentityKind::HubNode { name: segment(name)? },
            ["hub", "client", name] => IdentityKind::HubClient { name: segment(name)? },
            ["operator", name] => IdentityKind::Operator { name: segment(name)? },
            _ => return Err(NameError::UnknownKind { path: shown(path) }),
        };
        Ok(Self { trust_domain: trust_domain.clone(), kind })
    }

    /// The node `node` of the plant `plant`.
    ///
    /// # Errors
    /// [`NameError::BadSegment`], here and in the other constructors.
    pub fn plant_node(domain: &TrustDomain, plant: &str, node: &str) -> Result<Self, NameError> {
        let kind = IdentityKind::PlantNode { plant: segment(plant)?, node: segment(node)? };
        Ok(Self { trust_domain: domain.clone(), kind })
    }

    /// The client `name` at the plant `plant`.
    ///
    /// # Errors
    /// As [`Identity::plant_node`].
    pub fn plant_client(domain: &TrustDomain, plant: &str, name: &str) -> Result<Self, NameError> {
        let kind = IdentityKind::PlantClient { plant: segment(plant)?, name: segment(name)? };
        Ok(Self { trust_domain: domain.clone(), kind })
    }

    /// The hub's node `name`.
    ///
    /// # Errors
    /// As [`Identity::plant_node`].
    pub fn hub_node(domain: &TrustDomain, name: &str) -> Result<Self, NameError> {
        Ok(Self {
            trust_domain: domain.clone(),
            kind: IdentityKind::HubNode { name: segment(name)? },
        })
    }

    /// The client `name` at the hub.
    ///
    /// # Errors
    /// As [`Identity::plant_node`].
    pub fn hub_client(domain: &TrustDomain, name: &str) -> Result<Self, NameError> {
        Ok(Self {
            trust_domain: domain.clone(),
            kind: IdentityKind::HubClient { name: segment(name)? },
        })
    }

    /// The operator `name`.
    ///
    /// # Errors
    /// As [`Identity::plant_node`].
    pub fn operator(domain: &TrustDomain, name: &str) -> Result<Self, NameError> {
        Ok(Self {
            trust_domain: domain.clone(),
            kind: IdentityKind::Operator { name: segment(name)? },
        })
    }

    /// What kind of peer this is, with its names.
    pub fn kind(&self) -> &IdentityKind {
        &self.kind
    }

    /// The plant that this identity belongs to, if it belongs to one.
    pub fn plant(&self) -> Option<&str> {
        match &self.kind {
            IdentityKind::PlantNode { plant, .. } | IdentityKind::PlantClient { plant, .. } => {
                Some(plant)
            }
            IdentityKind::HubNode { .. }
            | IdentityKind::HubClient { .. }
            | IdentityKind::Operator { .. } => None,
        }
    }

    /// Whether this is a broker, of a plant or of the hub.
    pub fn is_node(&self) -> bool {
        matches!(self.kind, IdentityKind::PlantNode { .. } | IdentityKind::HubNode { .. })
    }

    /// The trust domain.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}/", self.trust_domain)?;
        match &self.kind {
            IdentityKind::PlantNode { plant, node } => write!(f, "plant/{plant}/node/{node}"),
            IdentityKind::PlantClient { plant, name } => write!(f, "plant/{plant}/client/{name}"),
            IdentityKind::HubNode { name } => write!(f, "hub/node/{name}"),
            IdentityKind::HubClient { name } => write!(f, "hub/client/{name}"),
            IdentityKind::Operator { name } => write!(f, "operator/{name}"),
        }
    }
}

/// Which server a dialing side expects. `Display` and `FromStr` use `hub` and `plant/<name>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerIs {
    /// A node of the hub.
    Hub,
    /// A node of the plant of this name.
    Plant(String),
}

impl ServerIs {
    /// Whether `identity` is a server of this kind.
    pub fn admits(&self, identity: &Identity) -> bool {
        match (self, &identity.kind) {
            (Self::Hub, IdentityKind::HubNode { .. }) => true,
            (Self::Plant(expected), IdentityKind::PlantNode { plant, .. }) => expected == plant,
            (Self::Hub | Self::Plant(_), _) => false,
        }
    }
}

impl fmt::Display for ServerIs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub => f.write_str("hub"),
            Self::Plant(plant) => write!(f, "plant/{plant}"),
        }
    }
}

impl FromStr for ServerIs {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text == "hub" {
            return Ok(Self::Hub);
        }
        match text.strip_prefix("plant/") {
            Some(plant) => segment(plant).map(Self::Plant),
            None => Err(NameError::NotAServer { text: shown(text) }),
        }
    }
}
