//! What the tasks of all sessions share: one step on a stream, and the way to the next stream.

use std::future::pending;
use std::pin::pin;
use std::time::{Duration, Instant};

use takt_protocol::wire::Frame;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{sleep, sleep_until};

use super::{ConnectError, Connector};
use crate::transport::{FrameStream, TransportError};

/// Commands that are taken at a time.
const TAKEN_AT_ONCE: usize = 256;

/// Now, as the clock of the runtime says (a test may have paused it).
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// What happened in a step.
pub(crate) enum Happened {
    /// What was queued has been written.
    Flushed,
    Frame(Frame),
    /// Commands have been taken.
    Commands,
    /// There will be no more commands.
    NoMoreCommands,
    /// The time has come.
    Timeout,
    /// The stream is gone; `None`: its other side ended it.
    Lost(Option<TransportError>),
}

/// Waits for the first thing to happen. `commands` is `None` once there will be no more.
pub(crate) async fn step<C>(
    stream: &mut FrameStream,
    commands: Option<&mut UnboundedReceiver<C>>,
    deadline: Option<Instant>,
    take: impl FnMut(C),
) -> Happened {
    let FrameStream { send, recv } = stream;
    let flushing = send.has_queued();
    let mut taken = Vec::new();
    tokio::select! {
        sent = send.flush(), if flushing => match sent {
            Ok(()) => Happened::Flushed,
            Err(error) => Happened::Lost(Some(error)),
        },
        frame = recv.recv() => match frame {
            Ok(Some(frame)) => Happened::Frame(frame),
            Ok(None) => Happened::Lost(None),
            Err(error) => Happened::Lost(Some(error)),
        },
        count = receive(commands, &mut taken) => {
            taken.into_iter().for_each(take);
            if count == 0 { Happened::NoMoreCommands } else { Happened::Commands }
        }
        () = until(deadline) => Happened::Timeout,
    }
}

/// Opens a stream after a wait and takes commands meanwhile. `Ok(None)` once there will be no more
/// commands.
pub(crate) async fn open<C>(
    connector: &Connector,
    wait: Duration,
    commands: &mut UnboundedReceiver<C>,
    mut take: impl FnMut(C),
) -> Result<Option<FrameStream>, ConnectError> {
    let mut opening = pin!(async {
        sleep(wait).await;
        connector.open_stream().await
    });
    let mut taken = Vec::new();
    loop {
        tokio::select! {
            stream = &mut opening => return stream.map(Some),
            count = commands.recv_many(&mut taken, TAKEN_AT_ONCE) => {
                if count == 0 {
                    return Ok(None);
                }
                taken.drain(..).for_each(&mut take);
            }
        }
    }
}

async fn receive<C>(commands: Option<&mut UnboundedReceiver<C>>, taken: &mut Vec<C>) -> usize {
    match commands {
        Some(commands) => commands.recv_many(taken, TAKEN_AT_ONCE).await,
        None => pending().await,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => pending().await,
    }
}
