//! NATS with JetStream: one stream in files, the order as the end of the subject, the id as
//! `Nats-Msg-Id` within the duplicate window of 2 minutes that a stream has by default.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use async_nats::jetstream::context::ContextBuilder;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{Config, StorageType};
use async_nats::jetstream::{self};
use async_nats::{Client, HeaderMap};

use super::{Ack, Contender, ContenderError, Kind, Producer, Programs, STREAM, System};
use crate::event::Event;
use crate::server::{Server, log_in};

/// A server that syncs each message may need long for all that is in flight.
const ACK: Duration = Duration::from_mins(2);
/// The first that has atomic batches.
const BATCHES_SINCE: (u64, u64, u64) = (2, 12, 0);

/// A server of NATS.
#[derive(Debug)]
pub struct Nats {
    server: Server,
    address: String,
    context: jetstream::Context,
}

impl Contender for Nats {
    type Producer = NatsProducer;

    async fn start(kind: Kind, programs: &Programs, dir: &Path) -> Result<Self, ContenderError> {
        let config = dir.join("nats.conf");
        std::fs::write(&config, configuration(kind, dir)).map_err(ContenderError::Config)?;
        let nats = programs.of(System::Nats).unwrap_or(Path::new("nats-server"));
        let mut command = Command::new(nats);
        command.arg("--config").arg(config);
        let (server, address) = Server::start(command, log_in(dir), ready).await?;
        let client = connect(&address).await?;
        if version(&client.server_info().version) < Some(BATCHES_SINCE) {
            let version = client.server_info().version;
            return Err(ContenderError::NoBatches { version });
        }
        let context = ContextBuilder::new().timeout(ACK).build(client);
        let stream = Config {
            name: STREAM.to_owned(),
            subjects: vec![format!("{STREAM}.>")],
            storage: StorageType::File,
            allow_atomic_publish: true,
            ..Config::default()
        };
        context.create_stream(stream).await.map_err(ContenderError::nats)?;
        Ok(Self { server, address, context })
    }

    fn pid(&self) -> u32 {
        self.server.pid()
    }

    async fn producer(&self) -> Result<NatsProducer, ContenderError> {
        let client = connect(&self.address).await?;
        let context = ContextBuilder::new().timeout(ACK).ack_timeout(ACK).build(client.clone());
        Ok(NatsProducer { client, context, batches: 0 })
    }

    async fn stored(&self) -> Result<u64, ContenderError> {
        let stream = self.context.get_stream(STREAM).await.map_err(ContenderError::nats)?;
        let info = stream.get_info().await.map_err(ContenderError::nats)?;
        Ok(info.state.messages)
    }

    async fn stop(self) -> Result<(), ContenderError> {
        Ok(self.server.stop().await?)
    }
}

async fn connect(address: &str) -> Result<Client, ContenderError> {
    async_nats::connect(address).await.map_err(ContenderError::nats)
}

/// All that is not here is as shipped.
fn configuration(kind: Kind, dir: &Path) -> String {
    let sync = if kind == Kind::NatsAlways { "sync_interval: always" } else { "" };
    let store = dir.join("jetstream");
    let store = store.display();
    format!("listen: \"127.0.0.1:-1\"\njetstream {{ store_dir: \"{store}\"\n{sync} }}\n")
}

/// The address of clients, once the server is ready.
fn ready(said: &str) -> Option<String> {
    let address = said.lines().find_map(|line| {
        let (_, address) = line.split_once("Listening for client connections on ")?;
        Some(address.trim().to_owned())
    })?;
    said.contains("Server is ready").then_some(address)
}

fn version(text: &str) -> Option<(u64, u64, u64)> {
    let mut numbers = text.split(['.', '-']).map_while(|part| part.parse().ok());
    Some((numbers.next()?, numbers.next()?, numbers.next()?))
}

/// A producer over a connection of its own.
#[derive(Debug)]
pub struct NatsProducer {
    client: Client,
    context: jetstream::Context,
    batches: u64,
}

impl NatsProducer {
    /// Publishes with an acknowledgement that says how many events it stands for.
    async fn acknowledged(
        &self,
        subject: String,
        message: PublishMessage,
        events: usize,
    ) -> Result<Ack, ContenderError> {
        let ack =
            self.context.send_publish(subject, message).await.map_err(ContenderError::nats)?;
        Ok(Box::pin(async move {
            let ack = ack.await.map_err(ContenderError::nats)?;
            let counted = ack.batch_size.is_none_or(|size| size == events as u64);
            if ack.duplicate || !counted {
                return Err(ContenderError::NotNew(format!("{ack:?}")));
            }
            Ok(events)
        }))
    }
}

impl Producer for NatsProducer {
    async fn publish(&mut self, event: Event) -> Result<Ack, ContenderError> {
        let message = PublishMessage::build().message_id(&event.id).payload(event.data.clone());
        self.acknowledged(subject(&event), message, 1).await
    }

    /// An atomic batch: each message names the batch and its place in it, and the last one commits
    /// it and is acknowledged for all.
    async fn publish_batch(&mut self, mut events: Vec<Event>) -> Result<Ack, ContenderError> {
        let count = events.len();
        let Some(last) = events.pop() else { return Ok(Box::pin(async { Ok(0) })) };
        self.batches += 1;
        let id = format!("{}-{}", last.id, self.batches);
        for (index, event) in events.into_iter().enumerate() {
            let headers = member(&event, &id, index + 1);
            let sent = self.client.publish_with_headers(subject(&event), headers, event.data);
            sent.await.map_err(ContenderError::nats)?;
        }
        let mut headers = member(&last, &id, count);
        headers.insert("Nats-Batch-Commit", "1");
        let message = PublishMessage::build().headers(headers).payload(last.data.clone());
        self.acknowledged(subject(&last), message, count).await
    }
}

fn subject(event: &Event) -> String {
    let mut subject = format!("{STREAM}.");
    write!(subject, "{}", event.order_key()).expect("a string takes it");
    subject
}

fn member(event: &Event, batch: &str, place: usize) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", event.id.as_str());
    headers.insert("Nats-Batch-Id", batch);
    headers.insert("Nats-Batch-Sequence", place.to_string());
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_counts_once_the_server_is_ready() {
        let line = "[1] [INF] Listening for client connections on 127.0.0.1:4222\n";
        assert_eq!(ready(line), None);
        assert_eq!(ready(&format!("{line}[INF] Server is ready\n")).unwrap(), "127.0.0.1:4222");
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(version("2.15.1"), Some((2, 15, 1)));
        assert_eq!(version("2.12.0-RC.1"), Some(BATCHES_SINCE));
        assert!(version("2.9.25") < Some(BATCHES_SINCE));
        assert!(version("x") < Some(BATCHES_SINCE));
    }

    #[test]
    fn only_one_of_them_syncs_each_message() {
        let dir = Path::new("/tmp/x");
        assert!(configuration(Kind::NatsAlways, dir).contains("sync_interval: always"));
        assert!(!configuration(Kind::NatsDefault, dir).contains("sync"));
    }
}
