//! Streams to a node that are fed byte by byte: for peers that keep no rules.

use std::net::SocketAddr;

use quinn::ConnectionError;
use takt_client::ClientOptions;
use takt_client::tls::{self, SERVER_NAME};
use takt_protocol::codes::ErrorCode;
use takt_protocol::wire::{ControlBody, Frame, FrameDecoder, decode_control};

use crate::within;

/// The most that is read at a time, in bytes.
const READ_BYTES: usize = 64 << 10;

/// A connection without a session on it.
#[derive(Debug)]
pub struct RawConnection {
    connection: quinn::Connection,
    /// It ends with its connection.
    _endpoint: quinn::Endpoint,
}

/// A stream of it.
#[derive(Debug)]
pub struct RawStream {
    send: quinn::SendStream,
    recv: quinn::RecvStream,
    decoder: FrameDecoder,
}

/// What a node says on a stream.
#[derive(Debug)]
pub enum Answer {
    /// An error, in a frame or as the stream's end.
    Error(ErrorCode, String),
    /// The stream's end, or the connection's.
    Ended,
    /// Something else.
    Frame(Frame),
}

impl RawConnection {
    /// Dials a node.
    ///
    /// # Errors
    /// The end of the handshake as this side sees it.
    ///
    /// # Panics
    /// If the options make no configuration.
    pub async fn dial(options: ClientOptions) -> Result<Self, ConnectionError> {
        let address: SocketAddr = options.address.parse().expect("an address");
        let ClientOptions { credentials, trust_domain, server, transport, .. } = options;
        let config = tls::client_config(&credentials, &trust_domain, server, transport);
        let endpoint = tls::dialer(address).expect("a socket");
        let connecting = endpoint.connect_with(config.expect("it holds"), address, SERVER_NAME);
        let connection = within("a handshake", connecting.expect("it can be dialled")).await?;
        Ok(Self { connection, _endpoint: endpoint })
    }

    /// Opens a stream.
    ///
    /// # Errors
    /// The connection's end.
    pub async fn stream(&self) -> Result<RawStream, ConnectionError> {
        let (send, recv) = within("a stream", self.connection.open_bi()).await?;
        Ok(RawStream { send, recv, decoder: FrameDecoder::new() })
    }

    /// Waits for the connection's end.
    pub async fn closed(&self) -> ConnectionError {
        within("the end of the connection", self.connection.closed()).await
    }
}

impl RawStream {
    /// Sends bytes. The node may stop the stream before it has all of them: its answer counts.
    pub async fn write(&mut self, bytes: &[u8]) {
        let _ = within("room", self.send.write_all(bytes)).await;
    }

    /// Says that nothing follows.
    pub fn finish(&mut self) {
        let _ = self.send.finish();
    }

    /// Reads exactly one byte, as a peer that is slow does.
    ///
    /// # Errors
    /// The stream's end.
    pub async fn read_byte(&mut self) -> Result<(), quinn::ReadExactError> {
        self.recv.read_exact(&mut [0]).await
    }

    /// The next frame, or how the stream ends.
    pub async fn next(&mut self) -> Answer {
        loop {
            match self.decoder.next() {
                Ok(Some(frame)) => return Answer::of(frame),
                Ok(None) => {}
                Err(_) => return Answer::Ended,
            }
            let read = within("an answer", self.recv.read_chunk(READ_BYTES, true)).await;
            match read {
                Ok(Some(chunk)) => self.decoder.push(chunk.bytes),
                Err(quinn::ReadError::Reset(code)) => {
                    let code = u32::try_from(code.into_inner()).unwrap_or(u32::MAX);
                    return Answer::Error(ErrorCode::from_number(code), String::new());
                }
                Ok(None) | Err(_) => return Answer::Ended,
            }
        }
    }
}

impl Answer {
    fn of(frame: Frame) -> Self {
        match decode_control(frame.clone()) {
            Ok(ControlBody::Error(error)) => {
                Self::Error(ErrorCode::from_number(error.code), error.detail)
            }
            _ => Self::Frame(frame),
        }
    }
}
