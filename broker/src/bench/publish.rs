//! `takt bench publish`.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use takt_client::admin::messages::{OnConflict, TopicSettings};
use takt_client::{Client, Producer};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::events::EventMaker;
use super::load::{Done, Load, latencies};
use super::progress::Progress;
use super::report::{Latencies, Report, per};
use super::target::Target;
use super::{BenchError, PublishArgs, Switch};
use crate::cli::output::Style;

/// What may be made ahead by all producers together, in bytes.
const AHEAD_BYTES: u64 = 128 << 20;
/// Room in the ledger beside the events of the measurement, for those of earlier ones.
const KEYS_MIN: u64 = 10_000_000;
/// The default of a topic, 400 days, in seconds.
const HORIZON_S: u64 = 400 * 24 * 60 * 60;
/// The largest size at which a producer may be told to send a batch.
const BATCH_BYTES_MAX: u64 = 900 << 10;

pub(super) async fn run(args: &PublishArgs) -> Result<(), BenchError> {
    args.check()?;
    let keys_max = args.records.saturating_mul(2).max(KEYS_MIN);
    let target = Target::start(args.transport, args.dir.as_deref(), keys_max).await?;
    let measured = measure(args, &target).await;
    let stopped = target.stop().await;
    let report = measured?;
    stopped?;
    let mut out = std::io::stdout().lock();
    report.write(&mut out, args.json, Style::stdout()).map_err(BenchError::Print)
}

async fn measure(args: &PublishArgs, target: &Target) -> Result<Report, BenchError> {
    let topic = topic(args.dedup);
    create(&target.client, topic, args.dedup).await?;
    let end_before = end(&target.client, topic).await?;
    let acknowledged = Arc::new(AtomicU64::new(0));
    let start = Arc::new(Barrier::new(usize::from(args.producers) + 1));
    let mut tasks = JoinSet::new();
    for load in loads(args) {
        let producer = producer(args, &target.client, topic)?;
        producer.ready().await?;
        tasks.spawn(load.run(producer, Arc::clone(&start), Arc::clone(&acknowledged)));
    }
    let disk_before = disk(&target.client).await?;
    let cpu_before = target.cpu()?;
    start.wait().await;
    let started = Instant::now();
    let progress = Progress::start(acknowledged, args.records);
    let mut all = Done { appended: 0, latencies: latencies(), finished: started };
    while let Some(done) = tasks.join_next().await {
        let done = done.map_err(|error| BenchError::Task(error.to_string()))??;
        all.appended += done.appended;
        all.latencies.add(&done.latencies).expect("histograms of one kind");
        all.finished = all.finished.max(done.finished);
    }
    let cpu_after = target.cpu()?;
    drop(progress);
    let disk_after = disk(&target.client).await?;
    let stored = end(&target.client, topic).await? - end_before;
    if stored != all.appended || all.appended != args.records {
        return Err(BenchError::Lost { acknowledged: all.appended, stored });
    }
    let seconds = all.finished.duration_since(started).as_secs_f64();
    let syncs = disk_after.syncs - disk_before.syncs;
    let broker = cpu_after.1.zip(cpu_before.1).map(|(after, before)| after.saturating_sub(before));
    Ok(Report {
        transport: args.transport.as_str(),
        records: args.records,
        data_bytes_per_record: args.size.into(),
        producers: args.producers.into(),
        batch: args.batch.into(),
        window: args.window.into(),
        orders: args.orders.into(),
        dedup: args.dedup == Switch::On,
        seconds,
        records_per_s: per(args.records, seconds),
        bytes_per_s: per(args.records * u64::from(args.size), seconds),
        receipts: Latencies::new(&all.latencies),
        syncs,
        records_per_sync: per(args.records, per(syncs, 1.0)),
        disk_bytes_written: disk_after.bytes_written - disk_before.bytes_written,
        client_cpu_s: cpu_s(cpu_after.0.saturating_sub(cpu_before.0)),
        broker_cpu_s: broker.map(cpu_s),
    })
}

/// In seconds, without digits that were not measured.
fn cpu_s(time: Duration) -> f64 {
    per(u64::try_from(time.as_millis()).unwrap_or(u64::MAX), 1_000.0)
}

/// With and without dedup are two topics: a directory may be used for both.
const fn topic(dedup: Switch) -> &'static str {
    match dedup {
        Switch::On => "bench",
        Switch::Off => "bench-no-dedup",
    }
}

async fn create(client: &Client, topic: &str, dedup: Switch) -> Result<(), BenchError> {
    let settings = TopicSettings {
        partitions: 1,
        dedup: dedup == Switch::On,
        horizon_s: HORIZON_S,
        on_conflict: OnConflict::Quarantine.into(),
        ..TopicSettings::default()
    };
    client.admin().create_topic(topic, settings).await?;
    Ok(())
}

/// How many events the topic holds: the sum of the end offsets of its partitions.
async fn end(client: &Client, topic: &str) -> Result<u64, BenchError> {
    let info = client.admin().topic_info(topic).await?;
    Ok(info.partitions.iter().map(|partition| partition.end_offset).sum())
}

struct DiskUse {
    syncs: u64,
    bytes_written: u64,
}

async fn disk(client: &Client) -> Result<DiskUse, BenchError> {
    let counters = client.admin().status().await?.counters;
    let counter = |name: &str| counters.get(name).copied().unwrap_or(0);
    Ok(DiskUse { syncs: counter("syncs"), bytes_written: counter("disk_bytes_written") })
}

fn producer(args: &PublishArgs, client: &Client, topic: &str) -> Result<Producer, BenchError> {
    let batch_bytes = args.call_bytes().min(BATCH_BYTES_MAX);
    let in_flight = args.call_bytes() * (u64::from(args.window) + 1);
    let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    let producer = client
        .producer(topic)
        .batch_records(args.batch.into())
        .batch_bytes(bytes(batch_bytes))
        .in_flight_bytes(bytes(in_flight))
        .build()?;
    Ok(producer)
}

/// The events, shared out among the producers. Their source is new in each run.
fn loads(args: &PublishArgs) -> impl Iterator<Item = Load> {
    let mut run = [0; 8];
    getrandom::fill(&mut run).expect("the operating system gives random bytes");
    let run = u64::from_le_bytes(run);
    let producers = u64::from(args.producers);
    let ahead = AHEAD_BYTES / producers / args.call_bytes();
    (0..producers).map(move |number| {
        let source = format!("//bench/{run:016x}/{number}");
        let seed = args.seed.wrapping_add(number << 48);
        let size = usize::try_from(args.size).expect("checked to be at most 800,000");
        Load {
            maker: EventMaker::new(source, seed, args.orders, size),
            records: args.records / producers + u64::from(number < args.records % producers),
            batch: args.batch.into(),
            window: args.window.into(),
            ahead: usize::try_from(ahead).unwrap_or(usize::MAX),
        }
    })
}
