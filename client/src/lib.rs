//! takt-client

pub mod json;
pub mod tls;
