//! A consumer's task: keeps it subscribed and hands over what arrives.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use takt_protocol::session::subscriber::{SubscriberClient, SubscriberEvent};
use takt_protocol::words::{Offset, PartitionId, TopicName};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;

use super::delivered::DeliveredBatch;
use super::error::{CommitError, ConsumeError};
use crate::connection::session::{Happened, now, open, step};
use crate::connection::{Backoff, Connector};
use crate::transport::FrameStream;

pub(super) type Positions = Vec<(PartitionId, Offset)>;
pub(super) type Item = Result<DeliveredBatch, ConsumeError>;

/// What the application's side hands over.
#[derive(Debug)]
pub(super) enum Command {
    /// It is done with so many bytes of batches.
    Done { bytes: usize },
    /// It has handled everything below these positions.
    Commit { positions: Positions, done: oneshot::Sender<Result<(), CommitError>> },
}

#[derive(Debug)]
pub(super) struct Task {
    pub topic: TopicName,
    pub connector: Arc<Connector>,
    pub commands: UnboundedReceiver<Command>,
    pub core: Core,
}

/// A consumer without its connection.
#[derive(Debug)]
pub(super) struct Core {
    session: SubscriberClient,
    items: UnboundedSender<Item>,
    /// Who waits for which commit.
    commits: BTreeMap<u64, oneshot::Sender<Result<(), CommitError>>>,
}

enum Left {
    /// The consumer has stopped.
    Over,
    /// It goes on over the next stream; `served` says whether this one was of use.
    Lost { served: bool },
}

impl Task {
    pub async fn run(mut self) {
        let mut backoff = Backoff::default();
        let mut wait = Duration::ZERO;
        loop {
            let Self { core, connector, commands, .. } = &mut self;
            let take = |command| core.take(command);
            let stream = match open(connector, wait, commands, take).await {
                Ok(Some(stream)) => stream,
                Ok(None) => return,
                Err(error) if error.is_final() => {
                    let detail = error.to_string();
                    return core.stop(ConsumeError::Unreachable { detail });
                }
                Err(error) => {
                    tracing::warn!(topic = %self.topic, %error, "consumer: no connection");
                    wait = Duration::ZERO;
                    continue;
                }
            };
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
        loop {
            if let Some(left) = core.advance() {
                return left;
            }
            while let Some(frame) = core.session.poll_transmit() {
                stream.send.queue(frame);
            }
            let take = |command| core.take(command);
            match step(&mut stream, Some(commands), None, take).await {
                Happened::Flushed | Happened::Commands | Happened::Timeout => {}
                Happened::NoMoreCommands => return Left::Over,
                Happened::Frame(frame) => match core.session.handle_frame(now(), frame) {
                    Ok(()) => served = true,
                    Err(error) => {
                        tracing::warn!(%topic, %error, "consumer: the node broke the protocol");
                        stream.send.reset(error.code());
                        return Left::Lost { served: false };
                    }
                },
                Happened::Lost(error) => {
                    tracing::info!(%topic, ?error, "consumer: stream lost");
                    return Left::Lost { served };
                }
            }
        }
    }
}

impl Core {
    pub fn new(session: SubscriberClient, items: UnboundedSender<Item>) -> Self {
        Self { session, items, commits: BTreeMap::new() }
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Done { bytes } => self.session.grant(bytes),
            Command::Commit { positions, done } => {
                let token = self.session.commit(positions);
                self.commits.insert(token, done);
            }
        }
    }

    /// Hands over what has arrived; gives why the stream is to be left, if it is.
    fn advance(&mut self) -> Option<Left> {
        let mut left = None;
        while let Some(event) = self.session.poll_event() {
            match event {
                SubscriberEvent::Subscribed { .. } | SubscriberEvent::PartitionAdded { .. } => {}
                SubscriberEvent::Batch { partition, from, batch } => {
                    self.hand_over(Ok(DeliveredBatch { partition, from, batch }));
                }
                SubscriberEvent::Trimmed { partition, from, to } => {
                    self.hand_over(Err(ConsumeError::Trimmed { partition, from, to }));
                }
                SubscriberEvent::CursorCommitted(token) => self.committed(token, Ok(())),
                SubscriberEvent::CommitRefused(token, refusal) => {
                    self.committed(token, Err(refusal.into()));
                }
                SubscriberEvent::Interrupted(refusal) => {
                    tracing::info!(%refusal, "consumer: interrupted");
                    left = Some(Left::Lost { served: false });
                }
                SubscriberEvent::Closed(refusal) => {
                    self.stop(refusal.into());
                    return Some(Left::Over);
                }
            }
        }
        left
    }

    /// The last that the application gets.
    fn stop(&mut self, error: ConsumeError) {
        self.commits.clear();
        self.hand_over(Err(error));
    }

    fn hand_over(&mut self, item: Item) {
        // It fails only where the consumer was dropped; the end of its commands says so, too.
        let _ = self.items.send(item);
    }

    fn committed(&mut self, token: u64, result: Result<(), CommitError>) {
        if let Some(done) = self.commits.remove(&token) {
            // Whoever waited may have lost interest.
            let _ = done.send(result);
        }
    }
}
