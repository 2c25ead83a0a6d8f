//! Takt: `takt serve` as `takt init` configures it, and its own client over QUIC.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use takt_client::admin::messages::{OnConflict, TopicSettings};
use takt_client::{
    Client, ClientOptions, EventRef, OrderKey, PublishError, Receipt, ReceiptFuture,
};

use super::{Ack, Contender, ContenderError, Kind, Producer, Programs, STREAM, System};
use crate::event::Event;
use crate::server::{Server, log_in};

/// The plant whose node is measured.
const PLANT: &str = "compare";
const SOURCE: &str = "//compare/line-1";
const KIND: &str = "mfg.operation.confirmed.v1";
/// The default of a topic, 400 days, in seconds.
const HORIZON_S: u64 = 400 * 24 * 60 * 60;
/// So that a call of 1,000 events of 256 bytes is one batch; the default cuts it in two.
const BATCH_BYTES: usize = 512 << 10;

/// What `takt init` has made for one plant.
#[derive(Debug)]
pub struct Site {
    dir: PathBuf,
}

impl Site {
    /// Lays a plant out below `dir`.
    ///
    /// # Errors
    /// [`ContenderError::Init`], with what the command said.
    pub fn make(programs: &Programs, dir: &Path) -> Result<Self, ContenderError> {
        let failed = |why: String| ContenderError::Init(why);
        let takt = programs.of(System::Takt).ok_or_else(|| failed("no program".to_owned()))?;
        let output = Command::new(takt)
            .args([OsStr::new("init"), OsStr::new("--dir"), dir.as_os_str()])
            .args(["--plant", PLANT])
            .output()
            .map_err(|error| failed(error.to_string()))?;
        if !output.status.success() {
            return Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        Ok(Self { dir: dir.join(format!("plant-{PLANT}")) })
    }

    /// A file of the plant, by its name.
    fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// As whom an operator connects, who may do everything.
    ///
    /// # Errors
    /// [`ContenderError::Options`].
    pub fn operator(&self) -> Result<ClientOptions, ContenderError> {
        Ok(ClientOptions::from_file(self.file("operator.toml"))?)
    }
}

/// A node of Takt.
#[derive(Debug)]
pub struct Takt {
    server: Server,
    options: ClientOptions,
    operator: Client,
}

impl Contender for Takt {
    type Producer = TaktProducer;

    async fn start(_: Kind, programs: &Programs, dir: &Path) -> Result<Self, ContenderError> {
        let site = Site::make(programs, &dir.join("site"))?;
        let takt = programs.of(System::Takt).unwrap_or(Path::new("takt"));
        let mut command = Command::new(takt);
        command
            .args([
                OsStr::new("serve"),
                OsStr::new("--config"),
                site.file("plant.toml").as_os_str(),
            ])
            .env("TAKT_LISTEN__ADDRESS", "127.0.0.1:0")
            .env("TAKT_LOG__LEVEL", "warn");
        let (server, address) = Server::start(command, log_in(dir), ready).await?;
        let mut options = site.operator()?;
        options.address = address;
        let operator = Client::connect(options.clone()).await?;
        let settings = TopicSettings {
            partitions: 1,
            dedup: true,
            horizon_s: HORIZON_S,
            on_conflict: OnConflict::Quarantine.into(),
            ..TopicSettings::default()
        };
        operator.admin().create_topic(STREAM, settings).await?;
        Ok(Self { server, options, operator })
    }

    fn pid(&self) -> u32 {
        self.server.pid()
    }

    async fn producer(&self) -> Result<TaktProducer, ContenderError> {
        let client = Client::connect(self.options.clone()).await?;
        let producer = client.producer(STREAM).batch_bytes(BATCH_BYTES).build()?;
        producer.ready().await?;
        Ok(TaktProducer { producer, _client: client })
    }

    async fn stored(&self) -> Result<u64, ContenderError> {
        let info = self.operator.admin().topic_info(STREAM).await?;
        Ok(info.partitions.iter().map(|partition| partition.end_offset).sum())
    }

    async fn stop(self) -> Result<(), ContenderError> {
        self.operator.close().await;
        Ok(self.server.stop().await?)
    }
}

/// The address from the node's line `ready <name> <address>`.
fn ready(said: &str) -> Option<String> {
    let line = said.lines().find_map(|line| line.strip_prefix("ready "))?;
    line.split_ascii_whitespace().nth(1).map(str::to_owned)
}

/// A producer over a connection of its own.
#[derive(Debug)]
pub struct TaktProducer {
    producer: takt_client::Producer,
    _client: Client,
}

impl Producer for TaktProducer {
    async fn publish(&mut self, event: Event) -> Result<Ack, ContenderError> {
        let receipt: ReceiptFuture = self.producer.send(form(event)).await?;
        Ok(Box::pin(async move { is_new(receipt.await?).map(|()| 1) }))
    }

    async fn publish_batch(&mut self, events: Vec<Event>) -> Result<Ack, ContenderError> {
        let mut batch = self.producer.batch().await?;
        for event in &events {
            let order_key = event.order_key();
            let event = EventRef {
                id: &event.id,
                source: SOURCE,
                kind: KIND,
                order_key: Some(&order_key),
                data: &event.data,
                ..EventRef::default()
            };
            batch.push(event).map_err(PublishError::from)?;
        }
        let receipts = batch.send().await?;
        Ok(Box::pin(async move {
            let receipts = receipts.await;
            let count = receipts.len();
            receipts.into_iter().try_for_each(|receipt| is_new(receipt?))?;
            Ok(count)
        }))
    }
}

fn form(event: Event) -> takt_client::Event {
    let order_key = OrderKey::new(&event.order_key()).expect("a short key");
    takt_client::Event {
        source: SOURCE.to_owned(),
        kind: KIND.to_owned(),
        id: event.id,
        order_key: Some(order_key),
        data: event.data,
        ..takt_client::Event::default()
    }
}

fn is_new(receipt: Receipt) -> Result<(), ContenderError> {
    match receipt {
        Receipt::Appended { .. } => Ok(()),
        other @ (Receipt::Duplicate { .. }
        | Receipt::Conflict { .. }
        | Receipt::PreconditionFailed { .. }) => Err(ContenderError::NotNew(format!("{other:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_follows_the_name() {
        assert_eq!(ready("x\nready munich-1 127.0.0.1:7411\n").unwrap(), "127.0.0.1:7411");
        assert_eq!(ready("ready"), None);
        assert_eq!(ready(""), None);
    }
}
