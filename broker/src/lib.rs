//! takt-broker
