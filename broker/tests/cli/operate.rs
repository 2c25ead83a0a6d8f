//! Everything but imports.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;

use serde_json::{Value, json};

use crate::site::{Site, expect, lines, piped, run, text};

fn event(id: &str, order: &str, pieces: u32) -> String {
    let event = json!({
        "specversion": "1.0",
        "id": id,
        "source": "//acme/munich/mes",
        "type": "mfg.operation.confirmed.v1",
        "time": "2026-11-22T06:15:00Z",
        "partitionkey": order,
        "datacontenttype": "application/json",
        "data": {"pieces": pieces},
    });
    format!("{event}\n")
}

fn ids(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["id"].as_str().unwrap()).collect()
}

#[test]
fn what_is_published_comes_out_again() {
    let site = Site::new();
    let server = site.serve();
    let input: String = (0..10).map(|i| event(&format!("e{i}"), "4711", i)).collect();
    let sent = site.ends_with_input(0, &["pub", "production", "--output", "json"], &input);
    assert_eq!(lines(&sent)[0]["appended"], 10);

    let out = site.json(0, &["sub", "production"]);
    assert_eq!(ids(&out), ["e0", "e1", "e2", "e3", "e4", "e5", "e6", "e7", "e8", "e9"]);
    for (i, event) in out.iter().enumerate() {
        assert_eq!(event["origin"], "munich");
        assert_eq!(event["partition"], 0);
        assert_eq!(event["offset"], i);
        assert_eq!(event["ordersequence"], i + 1);
        assert_eq!(event["data"], json!({"pieces": i}));
        assert_eq!(event["time"], "2026-11-22T06:15:00Z");
    }
    let since = out[7]["appendtime"].as_str().unwrap();
    assert!(ids(&site.json(0, &["sub", "production", "--from", since])).ends_with(&["e9"]));
    assert!(site.json(0, &["sub", "production", "--from", "2999-01-01T00:00:00Z"]).is_empty());
    assert!(site.json(0, &["sub", "production", "--from", "latest"]).is_empty());
    assert_eq!(ids(&site.json(0, &["sub", "production", "--from", "8"])), ["e8", "e9"]);
    assert_eq!(ids(&site.json(0, &["sub", "production", "-n", "2"])), ["e0", "e1"]);
    assert!(site.json(0, &["sub", "production", "--origin", "lyon"]).is_empty());

    // What `sub` prints can be published: here, every line repeats an event.
    let printed = text(&site.ends(0, &["sub", "production"]).stdout);
    let again = site.ends_with_input(0, &["pub", "production", "--output", "json"], &printed);
    assert_eq!(lines(&again)[0]["duplicates"], 10);
    let other = event("e3", "4711", 99);
    let conflict = site.ends_with_input(3, &["pub", "production", "--name", "mes"], &other);
    assert!(text(&conflict.stderr).contains("line 1: conflict with partition 0, offset 3"));
    server.stop();
}

#[test]
fn a_bad_line_is_named_and_nothing_of_it_is_sent() {
    let site = Site::new();
    let server = site.serve();
    let input = event("a", "1", 1) + "\n" + "{\"id\": 7}\n" + &event("b", "1", 2);
    let failed = site.ends_with_input(1, &["pub", "production"], &input);
    assert!(text(&failed.stderr).contains("line 3: "), "{}", text(&failed.stderr));
    assert_eq!(ids(&site.json(0, &["sub", "production"])), ["a"]);
    let unknown = site.ends_with_input(1, &["pub", "nowhere"], &event("a", "1", 1));
    assert!(text(&unknown.stderr).contains("topic"), "{}", text(&unknown.stderr));
    server.stop();
}

#[test]
fn a_subscription_follows_and_its_cursor_stays() {
    let site = Site::new();
    let server = site.serve();
    site.ends_with_input(0, &["pub", "production"], &(event("a", "1", 1) + &event("b", "1", 2)));
    let first = site.json(0, &["sub", "production", "--cursor", "erp", "-n", "1"]);
    assert_eq!(ids(&first), ["a"]);

    let mut follow = piped(&mut site.takt(&["sub", "production", "-f", "--cursor", "erp"]));
    let mut printed = BufReader::new(follow.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&printed.next().unwrap().unwrap()).unwrap() };
    assert_eq!(next()["id"], "b");
    site.ends_with_input(0, &["pub", "production"], &event("c", "1", 3));
    assert_eq!(next()["id"], "c");
    let pid = rustix::process::Pid::from_child(&follow);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(follow.wait().unwrap().code(), Some(0));

    let cursor = site.json(0, &["cursor", "ls"]).remove(0);
    assert_eq!((&cursor["name"], &cursor["positions"][0]["offset"]), (&json!("erp"), &json!(3)));
    assert!(site.json(0, &["sub", "production", "--cursor", "erp"]).is_empty());
    site.ends(0, &["cursor", "set", "erp", "--topic", "production", "--to", "munich/0=1"]);
    assert_eq!(ids(&site.json(0, &["sub", "production", "--cursor", "erp"])), ["b", "c"]);
    site.ends(0, &["cursor", "rm", "erp"]);
    assert!(site.json(0, &["cursor", "ls"]).is_empty());
    server.stop();
}

#[test]
fn topics_orders_and_status_are_shown() {
    let site = Site::new();
    let server = site.serve();
    let create = ["topic", "create", "quality", "--partitions", "3", "--horizon", "30d"];
    let made = site.json(0, &create).remove(0);
    assert_eq!(
        (&made["partitions_per_origin"], &made["horizon_s"]),
        (&json!(3), &json!(2_592_000))
    );
    site.ends(0, &create);
    let other = site.ends(1, &["topic", "create", "quality"]);
    assert!(text(&other.stderr).contains("other settings"), "{}", text(&other.stderr));
    let limited = ["topic", "create", "limited", "--retention-age", "30d"];
    let made = site.json(0, &[&limited[..], &["--retention-size", "10GiB"]].concat()).remove(0);
    assert_eq!(
        (&made["retention_ms"], &made["retention_bytes"]),
        (&json!(2_592_000_000_u64), &json!(10_737_418_240_u64))
    );
    let shown = text(&site.ends(0, &["topic", "info", "limited"]).stdout);
    assert!(shown.contains("for 30d, or until 10.0 GiB of each partition are newer"), "{shown}");
    let edit = ["topic", "edit", "limited", "--retention-age", "90d"];
    let edited = site.json(0, &edit).remove(0);
    assert_eq!(
        (&edited["retention_ms"], &edited["retention_bytes"]),
        (&json!(7_776_000_000_u64), &json!(10_737_418_240_u64))
    );
    site.ends(0, &edit);
    site.ends(1, &["topic", "edit", "unknown", "--retention-age", "90d"]);
    let nothing = site.ends(2, &["topic", "edit", "limited"]);
    assert!(text(&nothing.stderr).contains("--compact"), "{}", text(&nothing.stderr));
    let on = site.json(0, &["topic", "edit", "limited", "--compact", "on"]).remove(0);
    assert_eq!((&on["compact"], &on["retention_ms"]), (&json!(true), &edited["retention_ms"]));
    let shown = text(&site.ends(0, &["topic", "info", "limited"]).stdout);
    assert!(shown.contains("to the latest event of each order key"), "{shown}");
    let off = site.json(0, &["topic", "edit", "limited", "--compact", "off"]).remove(0);
    assert_eq!(off["compact"], json!(false));
    let short = site.ends(1, &["topic", "create", "short", "--horizon", "59s"]);
    assert!(text(&short.stderr).contains("at least 60"), "{}", text(&short.stderr));
    assert_eq!(site.json(0, &["topic", "ls"]).len(), 3, "and `production`, of the configuration");

    let input: String =
        (0..700).map(|i| event(&format!("e{i}"), &format!("{}", i % 2), i)).collect();
    site.ends_with_input(0, &["pub", "quality"], &input);
    let order = site.json(0, &["order", "quality", "1"]);
    assert_eq!(order.len(), 350);
    assert!(order.iter().enumerate().all(|(i, event)| event["ordersequence"] == i + 1));
    site.ends(1, &["order", "quality", "2"]);

    let info = site.json(0, &["topic", "info", "quality"]).remove(0);
    assert_eq!((&info["ledger"]["keys"], &info["ledger"]["orders"]), (&json!(700), &json!(2)));
    let status = site.json(0, &["status"]).remove(0);
    assert_eq!((&status["node"], &status["role"]), (&json!("munich"), &json!("plant")));
    assert_eq!(status["counters"]["visible"], 700);
    for table in [&["status"][..], &["topic", "ls"], &["topic", "info", "quality"]] {
        assert!(text(&site.ends(0, table).stdout).lines().count() > 1, "{table:?}");
    }
    server.stop();
}

#[test]
fn a_client_is_no_operator() {
    let site = Site::new();
    let server = site.serve();
    let client = site.path("client.toml");
    let arguments = ["--context", client.to_str().unwrap(), "topic", "create", "quality"];
    let denied = site.ends(1, &arguments);
    assert!(text(&denied.stderr).contains("operator.toml"), "{}", text(&denied.stderr));
    server.stop();
}

#[test]
fn a_wrong_configuration_is_named_with_its_place() {
    let site = Site::new();
    let config = site.path("plant.toml");
    let text_before = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text_before.replace("mark_after", "mark_afer")).unwrap();
    let failed = expect(run(&mut site.serve_command()), 1, &["serve"]);
    let stderr = text(&failed.stderr);
    assert!(stderr.contains("plant.toml:"), "{stderr}");
    assert!(stderr.contains("did you mean \"mark_after\"?"), "{stderr}");
}

#[test]
fn exit_codes_are_those_of_the_help() {
    let site = Site::new();
    assert!(text(&site.ends(0, &["--help"]).stdout).contains("Exit codes: 0 done"));
    site.ends(2, &["publish"]);
    site.ends(2, &["sub"]);
    site.ends(2, &["sub", "production", "--from"]);
    let nobody = site.ends(1, &["--context", "nowhere.toml", "status"]);
    assert!(text(&nobody.stderr).contains("TAKT_CONTEXT"), "{}", text(&nobody.stderr));
}

#[test]
fn a_data_directory_is_verified() {
    let site = Site::new();
    let server = site.serve();
    site.ends_with_input(0, &["pub", "production"], &event("a", "1", 1));
    let data = site.data();
    let dir = data.to_str().unwrap();
    let running = site.ends(1, &["verify", dir]);
    assert!(text(&running.stderr).contains("stop the node first"), "{}", text(&running.stderr));
    server.stop();
    assert!(site.json(0, &["verify", dir]).iter().all(|file| file["damage"].is_null()));

    let journal = std::fs::read_dir(&data)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.file_name().unwrap().to_str().unwrap().starts_with("journal-"))
        .unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(journal).unwrap();
    file.write_all_at(b"rot", 100).unwrap();
    let found = site.json(3, &["verify", dir]);
    assert!(found.iter().any(|file| !file["damage"].is_null()), "{found:?}");
    site.ends(1, &["verify", "nowhere"]);
    assert!(!std::path::Path::new("nowhere").exists());
}
