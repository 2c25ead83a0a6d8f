//! Data directories as they were written once, and what they hold as text beside them. Whatever is
//! changed later, they open and hold the same. `data-v1` has runs of format 1 and snapshots of
//! version 1; `data-v2` has merged runs, and snapshots of version 2; `data-v3` has those
//! of version 3; `data-v4` has packs, of files that were trimmed too, and snapshots of version 4; in
//! `data-v5` some of them are compacted, and snapshots are of version 5.
//!
//! A directory is that of a hub with a topic of its own and a mirror, with repeats, conflicts,
//! cursors, dropped files and runs, as it stood after a kill.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use takt_client::{CursorName, DeliveredBatch, Offset, TopicName};
use takt_storage::disk::sim::SimDisk;
use takt_storage::disk::{Disk, RealDisk};
use takt_storage::entry::{OnConflict, TopicSettings};
use takt_storage::journal::JournalOptions;
use takt_storage::kept::PackCompression;
use takt_storage::store::{Answer, MirrorTopic, OpenReport, Operation, StoreOptions};
use takt_storage::view::PartitionView;

use crate::driver::{self, Driver};
use crate::events::events;

/// The topic of both origins.
const TOPIC: &str = "t";
const READ_BYTES: usize = 1 << 20;
/// How old a file is when it is packed.
const PACK_AFTER_S: u64 = 100;

/// The directories, oldest first; the last is of the format that is written now.
pub const NAMES: &[&str] = &["data-v1", "data-v2", "data-v3", "data-v4", "data-v5"];

/// One of them.
pub fn directory(name: &str) -> PathBuf {
    golden().join(name)
}

/// What [`describe`] said of it when it was made.
pub fn description(name: &str) -> PathBuf {
    golden().join(format!("{name}.txt"))
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

/// With what the directory is opened.
pub fn options() -> StoreOptions {
    StoreOptions {
        journal: JournalOptions {
            file_bytes: 64 << 10,
            commit_bytes_max: 16 << 10,
            reserve_chunks: 2,
            reserve_chunk_bytes: 32 << 10,
        },
        retention_bytes: 192 << 10,
        ..driver::options("hub")
    }
}

/// Opens the store in a directory.
///
/// # Panics
/// If it does not open.
pub fn open(path: &Path, seed: u64) -> Driver {
    open_with_report(path, seed).0
}

/// As [`open`], with what the store says of it.
///
/// # Panics
/// As [`open`].
pub fn open_with_report(path: &Path, seed: u64) -> (Driver, OpenReport) {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::open(path).expect("a directory"));
    Driver::open(disk, options(), seed, TOPIC).expect("the golden directory opens")
}

/// Makes the directory.
///
/// # Panics
/// If it is there or cannot be made.
pub fn make(path: &Path) {
    assert!(!path.exists(), "{} is there", path.display());
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::open(path).expect("a directory"));
    // Some files are packed, the newest are not; what goes, goes by the limit of a topic.
    let packing = StoreOptions {
        retention_bytes: 0,
        pack_after: Some(Duration::from_secs(PACK_AFTER_S)),
        pack_compression: PackCompression::Zstd,
        ..options()
    };
    let (mut hub, _) = Driver::open(disk, packing, 1, TOPIC).expect("an empty directory");
    hub.begin(TopicSettings::default());
    let quiet = TopicSettings {
        partitions: 4,
        dedup: false,
        on_conflict: OnConflict::Refuse,
        ..TopicSettings::default()
    };
    let name = TopicName::new("quiet").expect("a name");
    assert!(matches!(
        hub.ask(Operation::CreateTopic { name, settings: quiet }),
        Answer::TopicCreated { .. }
    ));

    let lyon_disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
    let (mut lyon, _) = Driver::open(lyon_disk, driver::options("lyon"), 2, TOPIC)
        .expect("an empty disk takes a store");
    lyon.begin(TopicSettings::default());
    for round in 0..40 {
        let (from, to) = (round * 10, round * 10 + 10);
        store(&mut hub, from..to, 0);
        store(&mut lyon, from..to, 5);
        match round % 10 {
            // A repeat, and conflicts alone.
            3 => store(&mut hub, from..to, 0),
            5 => store(&mut lyon, from..from + 2, 6),
            7 => store(&mut hub, from..from + 3, 9),
            _ => {}
        }
        mirror(&lyon, &mut hub);
        hub.settle();
        let slot = hub.store.view().all_partitions()[0].slot;
        let set = Operation::SetCursor {
            name: CursorName::new(if round % 2 == 0 { "erp" } else { "plm" }).expect("a name"),
            topic: TopicName::new(TOPIC).expect("a name"),
            hold: None,
            positions: vec![(slot, Offset::new(from))],
        };
        assert_eq!(hub.ask(set), Answer::CursorSet);
        if round == 20 {
            let name = TopicName::new(TOPIC).expect("a name");
            let limit = Operation::SetRetention {
                name,
                retention_ms: None,
                retention_bytes: Some(1 << 14),
                compact: Some(true),
            };
            assert_eq!(hub.ask(limit), Answer::RetentionSet);
        }
    }
}

/// A copy of a golden directory, which a start changes.
///
/// # Panics
/// If it cannot be made.
pub fn copy(name: &str) -> tempfile::TempDir {
    let home = tempfile::tempdir().expect("a directory");
    for file in std::fs::read_dir(directory(name)).expect("a golden directory") {
        let file = file.expect("a file");
        std::fs::copy(file.path(), home.path().join(file.file_name())).expect("a copy");
    }
    home
}

fn store(driver: &mut Driver, ids: std::ops::Range<u64>, content: u64) {
    let answer = driver.publish(&events(ids, 7, content));
    assert!(matches!(answer, Answer::Receipt(_)), "{answer:?}");
}

/// Brings over what the origin has beyond its mirror.
fn mirror(origin: &Driver, target: &mut Driver) {
    let from = origin.store.view();
    let (node, journal) = (from.node().clone(), from.journal());
    let topic = TopicName::new(TOPIC).expect("a name");
    let settings = from.topic(&topic).expect("the origin has it");
    let opened = target.ask(Operation::OpenMirror {
        origin: node,
        journal,
        topics: vec![MirrorTopic { name: topic, settings }],
    });
    let Answer::MirrorOpened(ends) = opened else { panic!("{opened:?}") };
    let own = &from.all_partitions()[0];
    let next = ends[0].end.map_or(own.start_batch, |end| end.next_batch);
    for batch in from.read_from_batch(own.slot, next, READ_BYTES).expect("it reads") {
        let answer = target.mirror(ends[0].slot, journal, batch);
        assert!(matches!(answer, Answer::Mirrored { .. }), "{answer:?}");
    }
}

/// All that a store holds, as text.
///
/// # Panics
/// If it cannot be read.
pub fn describe(driver: &Driver) -> String {
    let view = driver.store.view();
    let mut text = String::new();
    let status = view.status();
    let (keys, orders, producers) = (status.keys, status.orders, status.producers);
    line(&mut text, &format!("keys {keys} orders {orders} producers {producers}"));
    for topic in view.topics() {
        // As it was called when there was no compaction.
        let settings = format!("{:?}", topic.settings).replace("compact: false, ", "");
        line(&mut text, &format!("topic {} of {}: {settings}", topic.name, topic.origin));
    }
    for cursor in view.cursors() {
        line(&mut text, &format!("cursor {} {:?}", cursor.name, cursor.positions));
    }
    for conflict in view.conflicts(None, None, usize::MAX) {
        let kept = view.conflict(conflict.address);
        let kept = kept.map_or_else(|e| e.to_string(), |kept| kept.batch.len().to_string());
        line(&mut text, &format!("conflict {conflict:?}: {kept}"));
    }
    for partition in view.all_partitions() {
        let PartitionView { id, start, end, end_batch, chain, mirror_of, .. } = &partition;
        line(
            &mut text,
            &format!("partition {id} {start}..{end} of {mirror_of:?}, {end_batch} {chain:?}"),
        );
        if start == end {
            continue;
        }
        for batch in view.read(partition.slot, *start, usize::MAX).expect("it reads") {
            let batch = DeliveredBatch { partition: id.clone(), from: *start, batch };
            for at in batch.events().expect("it decodes") {
                let event = &at.event;
                let (order, sequence) = (&event.order_key, at.order_sequence);
                let sum = fnv(&event.data);
                line(
                    &mut text,
                    &format!(
                        "{} {} {} {order:?} {sequence:?} {:?} {sum:016x}",
                        at.offset, event.source, event.id, event.time
                    ),
                );
            }
        }
    }
    text
}

fn line(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("a string takes text");
}

/// FNV-1a: it must not be of the code that is tested.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
