//! A node of Takt, to embed or to run as the process `takt`.
//!
//! [`Node::open`](node::Node::open) opens a broker in this process;
//! [`Node::client`](node::Node::client) gives the same producers and consumers as a connection to
//! another one.
//!
//! ```no_run
//! use takt_broker::node::{Node, NodeOptions};
//! use takt_client::Event;
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let node = Node::open(NodeOptions::embedded("munich", "data".as_ref())?).await?;
//! # Ok(()) }
//! ```

pub mod access;
pub mod bench;
pub mod cli;
mod clock;
pub mod config;
pub mod demo;
pub mod generator;
pub mod import;
pub mod init;
pub mod logic;
pub mod node;
mod serve;
mod sync;
mod uplink;
mod writer;

/// The examples of the README are compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
