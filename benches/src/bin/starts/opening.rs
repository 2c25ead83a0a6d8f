//! One opening, in a process of its own: memory and caches of one do not help the next.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use takt_benches::cache::{fetched_bytes, proc_number};
use takt_benches::{EventSource, Seeded};
use takt_broker::config::CheckAtStart;
use takt_broker::node::{Node, NodeOptions};
use takt_protocol::event::Event;
use takt_protocol::words::Timestamp;
use takt_storage::disk::{Disk, RealDisk};
use takt_storage::store::Store;

use super::history::options;

/// What is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum What {
    /// The store alone.
    Store,
    /// A node that reads the journal's end: the store, its threads, and then one event up to its
    /// receipt.
    Node,
    /// A node that reads all of the journal, as it does unless it is told otherwise.
    Whole,
}

/// What an opening came to.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Opening {
    /// Until it was open.
    pub seconds: f64,
    /// Of a node: from the beginning until the first event had its receipt.
    pub receipt_seconds: Option<f64>,
    /// Processor time of all threads until it was open.
    pub cpu_seconds: f64,
    /// What the system fetched from the device until it was open; what it had in memory does not
    /// count.
    pub fetched_bytes: u64,
    /// The most memory that the process had.
    pub memory_peak_bytes: u64,
    /// Dedup keys that are known.
    pub keys: usize,
    /// Order keys that are known.
    pub orders: usize,
}

/// When the store is opened: behind all that was written.
const NOW: Timestamp = Timestamp::from_micros(1_760_000_001_000_000);

/// Opens the directory that a killed process left.
///
/// # Panics
/// If it does not open.
pub(super) fn open(dir: &Path, what: What) -> Opening {
    match what {
        What::Store => open_store(dir),
        What::Node => block_on(open_node(dir, CheckAtStart::Tail)),
        What::Whole => block_on(open_node(dir, CheckAtStart::All)),
    }
}

fn block_on<T>(opening: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().expect("a runtime").block_on(opening)
}

/// What is read off when it is open.
struct Clocks {
    started: Instant,
    cpu: Duration,
    fetched_bytes: u64,
}

impl Clocks {
    fn start() -> Self {
        Self { started: Instant::now(), cpu: cpu_time(), fetched_bytes: fetched_bytes() }
    }

    fn read(&self) -> Opening {
        Opening {
            seconds: self.started.elapsed().as_secs_f64(),
            receipt_seconds: None,
            cpu_seconds: cpu_time().saturating_sub(self.cpu).as_secs_f64(),
            fetched_bytes: fetched_bytes() - self.fetched_bytes,
            memory_peak_bytes: memory_peak_bytes(),
            keys: 0,
            orders: 0,
        }
    }
}

fn open_store(dir: &Path) -> Opening {
    let clocks = Clocks::start();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::open(dir).expect("a directory"));
    let opened = Store::<()>::open(disk, options(), &mut Seeded::new(9), NOW);
    let (store, _) = opened.expect("a sound journal");
    let opening = clocks.read();
    let status = store.view().status();
    Opening { keys: status.keys, orders: status.orders, ..opening }
}

async fn open_node(dir: &Path, check_at_start: CheckAtStart) -> Opening {
    let settings = options();
    let embedded = NodeOptions::embedded(settings.node.as_str(), dir).expect("a name");
    let (journal, keys_max) = (settings.journal, settings.keys_max);
    let clocks = Clocks::start();
    let options = NodeOptions { journal, keys_max, check_at_start, ..embedded };
    let node = Node::open(options).await.expect("a sound journal");
    let opening = clocks.read();
    let status = node.view().status();

    let producer = node.client().producer("bench").name("after").build().expect("a producer");
    let event = Event { id: "after the start".to_owned(), ..EventSource::new(2).event() };
    let receipt = producer.send(event).await.expect("there is room").await;
    receipt.expect("a node that acknowledges");
    Opening {
        receipt_seconds: Some(clocks.started.elapsed().as_secs_f64()),
        memory_peak_bytes: memory_peak_bytes(),
        keys: status.keys,
        orders: status.orders,
        ..opening
    }
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).expect("a process's time is positive")
}

fn memory_peak_bytes() -> u64 {
    proc_number("/proc/self/status", "VmHWM:") << 10
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{self, Tail};
    use crate::image;
    use takt_benches::cache;

    #[test]
    fn what_a_killed_writer_leaves_opens_again_and_again() {
        let home = tempfile::tempdir().unwrap();
        let made = home.path().join("left");
        let (writer, left) = history::write(&made, 0, Tail::Short);
        drop(writer);
        cache::settle(&made).unwrap();
        let before = RealDisk::open(&made).unwrap().list().unwrap();
        for run in 0..2 {
            let dir = home.path().join(run.to_string());
            image::link(&made, &dir).unwrap();
            cache::evict(&dir).unwrap();
            let opening = open_store(&dir);
            assert_eq!((opening.keys, opening.orders), (left.events, left.orders));
        }
        assert_eq!(RealDisk::open(&made).unwrap().list().unwrap(), before);
    }
}
