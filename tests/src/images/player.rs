//! Plays steps on a store over a simulated disk, and keeps book.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use takt_client::{CursorName, Event, NodeName, TopicName};
use takt_protocol::batch::StoredBatch;
use takt_protocol::codes::ErrorCode;
use takt_protocol::words::{Epoch, JournalId, Offset, ProducerId, Sequence, Timestamp};
use takt_storage::disk::Disk;
use takt_storage::disk::sim::SimDisk;
use takt_storage::entry::TopicSettings;
use takt_storage::journal::JournalOptions;
use takt_storage::kept::PackCompression;
use takt_storage::keys::KeyHashes;
use takt_storage::store::{
    Answer, MirrorTopic, OpenError, Operation, PendingCommit, Staged, Store, StoreError,
    StoreOptions,
};

use super::book::{Asked, Book, Sent};
use super::script::Step;
use crate::driver::{self, Driver, batch};
use crate::events::{Dice, SOURCE, event, events};

/// The node.
pub const NODE: &str = "plant";
/// Whose batches it mirrors.
pub const ORIGIN: &str = "lyon";
/// The topics that are made, one after the other.
pub const TOPICS: [&str; 3] = ["t0", "t1", "t2"];
/// The one that keeps the latest event of each order key alone.
pub const COMPACTED: &str = TOPICS[1];
/// Who publishes: identity and name.
pub const PRODUCER: (&str, &str) = ("spiffe://takt/test", "adapter");
/// When a player's clock begins, in microseconds since 1970.
const START_US: i64 = 1_700_000_000_000_000;
/// Steps within which an operation is answered.
const STEPS_MAX: usize = 40;
/// More jobs than there can be in a row.
const JOBS_MAX: usize = 100;
/// How many bytes an event has that is to fill a file.
const LONG: usize = 2_500;

/// Why a player goes no further: the disk failed.
#[derive(Debug, thiserror::Error)]
pub enum Halt {
    /// The store takes nothing more.
    #[error("the store has failed")]
    Store(#[from] StoreError),
    /// A commit failed.
    #[error("a commit has failed")]
    Commit,
    /// The store does not open.
    #[error("the store does not open")]
    Open(#[from] OpenError),
    /// The store is not open.
    #[error("the store is closed")]
    Closed,
    /// The disk has no room for it.
    #[error("the store says that the disk is full")]
    Full,
    /// A read failed that it would have taken to decide: to be sent again.
    #[error("the store says that it could not read what decides it")]
    Unread,
}

/// A producer in a topic: its epoch and its next sequence.
#[derive(Debug, Clone, Copy)]
struct Session {
    epoch: Epoch,
    next: Sequence,
}

/// A store that is made to do things.
#[derive(Debug)]
pub struct Player {
    /// Its disk.
    pub disk: SimDisk,
    /// What it was asked for and has acknowledged.
    pub book: Book,
    options: StoreOptions,
    store: Option<Store<()>>,
    now: i64,
    seed: u64,
    sessions: BTreeMap<&'static str, Session>,
    topics: usize,
    turn: usize,
    id_next: u64,
}

/// Options of a store whose files are as small as can be.
pub fn options() -> StoreOptions {
    StoreOptions {
        journal: JournalOptions {
            file_bytes: 32 << 10,
            commit_bytes_max: 8 << 10,
            reserve_chunks: 1,
            reserve_chunk_bytes: 24 << 10,
        },
        retention_bytes: 96 << 10,
        // Before the oldest files go, most are packed.
        pack_after: Some(Duration::from_secs(20)),
        pack_compression: PackCompression::Zstd,
        ..driver::options(NODE)
    }
}

/// The batches of the origin, in order, and its journal.
pub fn origin() -> &'static (JournalId, Vec<StoredBatch>) {
    static ORIGIN_BATCHES: OnceLock<(JournalId, Vec<StoredBatch>)> = OnceLock::new();
    ORIGIN_BATCHES.get_or_init(|| {
        let disk = Arc::new(SimDisk::new());
        let options = driver::options(ORIGIN);
        let (mut driver, _) = Driver::open(disk, options, 7, TOPICS[0]).expect("an empty disk");
        driver.begin(TopicSettings::default());
        for from in 0..60 {
            // Some bring a conflict.
            let content = u64::from(from % 5 == 4);
            driver.publish(&events(from * 2 - content..from * 2 + 2, 3, content));
        }
        let view = driver.store.view();
        let partition = view.all_partitions().remove(0);
        let batches = view.read_from_batch(partition.slot, partition.start_batch, usize::MAX);
        (view.journal(), batches.expect("what was stored"))
    })
}

impl Player {
    /// Opens the store on `disk`; makes it where there is none.
    ///
    /// # Errors
    /// [`Halt`]
    pub fn open(disk: &SimDisk, options: StoreOptions, seed: u64) -> Result<Self, Halt> {
        let mut player = Self::closed(disk, options, seed);
        player.start()?;
        Ok(player)
    }

    /// A player whose store is not open: [`Player::start`] it.
    pub fn closed(disk: &SimDisk, options: StoreOptions, seed: u64) -> Self {
        Self {
            disk: disk.clone(),
            book: Book::default(),
            options,
            store: None,
            now: START_US,
            seed,
            sessions: BTreeMap::new(),
            topics: 0,
            turn: 0,
            id_next: 0,
        }
    }

    /// Opens the store, as the next process does.
    ///
    /// # Errors
    /// [`Halt`]
    pub fn start(&mut self) -> Result<(), Halt> {
        self.seed += 1;
        self.store = None;
        let (disk, at) = (Arc::new(self.disk.clone()) as Arc<dyn Disk>, self.tick());
        let mut dice = Dice::new(self.seed);
        let (mut store, _) = Store::open(disk, self.options.clone(), &mut dice, at)?;
        store.set_uplink_needs(Some(BTreeMap::new()));
        self.store = Some(store);
        self.look();
        Ok(())
    }

    /// Starts again behind a stop that was none: the producer asks where it stands.
    ///
    /// # Errors
    /// [`Halt`]
    pub fn come_back(&mut self) -> Result<(), Halt> {
        self.start()?;
        for name in TOPICS.iter().take(self.topics) {
            self.open_producer(name)?;
        }
        Ok(())
    }

    /// The store, where it is open.
    pub fn store(&self) -> Option<&Store<()>> {
        self.store.as_ref()
    }

    /// Plays a step.
    ///
    /// # Errors
    /// [`Halt`] where the disk fails.
    pub fn play(&mut self, step: Step) -> Result<(), Halt> {
        self.turn += 1;
        self.book.unseen = true;
        self.step(step)?;
        self.look();
        Ok(())
    }

    fn step(&mut self, step: Step) -> Result<(), Halt> {
        match step {
            Step::Fresh => self.fresh()?,
            Step::Repeat => self.repeat()?,
            Step::Conflict => self.conflict()?,
            Step::CreateTopic => self.create_topic()?,
            Step::OpenProducer => self.open_producer(self.topic())?,
            Step::SetCursor => self.set_cursor()?,
            Step::Roll => self.roll()?,
            Step::Retain => self.retain()?,
            Step::Job => {
                self.job()?;
            }
            Step::Mark => self.mark()?,
            Step::Restart => self.start()?,
            Step::Mirror => self.mirror()?,
            Step::Settle => self.settle()?,
            Step::Stop => {
                self.stop()?;
                self.start()?;
            }
        }
        Ok(())
    }

    /// Ends as a clean stop does.
    ///
    /// # Errors
    /// [`Halt`]
    pub fn stop(&mut self) -> Result<(), Halt> {
        self.settle()?;
        self.mark()?;
        self.look();
        self.store.take().ok_or(Halt::Closed)?.close();
        Ok(())
    }

    fn look(&mut self) {
        if let Some(store) = &self.store {
            self.book.look(self.disk.operations(), store.view());
        }
    }

    fn tick(&mut self) -> Timestamp {
        self.now += 1_000;
        Timestamp::from_micros(self.now)
    }

    fn live(&mut self) -> Result<&mut Store<()>, Halt> {
        self.store.as_mut().ok_or(Halt::Closed)
    }

    /// The topic whose turn it is.
    fn topic(&self) -> &'static str {
        TOPICS[self.turn % self.topics.max(1)]
    }

    fn fresh(&mut self) -> Result<(), Halt> {
        let from = self.ids(2);
        self.publish(self.topic(), events(from..from + 2, 3, 0))
    }

    fn ids(&mut self, count: u64) -> u64 {
        self.id_next += count;
        self.id_next - count
    }

    /// Publishes again what the topic may hold, and sends its last batch once more.
    fn repeat(&mut self) -> Result<(), Halt> {
        let topic = self.topic();
        let last = self.book.sent.iter().rev().find(|sent| sent.topic == topic).cloned();
        let Some(last) = last else { return self.fresh() };
        self.resend(topic, &last)?;
        let mut events = last.events;
        events.truncate(3);
        let from = self.ids(1);
        events.push(event(SOURCE, from, "order-1", 0));
        self.publish(topic, events)
    }

    fn conflict(&mut self) -> Result<(), Halt> {
        let from = self.ids(1);
        let known = from.saturating_sub(1 + from % 3);
        let content = 1 + from % 2;
        let order = format!("order-{}", known % 3);
        let events = vec![
            event(SOURCE, known, &order, content),
            event(SOURCE, from, "", 0),
            event(SOURCE, known, &order, 0),
        ];
        self.publish(self.topic(), events)
    }

    fn create_topic(&mut self) -> Result<(), Halt> {
        let Some(name) = TOPICS.get(self.topics).copied() else { return Ok(()) };
        let at = self.disk.operations();
        self.book.topics.push(Asked::new(at, name.to_owned()));
        let topic = topic_name(name);
        let settings = TopicSettings { compact: name == COMPACTED, ..TopicSettings::default() };
        let answer = self.ask(Operation::CreateTopic { name: topic, settings })?;
        let Answer::TopicCreated { .. } = answer else { return refused(&answer) };
        let now = self.disk.operations();
        self.book.topics.last_mut().expect("just asked").acknowledged = Some(now);
        self.topics += 1;
        self.open_producer(name)
    }

    fn open_producer(&mut self, name: &'static str) -> Result<(), Halt> {
        if self.topics == 0 {
            return Ok(());
        }
        let epoch = self.sessions.get(name).map_or(1, |session| session.epoch.get() + 1);
        let at = self.disk.operations();
        let what = (producer().to_string(), name.to_owned(), epoch);
        self.book.opened.push(Asked::new(at, what));
        let (producer, topic) = (producer(), topic_name(name));
        let answer = self.ask(Operation::OpenProducer { producer, topic, transient: false })?;
        let Answer::ProducerOpened(opened) = answer else { return refused(&answer) };
        // An opening whose answer did not come may have raised it too.
        assert!(opened.epoch.get() >= epoch, "epochs go up");
        let now = self.disk.operations();
        let asked = self.book.opened.last_mut().expect("just asked");
        asked.acknowledged = Some(now);
        asked.what.2 = opened.epoch.get();
        let next = opened.last_sequence.advance(1);
        self.sessions.insert(name, Session { epoch: opened.epoch, next });
        Ok(())
    }

    fn set_cursor(&mut self) -> Result<(), Halt> {
        let topic = self.topic();
        let view = self.live()?.view().clone();
        let Some(partition) = view.partitions(&topic_name(topic)).into_iter().next() else {
            return Ok(());
        };
        let name = format!("cursor-{topic}");
        let offset = Offset::new(partition.end.get() - partition.end.get().min(1));
        let at = self.disk.operations();
        self.book.cursors.push(Asked::new(at, (name.clone(), offset.get())));
        let set = Operation::SetCursor {
            name: CursorName::new(&name).expect("a name"),
            topic: topic_name(topic),
            hold: None,
            positions: vec![(partition.slot, offset)],
        };
        let answer = self.ask(set)?;
        let Answer::CursorSet = answer else { return refused(&answer) };
        let now = self.disk.operations();
        self.book.cursors.last_mut().expect("just asked").acknowledged = Some(now);
        Ok(())
    }

    /// Publishes what fills a file, until it is left.
    fn roll(&mut self) -> Result<(), Halt> {
        if self.topics == 0 {
            return Ok(());
        }
        let before = self.newest()?;
        for _ in 0..12 {
            let from = self.ids(1);
            let mut filling = event(SOURCE, from, "order-2", 0);
            let mut dice = Dice::new(from);
            filling.data = std::iter::repeat_with(|| dice.next_u64().to_le_bytes()[0])
                .take(LONG)
                .collect::<Vec<_>>()
                .into();
            self.publish(self.topic(), vec![filling])?;
            if self.newest()? != before {
                break;
            }
        }
        Ok(())
    }

    /// The name of the newest journal file.
    fn newest(&mut self) -> Result<Option<String>, Halt> {
        self.live()?;
        Ok(self.disk.names().into_iter().rfind(|name| name.starts_with("journal-")))
    }

    fn retain(&mut self) -> Result<(), Halt> {
        self.now += 2_000_000;
        let now = self.tick();
        self.live()?.tick(now);
        while self.live()?.wants_seal() {
            self.sync()?;
        }
        Ok(())
    }

    fn settle(&mut self) -> Result<(), Halt> {
        for _ in 0..6 {
            for _ in 0..JOBS_MAX {
                if !self.job()? {
                    break;
                }
            }
            self.retain()?;
        }
        Ok(())
    }

    fn mark(&mut self) -> Result<(), Halt> {
        match self.live()?.mark()? {
            Some(mark) => self.finish(mark).map(drop),
            None => Ok(()),
        }
    }

    fn mirror(&mut self) -> Result<(), Halt> {
        let (journal, batches) = origin();
        let name = topic_name(TOPICS[0]);
        let topics = vec![MirrorTopic { name: name.clone(), settings: TopicSettings::default() }];
        let origin = NodeName::new(ORIGIN).expect("a name");
        let open = Operation::OpenMirror { origin, journal: *journal, topics };
        let answer = self.ask(open)?;
        let Answer::MirrorOpened(ends) = answer else { return refused(&answer) };
        let slot = ends[0].slot;
        let next = ends[0].end.map_or(0, |end| end.next_batch.get());
        let next = usize::try_from(next).expect("a small number");
        for batch in batches.iter().skip(next).take(3) {
            let at = self.disk.operations();
            self.book.mirrored.push(Asked::new(at, batch.header().batch_number.get()));
            let mut keys = KeyHashes::default();
            let hasher = self.live()?.view().key_hasher().clone();
            hasher.hash_batch(&name, batch.batch(), &mut keys).expect("a batch that holds");
            let (journal, batch) = (*journal, batch.clone());
            let answer = self.ask(Operation::Mirror { slot, journal, batch, keys })?;
            let Answer::Mirrored { .. } = answer else { return refused(&answer) };
            let now = self.disk.operations();
            self.book.mirrored.last_mut().expect("just asked").acknowledged = Some(now);
        }
        Ok(())
    }

    fn publish(&mut self, topic: &'static str, events: Vec<Event>) -> Result<(), Halt> {
        let Some(session) = self.sessions.get(topic).copied() else { return Ok(()) };
        let at = self.disk.operations();
        let first = session.next;
        let sent = Sent { at, topic: topic.to_owned(), first: first.get(), events, receipt: None };
        let count = sent.events.len() as u64;
        self.book.sent.push(sent.clone());
        let answer = self.send(topic, session.epoch, &sent)?;
        let Answer::Receipt(receipt) = answer else { return refused(&answer) };
        let now = self.disk.operations();
        self.book.sent.last_mut().expect("just sent").receipt = Some((now, receipt));
        let next = first.advance(count);
        self.sessions.insert(topic, Session { next, ..session });
        Ok(())
    }

    /// Sends a batch again that has its receipt: it gets the same.
    fn resend(&mut self, topic: &'static str, sent: &Sent) -> Result<(), Halt> {
        let Some((_, receipt)) = &sent.receipt else { return Ok(()) };
        let session = self.sessions[topic];
        let answer = self.send(topic, session.epoch, sent)?;
        let Answer::Receipt(again) = answer else { return refused(&answer) };
        assert_eq!(again, *receipt, "a kept receipt is the first");
        Ok(())
    }

    /// Publishes a batch as it is.
    ///
    /// # Errors
    /// [`Halt`]
    pub fn send(&mut self, topic: &str, epoch: Epoch, sent: &Sent) -> Result<Answer, Halt> {
        let (topic, producer) = (topic_name(topic), producer());
        let batch = batch(&sent.events, Sequence::new(sent.first));
        let mut keys = KeyHashes::default();
        let hasher = self.live()?.view().key_hasher().clone();
        hasher.hash_batch(&topic, &batch, &mut keys).expect("a batch that holds");
        self.ask(Operation::Publish { producer, topic, epoch, batch, keys })
    }

    /// Stages an operation and drives the store until it is answered.
    ///
    /// # Errors
    /// [`Halt`]
    ///
    /// # Panics
    /// If there is no answer.
    pub fn ask(&mut self, mut operation: Operation) -> Result<Answer, Halt> {
        for _ in 0..STEPS_MAX {
            let now = self.tick();
            match self.live()?.stage(operation, (), now) {
                Ok(Staged::Answered((), answer)) => return Ok(answer),
                Ok(Staged::Held) => {
                    for _ in 0..STEPS_MAX {
                        if let Some(answer) = self.sync()?.pop() {
                            return Ok(answer);
                        }
                    }
                    panic!("a held operation is answered");
                }
                Err((back, ())) => operation = back,
            }
            self.sync()?;
        }
        panic!("an operation finds room");
    }

    /// Makes durable what is staged; a job where that must come first.
    fn sync(&mut self) -> Result<Vec<Answer>, Halt> {
        if let Some(pending) = self.live()?.seal()? {
            return self.finish(pending);
        }
        self.job()?;
        Ok(Vec::new())
    }

    fn finish(&mut self, pending: PendingCommit<()>) -> Result<Vec<Answer>, Halt> {
        if pending.write_and_sync().is_err() {
            self.live()?.on_failed(pending);
            return Err(Halt::Commit);
        }
        let answers = self.live()?.on_synced(pending);
        Ok(answers.into_iter().map(|((), answer)| answer).collect())
    }

    /// Does one job; false where there is none.
    fn job(&mut self) -> Result<bool, Halt> {
        self.now += 2_000_000;
        let now = self.tick();
        let store = self.live()?;
        let Some(job) = store.poll_job(now) else { return Ok(false) };
        store.on_job_done(job.run(), now);
        Ok(true)
    }
}

fn refused(answer: &Answer) -> Result<(), Halt> {
    let code = if let Answer::Refused(refusal) = answer { Some(refusal.code) } else { None };
    Err(match code {
        Some(ErrorCode::Stopping) => Halt::Commit,
        Some(ErrorCode::Unreadable) => Halt::Unread,
        Some(ErrorCode::Full) => Halt::Full,
        None if *answer == Answer::Full => Halt::Full,
        Some(_) | None => panic!("not an answer to this: {answer:?}"),
    })
}

/// The only producer.
pub fn producer() -> ProducerId {
    ProducerId::new(PRODUCER.0, PRODUCER.1).expect("a name")
}

/// A topic's name.
pub fn topic_name(name: &str) -> TopicName {
    TopicName::new(name).expect("a name")
}
