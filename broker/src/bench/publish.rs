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
use super::topic::Topics;
use super::{BenchError, target};

pub(super) async fn run(args: &PublishArgs) -> Result<(), BenchError> {
    let plan = args.plan();
    plan.check()?;
    let limits = args.common.measure_limits().await?;
    let target = Target::start(&args.common, plan.pace.records_max(), args.node()).await?;
    let measured = measure(args, &target).await;
    let measured = measured.map(|report| PublishReport { limits, ..report });
    target::finish(target, measured).await?.print(args.common.json)
}

async fn measure(args: &PublishArgs, target: &Target) -> Result<PublishReport, BenchError> {
    let PublishArgs { common, .. } = args;
    let plan = args.plan();
    let dedup = args.dedup == Switch::On;
    let topic = Topics::open(&target.client, topic_names(args), args.partitions, dedup).await?;
    let data = plan.data()?;
    let loads = plan.prepare(&target.client, topic.names(), &data).await?;
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
        data_bytes_per_record: data.mean_bytes(),
        producers: args.producers.into(),
        batch: common.batch.into(),
        window: args.window.into(),
        spares: args.spares,
        each: args.each,
        topics: args.topics.into(),
        partitions: args.partitions.into(),
        data: args.data.as_str(),
        compression: args.compression.as_str(),
        orders: common.orders.into(),
        dedup,
        rate_per_s: args.rate,
        seconds,
        records_per_s: per(tally.appended, seconds),
        bytes_per_s: per(tally.appended * data.mean_bytes(), seconds),
        receipts: Latencies::new(&tally.latencies),
        late_max_us: args.rate.map(|_| micros(tally.late_max)),
        syncs: spent.syncs,
        records_per_sync: per(tally.appended, per(spent.syncs, 1.0)),
        disk_bytes_written: spent.disk_bytes_written,
        client_cpu_s: spent.client_cpu_s,
        broker_cpu_s: spent.broker_cpu_s,
        limits: None,
    })
}

/// A directory may be used for measurements of all kinds, so those whose topics differ have others.
pub(super) fn topic_names(args: &PublishArgs) -> Vec<String> {
    let dedup = match args.dedup {
        Switch::On => "bench",
        Switch::Off => "bench-no-dedup",
    };
    let of = |number: u16| match (number, args.partitions) {
        (0, 1) => dedup.to_owned(),
        (number, partitions) => format!("{dedup}-{partitions}-{number}"),
    };
    (0..args.topics).map(of).collect()
}
