//! The second reader reads what the store reads, record by record, and finds every damage.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use takt_client::{CursorName, Offset, TopicName};
use takt_reader::{Contents, ReadError, Unpacked, check_runs, read, read_unpacked};
use takt_storage::disk::sim::SimDisk;
use takt_storage::disk::{Disk, RealDisk};
use takt_storage::entry::TopicSettings;
use takt_storage::journal::JournalOptions;
use takt_storage::kept::PackCompression;
use takt_storage::store::{Answer, MirrorTopic, Operation, StoreOptions};
use takt_storage::view::View;
use takt_tests::compare;
use takt_tests::driver::{self, Driver};
use takt_tests::events::{Dice, event, events};
use takt_tests::golden;

type Files = BTreeMap<String, Vec<u8>>;

const TOPIC: &str = "t";

fn files(disk: &dyn Disk) -> Files {
    let mut files = Files::new();
    for (name, len) in disk.list().unwrap() {
        let mut bytes = vec![0; usize::try_from(len).unwrap()];
        disk.open(&name, false).unwrap().read_at(0, &mut bytes).unwrap();
        files.insert(name, bytes);
    }
    files
}

fn assert_same(contents: &Contents<'_>, view: &View) {
    compare::same(contents, view).unwrap();
}

fn options(node: &str) -> StoreOptions {
    StoreOptions {
        journal: JournalOptions {
            file_bytes: 40 << 10,
            commit_bytes_max: 16 << 10,
            reserve_chunks: 2,
            reserve_chunk_bytes: 32 << 10,
        },
        retention_bytes: 160 << 10,
        ..driver::options(node)
    }
}

/// A hub with a topic of its own and a mirror, over a disk that can lose what was not synced.
struct World {
    disk: SimDisk,
    hub: Driver,
    lyon: Driver,
    seed: u64,
    settings: TopicSettings,
    options: StoreOptions,
}

impl World {
    fn new() -> Self {
        Self::with(TopicSettings::default())
    }

    /// The hub's own topic has these settings.
    fn with(settings: TopicSettings) -> Self {
        Self::of(settings, options("hub"))
    }

    /// And the hub these.
    fn of(settings: TopicSettings, options: StoreOptions) -> Self {
        let disk = SimDisk::new();
        let mut hub = open(&disk, &options, 1);
        hub.begin(settings);
        let lyon = Arc::new(SimDisk::new());
        let (mut lyon, _) = Driver::open(lyon, driver::options("lyon"), 2, TOPIC).unwrap();
        lyon.begin(TopicSettings::default());
        Self { disk, hub, lyon, seed: 2, settings, options }
    }

    fn restart(&mut self) {
        self.seed += 1;
        self.disk.crash(&mut |_| false);
        self.hub = open(&self.disk, &self.options, self.seed);
        self.hub.begin(self.settings);
    }

    fn round(&mut self, round: u64) {
        let (from, to) = (round * 10, round * 10 + 10);
        store(&mut self.hub, &events(from..to, 7, 0));
        store(&mut self.lyon, &events(from..to, 7, 5));
        match round % 10 {
            // A repeat, conflicts alone, and a batch of all kinds.
            3 => store(&mut self.hub, &events(from..to, 7, 0)),
            5 => store(&mut self.lyon, &events(from..from + 2, 7, 6)),
            7 => store(&mut self.hub, &events(from..from + 3, 7, 9)),
            8 => {
                let kinds = [(from, 0), (to + 5_000, 0), (from + 1, 8), (from + 1, 8)];
                let kinds = kinds.map(|(id, content)| event("//acme/mes", id, "", content));
                store(&mut self.hub, &kinds);
            }
            _ => {}
        }
        mirror(&self.lyon, &mut self.hub);
        self.hub.settle();
        let slot = self.hub.store.view().all_partitions()[0].slot;
        let set = Operation::SetCursor {
            name: CursorName::new(if round.is_multiple_of(2) { "erp" } else { "plm" }).unwrap(),
            topic: TopicName::new(TOPIC).unwrap(),
            hold: Some(false),
            positions: vec![(slot, Offset::new(from))],
        };
        assert_eq!(self.hub.ask(set), Answer::CursorSet);
    }

    /// So much that the hub's files hold little else: they are not packed when all else is trimmed.
    fn mirror_more(&mut self, round: u64) {
        for batch in 0..4 {
            let from = 1_000_000 + (round * 4 + batch) * 25;
            store(&mut self.lyon, &events(from..from + 25, 7, 5));
        }
        mirror(&self.lyon, &mut self.hub);
        self.hub.settle();
    }
}

/// Whether a pack has taken the place of the journal file that starts there.
fn is_packed(contents: &Contents<'_>, start: u64) -> bool {
    let last = contents.manifest.packs.range(..=start).next_back();
    last.is_some_and(|(_, pack)| start < pack.end)
}

fn open(disk: &SimDisk, options: &StoreOptions, seed: u64) -> Driver {
    Driver::open(Arc::new(disk.clone()), options.clone(), seed, TOPIC).unwrap().0
}

fn store(driver: &mut Driver, events: &[takt_client::Event]) {
    let answer = driver.publish(events);
    assert!(matches!(answer, Answer::Receipt(_)), "{answer:?}");
}

fn mirror(origin: &Driver, target: &mut Driver) {
    let from = origin.store.view();
    let (node, journal) = (from.node().clone(), from.journal());
    let name = TopicName::new(TOPIC).unwrap();
    let topics = vec![MirrorTopic { settings: from.topic(&name).unwrap(), name }];
    let opened = target.ask(Operation::OpenMirror { origin: node, journal, topics });
    let Answer::MirrorOpened(ends) = opened else { panic!("{opened:?}") };
    let own = &from.all_partitions()[0];
    let next = ends[0].end.map_or(own.start_batch, |end| end.next_batch);
    for batch in from.read_from_batch(own.slot, next, usize::MAX).unwrap() {
        let answer = target.mirror(ends[0].slot, journal, batch);
        assert!(matches!(answer, Answer::Mirrored { .. }), "{answer:?}");
    }
}

#[test]
fn the_golden_directories_read_as_the_store_reads_them() {
    let counts = [(15, 0, 4, 0), (6, 4, 4, 0), (5, 3, 3, 0), (19, 3, 3, 5), (20, 3, 3, 9)];
    for (name, counts) in golden::NAMES.iter().zip(counts) {
        reads_as_the_store_reads_it(name, counts);
    }
}

/// `counts`: runs, merged ones among them, side files, packs.
fn reads_as_the_store_reads_it(name: &str, counts: (u64, u64, u64, usize)) {
    let home = golden::copy(name);
    for seed in 10..13 {
        let before = files(&RealDisk::open(home.path()).unwrap());
        let unpacked = Unpacked::of(&before);
        let contents = read_unpacked(&before, &unpacked).unwrap();
        assert!(contents.partitions.iter().any(|partition| partition.start.batch > 0));
        assert!(!contents.conflicts.is_empty() && !contents.cursors.is_empty());
        let report = check_runs(&before, &contents).unwrap();
        let packs = contents.manifest.packs.len();
        assert_eq!((report.runs, report.merged, report.sides, packs), counts, "{report:?}");
        let driver = golden::open(home.path(), seed);
        assert_same(&contents, driver.store.view());
    }
}

#[test]
fn a_living_directory_reads_as_the_store_reads_it() {
    lives(World::new());
}

#[test]
fn a_directory_with_a_trimmed_topic_reads_as_the_store_reads_it() {
    let limits = TopicSettings { retention_bytes: 2 << 10, ..TopicSettings::default() };
    let trimmed = lives(World::with(limits));
    assert!(trimmed > 100, "{trimmed} files that were trimmed and are kept");
}

#[test]
fn runs_of_trimmed_files_that_were_made_again_are_read() {
    let limits = TopicSettings { retention_bytes: 2 << 10, ..TopicSettings::default() };
    let mut world = World::with(limits);
    for round in 0..30 {
        world.round(round);
        world.mirror_more(round);
    }
    let live = files(&world.disk);
    let contents = read(&live).unwrap();
    let trimmed = contents.manifest.files.values().filter(|file| file.slots.len() == 1);
    let trimmed = trimmed.filter(|file| !is_packed(&contents, file.start));
    let runs: Vec<String> = trimmed.filter_map(|file| Some(file.run?.name())).collect();
    assert!(!runs.is_empty(), "{:?}", contents.manifest);
    for run in &runs {
        world.disk.flip_bit(run, 8 * 20);
        world.restart();
        world.hub.settle();
        let live = files(&world.disk);
        let contents = read(&live).unwrap();
        check_runs(&live, &contents).unwrap();
        assert_same(&contents, world.hub.store.view());
    }
}

/// Compares both readers while it lives; returns how often a file was seen that lists partitions in
/// its run which it holds no more.
fn lives(mut world: World) -> usize {
    let mut trimmed = 0;
    let (mut holes, mut copied_on) = (0, 0);
    for round in 0..120 {
        world.round(round);
        if round % 9 == 4 {
            world.restart();
        }
        let live = files(&world.disk);
        let contents = read(&live).unwrap();
        check_runs(&live, &contents).unwrap();
        assert_same(&contents, world.hub.store.view());
        let kept = contents.manifest.files.values().filter(|file| !file.is_dropped());
        let lists_more = |rows: [u64; 6], slots: usize| rows[5] > slots as u64;
        trimmed += kept
            .filter(|file| file.run.is_some_and(|run| lists_more(run.rows, file.slots.len())))
            .count();
        let between = contents.files.iter().zip(contents.files.iter().skip(1));
        holes += between.filter(|(file, next)| file.end < next.start).count();
        copied_on += contents.files.iter().filter(|file| file.incarnation > 1).count();
        let after = files(&world.disk.crash_image(&mut |_| false));
        assert_same(&read(&after).unwrap(), world.hub.store.view());
    }
    let live = files(&world.disk);
    let contents = read(&live).unwrap();
    assert!(contents.incarnation > 5, "tails were copied");
    assert!(contents.partitions.iter().all(|partition| partition.start.batch > 0), "trimmed");
    assert!(contents.partitions[1].mirror_of.is_some());
    assert!(holes > 0 && copied_on > 0, "{holes} holes, {copied_on} later files");
    assert!(!contents.conflicts.is_empty());
    assert!(!contents.manifest.sides.is_empty(), "conflicts outlived their files");
    trimmed
}

#[test]
fn after_any_power_cut_it_reads_what_a_start_keeps() {
    let (cuts, copied, _) = power_cuts(World::new, 12, 5);
    assert!(cuts > 0 && copied > 0, "{cuts} cuts, {copied} copies");
}

#[test]
fn after_any_power_cut_it_reads_what_packs_keep() {
    let (_, _, packed) = power_cuts(|| packing(PackCompression::Zstd), 14, 11);
    assert!(packed > 20, "{packed} directories with packs");
}

/// Cuts power at every `step`th operation of a world's rounds. Returns how many tails were cut, how many
/// copied, and how many directories had packs.
fn power_cuts(new: impl Fn() -> World, rounds: u64, step: usize) -> (u64, u64, u64) {
    let total = {
        let mut world = new();
        let begun = world.disk.operations();
        (0..rounds).for_each(|round| world.round(round));
        world.disk.operations() - begun
    };
    let (mut cuts, mut copied, mut packed) = (0, 0, 0);
    for at in (0..total).step_by(step) {
        let mut dice = Dice::new(at);
        let mut world = new();
        let options = world.options.clone();
        world.disk.cut_power_at(world.disk.operations() + at);
        let disk = world.disk.clone();
        // The driver gives up at the disk's first error.
        let quiet = std::panic::AssertUnwindSafe(move || (0..rounds).for_each(|r| world.round(r)));
        let _ = std::panic::catch_unwind(quiet);
        let image = disk.crash_image(&mut |_| dice.below(2) == 0);
        let before = files(&image);
        let unpacked = Unpacked::of(&before);
        let contents = read_unpacked(&before, &unpacked).unwrap();
        let (hub, report) = Driver::open(Arc::new(image.clone()), options, 9, TOPIC).unwrap();
        assert_same(&contents, hub.store.view());
        assert_eq!(contents.durable_upto, report.synced_upto.get());
        assert_eq!(contents.cut, report.cut.map_or(0, |cut| cut.len_bytes));
        let after = files(&image);
        let unpacked = Unpacked::of(&after);
        assert_same(&read_unpacked(&after, &unpacked).unwrap(), hub.store.view());
        cuts += u64::from(contents.cut > 0);
        copied += u64::from(report.copied_bytes > 0);
        packed += u64::from(!contents.manifest.packs.is_empty());
    }
    (cuts, copied, packed)
}

/// A topic that keeps little beside a mirror that keeps all, so that files are packed.
fn packing(pack_compression: PackCompression) -> World {
    let limits = TopicSettings { retention_bytes: 2 << 10, ..TopicSettings::default() };
    World::of(limits, StoreOptions { retention_bytes: 0, pack_compression, ..options("hub") })
}

/// What was seen of packs while a world lived.
#[derive(Debug, Default)]
struct PacksSeen {
    /// Times at which there were some.
    packs: usize,
    /// Packs that took the place of others.
    again: usize,
    /// Batches that only a pack had.
    batches: usize,
    /// Packed files whose journal file was still there when the power was cut.
    both: usize,
    /// Journal files behind a packed one that is gone.
    holes: usize,
    compressed: usize,
}

fn packs_live(mut world: World, rounds: u64) -> PacksSeen {
    let mut seen = PacksSeen::default();
    for round in 0..rounds {
        world.round(round);
        if round % 9 == 4 {
            world.restart();
        }
        let live = files(&world.disk);
        let unpacked = Unpacked::of(&live);
        let contents = read_unpacked(&live, &unpacked).unwrap();
        check_runs(&live, &contents).unwrap();
        assert_same(&contents, world.hub.store.view());
        let cut = files(&world.disk.crash_image(&mut |_| false));
        let unpacked = Unpacked::of(&cut);
        let after = read_unpacked(&cut, &unpacked).unwrap();
        check_runs(&cut, &after).unwrap();
        assert_same(&after, world.hub.store.view());

        let packs = &contents.manifest.packs;
        seen.packs += usize::from(!packs.is_empty());
        seen.again += packs.values().filter(|pack| pack.serial > 0).count();
        let all = contents.partitions.iter().flat_map(|partition| &partition.batches);
        seen.batches += all.filter(|batch| batch.position.is_none()).count();
        seen.both += after.files.iter().filter(|file| is_packed(&after, file.start)).count();
        let between = contents.files.iter().zip(contents.files.iter().skip(1));
        seen.holes += between
            .filter(|(file, next)| file.end < next.start && is_packed(&contents, file.end))
            .count();
        seen.compressed += usize::from(read(&live).is_err());
    }
    seen
}

#[test]
fn a_directory_with_packs_reads_as_the_store_reads_it() {
    for compression in [PackCompression::None, PackCompression::Zstd] {
        let seen = packs_live(packing(compression), 100);
        assert!(seen.packs > 50 && seen.again > 0 && seen.batches > 1_000, "{seen:?}");
        let all_plain = compression == PackCompression::None;
        assert_eq!(seen.compressed == 0, all_plain, "{seen:?}");
    }
}

#[test]
fn an_archived_directory_reads_as_the_store_reads_it() {
    for pack_compression in [PackCompression::None, PackCompression::Zstd] {
        let pack_after = Some(Duration::from_mins(1));
        let retention_bytes = 480 << 10;
        let packing =
            StoreOptions { pack_after, pack_compression, retention_bytes, ..options("hub") };
        let seen = packs_live(World::of(TopicSettings::default(), packing), 100);
        assert!(seen.packs > 50 && seen.batches > 1_000, "{seen:?}");
    }
}

#[test]
fn every_flipped_bit_of_a_pack_is_found() {
    for compression in [PackCompression::None, PackCompression::Zstd] {
        let mut world = packing(compression);
        (0..40).for_each(|round| world.round(round));
        let mut files = files(&world.disk);
        let name = files.keys().find(|name| name.starts_with("pack-")).unwrap().clone();
        let len = files[&name].len();
        let dense = (0..112 * 8).chain((len - 48) * 8..len * 8);
        for bit in dense.chain((0..len * 8).step_by(997)) {
            files.get_mut(&name).unwrap()[bit / 8] ^= 1 << (bit % 8);
            let unpacked = Unpacked::of(&files);
            let found = read_unpacked(&files, &unpacked);
            assert!(matches!(found, Err(ReadError::Pack { .. })), "bit {bit}: {found:?}");
            files.get_mut(&name).unwrap()[bit / 8] ^= 1 << (bit % 8);
        }
        read_unpacked(&files, &Unpacked::of(&files)).unwrap();
        files.remove(&name);
        assert!(matches!(read(&files), Err(ReadError::PackMissing { file }) if file == name));
    }
}

/// A directory of some files, and the name of one that is sealed.
fn sealed() -> (Files, String) {
    let mut world = World::new();
    (0..14).for_each(|round| world.round(round));
    let mut files = files(&world.disk);
    files.retain(|name, _| name.starts_with("journal-"));
    let contents = read(&files).unwrap();
    let file = contents.files[contents.files.len() - 2].name.to_owned();
    (files, file)
}

#[test]
fn every_flipped_bit_below_the_durable_end_is_found() {
    let (mut files, name) = sealed();
    let contents = read(&files).unwrap();
    let file = contents.files.iter().find(|file| file.name == name).unwrap();
    let behind = usize::try_from(file.end - file.start).unwrap();
    let len = files[&name].len();
    let snapshot_len = u64::from_le_bytes(files[&name][72..80].try_into().unwrap());
    let used = 4096 + usize::try_from(snapshot_len).unwrap().next_multiple_of(4096) + behind;
    assert!(used <= len);
    // All of the first block's fields and of the first commit's front, and samples of the rest.
    let first = used - behind;
    let dense = (0..144 * 8).chain(first * 8..(first + 400) * 8);
    for bit in dense.chain((0..used * 8).step_by(331)) {
        files.get_mut(&name).unwrap()[bit / 8] ^= 1 << (bit % 8);
        let found = read(&files);
        assert!(found.is_err(), "bit {bit} of {name}");
        files.get_mut(&name).unwrap()[bit / 8] ^= 1 << (bit % 8);
    }
    read(&files).unwrap();
}

#[test]
fn damage_in_the_newest_file_is_told_from_its_tail() {
    let mut world = World::new();
    (0..3).for_each(|round| world.round(round));
    let mut files = files(&world.disk);
    let name = files.keys().rfind(|name| name.starts_with("journal-")).unwrap().clone();
    let contents = read(&files).unwrap();
    let (durable, end) = (contents.durable_upto, contents.end);
    let start = contents.files.last().unwrap().start;
    assert!(start < durable && durable < end, "{start} {durable} {end}");
    let snapshot_len = u64::from_le_bytes(files[&name][72..80].try_into().unwrap());
    let first = 4096 + snapshot_len.next_multiple_of(4096);
    for position in (start..end).step_by(173) {
        let at = usize::try_from(first + position - start).unwrap();
        files.get_mut(&name).unwrap()[at] ^= 1;
        match read(&files) {
            Err(ReadError::Damaged { position: found, .. }) => {
                assert!(position < durable && found <= position, "{position}");
            }
            Ok(cut) => {
                assert!(position >= durable && cut.end <= position, "{position}");
                assert!(cut.cut > 0);
            }
            Err(error) => panic!("{error}"),
        }
        files.get_mut(&name).unwrap()[at] ^= 1;
    }
}

#[test]
fn every_flipped_bit_of_a_run_is_found() {
    let mut world = World::new();
    (0..60).for_each(|round| world.round(round));
    let mut files = files(&world.disk);
    for kind in ["run-", "conflicts-"] {
        let name = files.keys().find(|name| name.starts_with(kind)).unwrap().clone();
        for bit in (0..files[&name].len() * 8).step_by(97) {
            files.get_mut(&name).unwrap()[bit / 8] ^= 1 << (bit % 8);
            let contents = read(&files).unwrap();
            assert!(check_runs(&files, &contents).is_err(), "bit {bit} of {name}");
            files.get_mut(&name).unwrap()[bit / 8] ^= 1 << (bit % 8);
        }
        let whole = files.remove(&name).unwrap();
        assert!(check_runs(&files, &read(&files).unwrap()).is_err(), "{name} is missing");
        files.insert(name, whole);
    }
}

#[test]
fn a_missing_or_short_file_is_found() {
    let (files, _) = sealed();
    let names: Vec<_> = files.keys().cloned().collect();
    for name in &names {
        let mut fewer = files.clone();
        let whole = fewer.remove(name).unwrap();
        // The newest one's loss shows only where the manifest in the one before says more.
        let found = read(&fewer);
        let missing = matches!(found, Err(ReadError::Missing { .. }));
        assert!(missing || name == names.last().unwrap(), "without {name}: {found:?}");
        for len in (0..whole.len()).step_by(61) {
            fewer.insert(name.clone(), whole[..len].to_vec());
            assert!(read(&fewer).is_err(), "{name} cut to {len}");
        }
    }
}

#[test]
fn what_lies_behind_the_end_is_counted_and_not_read() {
    let (mut files, _) = sealed();
    let last = files.keys().last().unwrap().clone();
    let contents = read(&files).unwrap();
    let (end, commits) = (contents.end, contents.commits);
    assert_eq!(contents.cut, 0);
    let start = contents.files.last().unwrap().start;
    let snapshot_len = u64::from_le_bytes(files[&last][72..80].try_into().unwrap());
    let at = 4096 + snapshot_len.next_multiple_of(4096) + end - start;
    let at = usize::try_from(at).unwrap();
    files.get_mut(&last).unwrap()[at + 5_000] = 1;
    let contents = read(&files).unwrap();
    assert_eq!((contents.end, contents.commits, contents.cut), (end, commits, 8192));
}
