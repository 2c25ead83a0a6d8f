//! Where the thread of a store meets its readers: the standard library, or its model in `loom`,
//! which tries the orders in which threads can run. `models` has the models; `.ci/loom` runs them.
//!
//! The disks and the index of listings keep the standard library's locks: nothing of what readers
//! are promised hangs on their order.

#[cfg(takt_loom)]
pub(crate) use loom::sync::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic};
#[cfg(not(takt_loom))]
pub(crate) use std::sync::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic};
