//! `takt bench consume`.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use takt_client::Start;
use tokio::task::JoinSet;

use super::args::{ConsumeArgs, NodeArgs};
use super::load;
use super::meter::Meter;
use super::plan::run_number;
use super::progress::Progress;
use super::reading::{Reading, read};
use super::report::{ConsumeReport, Report, per};
use super::target::Target;
use super::topic::Topics;
use super::{BenchError, target};

pub(super) async fn run(args: &ConsumeArgs) -> Result<(), BenchError> {
    args.fill().check()?;
    let limits = args.common.measure_limits().await?;
    let target = Target::start(&args.common, args.common.records, NodeArgs::default()).await?;
    let measured = measure(args, &target).await;
    let measured = measured.map(|report| ConsumeReport { limits, ..report });
    target::finish(target, measured).await?.print(args.common.json)
}

async fn measure(args: &ConsumeArgs, target: &Target) -> Result<ConsumeReport, BenchError> {
    let ConsumeArgs { common, .. } = args;
    let topic = fill(args, target).await?;
    let meter = Meter::start(target).await?;
    let start = Instant::now();
    let all = read_all(args, target, &topic.names()[0]).await?;
    let spent = meter.stop(target).await?;
    let seconds = all.finished.duration_since(start).as_secs_f64();
    Ok(ConsumeReport {
        transport: common.transport.as_str(),
        records: common.records,
        data_bytes_per_record: common.size.into(),
        consumers: args.consumers.into(),
        batch: common.batch.into(),
        orders: common.orders.into(),
        page_cache: "not filled",
        seconds,
        records_per_s: per(all.records, seconds),
        bytes_per_s: per(all.data_bytes, seconds),
        client_cpu_s: spent.client_cpu_s,
        broker_cpu_s: spent.broker_cpu_s,
        limits: None,
    })
}

/// Publishes what is to be read, to a topic of its own: an earlier measurement's events in the same
/// directory are none of it.
async fn fill(args: &ConsumeArgs, target: &Target) -> Result<Topics, BenchError> {
    let name = format!("bench-consume-{:016x}", run_number());
    let topic = Topics::open(&target.client, vec![name], 1, true).await?;
    let plan = args.fill();
    let loads = plan.prepare(&target.client, topic.names(), &plan.data()?).await?;
    let acknowledged = Arc::default();
    let _progress = Progress::start("acknowledged", &acknowledged, plan.pace.records());
    let tally = load::run(loads, Instant::now(), &acknowledged).await?;
    topic.check(&target.client, tally.appended, plan.pace.records()).await?;
    Ok(topic)
}

/// What all consumers have read together.
struct All {
    records: u64,
    data_bytes: u64,
    finished: Instant,
}

/// Has each consumer read the whole topic, all at the same time.
async fn read_all(args: &ConsumeArgs, target: &Target, topic: &str) -> Result<All, BenchError> {
    let ConsumeArgs { common, consumers, .. } = args;
    let so_far = Arc::<AtomicU64>::default();
    let expected = common.records.saturating_mul(u64::from(*consumers));
    let _progress = Progress::start("read", &so_far, Some(expected));
    let mut tasks = JoinSet::new();
    for _ in 0..*consumers {
        let consumer = target.client.consumer(topic).from(Start::Earliest).build()?;
        let reading = Reading::new(common.records, common.size);
        tasks.spawn(read(consumer, reading, Arc::clone(&so_far)));
    }
    let mut all = All { records: 0, data_bytes: 0, finished: Instant::now() };
    while let Some(done) = tasks.join_next().await {
        let (reading, finished) = done.map_err(|error| BenchError::Task(error.to_string()))??;
        all.records += reading.records();
        all.data_bytes += reading.data_bytes();
        all.finished = all.finished.max(finished);
    }
    Ok(all)
}
