//! Opening a node: lock, recover, start the threads, listen, dial.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use takt_client::tls::{self, Transport};
use takt_protocol::codes::ErrorCode;
use takt_storage::disk::{CountedDisk, Disk, DiskLock, LockError, RealDisk};
use takt_storage::journal::Entropy;
use takt_storage::store::{Answer, CheckError, OpenError, Operation, Store, StoreOptions, check};
use tokio::sync::{Semaphore, watch};

use super::{Inner, NetworkOptions, Node, NodeCounters, NodeOptions, listener, serve_pipe};
use crate::clock::wall_now;
use crate::config::CheckAtStart;
use crate::writer::{self, Ticket};

/// Heads of orders in each of two generations in memory: some 140 MiB each.
const HEADS_RECENT: usize = 3 << 20;

/// Where a file has taught so many keys, or a commit's more, the next one begins: its tables are some 33 MB
/// then, and 17 MB more where each event goes on with an order.
const FILE_KEYS_MAX: usize = 1 << 19;
/// So many such runs take a table of 45 MB. In a burst there are up to six, and while merging keeps up two.
const GENERATION_RUNS: usize = 16;
/// In a burst a file is left each second or sooner.
const MERGE_PAUSE: Duration = Duration::from_secs(4);
/// How often a directory is tried that another process holds.
const LOCK_RETRY: Duration = Duration::from_millis(50);

/// Why a node did not open.
#[derive(Debug, thiserror::Error)]
pub enum NodeOpenError {
    /// The directory cannot be used.
    #[error("cannot use the data directory {}: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another process holds the directory.
    #[error(
        "another process holds the data directory {} and did not let go within {waited:?}; stop \
         it first", path.display()
    )]
    Held {
        /// The directory.
        path: PathBuf,
        /// How long was waited.
        waited: Duration,
    },
    /// The journal or its state cannot be used.
    #[error("cannot open the data directory {}: {source}", path.display())]
    Store {
        /// The directory.
        path: PathBuf,
        /// What is wrong.
        source: Box<OpenError>,
    },
    /// All of the journal was to be read, and is not whole.
    #[error("the data directory {} is damaged: {source}", path.display())]
    Damaged {
        /// The directory.
        path: PathBuf,
        /// What is wrong, and what to do.
        source: CheckError,
    },
    /// A thread could not be started.
    #[error("the system makes no thread: {0}")]
    Thread(io::Error),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The TLS library refuses the settings.
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    /// A topic of the configuration cannot be made.
    #[error("cannot make the topic {topic}: {why}")]
    Topic {
        /// The topic.
        topic: String,
        /// Why.
        why: String,
    },
}

/// Salts and ids from the operating system.
struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&mut self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the operating system gives random bytes");
    }
}

impl Node {
    /// Opens the node of a data directory, or a new one. Waits for a directory that another
    /// process still holds, up to the deadline. Must run within a tokio runtime.
    ///
    /// # Errors
    /// [`NodeOpenError`]; nothing was lost or changed where damage was found.
    pub async fn open(options: NodeOptions) -> Result<Self, NodeOpenError> {
        let path = options.data_dir.clone();
        let blocking = options.clone();
        let opened = tokio::task::spawn_blocking(move || open_store(&blocking)).await;
        let Opened { disk, counted, lock, mut store, report } = match opened {
            Ok(opened) => opened?,
            Err(join) => {
                let source = io::Error::other(join);
                return Err(NodeOpenError::Directory { path, source });
            }
        };
        let view = store.view().clone();
        let upstream = options.network.as_ref().and_then(|network| network.upstream.as_ref());
        // Without an upstream nobody mirrors this node, so nobody holds its retention back.
        let upwards = upstream.map_or_else(|| Some(Vec::new()), |upstream| upstream.topics.clone());
        store.set_uplink_topics(upwards.map(|topics| topics.into_iter().collect()));
        let (writer, threads) =
            writer::start(store, lock, options.mark_after).map_err(NodeOpenError::Thread)?;
        let (stop, stopping) = watch::channel(false);
        let inner = Arc::new(Inner {
            name: options.name.clone(),
            place: options.place.clone(),
            view,
            writer,
            counters: NodeCounters::default(),
            budget: Arc::new(Semaphore::new((options.node_bytes_max >> 10).max(2 << 10))),
            session_bytes_max: options.session_bytes_max,
            connections_max: options.connections_max,
            disk: counted.counters(),
            disk_used: Box::new({
                let disk = Arc::clone(&disk);
                move || disk.list().map_or(0, |files| files.iter().map(|(_, len)| len).sum())
            }),
            disk_free: Box::new(move || disk.free_bytes().unwrap_or(0)),
            started: Instant::now(),
            links: Mutex::new(HashMap::new()),
            mirrors: Mutex::new(HashMap::new()),
            stopping,
        });
        make_topics(&inner, &options).await?;
        let (connector, pipe_task) = serve_pipe(&inner);
        let mut tasks = vec![pipe_task];
        let (mut address, mut door) = (None, None);
        if let Some(network) = options.network {
            let listening = network.listen;
            let endpoint = listen(&inner, &network)?;
            address = Some(endpoint.local_addr().unwrap_or(listening));
            let domain = network.trust_domain.clone();
            door = Some(endpoint.clone());
            tasks.push(tokio::spawn(listener::listen(Arc::clone(&inner), endpoint, domain)));
            if let Some(upstream) = network.upstream {
                let (credentials, domain) = (network.credentials, network.trust_domain);
                let uplink = crate::uplink::run(Arc::clone(&inner), upstream, credentials, domain);
                tasks.push(tokio::spawn(uplink));
            }
        }
        let threads = Some(threads);
        Ok(Self { inner, connector, address, endpoint: door, report, threads, tasks, stop })
    }
}

struct Opened {
    disk: Arc<RealDisk>,
    counted: Arc<CountedDisk>,
    lock: DiskLock,
    store: Store<Ticket>,
    report: takt_storage::store::OpenReport,
}

fn open_store(options: &NodeOptions) -> Result<Opened, NodeOpenError> {
    let path = || options.data_dir.clone();
    let directory = |source| NodeOpenError::Directory { path: path(), source };
    let disk = Arc::new(RealDisk::open(&options.data_dir).map_err(directory)?);
    let started = Instant::now();
    let mut waits = false;
    let lock = loop {
        match disk.lock() {
            Ok(lock) => break lock,
            Err(LockError::DiskLocked { path }) if started.elapsed() < options.open_deadline => {
                if !waits {
                    waits = true;
                    tracing::info!(path = %path.display(), "waits for the data directory, which another process has");
                }
                std::thread::sleep(LOCK_RETRY);
            }
            Err(LockError::DiskLocked { .. }) => {
                let waited = options.open_deadline;
                return Err(NodeOpenError::Held { path: path(), waited });
            }
            Err(LockError::Io(source)) => return Err(directory(source)),
        }
    };
    let counted = Arc::new(CountedDisk::new(Arc::clone(&disk) as Arc<dyn Disk>));
    let store_options = StoreOptions {
        node: options.name.clone(),
        journal: options.journal.clone(),
        keys_max: options.keys_max,
        heads_recent: HEADS_RECENT,
        spare_files: options.spare_files,
        file_keys_max: FILE_KEYS_MAX,
        generation_runs: GENERATION_RUNS,
        merge_pause: MERGE_PAUSE,
        retention_bytes: options.retention_bytes,
        retention_age: options.retention_age,
        pack_after: options.pack_after,
        pack_compression: options.pack_compression,
    };
    let disk_seam = Arc::clone(&counted) as Arc<dyn Disk>;
    if options.check_at_start == CheckAtStart::All {
        tracing::info!(directory = %path().display(), "reading all of the journal");
        let begun = Instant::now();
        check(&disk_seam).map_err(|source| NodeOpenError::Damaged { path: path(), source })?;
        tracing::info!(seconds = begun.elapsed().as_secs_f64(), "all of the journal is whole");
    }
    let (store, report) = Store::open(disk_seam, store_options, &mut SystemEntropy, wall_now())
        .map_err(|source| NodeOpenError::Store { path: path(), source: Box::new(source) })?;
    Ok(Opened { disk, counted, lock, store, report })
}

/// Makes the topics of the configuration that are not there yet. One that is there keeps its
/// settings, and a difference is said.
async fn make_topics(inner: &Inner, options: &NodeOptions) -> Result<(), NodeOpenError> {
    for (name, settings) in &options.topics {
        let operation = Operation::CreateTopic { name: name.clone(), settings: *settings };
        let failed = |why: String| NodeOpenError::Topic { topic: name.to_string(), why };
        match inner.ask(operation).await {
            Ok(Answer::Refused(refusal)) if refusal.code == ErrorCode::TopicExists => {
                tracing::warn!(
                    topic = %name,
                    "the topic exists with other settings than the configuration's; it keeps them"
                );
            }
            Ok(Answer::Refused(refusal)) => return Err(failed(refusal.to_string())),
            Ok(_) => {}
            Err(error) => return Err(failed(error.to_string())),
        }
    }
    Ok(())
}

fn listen(inner: &Inner, network: &NetworkOptions) -> Result<quinn::Endpoint, NodeOpenError> {
    let transport = match inner.place {
        crate::access::Place::Plant(_) => Transport::LocalClient,
        crate::access::Place::Hub => Transport::Link,
    };
    let config = tls::server_config(&network.credentials, &network.trust_domain, transport)?;
    tls::listen_again(network.listen, &network.credentials, config)
        .map_err(|source| NodeOpenError::Listen { address: network.listen, source })
}
