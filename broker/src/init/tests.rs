use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use takt_client::tls::{Refusal, ServerIs, TrustDomain};
use tempfile::TempDir;

use super::pki::unix_time;
use super::{InitError, InitOptions, InitReport, run};
use crate::config::{
    ContextSettings, JournalSettings, LedgerSettings, LimitSettings, LogSettings, Role, Settings,
    TopicSettings, UpstreamTopics,
};

const DAY: Duration = Duration::from_hours(24);

/// 2026-01-01.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_hours(490_896)
}

fn options(dir: &Path, hub: bool, plants: &[&str]) -> InitOptions {
    let plants = plants.iter().map(|&name| name.to_owned()).collect();
    InitOptions { plants, hub, ..InitOptions::new(dir.to_owned(), now()) }
}

fn make(dir: &Path, hub: bool, plants: &[&str]) -> InitReport {
    run(&options(dir, hub, plants)).unwrap()
}

fn load(path: &Path) -> Settings {
    Settings::parse(path, &fs::read_to_string(path).unwrap(), []).unwrap()
}

/// Every file beneath a directory, with its text.
fn contents(dir: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            found.push((path.display().to_string(), fs::read_to_string(&path).unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn what_is_made_can_be_loaded_and_is_accepted() {
    let dir = TempDir::new().unwrap();
    let report = make(dir.path(), true, &["munich", "lyon"]);
    let ports: Vec<u16> = report.nodes.iter().map(|node| node.listen.port()).collect();
    assert_eq!(ports, [7_410, 7_411, 7_412], "the hub first, then plants by name");
    for node in &report.nodes {
        let settings = load(&node.config);
        assert_eq!(settings.node.identity(), node.identity);
        let own = settings.security.load().unwrap();
        let domain = &settings.node.trust_domain;
        assert_eq!(own.check(domain, unix_time(now())).unwrap(), node.identity);
        for (path, operator) in [(&node.client, false), (&node.operator, true)] {
            let context = ContextSettings::load(path).unwrap();
            assert_eq!(context.address, settings.listen.to_string());
            assert!(context.server.admits(&node.identity));
            let client = context.security.load().unwrap();
            let identity = client.check(domain, unix_time(now())).unwrap();
            assert_eq!(identity.plant().is_none(), operator || context.server == ServerIs::Hub);
        }
    }
    assert!(!report.nodes[0].has_upstream && report.nodes[1].has_upstream);
}

#[test]
fn only_the_owner_may_read() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("new");
    let report = make(&root, true, &["munich"]);
    assert_eq!(report.made.len(), 2 + 2 * 10);
    for path in &report.made {
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(path), 0o600, "{}", path.display());
        assert_eq!(mode(path.parent().unwrap()), 0o700, "{}", path.display());
    }
    let files: BTreeSet<_> = report.made.iter().map(|path| path.display().to_string()).collect();
    let found: BTreeSet<_> = contents(&root).into_iter().map(|(path, _)| path).collect();
    assert_eq!(files, found, "all is reported and no draft is left");
}

#[test]
fn a_second_run_keeps_what_is_there_and_adds_what_is_new() {
    let dir = TempDir::new().unwrap();
    make(dir.path(), true, &["munich"]);
    let before = contents(dir.path());
    let report = make(dir.path(), true, &["munich"]);
    assert_eq!((report.made.len(), report.kept.len()), (0, before.len()));
    let report = make(dir.path(), false, &["lyon"]);
    assert_eq!(report.nodes[0].listen.port(), 7_412);
    assert_eq!(load(&report.nodes[0].config).upstream.unwrap().address, "127.0.0.1:7410");
    let after = contents(dir.path());
    assert!(before.iter().all(|file| after.contains(file)));
    let lyon = load(&report.nodes[0].config);
    let hub = load(&dir.path().join("hub/hub.toml"));
    let text = |path: &Path| fs::read_to_string(path).unwrap();
    assert_eq!(text(&lyon.security.ca), text(&hub.security.ca), "one authority");
    lyon.security.load().unwrap().check(&lyon.node.trust_domain, unix_time(now())).unwrap();
}

#[test]
fn ports_follow_the_base_and_what_was_changed_by_hand() {
    let dir = TempDir::new().unwrap();
    let base =
        |plants: &[&str], hub| InitOptions { port_base: 9_000, ..options(dir.path(), hub, plants) };
    let report = run(&base(&["b"], false)).unwrap();
    assert_eq!(report.nodes[0].listen.port(), 9_001);
    assert!(!report.nodes[0].has_upstream, "there is no hub yet");
    let config = &report.nodes[0].config;
    let changed = fs::read_to_string(config).unwrap().replace("127.0.0.1:9001", "10.0.0.7:9002");
    fs::write(config, changed).unwrap();
    let ports: Vec<_> = run(&base(&["a", "b", "c"], true)).unwrap().nodes;
    let ports: Vec<_> = ports.iter().map(|node| node.listen.to_string()).collect();
    assert_eq!(ports, ["127.0.0.1:9000", "127.0.0.1:9001", "10.0.0.7:9002", "127.0.0.1:9003"]);
    let last = InitOptions { port_base: u16::MAX, ..options(dir.path(), false, &["d"]) };
    assert!(matches!(run(&last), Err(InitError::NoPort { .. })));
}

#[test]
fn force_replaces_a_node_but_never_the_authority() {
    let dir = TempDir::new().unwrap();
    let report = make(dir.path(), true, &["munich"]);
    let before = contents(dir.path());
    let forced = InitOptions { force: true, ..options(dir.path(), false, &["munich"]) };
    assert_eq!(run(&forced).unwrap().nodes, report.nodes[1..]);
    for ((path, before), (_, after)) in before.iter().zip(contents(dir.path())) {
        let key = path.contains("plant-munich") && path.ends_with("key.pem");
        let cert = path.contains("plant-munich") && path.ends_with("cert.pem");
        assert_eq!(*before != after, key || cert, "{path}");
    }
    load(&report.nodes[1].config).security.load().unwrap();
}

#[test]
fn a_lost_half_is_not_papered_over() {
    let dir = TempDir::new().unwrap();
    make(dir.path(), false, &["munich"]);
    let plant = dir.path().join("plant-munich");
    let cert = fs::read(plant.join("cert.pem")).unwrap();
    fs::remove_file(plant.join("cert.pem")).unwrap();
    let error = run(&options(dir.path(), false, &["munich"])).unwrap_err();
    assert!(matches!(error, InitError::Incomplete { .. }), "{error}");
    fs::write(plant.join("cert.pem"), cert).unwrap();

    let ca = fs::read(dir.path().join("ca/ca.pem")).unwrap();
    fs::remove_file(dir.path().join("ca/ca.pem")).unwrap();
    make(dir.path(), false, &["lyon"]);
    let own = load(&plant.join("plant.toml")).security.load().unwrap();
    own.check(&TrustDomain::default(), unix_time(now())).unwrap();

    fs::write(dir.path().join("ca/ca.pem"), ca).unwrap();
    fs::remove_file(dir.path().join("ca/ca.key")).unwrap();
    let error = run(&options(dir.path(), true, &[])).unwrap_err();
    assert!(matches!(error, InitError::NoAuthorityKey { .. }), "{error}");
}

#[test]
fn an_authority_that_does_not_fit_issues_nothing() {
    let dir = TempDir::new().unwrap();
    make(dir.path(), false, &["munich"]);
    let other = InitOptions {
        trust_domain: TrustDomain::new("other.example").unwrap(),
        ..options(dir.path(), true, &[])
    };
    assert!(matches!(run(&other), Err(InitError::Refused { .. })));
    let elsewhere = TempDir::new().unwrap();
    make(elsewhere.path(), false, &["munich"]);
    fs::copy(elsewhere.path().join("ca/ca.key"), dir.path().join("ca/ca.key")).unwrap();
    assert!(matches!(run(&options(dir.path(), true, &[])), Err(InitError::Refused { .. })));
    assert!(!dir.path().join("hub/key.pem").exists());
}

#[test]
fn certificates_end_when_they_say() {
    let dir = TempDir::new().unwrap();
    let report = make(dir.path(), false, &["munich"]);
    let node = load(&report.nodes[0].config);
    let client = ContextSettings::load(&report.nodes[0].client).unwrap();
    for (credentials, days) in
        [(node.security.load().unwrap(), 90), (client.security.load().unwrap(), 365)]
    {
        let at = |time| credentials.check(&node.node.trust_domain, unix_time(time));
        assert!(at(now() + days * DAY).is_ok() && at(now()).is_ok());
        assert!(at(now() - Duration::from_mins(30)).is_ok(), "peers' clocks may be behind");
        let expired = at(now() + days * DAY + Duration::from_secs(1)).unwrap_err();
        assert!(matches!(expired, Refusal::Chain(_)), "{expired}");
    }
}

#[test]
fn names_are_checked_before_anything_is_made() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("new");
    for name in ["", "Munich", "../x", "a/b", "a\"b", &"a".repeat(62)] {
        assert!(matches!(run(&options(&root, true, &[name])), Err(InitError::Name(_))), "{name}");
    }
    assert!(matches!(run(&options(&root, false, &[])), Err(InitError::Nothing)));
    assert!(!root.exists());
}

#[test]
fn a_made_configuration_is_complete_and_says_the_defaults() {
    let dir = TempDir::new().unwrap();
    let report = make(dir.path(), true, &["munich"]);
    for node in &report.nodes {
        let settings = load(&node.config);
        assert_eq!(settings.journal, JournalSettings::default());
        assert_eq!(settings.ledger, LedgerSettings::default());
        assert_eq!(settings.limits, LimitSettings::default());
        assert_eq!(settings.log, LogSettings::default());
        let plant = settings.node.role != Role::Hub;
        let topics: Vec<_> =
            settings.topics.iter().map(|t| TopicSettings::new(t.name.clone())).collect();
        assert_eq!((&topics, topics.len()), (&settings.topics, usize::from(plant)));
        assert_eq!(settings.upstream.map(|up| up.topics), plant.then_some(UpstreamTopics::All));

        let text = fs::read_to_string(&node.config).unwrap();
        assert!(text.lines().all(|line| line.len() <= 100));
        let lines: Vec<&str> = text.lines().map(|line| line.trim_start_matches("# ")).collect();
        for section in valid_keys(&text, "") {
            let header = if section == "topics" { "[[topics]]" } else { &format!("[{section}]") };
            if section == "upstream" && !plant {
                continue;
            }
            assert!(lines.contains(&header), "{header}");
            for key in valid_keys(&text, header) {
                if key != "plant" || plant {
                    let begin = format!("{key} = ");
                    assert!(lines.iter().any(|line| line.starts_with(&begin)), "{header} {key}");
                }
            }
        }
    }
}

/// The keys that are valid in a section, as the message for an unknown one lists them.
fn valid_keys(text: &str, header: &str) -> Vec<String> {
    let unknown = "zzzzzz = 1\n";
    let probed = if header.is_empty() {
        format!("{unknown}{text}")
    } else if text.contains(&format!("\n{header}\n")) {
        text.replace(&format!("\n{header}\n"), &format!("\n{header}\n{unknown}"))
    } else {
        format!("{text}\n{header}\n{unknown}")
    };
    let error = Settings::parse(Path::new("probe"), &probed, []).unwrap_err().to_string();
    let (_, valid) = error.split_once("valid are ").unwrap();
    valid.split(", ").map(str::to_owned).collect()
}
