//! The adapter of a plant's MES: plays the plant's part of the log and keeps its receipts.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use takt_client::{Client, ClientOptions, Event, Producer, PublishError, Receipt, ReceiptFuture};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::error::DemoError;
use super::log::Line;
use super::tally::{Counts, Tally};

/// The topic of the log.
pub const TOPIC: &str = "production";
/// How many events may be without a receipt, outside of bursts.
const WINDOW: u64 = 100;
/// Small batches: a burst is many of them, and a kill comes between two.
const BATCH_RECORDS: usize = 16;

enum Command {
    Burst { count: usize, handed: oneshot::Sender<usize> },
    Restart { again: usize, done: oneshot::Sender<usize> },
    Send { events: Vec<Event>, answers: oneshot::Sender<Vec<Receipt>> },
}

/// How fast the log plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// When it has begun; later than it has where it was held up.
    pub begin: Instant,
    /// Reports that are due later wait.
    pub until: Duration,
}

/// A running adapter. It ends when this is dropped.
#[derive(Debug)]
pub struct Adapter {
    plant: &'static str,
    commands: mpsc::UnboundedSender<Command>,
    tally: Arc<Tally>,
    task: JoinHandle<()>,
}

impl Drop for Adapter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Adapter {
    /// Starts to play `lines` to the node that `context` leads to.
    pub fn start(
        plant: &'static str,
        context: PathBuf,
        lines: Vec<Line>,
        pace: watch::Receiver<Pace>,
    ) -> Result<Self, DemoError> {
        let tally = Arc::new(Tally::default());
        let (commands, orders) = mpsc::unbounded_channel();
        let session = Session::open(plant, &context, &tally, lines.len(), None)?;
        let player =
            Player { plant, context, pace, next: 0, session, tally: Arc::clone(&tally), lines };
        let task = tokio::spawn(player.play(orders));
        Ok(Self { plant, commands, tally, task })
    }

    /// What was sent and answered.
    pub fn counts(&self) -> Counts {
        self.tally.counts()
    }

    /// The same, to wait for.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Hands the next `count` reports over at once, and says how many there were.
    pub async fn burst(&self, count: usize) -> Result<usize, DemoError> {
        self.ask(|handed| Command::Burst { count, handed }).await
    }

    /// Restarts the adapter: another producer of the same name. It sends the last `again` reports
    /// again, which are all that may be without a receipt, and goes on. Says how many they were.
    pub async fn restart(&self, again: usize) -> Result<usize, DemoError> {
        self.ask(|done| Command::Restart { again, done }).await
    }

    /// Sends events of the past and waits for their receipts.
    pub async fn send(&self, events: Vec<Event>) -> Result<Vec<Receipt>, DemoError> {
        self.ask(|answers| Command::Send { events, answers }).await
    }

    /// What stopped the adapter, if something did.
    pub fn check(&self) -> Result<(), DemoError> {
        match self.tally.failure() {
            Some(why) => Err(DemoError::Adapter { plant: self.plant, why }),
            None => Ok(()),
        }
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, DemoError> {
        let (answer, answered) = oneshot::channel();
        // An adapter that has ended drops the command and with it the way of the answer.
        let _ = self.commands.send(command(answer));
        answered.await.map_err(|_| {
            let why = self.tally.failure().unwrap_or_else(|| "it has ended".to_owned());
            DemoError::Adapter { plant: self.plant, why }
        })
    }
}

/// One life of the adapter: a connection, a producer, and the task that takes the receipts.
#[derive(Debug)]
struct Session {
    producer: Producer,
    receipts: mpsc::UnboundedSender<(usize, ReceiptFuture)>,
    keeper: JoinHandle<Vec<bool>>,
    stop: oneshot::Sender<()>,
}

impl Session {
    fn open(
        plant: &'static str,
        context: &PathBuf,
        tally: &Arc<Tally>,
        lines: usize,
        done: Option<Vec<bool>>,
    ) -> Result<Self, DemoError> {
        let failed = |why: String| DemoError::Adapter { plant, why };
        let options = ClientOptions::from_file(context).map_err(|e| failed(e.to_string()))?;
        let client = Client::lazy(options).map_err(|e| failed(e.to_string()))?;
        let producer = client
            .producer(TOPIC)
            .name("mes-adapter")
            .batch_records(BATCH_RECORDS)
            .build()
            .map_err(|e| failed(e.to_string()))?;
        let (receipts, queue) = mpsc::unbounded_channel();
        let done = done.unwrap_or_else(|| vec![false; lines]);
        let (stop, stopped) = oneshot::channel();
        let keeper = tokio::spawn(keep(queue, Arc::clone(tally), done, stopped));
        Ok(Self { producer, receipts, keeper, stop })
    }
}

/// Takes receipts in the order of their events until it is stopped.
async fn keep(
    mut queue: mpsc::UnboundedReceiver<(usize, ReceiptFuture)>,
    tally: Arc<Tally>,
    mut done: Vec<bool>,
    mut stopped: oneshot::Receiver<()>,
) -> Vec<bool> {
    loop {
        let next = tokio::select! {
            biased;
            _ = &mut stopped => return done,
            next = queue.recv() => next,
        };
        let Some((line, receipt)) = next else { return done };
        let answer = tokio::select! {
            biased;
            _ = &mut stopped => return done,
            answer = receipt => answer,
        };
        match answer {
            Ok(receipt) => tally.update(|counts| {
                count(counts, &receipt);
                if !std::mem::replace(&mut done[line], true) {
                    counts.lines_done += 1;
                }
            }),
            Err(error) => tally.fail(error.to_string()),
        }
    }
}

fn count(counts: &mut Counts, receipt: &Receipt) {
    match receipt {
        Receipt::Appended { .. } => counts.appended += 1,
        Receipt::Duplicate { .. } => counts.duplicates += 1,
        Receipt::Conflict { .. } | Receipt::PreconditionFailed { .. } => counts.conflicts += 1,
    }
}

#[derive(Debug)]
struct Player {
    plant: &'static str,
    context: PathBuf,
    lines: Vec<Line>,
    pace: watch::Receiver<Pace>,
    /// The report that comes next.
    next: usize,
    session: Session,
    tally: Arc<Tally>,
}

impl Player {
    async fn play(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        loop {
            let pace = *self.pace.borrow_and_update();
            let due =
                self.lines.get(self.next).map(|line| line.due).filter(|due| *due <= pace.until);
            let has_room = self.tally.counts().unacked() < WINDOW;
            let played = tokio::select! {
                biased;
                command = commands.recv() => match command {
                    Some(command) => self.on_command(command).await,
                    None => return,
                },
                () = self.tally.until(|c| c.unacked() < WINDOW), if due.is_some() && !has_room => {
                    Ok(())
                }
                () = sleep_until(pace.begin + due.unwrap_or_default()), if due.is_some() && has_room => {
                    self.send_next().await
                }
                // The sender lives as long as the play.
                _ = self.pace.changed() => Ok(()),
            };
            if let Err(why) = played {
                self.tally.fail(why);
            }
            if self.tally.failure().is_some() {
                return;
            }
        }
    }

    async fn on_command(&mut self, command: Command) -> Result<(), String> {
        match command {
            Command::Burst { count, handed } => {
                let end = self.lines.len().min(self.next + count);
                let count = end - self.next;
                while self.next < end {
                    self.send_next().await?;
                }
                let _ = handed.send(count);
            }
            Command::Restart { again, done } => {
                self.restart().await?;
                let first = self.next.saturating_sub(again);
                for line in first..self.next {
                    self.send_line(line).await?;
                }
                let count = self.next - first;
                self.tally.update(|counts| counts.resent += count as u64);
                let _ = done.send(count);
            }
            Command::Send { events, answers } => {
                let sent_now = events.len() as u64;
                let sent = self.session.producer.send_batch(events).await;
                let receipts = sent.map_err(|e| e.to_string())?;
                self.tally.update(|counts| counts.sent += sent_now);
                let tally = Arc::clone(&self.tally);
                tokio::spawn(async move {
                    let receipts: Result<Vec<Receipt>, PublishError> =
                        receipts.await.into_iter().collect();
                    match receipts {
                        Ok(receipts) => {
                            tally.update(|c| receipts.iter().for_each(|r| count(c, r)));
                            let _ = answers.send(receipts);
                        }
                        Err(error) => tally.fail(error.to_string()),
                    }
                });
            }
        }
        Ok(())
    }

    /// Ends the producer as a crash of the adapter would: what has no receipt has none.
    async fn restart(&mut self) -> Result<(), String> {
        let (stop, _) = oneshot::channel();
        // Receipts that come from here on are told to nobody.
        let _ = std::mem::replace(&mut self.session.stop, stop).send(());
        let done = (&mut self.session.keeper).await.map_err(|e| e.to_string())?;
        self.tally.update(|counts| counts.dropped += counts.unacked());
        let lines = self.lines.len();
        self.session = Session::open(self.plant, &self.context, &self.tally, lines, Some(done))
            .map_err(|e| e.to_string())?;
        Ok(())
    }

    async fn send_next(&mut self) -> Result<(), String> {
        self.send_line(self.next).await?;
        self.next += 1;
        Ok(())
    }

    async fn send_line(&mut self, line: usize) -> Result<(), String> {
        let event = self.lines[line].event.clone();
        let receipt = self.session.producer.send(event).await.map_err(|e| e.to_string())?;
        self.tally.update(|counts| counts.sent += 1);
        // The keeper outlives its session.
        let _ = self.session.receipts.send((line, receipt));
        Ok(())
    }
}
