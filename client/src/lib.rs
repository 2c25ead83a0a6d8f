//! takt-client
