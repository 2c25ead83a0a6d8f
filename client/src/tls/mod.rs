//! Who is at the other end of a connection, and what a connection may do: certificates, TLS 1.3 and
//! QUIC settings. The same rules hold for both directions, so they are written once:
//!
//! - a peer is who its certificate says in *exactly one* URI name ([`Identity`]), never in a host
//!   name, an address or a common name;
//! - both sides present a certificate, and both are judged by one function ([`Refusal`] lists what
//!   it may say);
//! - what the judge found stays on this side, in the log and in [`Refusals`]; the peer learns only
//!   one generic alert, the same for every cause.
//!
//! Nothing here needs a process-wide default of the TLS library. Certificates are renewed without a
//! restart by loading [`Credentials`] again and handing a new [`server_config`] to
//! [`quinn::Endpoint::set_server_config`]; a dialing side takes a new [`client_config`] for its next
//! attempt.

mod config;
mod credentials;
mod identity;
mod names;
mod peer;
mod reset;
mod transport;
mod trust;

#[cfg(test)]
mod tests;

pub use config::{ALPN, SERVER_NAME, TlsError, client_config, client_config_reporting};
pub use config::{dialer, listen, listen_again, server_config};
pub use credentials::{Credentials, CredentialsError, PemFile};
pub use identity::{Identity, IdentityKind, NameError, ServerIs, TrustDomain};
pub use peer::{PeerError, peer_identity};
pub use transport::Transport;
pub use trust::{Refusal, Refusals, identity_of};
