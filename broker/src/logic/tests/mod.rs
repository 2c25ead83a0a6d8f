//! A node in one thread, to test decisions with: a writer on a simulated disk, and clocks that move
//! by hand.

mod link;
mod sessions;
mod writer;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use takt_client::tls::{Identity, TrustDomain};
use takt_protocol::batch::{BatchBuilder, Compression};
use takt_protocol::event::Event;
use takt_protocol::wire::{Frame, FrameDecoder, OutFrame};
use takt_protocol::words::{NodeName, PartitionNumber, Sequence, Timestamp, TopicName};
use takt_storage::disk::sim::SimDisk;
use takt_storage::entry::TopicSettings;
use takt_storage::journal::{Entropy, JournalOptions};
use takt_storage::store::{Answer, Operation, PendingCommit, Store, StoreOptions};

use super::writer::WriterOutput;
use super::{Context, Session, SessionEvent, WriterCore};
use crate::access::Place;

const MARK_AFTER: Duration = Duration::from_millis(50);
const DAY: Duration = Duration::from_hours(24);

struct Salt(u8);

impl Entropy for Salt {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.0 += 1;
        bytes.fill(self.0);
    }
}

struct World {
    disk: SimDisk,
    core: WriterCore<u64>,
    now: Instant,
    wall: i64,
    /// What came out, in order; a ticket is the number of an operation.
    log: Vec<Output>,
    answers: Vec<(u64, Answer)>,
    /// The commit that is being written.
    commit: Option<Box<PendingCommit<u64>>>,
    /// It was given alone.
    alone: bool,
    tickets: u64,
}

#[derive(Debug, PartialEq)]
enum Output {
    Answer(u64),
    Durable(u64),
    Commit,
}

impl World {
    fn new(node: &str) -> Self {
        Self::on(&SimDisk::new(), node, 1)
    }

    /// Opens the node that a disk holds, with the randomness of `seed`.
    fn on(disk: &SimDisk, node: &str, seed: u8) -> Self {
        let options = StoreOptions {
            node: NodeName::new(node).unwrap(),
            journal: JournalOptions {
                file_bytes: 256 << 10,
                commit_bytes_max: 16 << 10,
                reserve_chunks: 4,
                reserve_chunk_bytes: 48 << 10,
            },
            keys_max: 10_000,
            heads_recent: 1 << 20,
            spare_files: 2,
            file_keys_max: 1 << 20,
            generation_runs: 1,
            merge_pause: Duration::ZERO,
            retention_bytes: 0,
            retention_age: Some(DAY),
            pack_after: None,
            pack_compression: takt_storage::kept::PackCompression::None,
        };
        let (now, wall) = (Instant::now(), 1_700_000_000_000_000);
        let at = Timestamp::from_micros(wall);
        let opened = Store::open(Arc::new(disk.clone()), options, &mut Salt(seed), at);
        let core = WriterCore::new(opened.unwrap().0, MARK_AFTER, now);
        let (log, answers, commit, disk) = (Vec::new(), Vec::new(), None, disk.clone());
        Self { disk, core, now, wall, log, answers, commit, alone: false, tickets: 0 }
    }

    fn with_topic(node: &str) -> Self {
        let mut world = Self::new(node);
        assert_eq!(world.ask(create("t")), Answer::TopicCreated { fresh: true });
        world
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.wall += i64::try_from(time.as_micros()).unwrap();
        self.turn();
    }

    fn submit(&mut self, operation: Operation) -> u64 {
        self.tickets += 1;
        self.core.submit(operation, self.tickets);
        self.turn();
        self.tickets
    }

    /// Does what comes out, but for the commit.
    fn turn(&mut self) {
        let wall = Timestamp::from_micros(self.wall);
        while let Some(output) = self.core.poll_output(self.now, wall) {
            match output {
                WriterOutput::Answer(ticket, answer) => {
                    self.log.push(Output::Answer(ticket));
                    self.answers.push((ticket, answer));
                }
                WriterOutput::Durable { commits } => self.log.push(Output::Durable(commits)),
                WriterOutput::Commit { pending, alone } => {
                    assert!(self.commit.replace(pending).is_none(), "one commit is out at a time");
                    self.alone = alone;
                    self.log.push(Output::Commit);
                }
                WriterOutput::Job(job) => self.core.on_job_done(job.run(), wall),
            }
        }
    }

    /// Writes the commit that is out.
    fn sync(&mut self) {
        let commit = self.commit.take().expect("a commit is out");
        let result = commit.write_and_sync();
        self.core.on_synced(commit, result, self.now);
        self.turn();
    }

    /// Writes until nothing is out.
    fn settle(&mut self) {
        self.turn();
        while self.commit.is_some() {
            self.sync();
        }
    }

    fn ask(&mut self, operation: Operation) -> Answer {
        let ticket = self.submit(operation);
        self.settle();
        let (last, answer) = self.answers.pop().expect("an answer");
        assert_eq!(last, ticket);
        answer
    }

    fn context(&self, place: Place, peer: Identity) -> Context {
        let view = self.core.view().clone();
        Context { place, peer, view, session_bytes_max: 1 << 20 }
    }

    /// Does all that a session asks for.
    fn serve(&mut self, session: &mut impl Session) {
        while let Some(request) = session.poll_request() {
            let answer = self.ask(request.operation);
            if let Some(number) = request.number {
                session.on_answer(number, Ok(answer));
            }
        }
        if let Some(read) = session.poll_read() {
            session.on_read(read.run(self.core.view()));
        }
    }
}

fn create(name: &str) -> Operation {
    Operation::CreateTopic { name: topic(name), settings: TopicSettings::default() }
}

fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

fn domain() -> TrustDomain {
    TrustDomain::new("takt.local").unwrap()
}

/// A batch of one event.
fn batch(sequence: u64) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    let event = Event {
        id: sequence.to_string(),
        source: "//s".to_owned(),
        kind: "k".to_owned(),
        ..Event::default()
    };
    builder.push(&event).unwrap();
    builder.finish(PartitionNumber::new(0), Sequence::new(sequence)).unwrap()
}

/// A frame as it arrives.
fn arrived(frame: &OutFrame) -> Frame {
    let mut decoder = FrameDecoder::new();
    decoder.push(frame.to_bytes());
    decoder.next().unwrap().expect("a whole frame")
}

fn events(session: &mut impl Session) -> Vec<SessionEvent> {
    std::iter::from_fn(|| session.poll_event()).collect()
}
