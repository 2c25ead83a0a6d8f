//! Tests of what a measurement is made of, without a node.

use clap::Parser;

use super::events::EventMaker;
use super::report::{Latencies, Report};
use super::*;
use crate::cli::output::Style;

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    args: BenchArgs,
}

fn parse(line: &str) -> Result<PublishArgs, clap::Error> {
    Cli::try_parse_from(line.split(' ')).map(|cli| match cli.args.kind {
        Kind::Publish(args) => args,
    })
}

#[test]
fn the_defaults_are_the_first_mark() {
    let args = parse("bench publish").unwrap();
    assert_eq!((args.records, args.size, args.producers), (1_000_000, 256, 4));
    assert_eq!((args.batch, args.orders, args.dedup), (1_000, 100_000, Switch::On));
    assert_eq!(args.transport, TransportKind::Quic);
    assert!(args.check().is_ok());
}

#[test]
fn arguments_out_of_bounds_are_refused() {
    for line in ["--records 0", "--batch 5000", "--producers 0", "--window 65", "--transport tcp"] {
        assert!(parse(&format!("bench publish {line}")).is_err(), "{line}");
    }
    let args = parse("bench publish --producers 256 --window 64 --batch 4096").unwrap();
    assert!(matches!(args.check(), Err(BenchError::TooMuchInFlight { .. })));
}

#[test]
fn events_are_the_same_for_a_seed_and_none_repeats_another() {
    let make = |seed| {
        let mut maker = EventMaker::new("//bench/1".to_owned(), seed, 10, 100);
        [maker.make(30), maker.make(12)].concat()
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

#[test]
fn a_report_is_a_table_or_json() {
    let mut latencies = load::latencies();
    (1..=1_000).for_each(|ms| latencies.record(ms * 1_000).unwrap());
    let report = Report {
        transport: "quic",
        records: 1_000_000,
        data_bytes_per_record: 256,
        producers: 4,
        batch: 1_000,
        window: 8,
        orders: 100_000,
        dedup: true,
        seconds: 2.5,
        records_per_s: 400_000.0,
        bytes_per_s: 102_400_000.0,
        receipts: Latencies::new(&latencies),
        syncs: 500,
        records_per_sync: 2_000.0,
        disk_bytes_written: 350 << 20,
        client_cpu_s: 1.25,
        broker_cpu_s: None,
    };
    let text = |json| {
        let mut out = Vec::new();
        report.write(&mut out, json, Style::PLAIN).unwrap();
        String::from_utf8(out).unwrap()
    };
    assert!(text(false).contains("400,000"), "{}", text(false));
    let json: serde_json::Value = serde_json::from_str(&text(true)).unwrap();
    assert_eq!(json["receipts"]["calls"], 1_000);
    assert_eq!(json["syncs"], 500);
    let p99 = json["receipts"]["p99_us"].as_u64().unwrap();
    assert!((989_000..=991_000).contains(&p99), "{p99}");
}
