//! takt-storage
pub mod disk;
pub mod journal;
