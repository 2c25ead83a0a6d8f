//! What a node is told: a TOML file, with the environment over it and defaults beneath it.
//!
//! A file is read into a form that mirrors it, judged as a whole once, and from then on is
//! [`Settings`]: typed, checked and complete. Nothing behind this module looks at text again.
//!
//! - `TAKT_<SECTION>__<KEY>` in the environment goes over the file: `TAKT_JOURNAL__FILE_SIZE=1GiB`.
//!   Lists of tables (`[[topics]]`) are in the file only.
//! - Paths are relative to the file's directory.
//! - An unknown key is an error, in the file and in the environment: a setting that is spelled wrong
//!   must not be one that is silently not there.

mod context;
mod error;
mod file;
mod judge;
mod load;
mod settings;
mod units;

#[cfg(test)]
mod tests;

pub use context::{CONTEXT_DEFAULT, CONTEXT_VARIABLE, ContextSettings};
pub use error::ConfigError;
pub(crate) use judge::{BACKOFF_MAX, OPEN_DEADLINE};
pub(crate) use settings::pack_compression_name;
pub use settings::{
    CheckAtStart, JournalSettings, LedgerSettings, LimitSettings, LogFormat, LogLevel, LogSettings,
    NodeSettings, OnConflict, Role, SecurityPaths, Settings, TopicSettings, UpstreamSettings,
    UpstreamTopics,
};
pub use units::{Period, PeriodError, Size, SizeError};
