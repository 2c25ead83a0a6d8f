//! How fast QUIC is here with nothing behind it: one stream of one connection on loopback, with the
//! configuration, the certificates and the cipher of a client of Takt and its node.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use takt_client::tls::{
    Credentials, SERVER_NAME, Transport, client_config, dialer, listen, server_config,
};

use super::MachineError;
use crate::contender::{ContenderError, Programs, Site};
use crate::stats::per;

/// What is handed to the stream at a time, in bytes, and taken from it at most.
const CHUNK_BYTES: usize = 64 << 10;

/// 10^6 bytes a second, over as long as `time` says.
pub async fn transfer(
    programs: &Programs,
    dir: &Path,
    time: Duration,
) -> Result<f64, MachineError> {
    let site = Site::make(programs, dir)?;
    let options = site.operator()?;
    let file = |name| site.file(name);
    let node = Credentials::load(&file("ca.pem"), &file("cert.pem"), &file("key.pem"))
        .map_err(|error| ContenderError::Options(error.into()))?;
    let domain = &options.trust_domain;
    let config = server_config(&node, domain, Transport::LocalClient).map_err(failed)?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = listen(address, config).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let receiving = tokio::spawn(async move { receive(listener).await });

    let mut config =
        client_config(&options.credentials, domain, options.server.clone(), Transport::LocalClient)
            .map_err(failed)?;
    config.transport_config(Transport::LocalClient.towards(address));
    let endpoint = dialer(address).map_err(failed)?;
    let connecting = endpoint.connect_with(config, address, SERVER_NAME).map_err(failed)?;
    let connection = connecting.await.map_err(failed)?;
    let (mut out, _back) = connection.open_bi().await.map_err(failed)?;
    let chunk = vec![0x5a; CHUNK_BYTES];
    let start = Instant::now();
    while start.elapsed() < time {
        out.write_all(&chunk).await.map_err(failed)?;
    }
    out.finish().map_err(failed)?;
    let bytes = receiving.await.expect("receiving does not panic")?;
    let seconds = start.elapsed().as_secs_f64();
    connection.close(0_u32.into(), b"");
    endpoint.wait_idle().await;
    Ok(per(bytes, seconds) / 1e6)
}

/// Takes one stream of one connection to its end; gives how many bytes came.
async fn receive(listener: quinn::Endpoint) -> Result<u64, MachineError> {
    let none = || MachineError::Quic("the listener was closed".into());
    let incoming = listener.accept().await.ok_or_else(none)?;
    let connection = incoming.await.map_err(failed)?;
    let (_back, mut stream) = connection.accept_bi().await.map_err(failed)?;
    let mut bytes = 0;
    while let Some(chunk) = stream.read_chunk(CHUNK_BYTES, true).await.map_err(failed)? {
        bytes += chunk.bytes.len() as u64;
    }
    // The other side has what it needs when it closes.
    tokio::spawn(async move {
        connection.closed().await;
        drop(listener);
    });
    Ok(bytes)
}

fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> MachineError {
    MachineError::Quic(error.into())
}
