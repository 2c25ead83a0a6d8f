//! Redis Streams: one stream, id and order key as fields of an entry. Redis 7 knows no repeat of an
//! entry: it stores it twice.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, Value};

use super::{Ack, Contender, ContenderError, Kind, Producer, Programs, STREAM, System};
use crate::event::Event;
use crate::server::{Server, ServerError, log_in};

/// How often a port is chosen that another program takes before the server has it.
const ATTEMPTS: usize = 3;
/// Commands that may wait in a connection to be written.
const QUEUE: usize = 250;

/// A server of Redis.
#[derive(Debug)]
pub struct Redis {
    server: Server,
    client: Client,
    admin: MultiplexedConnection,
}

impl Contender for Redis {
    type Producer = RedisProducer;

    async fn start(kind: Kind, programs: &Programs, dir: &Path) -> Result<Self, ContenderError> {
        let redis = programs.of(System::Redis).unwrap_or(Path::new("redis-server"));
        let (server, port) = serve(kind, redis, dir).await?;
        let client = Client::open((Ipv4Addr::LOCALHOST.to_string(), port))?;
        let mut admin = connect(&client).await?;
        let info: String = redis::cmd("INFO").arg("server").query_async(&mut admin).await?;
        // The port was free before, which does not say whose it is now.
        if process_id(&info) != Some(server.pid()) {
            return Err(ContenderError::Port { port });
        }
        Ok(Self { server, client, admin })
    }

    fn pid(&self) -> u32 {
        self.server.pid()
    }

    async fn producer(&self) -> Result<RedisProducer, ContenderError> {
        Ok(RedisProducer { connection: connect(&self.client).await? })
    }

    async fn stored(&self) -> Result<u64, ContenderError> {
        let mut admin = self.admin.clone();
        Ok(redis::cmd("XLEN").arg(STREAM).query_async(&mut admin).await?)
    }

    async fn stop(self) -> Result<(), ContenderError> {
        Ok(self.server.stop().await?)
    }
}

/// Starts a server on a port that the system chooses. Redis cannot leave that to the system itself.
async fn serve(kind: Kind, redis: &Path, dir: &Path) -> Result<(Server, u16), ContenderError> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let port = free_port().map_err(ContenderError::Config)?;
        let mut command = Command::new(redis);
        command.args(arguments(kind)).args(["--port", &port.to_string()]).arg("--dir").arg(dir);
        let ready = |said: &str| said.contains("Ready to accept connections").then_some(());
        match Server::start(command, log_in(dir), ready).await {
            Ok((server, ())) => return Ok((server, port)),
            Err(ServerError::NotReady { said, .. })
                if attempts < ATTEMPTS && said.contains("Address already in use") => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// All that is not here is as shipped.
fn arguments(kind: Kind) -> Vec<&'static str> {
    let mut arguments = vec!["--bind", "127.0.0.1"];
    match kind {
        Kind::RedisAlways => {
            arguments.extend(["--appendonly", "yes", "--appendfsync", "always"]);
        }
        Kind::RedisEverysec => {
            arguments.extend(["--appendonly", "yes", "--appendfsync", "everysec"]);
        }
        Kind::Takt | Kind::NatsAlways | Kind::NatsDefault | Kind::RedisDefault => {}
    }
    arguments
}

fn process_id(info: &str) -> Option<u32> {
    info.lines().find_map(|line| line.strip_prefix("process_id:"))?.trim().parse().ok()
}

async fn connect(client: &Client) -> Result<MultiplexedConnection, ContenderError> {
    // A server that syncs may take longer than the half second that is the default.
    let config =
        AsyncConnectionConfig::new().set_response_timeout(None).set_pipeline_buffer_size(QUEUE);
    Ok(client.get_multiplexed_async_connection_with_config(&config).await?)
}

/// A producer over a connection of its own.
#[derive(Debug)]
pub struct RedisProducer {
    connection: MultiplexedConnection,
}

impl Producer for RedisProducer {
    /// The client writes the commands of all calls that are in flight without waiting for answers.
    async fn publish(&mut self, event: Event) -> Result<Ack, ContenderError> {
        let mut connection = self.connection.clone();
        Ok(Box::pin(async move {
            let entry = connection.send_packed_command(&add(&event)).await?;
            is_entry(&entry).map(|()| 1)
        }))
    }

    async fn publish_batch(&mut self, events: Vec<Event>) -> Result<Ack, ContenderError> {
        let mut connection = self.connection.clone();
        Ok(Box::pin(async move {
            let mut pipeline = redis::pipe();
            for event in &events {
                pipeline.add_command(add(event));
            }
            let entries: Vec<Value> = pipeline.query_async(&mut connection).await?;
            entries.iter().try_for_each(is_entry)?;
            Ok(entries.len())
        }))
    }
}

/// The answer to an XADD is the name of the entry that was made.
fn is_entry(answer: &Value) -> Result<(), ContenderError> {
    if matches!(answer, Value::BulkString(_)) {
        Ok(())
    } else {
        Err(ContenderError::NotNew(format!("{answer:?}")))
    }
}

fn add(event: &Event) -> Cmd {
    let mut cmd = redis::cmd("XADD");
    cmd.arg(STREAM).arg("*");
    cmd.arg("id").arg(&event.id).arg("order").arg(event.order_key());
    cmd.arg("data").arg(event.data.as_ref());
    cmd
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_known_by_its_process() {
        assert_eq!(process_id("redis_version:7.0.15\r\nprocess_id:42\r\n"), Some(42));
        assert_eq!(process_id("redis_version:7.0.15\r\n"), None);
    }

    #[test]
    fn as_shipped_is_without_a_word_on_durability() {
        assert!(arguments(Kind::RedisAlways).contains(&"always"));
        assert!(arguments(Kind::RedisEverysec).contains(&"everysec"));
        assert_eq!(arguments(Kind::RedisDefault), ["--bind", "127.0.0.1"]);
    }
}
