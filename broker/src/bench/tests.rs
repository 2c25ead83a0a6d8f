//! Tests of what a measurement is made of, without a node.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;

use super::args::{Switch, TransportKind};
use super::events::{Data, EventMaker, Orders};
use super::plan::{Pace, REPORT_BYTES_MAX};
use super::report::{ConsumeReport, Latencies, PublishReport, Report};
use super::target::Target;
use super::topic::Topics;
use super::*;
use crate::cli::output::Style;

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    args: BenchArgs,
}

fn parse(line: &str) -> Result<Kind, clap::Error> {
    Cli::try_parse_from(line.split(' ')).map(|cli| cli.args.kind)
}

fn publish_args(line: &str) -> PublishArgs {
    match parse(&format!("bench publish {line}")).unwrap() {
        Kind::Publish(args) => args,
        Kind::Consume(_) | Kind::Machine(_) => unreachable!("it says publish"),
    }
}

fn consume_args(line: &str) -> ConsumeArgs {
    match parse(&format!("bench consume {line}")).unwrap() {
        Kind::Consume(args) => args,
        Kind::Publish(_) | Kind::Machine(_) => unreachable!("it says consume"),
    }
}

#[test]
fn the_defaults_are_the_first_mark() {
    let args = publish_args("--seed 1");
    let common = &args.common;
    assert_eq!((common.records, common.size, args.producers), (1_000_000, 256, 4));
    assert_eq!((common.batch, common.orders, args.dedup), (1_000, 100_000, Switch::On));
    assert_eq!(common.transport, TransportKind::Quic);
    assert_eq!(args.plan().pace, Pace::Closed { records: 1_000_000 });
    assert!(args.plan().check().is_ok());
    let consume = consume_args("--seed 1");
    assert_eq!(consume.consumers, 1);
    assert_eq!(format!("{:?}", consume.fill()), format!("{:?}", args.plan()));
}

#[test]
fn arguments_out_of_bounds_are_refused() {
    let both = ["--records 0", "--batch 5000", "--transport tcp", "--orders 0", "--size 800001"];
    let publish = ["--producers 0", "--window 65", "--rate 0", "--rate 10000001", "--seconds 0"];
    let consume = ["--consumers 0", "--consumers 257", "--rate 1", "--seconds 1"];
    for line in both.iter().chain(&publish) {
        assert!(parse(&format!("bench publish {line}")).is_err(), "{line}");
    }
    for line in both.iter().chain(&consume) {
        assert!(parse(&format!("bench consume {line}")).is_err(), "{line}");
    }
    assert!(parse("bench publish --records 5 --seconds 5").is_err());
    let publish = publish_args("--producers 256 --window 64 --batch 4096");
    let consume = consume_args("--batch 4096 --size 800000");
    assert!(publish_args("--topics 256").plan().check().is_ok());
    for plan in [publish.plan(), consume.fill()] {
        let error = plan.check().unwrap_err();
        assert!(matches!(error, BenchError::TooMuchInFlight { .. }) && error.is_usage());
    }
}

#[test]
fn time_and_rate_say_how_many_events_there_are() {
    let pace = |line| publish_args(line).plan().pace;
    let open = |records, per_s| Pace::Open { records, per_s };
    assert_eq!(pace("--rate 500 --records 70"), open(70, 500));
    assert_eq!(pace("--rate 500 --seconds 3"), open(1_500, 500));
    assert_eq!(pace("--seconds 3"), Pace::ClosedFor(Duration::from_secs(3)));
    assert_eq!(pace("--seconds 3").records(), None);
    assert!(pace("--seconds 3").records_max() >= 6_000_000);
}

/// Publishes by the arguments to an embedded node of their own, from `ago` before now on; gives the
/// start, too.
async fn publish(line: &str, ago: Duration) -> (tally::Tally, Instant) {
    let dir = tempfile::tempdir().unwrap();
    let mut args = publish_args(&format!("--transport embedded --batch 50 {line}"));
    args.common.dir = Some(dir.path().to_owned());
    let target = Target::start(&args.common, 1_000, args.node()).await.unwrap();
    let names = super::publish::topic_names(&args);
    let topic = Topics::open(&target.client, names, args.partitions, true).await.unwrap();
    let data = args.plan().data().unwrap();
    let loads = args.plan().prepare(&target.client, topic.names(), &data).await.unwrap();
    let acknowledged = Arc::<AtomicU64>::default();
    let start = Instant::now().checked_sub(ago).unwrap();
    let tally = load::run(loads, start, &acknowledged).await.unwrap();
    let records = args.plan().pace.records();
    topic.check(&target.client, tally.appended, records).await.unwrap();
    target.stop().await.unwrap();
    assert_eq!(acknowledged.load(Ordering::Relaxed), tally.appended);
    (tally, start)
}

#[tokio::test]
async fn a_closed_loop_measures_calls() {
    let line = "--records 330 --producers 3 --retention-size 8GiB";
    assert_eq!(publish_args(line).node().retention_bytes, 8 << 30);
    let (tally, _) = publish(line, Duration::ZERO).await;
    assert_eq!((tally.appended, tally.latencies.len()), (330, 9));
    assert_eq!(tally.late_max, Duration::ZERO);
}

#[tokio::test]
async fn one_event_in_a_call_is_measured_alone() {
    let (tally, _) = publish("--records 330 --producers 3 --each", Duration::ZERO).await;
    assert_eq!((tally.appended, tally.latencies.len()), (330, 330));
    let (tally, _) = publish("--seconds 1 --each", Duration::from_secs(2)).await;
    assert_eq!(tally.appended, 0);
}

#[tokio::test]
async fn topics_take_turns_and_reports_are_compressed() {
    let line =
        "--records 600 --producers 2 --topics 5 --partitions 3 --data json --compression lz4";
    let (tally, _) = publish(line, Duration::ZERO).await;
    assert_eq!((tally.appended, tally.latencies.len()), (600, 12));
}

#[test]
fn reports_are_json_of_a_known_size() {
    let data = Data::reports(1).unwrap();
    assert!(data.mean_bytes() > 100);
    let events = EventMaker::new("//bench/1", 1, Orders::shared(10, 1, 0, 1, false), data)
        .make(20_000)
        .events();
    for event in &events {
        let report: serde_json::Value = serde_json::from_slice(&event.data).unwrap();
        assert!(report.is_object() && event.data.len() as u64 <= REPORT_BYTES_MAX);
    }
}

#[tokio::test]
async fn a_closed_loop_ends_when_its_time_is_up() {
    let (tally, _) = publish("--seconds 1", Duration::from_secs(2)).await;
    assert_eq!(tally.appended, 0);
}

#[tokio::test]
async fn an_open_loop_sends_nothing_before_it_is_due() {
    let line = "--records 100 --rate 250 --producers 3";
    let (tally, start) = publish(line, Duration::ZERO).await;
    assert_eq!((tally.appended, tally.latencies.len()), (100, 100));
    assert!(tally.finished - start >= Duration::from_millis(99 * 4));
}

/// The schedule began ten seconds ago and lasts for a tenth: all of its events are that late, and a
/// loop that measured from its calls would not say so.
#[tokio::test]
async fn times_count_from_when_events_were_due() {
    let late = Duration::from_secs(10);
    let (tally, _) = publish("--records 100 --rate 1000 --producers 2", late).await;
    let (late_us, schedule_us) = (10_000_000, 100_000);
    assert!(tally.latencies.max() >= late_us, "{}", tally.latencies.max());
    // To three digits.
    assert!(tally.latencies.min() >= late_us - schedule_us - 10_000, "{}", tally.latencies.min());
    assert!(tally.late_max >= late, "{:?}", tally.late_max);
}

#[test]
fn events_are_the_same_for_a_seed_and_none_repeats_another() {
    let make = |seed| {
        let mut maker = EventMaker::new(
            "//bench/1",
            seed,
            Orders::shared(10, 1, 0, 1, false),
            Data::random(seed, 100),
        );
        [maker.make(30).events(), maker.make(12).events()].concat()
    };
    let events = make(7);
    assert_eq!(events, make(7));
    assert_ne!(events, make(8));
    assert_eq!(events.len(), 42);
    assert!(events.iter().all(|event| event.check().is_ok() && event.data.len() == 100));
    let mut ids: Vec<_> = events.iter().map(|event| &event.id).collect();
    ids.dedup();
    assert_eq!(ids.len(), 42);
    let orders: std::collections::BTreeSet<_> = events
        .iter()
        .filter_map(|event| event.order_key.as_ref().map(takt_client::OrderKey::as_str))
        .collect();
    assert_eq!(orders.len(), 10);
}

fn texts(report: &impl Report) -> (String, serde_json::Value) {
    let text = |json| {
        let mut out = Vec::new();
        report.write(&mut out, json, Style::PLAIN).unwrap();
        String::from_utf8(out).unwrap()
    };
    (text(false), serde_json::from_str(&text(true)).unwrap())
}

#[test]
fn what_was_published_is_a_table_or_json() {
    let mut latencies = tally::latencies();
    (1..=1_000).for_each(|ms| latencies.record(ms * 1_000).unwrap());
    let mut report = PublishReport {
        transport: "quic",
        records: 1_000_000,
        data_bytes_per_record: 256,
        producers: 4,
        batch: 1_000,
        window: 8,
        spares: None,
        each: false,
        topics: 1,
        partitions: 1,
        data: "random",
        compression: "none",
        orders: 100_000,
        dedup: true,
        rate_per_s: None,
        seconds: 2.5,
        records_per_s: 400_000.0,
        bytes_per_s: 102_400_000.0,
        receipts: Latencies::new(&latencies),
        late_max_us: None,
        syncs: 500,
        records_per_sync: 2_000.0,
        disk_bytes_written: 350 << 20,
        client_cpu_s: 1.25,
        broker_cpu_s: None,
        limits: None,
    };
    let (table, json) = texts(&report);
    assert!(table.contains("400,000") && !table.contains("late"), "{table}");
    assert_eq!(json["receipts"]["calls"], 1_000);
    assert_eq!(json["syncs"], 500);
    assert!(json["rate_per_s"].is_null() && json["late_max_us"].is_null());
    let p99 = json["receipts"]["p99_us"].as_u64().unwrap();
    assert!((989_000..=991_000).contains(&p99), "{p99}");

    (report.rate_per_s, report.late_max_us) = (Some(450_000), Some(1_234));
    let (table, json) = texts(&report);
    assert!(table.contains("450,000") && table.contains("1.234 ms"), "{table}");
    assert_eq!((&json["rate_per_s"], &json["late_max_us"]), (&450_000.into(), &1_234.into()));
}

#[test]
fn what_was_read_is_a_table_or_json() {
    let (table, json) = texts(&ConsumeReport {
        transport: "quic",
        records: 1_000_000,
        data_bytes_per_record: 256,
        consumers: 2,
        batch: 1_000,
        orders: 100_000,
        page_cache: "not filled",
        seconds: 2.0,
        records_per_s: 1_000_000.0,
        bytes_per_s: 256_000_000.0,
        client_cpu_s: 1.25,
        broker_cpu_s: Some(0.5),
        limits: None,
    });
    assert!(table.contains("244.1 MiB") && table.contains("0.50 s"), "{table}");
    assert_eq!((&json["consumers"], &json["page_cache"]), (&2.into(), &"not filled".into()));
}

#[test]
fn each_order_is_of_one_topic() {
    // 5 topics and 2 producers: topics 0, 2, 4 and 1, 3.
    for (number, own) in [(0, &[0, 2, 4][..]), (1, &[1, 3])] {
        for each in [false, true] {
            let orders = Orders::shared(50, 5, number, 2, each);
            let mut maker = EventMaker::new("//bench/1", 1, orders, Data::random(1, 8));
            let events: Vec<_> = (0..30).flat_map(|_| maker.make(20).events()).collect();
            for (at, event) in events.iter().enumerate() {
                let key = event.order_key.as_ref().expect("it has one").as_str();
                let order: usize = key.trim_start_matches("PO-").parse().expect("a number");
                let call = if each { at } else { at / 20 };
                assert!(order < 50);
                assert_eq!(order % 5, own[call % own.len()]);
            }
        }
    }
}
