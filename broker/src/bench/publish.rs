//! `takt bench publish`.

use std::sync::Arc;
use std::time::Instant;

use super::args::{PublishArgs, Switch};
use super::load;
use super::meter::Meter;
use super::progress::Progress;
use super::report::{Latencies, PublishReport, Report, per};
use super::tally::micros;
use super::target::Target;
use super::topic::Topic;
use super::{BenchError, target};

pub(super) async fn run(args: &PublishArgs) -> Result<(), BenchError> {
    let plan = args.plan();
    plan.check()?;
    let target = Target::start(&args.common, plan.pace.records_max()).await?;
    let measured = measure(args, &target).await;
    target::finish(target, measured).await?.print(args.common.json)
}

async fn measure(args: &PublishArgs, target: &Target) -> Result<PublishReport, BenchError> {
    let PublishArgs { common, .. } = args;
    let plan = args.plan();
    let dedup = args.dedup == Switch::On;
    let topic = Topic::open(&target.client, topic_name(args.dedup).to_owned(), dedup).await?;
    let loads = plan.prepare(&target.client, topic.name()).await?;
    let meter = Meter::start(target).await?;
    let (start, acknowledged) = (Instant::now(), Arc::default());
    let progress = Progress::start("acknowledged", &acknowledged, plan.pace.records());
    let tally = load::run(loads, start, &acknowledged).await?;
    let spent = meter.stop(target).await?;
    drop(progress);
    topic.check(&target.client, tally.appended, plan.pace.records()).await?;
    let seconds = tally.finished.duration_since(start).as_secs_f64();
    Ok(PublishReport {
        transport: common.transport.as_str(),
        records: tally.appended,
        data_bytes_per_record: common.size.into(),
        producers: args.producers.into(),
        batch: common.batch.into(),
        window: args.window.into(),
        orders: common.orders.into(),
        dedup,
        rate_per_s: args.rate,
        seconds,
        records_per_s: per(tally.appended, seconds),
        bytes_per_s: per(tally.appended * u64::from(common.size), seconds),
        receipts: Latencies::new(&tally.latencies),
        late_max_us: args.rate.map(|_| micros(tally.late_max)),
        syncs: spent.syncs,
        records_per_sync: per(tally.appended, per(spent.syncs, 1.0)),
        disk_bytes_written: spent.disk_bytes_written,
        client_cpu_s: spent.client_cpu_s,
        broker_cpu_s: spent.broker_cpu_s,
    })
}

/// With and without dedup are two topics: a directory may be used for both.
const fn topic_name(dedup: Switch) -> &'static str {
    match dedup {
        Switch::On => "bench",
        Switch::Off => "bench-no-dedup",
    }
}
