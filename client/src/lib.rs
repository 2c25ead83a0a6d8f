//! Talking to a Takt node: publishing, consuming, administering.
//!
//! A [`Client`] is the way to one node, over QUIC or, to a node within the same process, over a pipe;
//! both have the same API. Its [`Producer`]s, [`Consumer`]s and [`Admin`] share one connection, and
//! further ones where the node admits no more streams on it. What is lost is dialled again; their sessions
//! go on where they stood.
//!
//! An adapter, connected to its plant's node:
//!
//! ```no_run
//! use takt_client::{Client, ClientOptions, Event, OrderKey, Start};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::connect(ClientOptions::from_file("plant-munich/client.toml")?).await?;
//! let producer = client.producer("production").name("mes-adapter").build()?;
//! let receipt = producer
//!     .send(Event {
//!         id: "4711-0010-1".into(),
//!         source: "//acme/munich/mes".into(),
//!         kind: "mfg.operation.confirmed.v1".into(),
//!         order_key: Some(OrderKey::new("4711")?),
//!         data: br#"{"yieldQty": 40, "scrapQty": 2}"#[..].into(),
//!         ..Event::default()
//!     })
//!     .await? // there is room in the window
//!     .await?; // it is on the node's disk
//! println!("{receipt:?}");
//!
//! let mut consumer = client.consumer("production").cursor("erp").build()?;
//! while let Some(delivered) = consumer.next().await {
//!     println!("{:?}", delivered?.event);
//!     consumer.commit().await?; // all that was handed out has been handled
//! }
//! # Ok(()) }
//! ```

pub mod admin;
pub mod connection;
pub mod consumer;
pub mod json;
pub mod producer;
pub mod tls;
pub mod transport;

#[cfg(test)]
mod testing;

pub use admin::{Admin, AdminError};
pub use connection::{Client, ClientOptions, ConnectError, Connector};
pub use consumer::{CommitError, ConsumeError, Consumer, Delivered, DeliveredBatch, Start};
pub use producer::{
    BatchReceiptFuture, EventBatch, Producer, PublishError, Receipt, ReceiptFuture, SendError,
};
pub use takt_protocol::batch::{Compression, Place};
pub use takt_protocol::codes::ErrorCode;
pub use takt_protocol::event::{Attribute, DedupKeys, Event, EventError, EventRef, Value};
pub use takt_protocol::words::{
    CursorName, NodeName, Offset, OrderKey, OrderSequence, PartitionId, PartitionNumber, Timestamp,
    TopicName,
};
