use clap::{CommandFactory, Parser};

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split(' '))
}

const CSV: &str = "takt import csv log.csv --topic production --order-key Case --time Start \
                   --time-format %Y";

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn commands_are_understood() {
    for line in [
        "takt init --dir site --plant munich lyon --hub --port-base 7000",
        "takt init --dir site --plant munich --plant lyon",
        "takt serve --config site/hub/hub.toml --output json",
        "takt topic create production --partitions 4 --dedup off --horizon 30d --on-conflict refuse",
        "takt topic create production --retention-age 30d --retention-size 10GiB",
        "takt topic edit production --retention-age 30d",
        "takt topic edit production --retention-size 0 --retention-age 0",
        "takt --context site/operator.toml topic ls",
        "takt pub production",
        "takt pub production events.jsonl --name mes",
        "takt sub production -f --from 2026-11-22T06:15:00Z --cursor erp -n 5 --origin munich",
        "takt sub production --from 17",
        "takt order production 4711 --output json",
        "takt cursor set erp --topic production --to munich/0=17,lyon/0=3 --hold",
        "takt cursor rm erp",
        "takt conflict ls",
        "takt conflict show production/munich/0/17/3",
        "takt status --output json",
        "takt verify site/hub/data",
    ] {
        assert!(parse(line).is_ok(), "{line}");
    }
}

#[test]
fn what_makes_no_sense_is_wrong_usage() {
    for line in [
        "takt",
        "takt init",
        "takt serve",
        "takt topic create production --partitions 0",
        "takt topic create production --partitions 1025",
        "takt topic create production --horizon 30",
        "takt topic create production --retention-age 30",
        "takt topic edit production",
        "takt topic edit --retention-age 30d",
        "takt topic create production --retention-size much",
        "takt sub production --from yesterday",
        "takt sub production -n -1",
        "takt cursor set erp --topic production",
        "takt cursor set erp --topic production --to cursor",
        "takt conflict show 17",
        "takt status --output xml",
        CSV,
    ] {
        let error = parse(line).expect_err(line);
        assert!(error.use_stderr(), "{line}");
        // clap's own exit code for it is the 2 of the help text.
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}

#[test]
fn an_import_has_exactly_one_identity_type_and_source() {
    for identity in ["--id-column #", "--dedup-columns all", "--dedup-columns A,B"] {
        assert!(parse(&format!("{CSV} {identity}")).is_ok(), "{identity}");
    }
    for wrong in [
        "--id-column # --dedup-columns all",
        "--id-column # --type a --type-column b",
        "--id-column # --source a --source-column b",
    ] {
        assert!(parse(&format!("{CSV} {wrong}")).is_err(), "{wrong}");
    }
}

#[test]
fn failures_tell_causes_once() {
    #[derive(Debug, thiserror::Error)]
    #[error("outer: {0}")]
    struct Told(#[source] std::io::Error);
    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Untold(#[source] std::io::Error);
    let cause = || std::io::Error::other("inner");
    assert_eq!(outcome::with_causes(&Told(cause())), "outer: inner");
    assert_eq!(outcome::with_causes(&Untold(cause())), "outer: inner");
}
