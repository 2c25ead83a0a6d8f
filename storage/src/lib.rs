//! takt-storage
