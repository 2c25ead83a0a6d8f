//! The way to the node that a command talks to.

use std::ffi::OsStr;
use std::io::{self, IsTerminal};
use std::path::PathBuf;

use takt_client::{AdminError, Client, ClientOptions};
use takt_protocol::codes::ErrorCode;
use takt_protocol::words::Timestamp;
use tracing_subscriber::EnvFilter;

use super::outcome::Failure;
use crate::config::{CONTEXT_VARIABLE, ConfigError, ContextSettings};

/// Connects as the context says.
pub(super) async fn connect(context: Option<PathBuf>) -> Result<Client, Failure> {
    let path = ContextSettings::path(context);
    let settings = ContextSettings::load(&path).map_err(|error| {
        let missing = matches!(
            &error,
            ConfigError::Read { source, .. } if source.kind() == io::ErrorKind::NotFound
        );
        let failure = Failure::from(error);
        if missing {
            failure.hint(&format!("or name it with --context or {CONTEXT_VARIABLE}"))
        } else {
            failure
        }
    })?;
    let credentials = settings.security.load()?;
    let options = ClientOptions {
        trust_domain: settings.trust_domain,
        ..ClientOptions::new(settings.address, settings.server, credentials)
    };
    Ok(Client::connect(options).await?)
}

/// Shows what sessions have to say on the way, such as that the node is away for a while.
pub(super) fn log_to_stderr() {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new("warn"))
        .with_writer(io::stderr)
        .with_ansi(has_colour())
        .compact()
        .init();
}

/// Whether standard error is a terminal, and colours are not unwanted.
pub(super) fn has_colour() -> bool {
    let unwanted = std::env::var_os("NO_COLOR");
    io::stderr().is_terminal() && unwanted.as_deref().is_none_or(OsStr::is_empty)
}

/// What a node said to an operator's question, with what to do about it.
pub(super) fn refused(error: AdminError) -> Failure {
    let forbidden = matches!(&error, AdminError::Refused { code: ErrorCode::Forbidden, .. });
    let failure = Failure::from(error);
    if forbidden {
        failure.hint("take the context of an operator at this node: --context .../operator.toml")
    } else {
        failure
    }
}

/// A time as in RFC 3339; as microseconds since 1970 where that has no such year.
pub(super) fn rfc3339(time: Timestamp) -> String {
    let micros = time.as_micros();
    jiff::Timestamp::from_microsecond(micros)
        .map_or_else(|_| format!("{micros} us"), |time| time.to_string())
}
