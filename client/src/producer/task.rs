//! A producer's task: keeps it connected and moves what it says and hears.

use std::sync::Arc;
use std::time::Duration;

use takt_protocol::words::TopicName;
use tokio::sync::mpsc::UnboundedReceiver;

use super::core::{Command, Core, Step};
use super::receipt::PublishError;
use crate::connection::session::{Happened, now, open, step};
use crate::connection::{Backoff, Connector};
use crate::transport::FrameStream;

#[derive(Debug)]
pub(super) struct Task {
    pub topic: TopicName,
    pub connector: Arc<Connector>,
    pub core: Core,
    pub commands: UnboundedReceiver<Command>,
}

/// Why a stream was left.
enum Left {
    /// The producer is over, and everything has been answered.
    Over,
    /// The session goes on over the next stream; `served` says whether this one was of use.
    Lost { served: bool },
}

impl Task {
    pub async fn run(mut self) {
        let mut backoff = Backoff::default();
        let mut wait = Duration::ZERO;
        loop {
            let Self { core, connector, commands, .. } = &mut self;
            let mut closed = false;
            let take = |command| closed |= core.take(command);
            let stream = match open(connector, wait, commands, take).await {
                Ok(Some(stream)) => stream,
                // Dropped: what it left is not worth waiting for a node that is not there.
                Ok(None) => return core.fail(&PublishError::Closed),
                Err(error) if error.is_final() => {
                    return core.fail(&PublishError::Unreachable { detail: error.to_string() });
                }
                Err(error) => {
                    tracing::warn!(topic = %self.topic, %error, "producer: no connection");
                    wait = Duration::ZERO;
                    continue;
                }
            };
            if closed {
                commands.close();
            }
            core.session.on_connected(now());
            match self.serve(stream).await {
                Left::Over => return,
                Left::Lost { served } => {
                    if served {
                        backoff.reset();
                    }
                    wait = backoff.wait();
                }
            }
            self.core.session.on_disconnected(now());
        }
    }

    async fn serve(&mut self, mut stream: FrameStream) -> Left {
        let Self { topic, core, commands, .. } = self;
        let mut served = false;
        let mut closing = false;
        loop {
            match core.advance(now(), closing) {
                Step::GoOn => {}
                Step::Leave => return Left::Lost { served: false },
                Step::Over => return Left::Over,
            }
            while let Some(frame) = core.session.poll_transmit() {
                stream.send.queue(frame);
            }
            if closing && core.is_idle() {
                core.fail(&PublishError::Closed);
                return Left::Over;
            }
            let mut closed = false;
            let open = (!closing).then_some(&mut *commands);
            let deadline = core.next_due();
            let take = |command| closed |= core.take(command);
            match step(&mut stream, open, deadline, take).await {
                Happened::Flushed | Happened::Commands => {}
                Happened::NoMoreCommands => closing = true,
                Happened::Timeout => core.session.handle_timeout(now()),
                Happened::Frame(frame) => match core.session.handle_frame(now(), frame) {
                    Ok(()) => served = true,
                    Err(error) => {
                        tracing::warn!(%topic, %error, "producer: the node broke the protocol");
                        stream.send.reset(error.code());
                        return Left::Lost { served: false };
                    }
                },
                Happened::Lost(error) => {
                    tracing::info!(%topic, ?error, "producer: stream lost");
                    return Left::Lost { served };
                }
            }
            if closed {
                commands.close();
            }
        }
    }
}
