//! How fast QUIC is here with nothing behind it: one connection on loopback, with the configuration,
//! the certificates and the cipher of a client and its node.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use quinn::{Connection, Endpoint, RecvStream, SendStream};
use takt_client::ClientOptions;
use takt_client::tls::{
    Credentials, SERVER_NAME, Transport, client_config, dialer, listen, server_config,
};

use crate::bench::BenchError;
use crate::bench::report::per;
use crate::bench::tally::{latencies, micros};
use crate::bench::target::lay_out;

/// What is handed to a stream at a time, in bytes, and taken from it at most.
const CHUNK_BYTES: usize = 64 << 10;
/// What goes there and back, in bytes: about an event.
const ECHO_BYTES: usize = 300;

/// The time of an echo, in microseconds, in the median; and the rate of one stream, in bytes a
/// second. Each over as long as `each` says.
pub(super) async fn measure(dir: &Path, each: Duration) -> Result<(u64, f64), BenchError> {
    let node = lay_out(dir.to_owned()).await?;
    let options = ClientOptions::from_file(&node.operator)?;
    let file = |name| node.config.with_file_name(name);
    let credentials = Credentials::load(&file("ca.pem"), &file("cert.pem"), &file("key.pem"));
    let domain = &options.trust_domain;
    let config = server_config(&credentials.map_err(failed)?, domain, Transport::LocalClient);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = listen(address, config.map_err(failed)?).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let serving = tokio::spawn(async move { serve(listener).await });

    let server = options.server.clone();
    let mut config = client_config(&options.credentials, domain, server, Transport::LocalClient)
        .map_err(failed)?;
    config.transport_config(Transport::LocalClient.towards(address));
    let endpoint = dialer(address).map_err(failed)?;
    let connecting = endpoint.connect_with(config, address, SERVER_NAME).map_err(failed)?;
    let connection = connecting.await.map_err(failed)?;
    let echo_us = echo(&connection, each).await?;
    let bytes_per_s = bulk(&connection, each).await?;
    connection.close(0_u32.into(), b"");
    endpoint.wait_idle().await;
    serving.await.map_err(failed)??;
    Ok((echo_us, bytes_per_s))
}

async fn echo(connection: &Connection, each: Duration) -> Result<u64, BenchError> {
    let (mut out, mut back) = connection.open_bi().await.map_err(failed)?;
    let (sent, mut received) = ([0x5a; ECHO_BYTES], [0; ECHO_BYTES]);
    let mut times = latencies();
    let start = Instant::now();
    while start.elapsed() < each {
        let begun = Instant::now();
        out.write_all(&sent).await.map_err(failed)?;
        back.read_exact(&mut received).await.map_err(failed)?;
        times.saturating_record(micros(begun.elapsed()));
    }
    out.finish().map_err(failed)?;
    Ok(times.value_at_quantile(0.5))
}

async fn bulk(connection: &Connection, each: Duration) -> Result<f64, BenchError> {
    let (mut out, mut back) = connection.open_bi().await.map_err(failed)?;
    let chunk = vec![0x5a; CHUNK_BYTES];
    let start = Instant::now();
    while start.elapsed() < each {
        out.write_all(&chunk).await.map_err(failed)?;
    }
    out.finish().map_err(failed)?;
    let mut bytes = [0; 8];
    back.read_exact(&mut bytes).await.map_err(failed)?;
    Ok(per(u64::from_le_bytes(bytes), start.elapsed().as_secs_f64()))
}

/// One connection: the first stream comes back as it is, of the second how long it was.
async fn serve(listener: Endpoint) -> Result<(), BenchError> {
    let incoming = listener.accept().await.ok_or_else(|| failed("the listener was closed"))?;
    let connection = incoming.await.map_err(failed)?;
    let (back, stream) = connection.accept_bi().await.map_err(failed)?;
    return_all(stream, back).await?;
    let (mut back, mut stream) = connection.accept_bi().await.map_err(failed)?;
    let mut bytes = 0_u64;
    while let Some(chunk) = stream.read_chunk(CHUNK_BYTES, true).await.map_err(failed)? {
        bytes += chunk.bytes.len() as u64;
    }
    back.write_all(&bytes.to_le_bytes()).await.map_err(failed)?;
    // The other side has what it needs when it closes.
    connection.closed().await;
    Ok(())
}

async fn return_all(mut stream: RecvStream, mut back: SendStream) -> Result<(), BenchError> {
    while let Some(chunk) = stream.read_chunk(CHUNK_BYTES, true).await.map_err(failed)? {
        back.write_all(&chunk.bytes).await.map_err(failed)?;
    }
    Ok(())
}

fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> BenchError {
    BenchError::Quic(error.into())
}
