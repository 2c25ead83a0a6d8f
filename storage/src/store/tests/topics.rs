//! Retention by topic: what a topic's limits have passed is found no more, what others keep stays.

use takt_protocol::words::{BatchNumber, CursorName, Offset};

use super::side::retain;
use super::*;
use crate::runs::Slot;
use crate::view::ReadError;

const LIMIT: u64 = 12 << 10;
/// With so little of `u`, a file is not packed when that goes.
const MOSTLY_T: [&str; 9] = ["t", "t", "t", "t", "u", "t", "t", "t", "t"];
const HOUR_US: i64 = 60 * 60 * 1_000_000;

/// Topics `t`, which keeps all, and `u` with limits; nothing waits for an uplink.
pub(super) struct Two {
    pub(super) world: World,
    pub(super) next: BTreeMap<&'static str, u64>,
    data_len: usize,
}

fn data(first: u64, len: usize) -> String {
    format!("{first}{}", "d".repeat(len))
}

impl Two {
    pub(super) fn new(limits: TopicSettings) -> Self {
        let mut world = World::with_topic("plant");
        world.store.set_uplink_needs(Some(BTreeMap::new()));
        world.create("u", limits);
        world.open_producer("p", "u");
        Self { world, next: BTreeMap::from([("t", 1), ("u", 1)]), data_len: 3_000 }
    }

    pub(super) fn by_size() -> Self {
        Self::new(TopicSettings { retention_bytes: LIMIT, ..TopicSettings::default() })
    }

    /// As [`Two::by_size`], where files with little of `u` are full of `t`.
    fn mostly_t() -> Self {
        Self { data_len: 11_500, ..Self::by_size() }
    }

    pub(super) fn by_age() -> Self {
        let day_ms = 24 * 60 * 60 * 1_000;
        Self::new(TopicSettings { retention_ms: day_ms, ..TopicSettings::default() })
    }

    /// Publishes to these topics in turn until `files` more journal files are left behind. Each third
    /// batch of a topic has a known key with other content where `conflicts`.
    pub(super) fn fill(&mut self, names: &[&'static str], files: usize, conflicts: bool) {
        let current = |world: &World| world.store.state.control.manifest.files.len();
        let there = current(&self.world);
        while current(&self.world) < there + files {
            for name in names {
                let first = self.next[name];
                let data = data(first, self.data_len);
                let known = conflicts && first > 1 && first.is_multiple_of(3);
                let id = if known { "e1".to_owned() } else { format!("e{first}") };
                let batch = batch(&[event(&id, "x", &data)], first);
                let operation = self.world.publication_to(name, "p", 1, batch);
                receipt(self.world.run(operation));
                self.next.insert(name, first + 1);
            }
            self.world.settle();
        }
    }

    pub(super) fn partition(&self, name: &str) -> crate::view::PartitionView {
        self.world.store.view().partitions(&topic(name))[0].clone()
    }

    pub(super) fn start(&self, name: &str) -> Offset {
        self.partition(name).start
    }

    pub(super) fn retained(&mut self, name: &str) -> Offset {
        retain(&mut self.world);
        self.start(name)
    }

    /// All that is kept is found by each way, and nothing that is not.
    pub(super) fn check(&self) {
        let view = self.world.store.view();
        for name in ["t", "u"] {
            let shown = self.partition(name);
            let slot = shown.slot;
            let all = view.read_from_batch(slot, shown.start_batch, usize::MAX).unwrap();
            assert_eq!(all.len() as u64, shown.end_batch.get() - shown.start_batch.get());
            let bytes: usize = all.iter().map(takt_protocol::batch::StoredBatch::len).sum();
            assert_eq!(bytes as u64, shown.len_bytes);
            let order = OrderKey::new("x").unwrap();
            let found = view.order(&topic(name), &order, None, usize::MAX).unwrap();
            let offsets: Vec<_> = found.into_iter().map(|(_, offset)| offset.get()).collect();
            assert_eq!(offsets, (shown.start.get()..shown.end.get()).collect::<Vec<_>>());
            assert_eq!(view.offset_at(slot, Timestamp::default()).unwrap(), shown.start);
            assert_eq!(view.chain_at(slot, shown.start_batch).unwrap(), Some(shown.start_chain));
            let catalog = view.catalog();
            let first = catalog.find_time(slot, Timestamp::default()).unwrap().unwrap();
            assert_eq!(first.batch_number, shown.start_batch);
            let page = catalog.page(slot, BatchNumber::new(0), 1).unwrap();
            assert_eq!(page[0].batch_number, shown.start_batch);
            for gone in [0, shown.start.get().saturating_sub(1)].map(Offset::new) {
                if gone < shown.start {
                    let read = view.read(slot, gone, 1);
                    let Err(ReadError::Trimmed { start }) = read else { panic!("{read:?}") };
                    assert_eq!(start, shown.start);
                    assert_eq!(catalog.find(slot, gone).unwrap(), None);
                    let batch = BatchNumber::new(0);
                    assert_eq!(catalog.find_batch(slot, batch).unwrap(), None);
                }
            }
        }
    }

    pub(super) fn restart(&mut self) {
        let digest = self.world.store.state_digest();
        self.world.restart();
        assert_eq!(self.world.store.state_digest(), digest);
        self.world.store.set_uplink_needs(Some(BTreeMap::new()));
        self.check();
    }

    pub(super) fn hold(&mut self, name: &str, at: Offset) {
        let positions = vec![(self.partition(name).slot, at)];
        let set = Operation::SetCursor {
            name: CursorName::new("c").unwrap(),
            topic: topic(name),
            hold: Some(true),
            positions,
        };
        assert!(matches!(self.world.run(set), Answer::CursorSet));
    }
}

#[test]
fn a_topic_keeps_as_many_bytes_as_it_asks_for() {
    let mut two = Two::by_size();
    two.fill(&["t", "u"], 6, false);
    assert_eq!(two.start("u"), Offset::new(0), "nobody has looked");
    assert!(two.retained("u") > Offset::new(0));
    let kept = two.partition("u").len_bytes;
    assert!((LIMIT..LIMIT + (64 << 10)).contains(&kept), "{kept} bytes");
    assert_eq!(two.start("t"), Offset::new(0));
    two.check();
    let manifest = &two.world.store.state.control.manifest;
    let trimmed = manifest.files.values().filter(|file| file.slots.len() == 1).count();
    assert!(trimmed >= 3, "{manifest:?}");
    // Once more, the same is kept: what is gone counts no more.
    let before = (two.partition("u"), two.world.store.state_digest());
    retain(&mut two.world);
    assert_eq!((two.partition("u"), two.world.store.state_digest()), before);
    two.restart();
    two.fill(&["t", "u"], 2, false);
    assert!(two.retained("u") > before.0.start);
    two.restart();
    retain(&mut two.world);
    two.check();
}

#[test]
fn a_file_that_holds_nothing_else_goes_before_older_ones() {
    let mut two = Two::by_size();
    two.fill(&["t"], 2, false);
    two.fill(&["u"], 4, false);
    two.fill(&["t", "u"], 2, false);
    let files = two.world.store.journal.files();
    assert!(two.retained("u") > Offset::new(0));
    assert_eq!(two.start("t"), Offset::new(0));
    let left = two.world.store.journal.files();
    assert!(left.len() <= files.len() - 2, "{left:?}");
    assert_eq!(left[0].start, files[0].start);
    two.check();
    two.restart();
    two.restart();
    let disk: Arc<dyn Disk> = Arc::new(two.world.disk.clone());
    check(&disk).unwrap();
    assert!(verify_runs(&disk).unwrap().iter().all(|report| report.damage.is_none()));
    // A repeat of what is gone is still told.
    let batch = batch(&[event("e1", "x", &format!("1{}", "d".repeat(3_000)))], two.next["u"]);
    let operation = two.world.publication_to("u", "p", 1, batch);
    let told = verdicts(&receipt(two.world.run(operation)));
    assert!(matches!(told[0], Verdict::Duplicate { .. }), "{told:?}");
}

#[test]
fn a_topic_keeps_what_is_young_by_a_credible_clock() {
    let mut two = Two::by_age();
    two.fill(&["t", "u"], 3, false);
    two.world.now += 23 * HOUR_US;
    assert_eq!(two.retained("u"), Offset::new(0));
    // What others appended to the same files is of no account.
    two.fill(&["t"], 1, false);
    let end = two.partition("u").end;
    two.world.store.set_age_time_max(Timestamp::from_micros(two.world.now));
    two.world.now += 1_000 * HOUR_US;
    assert_eq!(two.retained("u"), Offset::new(0));
    two.world.now -= 998 * HOUR_US;
    two.world.store.set_age_time_max(Timestamp::from_micros(two.world.now));
    assert_eq!(two.retained("u"), end);
    assert_eq!(two.start("t"), Offset::new(0));
}

#[test]
fn what_a_cursor_or_the_hub_needs_is_not_trimmed() {
    let mut two = Two::by_size();
    two.fill(&["t", "u"], 8, false);
    let slot = two.partition("u").slot;
    two.world.store.set_uplink_needs(None);
    assert_eq!(two.retained("u"), Offset::new(0));
    let acknowledged = |batch| Some(BTreeMap::from([(slot, BatchNumber::new(batch))]));
    two.world.store.set_uplink_needs(acknowledged(8));
    let upto = two.retained("u");
    assert!(Offset::new(0) < upto && upto <= Offset::new(8), "{upto}");
    let held = upto.advance(4);
    two.hold("u", held);
    two.world.store.set_uplink_needs(acknowledged(1_000));
    let behind = two.retained("u");
    assert!(upto <= behind && behind <= held, "{upto} {behind} {held}");
    // A hold of another topic is none of this one.
    two.hold("t", Offset::new(0));
    assert!(two.retained("u") > held);
    two.check();
}

#[test]
fn what_does_not_fit_the_manifest_is_refused() {
    let mut two = Two::by_size();
    two.fill(&["t", "u"], 4, true);
    let store = &two.world.store;
    let (snapshot, at) = (store.state.snapshot(), store.journal.position());
    let files: Vec<_> = store.state.control.manifest.files.values().cloned().collect();
    let apply = |entries: &[Entry]| {
        let limits = two.world.options.table_limits();
        let mut state = State::restore(&snapshot, at, limits).unwrap();
        // Whatever a side file would hold.
        let side = |file: &crate::entry::SealedFile| crate::entry::SideFile {
            start: file.start,
            incarnation: crate::journal::Incarnation::FIRST,
            batches: 1,
            len_bytes: 1,
            checksum: 1,
        };
        let kept = files[..3].iter().map(|file| Entry::ConflictsKept { side: side(file) });
        let kept: Vec<_> = kept.collect();
        let mut all = kept.iter().chain(entries);
        all.try_for_each(|entry| state.apply(at, entry, None, &mut Effects::default()))
    };
    let trim = |file: usize, slots: &[u32]| Entry::SlotsTrimmed {
        start: files[file].start,
        slots: slots.iter().copied().map(Slot::new).collect(),
    };
    let dropped = |file: usize| Entry::FileDropped { start: files[file].start };
    assert_eq!(apply(&[trim(0, &[1]), trim(1, &[1]), dropped(0), dropped(1)]), Ok(()));
    let refused: [&[Entry]; 10] = [
        &[trim(1, &[1])],
        &[trim(0, &[1]), trim(0, &[1])],
        &[trim(0, &[])],
        &[trim(0, &[0, 1])],
        &[trim(0, &[1, 0])],
        &[trim(0, &[1, 1])],
        &[trim(0, &[2])],
        &[dropped(0), trim(0, &[1])],
        &[trim(0, &[1]), dropped(1)],
        &[Entry::SlotsTrimmed { start: at, slots: vec![Slot::new(1)] }],
    ];
    for entries in refused {
        assert!(apply(entries).is_err(), "{entries:?}");
    }
    // The conflicts of this one are nowhere else.
    let before: Vec<_> = (0..3).map(|file| trim(file, &[1])).collect();
    assert_eq!(apply(&before), Ok(()));
    assert!(apply(&[before, vec![trim(3, &[1])]].concat()).is_err());
}

#[test]
fn another_retention_counts_from_now_on() {
    let mut two = Two::new(TopicSettings::default());
    two.fill(&["t", "u"], 6, false);
    assert_eq!(two.retained("u"), Offset::new(0));
    let set = |retention_ms, retention_bytes| Operation::SetRetention {
        name: topic("u"),
        retention_ms,
        retention_bytes,
        compact: None,
    };
    let shown = |two: &Two| {
        let settings = two.world.store.view().topic(&topic("u")).unwrap();
        (settings.retention_ms, settings.retention_bytes)
    };
    assert_eq!(two.world.run(set(Some(7), Some(LIMIT))), Answer::RetentionSet);
    assert_eq!(shown(&two), (7, LIMIT));
    assert_eq!(two.world.run(set(Some(0), None)), Answer::RetentionSet);
    two.world.store.set_uplink_needs(None);
    two.restart();
    assert_eq!(shown(&two), (0, LIMIT));
    let commits = two.world.store.view().status().counters.commits;
    assert_eq!(two.world.run(set(None, Some(LIMIT))), Answer::RetentionSet);
    assert_eq!(two.world.store.view().status().counters.commits, commits, "nothing is new");
    assert!(two.retained("u") > Offset::new(0));
    assert_eq!(two.start("t"), Offset::new(0));
    two.restart();
    let name = topic("v");
    let unknown = Operation::SetRetention {
        name,
        retention_ms: None,
        retention_bytes: Some(1),
        compact: None,
    };
    assert_eq!(refused(two.world.run(unknown)).code, ErrorCode::UnknownTopic);
}

#[test]
fn a_mirror_goes_by_the_limits_of_its_node() {
    use super::mirror::{mirror, open_mirror};
    let mut plant = World::new("plant");
    let limits = TopicSettings { retention_bytes: 1, retention_ms: 1, ..TopicSettings::default() };
    plant.create("t", limits);
    plant.open_producer("p", "t");
    super::side::fill(&mut plant, &mut 1, 5);
    let journal = plant.store.view().journal();
    let batches = plant.store.view().read_from_batch(Slot::new(0), BatchNumber::new(0), 1 << 24);
    let mut hub = World::new("hub");
    hub.store.set_uplink_needs(Some(BTreeMap::new()));
    let Answer::MirrorOpened(ends) = open_mirror(&mut hub, journal) else { panic!("opened") };
    for batch in &batches.unwrap() {
        assert!(matches!(mirror(&mut hub, ends[0].slot, journal, batch), Answer::Mirrored { .. }));
    }
    hub.now += 24 * HOUR_US;
    retain(&mut hub);
    assert!(hub.store.state.control.manifest.files.len() >= 3);
    assert_eq!(hub.store.view().all_partitions()[0].start, Offset::new(0));
}

#[test]
fn open_conflicts_outlive_what_is_trimmed() {
    let mut two = Two::by_size();
    two.fill(&["t", "u"], 6, true);
    let listed = two.world.store.view().conflicts(None, None, usize::MAX);
    let readable = |two: &Two| {
        let view = two.world.store.view();
        listed.iter().filter(|open| view.conflict(open.address).is_ok()).count()
    };
    assert!(two.retained("u") > Offset::new(0));
    let slot = two.partition("u").slot;
    let start = two.partition("u").start_batch;
    let gone = listed.iter().filter(|open| open.address.slot == slot);
    let gone = gone.filter(|open| open.address.batch_number < start).count();
    assert!(gone >= 3, "{gone} conflicts");
    assert_eq!(readable(&two), listed.len());
    two.restart();
    assert_eq!(readable(&two), listed.len());

    // A side file with what is trimmed elsewhere is not made again without it.
    let named = two.world.store.state.control.manifest.sides.clone();
    let side = *named.values().next().unwrap();
    let damaged = side.name();
    two.world.disk.flip_bit(&damaged, 8 * 60);
    two.restart();
    // The other topic would leave the file too, if its conflicts were copied.
    let (retention_ms, retention_bytes) = (None, Some(LIMIT));
    let set =
        Operation::SetRetention { name: topic("t"), retention_ms, retention_bytes, compact: None };
    assert_eq!(two.world.run(set), Answer::RetentionSet);
    let stopped = two.retained("t");
    let keeps = two.world.store.state.control.manifest.files[&side.start].slots.clone();
    assert!(keeps.iter().any(|end| end.slot == two.partition("t").slot));
    assert!(readable(&two) < listed.len());
    two.world.disk.flip_bit(&damaged, 8 * 60);
    two.restart();
    assert_eq!(readable(&two), listed.len());
    assert_eq!(two.world.store.state.control.manifest.sides, named);
    assert!(two.retained("t") > stopped);
    assert_eq!(readable(&two), listed.len());
}

#[test]
fn a_run_that_is_made_again_leaves_out_what_was_trimmed() {
    let mut two = Two::mostly_t();
    two.fill(&MOSTLY_T, 9, false);
    assert!(two.retained("u") > Offset::new(0));
    // The newest snapshot has the trimming.
    two.restart();
    let files = two.world.store.state.control.manifest.files.clone();
    let run = files.values().find_map(|file| file.run).unwrap();
    two.world.disk.flip_bit(&run.name(), 8 * 20);
    two.restart();
    assert!(two.world.report.runs_rebuilt > 0);
    two.world.settle();
    two.check();
    let file = two.world.store.state.control.manifest.files.values().next().unwrap();
    assert_eq!((file.slots.len(), file.run.unwrap().counts.slots), (1, 1));
    two.restart();
    assert_eq!(two.world.report.runs_rebuilt, 0);
    retain(&mut two.world);
    two.check();
}

#[test]
fn a_damaged_run_before_a_dropped_file_is_made_again_from_its_file() {
    // Whether the newest snapshot has the trimming, and whether its keys are merged.
    for (restarts, files) in [(0, 1), (2, 1), (2, 8)] {
        let mut two = Two::mostly_t();
        two.fill(&MOSTLY_T, 1, true);
        two.fill(&["u"], 3, true);
        two.fill(&["t", "u"], files, true);
        assert!(two.retained("u") > Offset::new(0));
        (0..restarts).for_each(|_| two.restart());
        let oldest = two.world.store.state.control.manifest.files.values().next().unwrap().clone();
        assert_eq!(oldest.slots.len(), 1, "the file is trimmed");
        let name = oldest.run.unwrap().name();
        two.world.disk.flip_bit(&name, 8 * 20);
        two.restart();
        assert_eq!(two.world.report.runs_rebuilt, 1);
        two.world.settle();
        two.check();
        // Removed as by a look-up that met damage.
        Disk::remove(&two.world.disk, &name).unwrap();
        two.restart();
        assert_eq!(two.world.report.runs_rebuilt, 1);
        two.world.settle();
        two.restart();
        assert_eq!(two.world.report.runs_rebuilt, 0);
        let disk: Arc<dyn Disk> = Arc::new(two.world.disk.clone());
        assert!(verify_runs(&disk).unwrap().iter().all(|report| report.damage.is_none()));
        for name in ["t", "u"] {
            // Its keys and its orders are as before.
            let repeat = event("e1", "x", &data(1, two.data_len));
            let first = two.next[name];
            let more = batch(&[repeat, event("new", "x", "")], first);
            let operation = two.world.publication_to(name, "p", 1, more);
            let told = verdicts(&receipt(two.world.run(operation)));
            assert!(matches!(told[0], Verdict::Duplicate { .. }), "{told:?}");
            let events = two.partition(name).end.get();
            let Verdict::Visible { order_sequence: Some(sequence), .. } = told[1] else {
                panic!("{told:?}")
            };
            assert_eq!(sequence.get(), events);
        }
    }
}

#[test]
fn a_power_cut_trims_or_it_does_not() {
    let prepare = || {
        let mut two = Two::by_size();
        two.fill(&["t"], 1, false);
        two.fill(&["u"], 2, true);
        two.fill(&["t", "u"], 3, true);
        two
    };
    let try_retain = |two: &mut Two| {
        for _ in 0..4 {
            let now = two.world.now();
            two.world.store.tick(now);
            for _ in 0..4 {
                if two.world.sync().is_none() {
                    return;
                }
            }
        }
    };
    let total = {
        let mut two = prepare();
        let begun = two.world.disk.operations();
        try_retain(&mut two);
        two.world.disk.operations() - begun
    };
    let (mut kept, mut trimmed) = (0, 0);
    for at in 0..total {
        let mut two = prepare();
        let mut dice = Dice::new(at);
        two.world.disk.cut_power_at(two.world.disk.operations() + at);
        try_retain(&mut two);
        two.world.disk = two.world.disk.crash_image(&mut |_| dice.below(2) == 0);
        two.world.restart();
        two.world.store.set_uplink_needs(Some(BTreeMap::new()));
        two.check();
        let gone = two.start("u") > Offset::new(0);
        trimmed += u32::from(gone);
        kept += u32::from(!gone);
        assert!(two.retained("u") > Offset::new(0));
        two.check();
    }
    assert!(kept > 5 && trimmed > 5, "{kept} cuts before, {trimmed} behind");
}
