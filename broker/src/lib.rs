//! takt-broker

pub mod cli;
pub mod config;
pub mod generator;
pub mod import;
pub mod init;
