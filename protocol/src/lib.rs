//! takt-protocol
