//! Measurements: what they count, not how fast it was.

use std::process::Command;

use serde_json::Value;

use crate::site::{TAKT, expect, lines, run, text};

/// What a measurement of few events reports.
fn bench(arguments: &str) -> Value {
    let arguments: Vec<_> = arguments.split(' ').collect();
    let output = run(Command::new(TAKT).arg("bench").args(&arguments).arg("--json"));
    lines(&expect(output, 0, &arguments)).remove(0)
}

fn has_times_in_order(report: &Value) {
    let receipts = ["p50_us", "p99_us", "p999_us", "max_us"].map(|name| {
        report["receipts"][name].as_u64().unwrap_or_else(|| panic!("no {name} in {report}"))
    });
    assert!(receipts.is_sorted() && receipts[0] > 0, "{report}");
}

#[test]
fn a_closed_loop_over_both_transports() {
    for transport in ["embedded", "quic"] {
        let report = bench(&format!(
            "publish --transport {transport} --records 330 --producers 3 --batch 50 --size 10"
        ));
        assert_eq!((&report["records"], &report["receipts"]["calls"]), (&330.into(), &9.into()));
        assert_eq!(report["broker_cpu_s"].is_null(), transport == "embedded");
        assert!(report["syncs"].as_u64().unwrap() > 0, "{report}");
        has_times_in_order(&report);
    }
}

#[test]
fn an_open_loop_over_both_transports() {
    for transport in ["embedded", "quic"] {
        let report = bench(&format!(
            "publish --transport {transport} --records 301 --rate 1000 --producers 2 --dedup off"
        ));
        assert_eq!((&report["records"], &report["receipts"]["calls"]), (&301.into(), &301.into()));
        assert_eq!(report["rate_per_s"], 1_000);
        // The last one is due then.
        assert!(report["seconds"].as_f64().unwrap() >= 0.3, "{report}");
        assert!(report["records_per_s"].as_f64().unwrap() <= 301.0 / 0.3, "{report}");
        assert!(report["late_max_us"].is_u64(), "{report}");
        has_times_in_order(&report);
    }
}

#[test]
fn a_second_of_each_loop() {
    let open = bench("publish --transport embedded --seconds 1 --rate 300");
    assert_eq!(open["records"], 300);
    let closed = bench("publish --transport embedded --seconds 1 --producers 1 --batch 10");
    let calls = closed["receipts"]["calls"].as_u64().unwrap();
    assert_eq!(closed["records"], calls * 10);
    assert!(calls > 0 && closed["seconds"].as_f64().unwrap() > 0.0, "{closed}");
}

#[test]
fn each_consumer_gets_every_event_also_beside_an_earlier_topic() {
    let dir = tempfile::tempdir().unwrap();
    for (transport, consumers) in [("embedded", 1), ("quic", 3), ("quic", 1)] {
        let report = bench(&format!(
            "consume --transport {transport} --consumers {consumers} --records 530 --batch 50 \
             --size 100 --orders 7 --dir {}",
            dir.path().join(transport).to_str().unwrap()
        ));
        assert_eq!((&report["records"], &report["consumers"]), (&530.into(), &consumers.into()));
        let figure = |name: &str| report[name].as_f64().unwrap();
        let read = figure("records_per_s") * figure("seconds");
        assert!((read - f64::from(530 * consumers)).abs() < 0.5, "{report}");
        let bytes = figure("bytes_per_s") / figure("records_per_s");
        assert!((bytes - 100.0).abs() < 0.001, "{report}");
        assert_eq!(report["page_cache"], "not filled");
        assert_eq!(report["broker_cpu_s"].is_null(), transport == "embedded");
    }
}

#[test]
fn what_makes_no_sense_is_wrong_usage() {
    let wrong: [&[&str]; 4] = [
        &["bench", "publish", "--records", "1", "--seconds", "1"],
        &["bench", "publish", "--rate", "0"],
        &["bench", "publish", "--producers", "256", "--window", "64", "--batch", "4096"],
        &["bench", "consume", "--batch", "4096", "--size", "800000"],
    ];
    for arguments in wrong {
        let output = expect(run(Command::new(TAKT).args(arguments)), 2, arguments);
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{arguments:?}");
    }
    let table = run(Command::new(TAKT).args([
        "bench",
        "consume",
        "--transport",
        "embedded",
        "--records",
        "10",
    ]));
    assert!(text(&expect(table, 0, &["a table"]).stdout).starts_with("CONSUME"));
}
