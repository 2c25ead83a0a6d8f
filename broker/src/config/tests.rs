use std::path::Path;
use std::time::Duration;

use takt_client::tls::ServerIs;

use super::{
    ContextSettings, JournalSettings, LogLevel, OnConflict, Period, Role, Settings, Size,
    TopicSettings, UpstreamTopics,
};

const PLANT: &str = r#"
[node]
name = "munich-1"
role = "plant"
plant = "munich"

[listen]
address = "127.0.0.1:7411"

[security]
ca = "ca.pem"
cert = "/etc/takt/cert.pem"
key = "key.pem"
"#;

fn parse_with(text: &str, environment: &[(&str, &str)]) -> Result<Settings, String> {
    let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    let parsed = Settings::parse(Path::new("/srv/plant.toml"), text, environment);
    parsed.map_err(|error| error.to_string())
}

fn parse(text: &str) -> Result<Settings, String> {
    parse_with(text, &[])
}

/// The plant's file, with more behind it, is refused with this text.
#[track_caller]
fn refused(more: &str, expected: &str) {
    let error = parse(&format!("{PLANT}{more}")).unwrap_err();
    assert_eq!(error, expected);
}

#[test]
fn what_is_not_given_has_a_default() {
    let settings = parse(PLANT).unwrap();
    assert_eq!(settings.node.role, Role::Plant { plant: "munich".to_owned() });
    assert_eq!(
        settings.node.identity().to_string(),
        "spiffe://takt.local/plant/munich/node/munich-1"
    );
    assert_eq!(settings.node.data_dir, Path::new("/srv/data"));
    assert_eq!(settings.security.ca, Path::new("/srv/ca.pem"));
    assert_eq!(settings.security.cert, Path::new("/etc/takt/cert.pem"));
    assert_eq!(settings.journal, JournalSettings::default());
    assert_eq!(settings.limits.node_in_flight, Size::from_mib(192));
    assert_eq!((settings.upstream, settings.topics.len()), (None, 0));
}

#[test]
fn everything_can_be_given() {
    let more = r#"
        [upstream]
        address = "hub.example:7410"
        server = "hub"
        topics = ["production", "quality"]
        backoff_max = "2s"
        [journal]
        file_size = "64MiB"
        mark_after = "20ms"
        retention_size = "10GiB"
        retention_age = "90d"
        [ledger]
        keys_max = 5_000_000
        [limits]
        session_in_flight = "4MiB"
        [[topics]]
        name = "production"
        [[topics]]
        name = "quality"
        partitions = 4
        dedup = false
        horizon = "30d"
        on_conflict = "refuse"
        retention_age = "30d"
        retention_size = "10GiB"
        [log]
        level = "debug"
    "#;
    let settings = parse(&format!("{PLANT}{more}")).unwrap();
    let upstream = settings.upstream.unwrap();
    assert!(matches!(upstream.topics, UpstreamTopics::Named(names) if names.len() == 2));
    assert_eq!(upstream.server, ServerIs::Hub);
    assert_eq!(settings.journal.retention_age, Period::from_days(90));
    let (first, second) = (&settings.topics[0], &settings.topics[1]);
    assert_eq!(
        (first.horizon, first.on_conflict),
        (Period::from_days(400), OnConflict::Quarantine)
    );
    assert_eq!((second.partitions, second.on_conflict), (4, OnConflict::Refuse));
    let limits = |topic: &TopicSettings| (topic.retention_age.ms(), topic.retention_size.bytes());
    assert_eq!(limits(first), (0, 0));
    assert_eq!(limits(second), (30 * 24 * 3_600 * 1_000, 10 << 30));
    assert_eq!(settings.log.level.as_str(), "debug");
}

#[test]
fn an_unknown_key_is_named_with_its_place_and_the_nearest_one() {
    refused(
        "[journal]\nmark_aftre = \"50ms\"",
        "/srv/plant.toml:15:1: unknown key \"mark_aftre\" in [journal]; \
         did you mean \"mark_after\"?",
    );
    refused(
        "[[topics]]\nname = \"a\"\n[[topics]]\n  partition = 2",
        "/srv/plant.toml:17:3: unknown key \"partition\" in [[topics]]; \
         did you mean \"partitions\"?",
    );
    refused(
        "[jurnal]\nfile_size = 1",
        "/srv/plant.toml:14:2: unknown key \"jurnal\"; did you mean \"journal\"?",
    );
    refused(
        "[ledger]\nzzz = 1",
        "/srv/plant.toml:15:1: unknown key \"zzz\" in [ledger]; valid are keys_max",
    );
}

#[test]
fn a_bad_value_is_named_with_its_place() {
    for (more, place, part) in [
        ("[journal]\nmark_after = \"50\"", ":15:14: ", "is not a duration"),
        ("[journal]\nmark_after = 50", ":15:14: ", "is not a duration"),
        ("[journal]\nfile_size = \"64mib\"", ":15:13: ", "is not a size"),
        ("[journal]\nfile_size = -1", ":15:13: ", "is not a size"),
        ("[journal]\nfile_size = 1.5", ":15:13: ", "a size, such as"),
        ("[journal]\nfile_size = \"1MiB\"", ":15:1: ", "4MiB to 16GiB"),
        ("[journal]\nspare_files = 0", ":15:1: ", "1 to 1024"),
        ("[journal]\nspare_files = 1025", ":15:1: ", "1 to 1024"),
        ("[journal]\n\nretention_size = \"5MiB\"", ":16:1: ", "less than one journal file"),
        ("[ledger]\nkeys_max = \"many\"", ":15:12: ", "invalid type"),
        ("[limits]\nsession_in_flight = \"1kB\"", ":15:1: ", "one frame"),
        ("[[topics]]\nname = \"a\"\n[[topics]]\nname = \"a\"", ":17:1: ", "twice"),
        ("[[topics]]\nname = \"A\"", ":15:1: ", "'A'"),
        ("[[topics]]\nname = \"a\"\npartitions = 1025", ":16:1: ", "1 to 1024"),
        ("[[topics]]\nname = \"a\"\non_conflict = \"refused\"", ":16:1: ", "mean \"refuse\"?"),
        ("[[topics]]\nname = \"a\"\nretention_age = \"30\"", ":16:17: ", "is not a duration"),
        ("[[topics]]\nname = \"a\"\n[[topics]]\ndedup = true", ":16:", "needs name"),
        ("[upstream]\naddress = \"hub\"", ":15:1: ", "not a host and a port"),
        ("[upstream]\ntopics = [\"*\"]", ":14:2: ", "needs address"),
        ("[upstream]\naddress = \"h:1\"\ntopics = [\"*\", \"a\"]", ":16:1: ", "alone for all"),
        ("[log]\nlevel = \"inof\"", ":15:1: ", "mean \"info\"?"),
        ("[log\n", ":14:", ""),
    ] {
        let error = parse(&format!("{PLANT}{more}")).unwrap_err();
        assert!(error.starts_with(&format!("/srv/plant.toml{place}")), "{more}: {error}");
        assert!(error.contains(part), "{more}: {error}");
    }
    let hub = PLANT.replace("\"plant\"", "\"hub\"");
    assert!(parse(&hub).unwrap_err().starts_with("/srv/plant.toml:5:1: a hub belongs to no plant"));
    let hub = hub.replace("plant = \"munich\"", "") + "[upstream]\naddress = \"hub:1\"";
    assert!(parse(&hub).unwrap_err().contains("a hub has no upstream"));
    assert_eq!(
        parse("").unwrap_err(),
        "/srv/plant.toml: [node] needs name, such as name = \"munich-1\""
    );
}

#[test]
fn the_environment_goes_over_the_file() {
    let environment = [
        ("TAKT_JOURNAL__FILE_SIZE", "1GiB"),
        ("TAKT_LEDGER__KEYS_MAX", "2000"),
        ("TAKT_NODE__NAME", "7"),
        ("TAKT_UPSTREAM__ADDRESS", "10.0.0.1:7410"),
        ("TAKT_UPSTREAM__TOPICS", "[\"production\"]"),
        ("TAKT_LOG__LEVEL", "warn"),
        ("TAKT_CONTEXT", "elsewhere"),
        ("OTHER__KEY", "1"),
    ];
    let settings = parse_with(&format!("{PLANT}[journal]\nfile_size = 9"), &environment);
    let settings = settings.unwrap();
    assert_eq!(settings.journal.file_size, Size::from_bytes(1 << 30));
    assert_eq!((settings.ledger.keys_max, settings.node.name.as_str()), (2_000, "7"));
    assert_eq!(settings.upstream.unwrap().address, "10.0.0.1:7410");
    assert_eq!(settings.log.level, LogLevel::Warn);
}

#[test]
fn a_bad_variable_is_named() {
    for (variable, value, part) in [
        ("TAKT_JOURNAL__FILE_SISE", "1GiB", "did you mean \"file_size\"?"),
        ("TAKT_JURNAL__FILE_SIZE", "1GiB", "did you mean \"journal\"?"),
        ("TAKT_JOURNAL__FILE_SIZE", "big", "is not a size"),
        ("TAKT_JOURNAL__FILE_SIZE", "1MiB", "4MiB to 16GiB"),
        ("TAKT_LEDGER__KEYS_MAX", "x\ny = 1", "invalid type"),
        ("TAKT_TOPICS__NAME", "a", "in the file only"),
    ] {
        let error = parse_with(PLANT, &[(variable, value)]).unwrap_err();
        assert!(error.starts_with(&format!("environment variable {variable}: ")), "{error}");
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn durations_and_sizes_are_read_and_written() {
    for (text, ms) in [("250ms", 250), ("5s", 5_000), ("2m", 120_000), ("1h", 3_600_000)] {
        let period: Period = text.parse().unwrap();
        assert_eq!(
            (period.duration(), period.to_string().as_str()),
            (Duration::from_millis(ms), text)
        );
    }
    assert_eq!("400d".parse::<Period>().unwrap(), Period::from_days(400));
    assert_eq!("0".parse::<Period>().unwrap(), Period::from_ms(0));
    assert_eq!(Period::from_ms(0).to_string(), "0s");
    for text in ["", "5", "s", "-5s", "1.5s", "5 seconds", "5S", "5s ", "99999999999999999999d"] {
        assert!(text.parse::<Period>().is_err(), "{text:?}");
    }
    for (text, bytes) in [("64MiB", 64 << 20), ("1GB", 1_000_000_000), ("4097", 4_097), ("0", 0)] {
        let size: Size = text.parse().unwrap();
        assert_eq!((size.bytes(), size.to_string().as_str()), (bytes, text));
    }
    for text in
        ["", "MiB", "-1", "1.5MiB", "1mib", "1 MiB MiB", "18446744073709551616", "99999999TiB"]
    {
        assert!(text.parse::<Size>().is_err(), "{text:?}");
    }
}

#[test]
fn a_context_is_read() {
    let text = "address = \"localhost:7411\"\nserver = \"plant/munich\"\nca = \"ca.pem\"\n\
                cert = \"c.pem\"\nkey = \"k.pem\"\n";
    let parse = |text: &str| {
        ContextSettings::parse(Path::new("/srv/client.toml"), text).map_err(|e| e.to_string())
    };
    let context = parse(text).unwrap();
    assert_eq!(context.server, ServerIs::Plant("munich".to_owned()));
    assert_eq!(context.security.key, Path::new("/srv/k.pem"));
    for (from, to, expected) in [
        ("plant/munich", "munich", "/srv/client.toml:2:1: \"munich\" names no server"),
        ("localhost:7411", "localhost", "/srv/client.toml:1:1: \"localhost\" is not a host"),
        (
            "server",
            "sever",
            "/srv/client.toml:2:1: unknown key \"sever\"; did you mean \"server\"?",
        ),
        ("key = \"k.pem\"", "", "/srv/client.toml:1:1: missing field `key`"),
    ] {
        let error = parse(&text.replace(from, to)).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
}
