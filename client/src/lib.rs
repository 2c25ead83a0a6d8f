//! takt-client

pub mod tls;
