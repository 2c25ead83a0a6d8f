//! `takt import` of the production log, under each identity and through kills.

use std::io::Write;

use serde_json::Value;

use crate::site::{FIVE_COLUMNS, Site, expect, lines, piped, production_log};

const ALL: [&str; 2] = ["--dedup-columns", "all"];
const FIVE: [&str; 2] = ["--dedup-columns", FIVE_COLUMNS];
const ROW_NUMBER: [&str; 2] = ["--id-column", "#"];

/// What became of the rows: stored, duplicates, conflicts.
fn counts(summary: &Value) -> [u64; 3] {
    let count = |value: &Value| value.as_u64().unwrap();
    let lists = ["duplicates", "conflicts"].map(|list| count(&summary[list]["count"]));
    assert_eq!(summary["errors"]["count"], 0);
    [count(&summary["stored"]), lists[0], lists[1]]
}

/// The sum of `Qty_Completed` over all events of the topic, and how many there are.
fn quantity(site: &Site) -> (u64, usize) {
    let events = site.json(0, &["sub", "production"]);
    let pieces = |event: &Value| -> u64 {
        event["data"]["Qty_Completed"].as_str().unwrap().parse().unwrap()
    };
    (events.iter().map(pieces).sum(), events.len())
}

/// On a fresh node: the counts and the sum that the log's README names, and the same again.
fn check(identity: &[&str], code: i32, expected: [u64; 3], pieces: u64) {
    let Some(log) = production_log() else { return };
    let site = Site::new();
    let server = site.serve();
    let arguments = Site::import(log.to_str().unwrap(), identity);
    let summary = site.json(code, &arguments).remove(0);
    assert_eq!(counts(&summary), expected);
    assert_eq!(quantity(&site), (pieces, usize::try_from(expected[0]).unwrap()));

    let [stored, duplicates, conflicts] = expected;
    let again = site.json(code, &arguments).remove(0);
    assert_eq!(counts(&again), [0, stored + duplicates, conflicts]);
    let listed = site.json(0, &["conflict", "ls", "production"]);
    assert_eq!(listed.len() as u64, conflicts, "a repeat of a conflict is not listed again");
    server.stop();
}

#[test]
fn content_is_the_identity() {
    check(&ALL, 0, [4_480, 23, 0], 91_645);
}

#[test]
fn five_columns_are_the_identity() {
    check(&FIVE, 3, [4_452, 23, 28], 90_928);
}

#[test]
fn the_row_number_is_the_identity() {
    check(&ROW_NUMBER, 0, [4_503, 0, 0], 91_664);
}

/// Feeds the log up to the middle, waits until events are stored, and kills the node while the
/// rest is on its way.
struct HalfWay {
    site: Site,
    import: std::process::Child,
}

impl HalfWay {
    fn new(log: &std::path::Path) -> Self {
        let site = Site::new();
        let server = site.serve();
        let mut arguments = Site::import("-", &FIVE);
        arguments.extend(["--output", "json"]);
        let mut import = piped(&mut site.takt(&arguments));
        let text = std::fs::read_to_string(log).unwrap();
        let middle = text.match_indices('\n').nth(2_000).unwrap().0 + 1;
        let mut stdin = import.stdin.take().unwrap();
        stdin.write_all(&text.as_bytes()[..middle]).unwrap();
        while site.events() < 500 {
            std::thread::yield_now();
        }
        stdin.write_all(&text.as_bytes()[middle..]).unwrap();
        drop(stdin);
        server.kill();
        Self { site, import }
    }
}

#[test]
fn an_import_outlives_a_killed_node() {
    let Some(log) = production_log() else { return };
    let HalfWay { site, import } = HalfWay::new(&log);
    let server = site.serve();
    let output = expect(import.wait_with_output().unwrap(), 3, &["the import goes on"]);
    assert_eq!(counts(&lines(&output)[0]), [4_452, 23, 28]);
    assert_eq!(quantity(&site), (90_928, 4_452));
    server.stop();
}

#[test]
fn an_import_is_run_again_after_both_were_killed() {
    let Some(log) = production_log() else { return };
    let HalfWay { site, mut import } = HalfWay::new(&log);
    import.kill().unwrap();
    import.wait().unwrap();
    let server = site.serve();
    let before = site.events();
    assert!(before >= 500, "what was acknowledged is there");
    let arguments = Site::import(log.to_str().unwrap(), &FIVE);
    let [stored, duplicates, conflicts] = counts(&site.json(3, &arguments)[0]);
    assert_eq!(stored + before, 4_452);
    assert_eq!(duplicates, 23 + before);
    assert_eq!(conflicts, 28);
    assert_eq!(quantity(&site), (90_928, 4_452));
    assert_eq!(site.json(0, &["conflict", "ls"]).len(), 28);
    site.json(3, &arguments);
    assert_eq!(site.json(0, &["conflict", "ls"]).len(), 28);
    server.stop();
}

#[test]
fn a_conflict_is_shown_beside_the_first() {
    let Some(log) = production_log() else { return };
    let site = Site::new();
    let server = site.serve();
    let mut arguments = Site::import(log.to_str().unwrap(), &FIVE);
    arguments.push("--list");
    let printed = site.ends(3, &arguments);
    let printed = String::from_utf8(printed.stdout).unwrap();
    assert_eq!(printed.matches("partition 0, offset ").count(), 23 + 28, "{printed}");
    let listed = site.json(0, &["conflict", "ls"]);
    let address = listed[0]["address"].as_str().unwrap();
    let shown = site.json(0, &["conflict", "show", address]).remove(0);
    assert_eq!(shown["event"]["data"]["Case ID"], shown["first"]["data"]["Case ID"]);
    assert_ne!(shown["event"]["data"], shown["first"]["data"]);
    assert_eq!(shown["first_offset"], listed[0]["first_offset"]);
    server.stop();
}

#[test]
fn a_bad_row_stops_an_import_or_is_left_out() {
    let site = Site::new();
    let server = site.serve();
    let csv = "order,at,id\nA,2026-01-01,1\nA,never,2\nA,2026-01-03,3\n";
    let arguments = |more: &[&'static str]| {
        let mut arguments = vec!["import", "csv", "-", "--topic", "production", "--id-column"];
        arguments.extend(["id", "--order-key", "order", "--time", "at", "--time-zone", "UTC"]);
        arguments.extend(["--time-format", "%Y-%m-%d", "--output", "json"]);
        arguments.extend(more);
        arguments
    };
    let stopped = site.ends_with_input(1, &arguments(&[]), csv);
    assert!(String::from_utf8(stopped.stderr.clone()).unwrap().contains("line 3"));
    assert_eq!(lines(&stopped)[0]["stored"], 1);
    let skipped = site.ends_with_input(3, &arguments(&["--on-error", "skip"]), csv);
    let summary = lines(&skipped).remove(0);
    assert_eq!((summary["stored"].as_u64(), summary["rows"].as_u64()), (Some(1), Some(3)));
    assert_eq!(summary["errors"]["lines"][0]["line"], 3);
    assert_eq!(site.events(), 2);
    let arguments = Site::import("-", &ALL);
    let unknown = site.ends_with_input(2, &arguments, "order,at,id\n");
    assert!(String::from_utf8(unknown.stderr).unwrap().contains("no column \"Case ID\""));
    server.stop();
}
