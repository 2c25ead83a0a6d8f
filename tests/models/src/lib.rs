//! Models of what Takt's threads do to each other: `loom` runs each of them in every order that
//! differs by at most so many preemptions. They are tests, and there only under `--cfg takt_loom`:
//! `.ci/loom` builds and runs them.
//!
//! The inbox is the broker's own source, without the broker around it: a package that has tokio and
//! TLS below it would take minutes to build once more. So is the client's, in `tests/room`.
#![cfg(all(test, takt_loom))]
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../../../broker/src/writer/inbox.rs"]
mod inbox;
#[path = "../../../broker/src/sync.rs"]
mod sync;

mod close;
mod commit;
mod publication;
mod queue;
