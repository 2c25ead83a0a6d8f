use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use jiff::tz::TimeZone;
use takt_protocol::batch::{Place, Verdict};
use takt_protocol::event::{DedupKeys, Event};
use takt_protocol::hashing::{DigestFields, DigestHasher};
use takt_protocol::words::{Digest, Offset, PartitionNumber, Timestamp};

use super::*;
use crate::cli::output::{Output, Style};

fn mapping(identity: Identity) -> CsvMapping {
    CsvMapping {
        order_key: "order".to_owned(),
        identity,
        time: "at".to_owned(),
        time_format: "%Y-%m-%d %H:%M".to_owned(),
        time_zone: Some("UTC".to_owned()),
        kind: ValueOf::Literal("test.v1".to_owned()),
        source: ValueOf::Literal("//test".to_owned()),
        delimiter: b',',
    }
}

fn named(columns: &[&str]) -> Identity {
    let columns = columns.iter().map(|&column| column.to_owned()).collect();
    Identity::DedupColumns(DedupColumns::Named(columns))
}

fn id_column(column: &str) -> Identity {
    Identity::IdColumn(column.to_owned())
}

fn read(csv: &[u8], mapping: &CsvMapping) -> Vec<Result<Imported, RowError>> {
    Rows::new(csv, mapping).unwrap().map(Result::unwrap).collect()
}

fn lines(csv: &[u8]) -> Vec<u64> {
    let rows = read(csv, &mapping(id_column("#")));
    rows.into_iter().map(|row| row.map_or_else(|error| error.line, |row| row.line)).collect()
}

fn digest(event: &Event) -> Digest {
    let fields = DigestFields {
        order_key: event.order_key.as_ref().map(|key| key.as_str().as_bytes()),
        kind: event.kind.as_bytes(),
        content_type: event.content_type.as_deref().map(str::as_bytes),
        time: event.time,
    };
    DigestHasher::default().digest(&fields, [&event.data[..]])
}

/// Judges as a node would, with a map.
#[derive(Default)]
struct Judge {
    known: HashMap<Vec<u8>, HashMap<Digest, Place>>,
    first: HashMap<Vec<u8>, Place>,
    next: u64,
}

impl Judge {
    fn judge(&mut self, event: &Event) -> Verdict {
        let key = match &event.dedup {
            DedupKeys::SourceAndId => format!("{}\0{}", event.source, event.id).into_bytes(),
            DedupKeys::Key(key) => key.to_vec(),
            DedupKeys::Two(..) => panic!("an import names one key"),
        };
        let contents = self.known.entry(key.clone()).or_default();
        let digest = digest(event);
        if let Some(&first) = self.first.get(&key) {
            return match contents.get(&digest) {
                Some(&of) => Verdict::Duplicate { of, order_sequence: None },
                None => Verdict::Conflict { with: first, listed: true },
            };
        }
        let place = Place { partition: PartitionNumber::new(0), offset: Offset::new(self.next) };
        self.next += 1;
        contents.insert(digest, place);
        self.first.insert(key, place);
        Verdict::Visible { order_sequence: None, restarted: false }
    }
}

/// Imports a file into a [`Judge`]; the summary and the events stored.
fn import(csv: &[u8], mapping: &CsvMapping) -> (Summary, Vec<Event>) {
    let (mut judge, mut summary, mut stored) = (Judge::default(), Summary::default(), Vec::new());
    for row in read(csv, mapping) {
        match row {
            Ok(row) => {
                let verdict = judge.judge(&row.event);
                summary.add(row.line, &verdict);
                if let Some(time) = &row.ambiguous_time {
                    summary.add_ambiguous_time(row.line, time);
                }
                if verdict.is_visible() {
                    stored.push(row.event);
                }
            }
            Err(error) => summary.add_error(&error),
        }
    }
    (summary, stored)
}

fn production_log() -> Option<Vec<u8>> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    std::fs::read(workspace.join("../shared/data/production_event_log.csv")).ok()
}

#[test]
fn the_production_log_counts_as_its_identity_says() {
    let Some(csv) = production_log() else {
        eprintln!("skipped: ../shared/data/production_event_log.csv is not there");
        return;
    };
    let business = named(&COLUMNS[..5]);
    for (identity, stored, duplicates, conflicts, good) in [
        (Identity::DedupColumns(DedupColumns::All), 4_480, 23, 0, 91_645),
        (business, 4_452, 23, 28, 90_928),
        (id_column("#"), 4_503, 0, 0, 91_664),
    ] {
        let mapping = production_mapping("//acme/plant01/mes", identity, "UTC");
        let (summary, events) = import(&csv, &mapping);
        assert_eq!(summary.rows, 4_503);
        assert_eq!(
            (summary.stored, summary.duplicates.count, summary.conflicts.count),
            (stored, duplicates, conflicts),
        );
        assert_eq!((summary.errors.count, summary.ambiguous_times.count), (0, 0));
        let reports: Vec<Report> =
            events.iter().map(|event| Report::from_data(&event.data).unwrap()).collect();
        assert_eq!(reports.iter().map(|report| u64::from(report.good)).sum::<u64>(), good);
        let orders: BTreeSet<&str> = reports.iter().map(|report| report.order.as_str()).collect();
        assert_eq!(orders.len(), 225);
    }
}

#[test]
fn a_row_is_an_event() {
    let mut mapping = mapping(id_column("id"));
    mapping.kind = ValueOf::Column("what".to_owned());
    let csv = b"id,order,at,what\n7,PO1,2024-05-01 12:30,made \"two\"\n";
    let row = read(csv, &mapping).remove(0).unwrap();
    assert_eq!((row.line, row.number, row.ambiguous_time), (2, 1, None));
    let event = row.event;
    assert_eq!((event.id.as_str(), event.source.as_str()), ("7", "//test"));
    assert_eq!(event.kind, "made \"two\"");
    assert_eq!(event.time, Some(Timestamp::from_micros(1_714_566_600_000_000)));
    assert_eq!(event.order_key.unwrap().as_str(), "PO1");
    assert_eq!(event.dedup, DedupKeys::SourceAndId);
    assert_eq!(event.content_type.as_deref(), Some("application/json"));
    let data = r#"{"id":"7","order":"PO1","at":"2024-05-01 12:30","what":"made \"two\""}"#;
    assert_eq!(event.data, data);
}

#[test]
fn keys_of_columns_are_exact_and_never_change() {
    let csv = b"a,order,at,b\nx,P,2024-05-01 12:30,yz\nxy,P,2024-05-01 12:30,z\n";
    let rows = read(csv, &mapping(named(&["b", "a"])));
    let event = |row: usize| rows[row].as_ref().unwrap().event.clone();
    assert_eq!(event(0).dedup, DedupKeys::Key(b"\x02yz\x01x"[..].into()));
    assert_eq!(event(1).dedup, DedupKeys::Key(b"\x01z\x02xy"[..].into()));
    assert_ne!(event(0).id, event(1).id);
    assert_eq!(event(0).id, "9618ff6a3c82294442a7488e7f58b719");

    let (summary, _) = import(
        b"a,order,at,b\nx,P,2024-05-01 12:30,1\nx,P,2024-05-01 12:30,2\nx,P,2024-05-01 12:30,1\n",
        &mapping(named(&["order", "a"])),
    );
    assert_eq!((summary.conflicts.count, summary.duplicates.count), (1, 1));
    let expected = LineAt { line: 3, first_partition: 0, first_offset: 0 };
    assert_eq!(summary.conflicts.lines, [expected]);
}

#[test]
fn lines_are_those_of_the_file() {
    let row = "P,2024-05-01 12:30,x";
    let text = |rows: &[&str], end: &str| {
        let mut text = rows.join(end);
        text.push_str(end);
        text.into_bytes()
    };
    let quoted = "P,2024-05-01 12:30,\"a\nb\"";
    let rows = ["order,at,note", row, row, quoted, row, "", "", row, quoted];
    for end in ["\n", "\r\n"] {
        let csv = text(&rows, end);
        assert_eq!(lines(&csv), [2, 3, 4, 6, 9, 10], "{end:?}");
        assert_eq!(lines(&csv[..csv.len() - end.len()]), [2, 3, 4, 6, 9, 10], "{end:?}, no end");
        let mark = [b"\xef\xbb\xbf", &csv[..]].concat();
        assert_eq!(lines(&mark), [2, 3, 4, 6, 9, 10], "{end:?}, byte order mark");
        // More than any buffer of the reader, so that its ends fall everywhere in a row.
        let many: Vec<&str> =
            std::iter::once("order,at,note").chain(std::iter::repeat_n(row, 20_000)).collect();
        let expected: Vec<u64> = (2..20_002).collect();
        assert!(lines(&text(&many, end)) == expected, "{end:?}, many");
    }
}

#[test]
fn a_bad_row_is_named_and_the_others_stay() {
    let csv = b"id,order,at\n1,P,2024-05-01 12:30\n2,P\n3,,2024-05-01 12:30\n4,P,yesterday\n\
        ,P,2024-05-01 12:30\n6,P,2024-05-01 12:30,more\n7,P\xff,2024-05-01 12:30\n\
        8,P,2024-02-30 12:30\n9,P,2024-05-01 12:30\n";
    let (summary, stored) = import(csv, &mapping(id_column("id")));
    let ids: Vec<&str> = stored.iter().map(|event| event.id.as_str()).collect();
    assert_eq!(ids, ["1", "9"]);
    assert_eq!((summary.rows, summary.stored, summary.errors.count), (9, 2, 7));
    let errors: Vec<u64> = summary.errors.lines.iter().map(|error| error.line).collect();
    assert_eq!(errors, [3, 4, 5, 6, 7, 8, 9]);
    let what: Vec<&str> = summary.errors.lines.iter().map(|error| error.what.as_str()).collect();
    assert_eq!(what[0], "2 fields, the header has 3");
    assert_eq!(what[1], "the column \"order\": the order key is empty");
    assert!(what[2].starts_with("the column \"at\": \"yesterday\" is no time: "), "{}", what[2]);
    assert_eq!(what[3], "the column \"id\" is empty, so the row has no identity");
    assert_eq!(what[4], "4 fields, the header has 3");
    assert_eq!(what[5], "not UTF-8 in the column \"order\"");
    assert!(what[6].contains("2024-02-30"), "{}", what[6]);
}

#[test]
fn a_key_over_the_limit_is_refused_not_hashed() {
    let row = |len| format!("order,at,note\nP,2024-05-01 12:30,{}\n", "n".repeat(len));
    let mapping = mapping(named(&["note"]));
    assert!(read(row(1_022).as_bytes(), &mapping)[0].is_ok());
    let error = read(row(1_023).as_bytes(), &mapping).remove(0).unwrap_err();
    assert_eq!(error, RowError { line: 2, what: RowProblem::KeyTooLong { len: 1_025 } });
    let error = read(row(1 << 20).as_bytes(), &super::tests::mapping(id_column("#"))).remove(0);
    assert!(matches!(error.unwrap_err().what, RowProblem::TooLarge { .. }));
}

#[test]
fn a_quote_that_never_closes_ends_the_import() {
    let mut csv = b"order,at\nP,2024-05-01 12:30\nP,\"".to_vec();
    csv.resize(ROW_BYTES_MAX * 2, b'x');
    let mut rows = Rows::new(&csv[..], &mapping(id_column("#"))).unwrap();
    assert!(rows.next().unwrap().unwrap().is_ok());
    assert!(matches!(rows.next().unwrap(), Err(ReadError::RowTooLong { line: 3 })));
    assert!(rows.next().is_none());
}

#[test]
fn a_quote_that_takes_the_rows_behind_it_is_reported() {
    let mapping = mapping(id_column("#"));
    let first = "order,at,note\nP,2024-05-01 12:30,x\n";
    let rest = "P,2024-05-01 12:30,y\nP,2024-05-01 12:30,z";
    for end in ["", "\n", "\r\n"] {
        let csv = format!("{first}P,2024-05-01 12:30,\"a\n{rest}{end}");
        let rows = read(csv.as_bytes(), &mapping);
        assert_eq!(rows.len(), 2);
        assert!(rows[0].is_ok());
        assert_eq!(rows[1], Err(RowError { line: 3, what: RowProblem::Unclosed }), "{end:?}");
        let csv = format!("{first}P,2024-05-01 12:30,\"a\nb\n\"{end}");
        assert!(read(csv.as_bytes(), &mapping).iter().all(Result::is_ok), "{end:?}: closed");
    }
}

#[test]
fn a_mapping_that_does_not_fit_says_why() {
    let refused = |csv: &[u8], mapping: &CsvMapping| {
        Rows::new(csv, mapping).err().map(|error| error.to_string()).unwrap()
    };
    let header = b"Order,at,Menge\n";
    let unknown = refused(header, &mapping(id_column("#")));
    assert_eq!(unknown, "no column \"order\"; did you mean \"Order\"?");
    let unknown = refused(b"a,at\n", &mapping(id_column("#")));
    assert_eq!(unknown, "no column \"order\"; the file has \"a\", \"at\"");
    let twice = refused(b"order,at,at\n", &mapping(id_column("#")));
    assert_eq!(twice, "the column \"at\" stands twice in the header row");
    let header = b"order,at\n";
    assert!(refused(header, &mapping(named(&[]))).starts_with("no dedup columns"));
    assert!(refused(header, &mapping(named(&["at", "at"]))).contains("the dedup columns"));
    assert!(refused(header, &mapping(named(&["tim"]))).contains("\"tim\""));
    let mut wrong = mapping(id_column("#"));
    wrong.source = ValueOf::Literal(String::new());
    assert_eq!(refused(header, &wrong), "the source has 0 bytes, it must have 1 to 1024");
    assert!(refused(b"", &mapping(id_column("#"))).starts_with("the file is empty"));
    assert_eq!(refused(b"\xff\n", &mapping(id_column("#"))), "the header row is not UTF-8");
}

#[test]
fn a_format_needs_exactly_one_zone() {
    let reader = |format: &str, zone: Option<&str>| TimeReader::new(format, zone);
    let local = "%Y-%m-%d %H:%M:%S";
    assert!(matches!(reader(local, None), Err(TimeFormatError::NoZone(_))));
    assert!(matches!(reader(local, Some("Mars/Base")), Err(TimeFormatError::UnknownZone(_))));
    let offset = "%Y-%m-%dT%H:%M:%S%.3f%:z";
    assert!(matches!(reader(offset, Some("UTC")), Err(TimeFormatError::ZoneTwice(_))));
    for wrong in ["%H:%M", "%Y-%m-%d %!", "%A", "100%"] {
        let error = reader(wrong, Some("UTC")).unwrap_err();
        assert!(matches!(error, TimeFormatError::Format { .. }), "{wrong}: {error}");
    }
    let micros = |reader: &TimeReader, text: &str| reader.read(text).unwrap().0.as_micros();
    let offset = reader(offset, None).unwrap();
    assert_eq!(micros(&offset, "2024-05-01T14:30:00.250+02:00"), 1_714_566_600_250_000);
    assert_eq!(micros(&reader("%s", None).unwrap(), "1714566600"), 1_714_566_600_000_000);
    assert_eq!(
        micros(&reader("%d.%m.%Y", Some("UTC")).unwrap(), "1.5.2024"),
        1_714_521_600_000_000
    );
    assert_eq!(
        micros(&reader(TIME_FORMAT, Some("UTC")).unwrap(), "2024/05/01 12:30:00.000"),
        1_714_566_600_000_000
    );
}

#[test]
fn times_that_the_clocks_repeat_or_skip_are_kept_and_reported() {
    let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
    let reader = TimeReader::in_zone("%Y-%m-%d %H:%M", Some(zone)).unwrap();
    let read = |text: &str| {
        let (time, ambiguous) = reader.read(text).unwrap();
        (time.as_micros() / 60_000_000, ambiguous.map(|ambiguous| ambiguous.kind))
    };
    // The clocks change at 2024-03-31 01:00 UTC and 2024-10-27 01:00 UTC; in minutes.
    let (spring, autumn) = (28_530_780, 28_833_180);
    assert_eq!(read("2024-03-31 01:59"), (spring - 1, None));
    assert_eq!(read("2024-03-31 02:30"), (spring + 30, Some(TimeKind::Skipped)));
    assert_eq!(read("2024-03-31 03:00"), (spring, None));
    assert_eq!(read("2024-10-27 02:30"), (autumn - 30, Some(TimeKind::Twice)));
    assert_eq!(read("2024-10-27 03:00"), (autumn + 60, None));
    let (_, ambiguous) = reader.read("2024-10-27 02:30").unwrap();
    let shown = ambiguous.unwrap().to_string();
    assert_eq!(shown, "2024-10-27 02:30 came twice when the clocks went back, taken as the first");
}

#[test]
fn a_summary_reads_well() {
    let csv =
        b"id,order,at\n1,P,2024-05-01 12:30\n1,P,2024-05-01 12:30\n1,Q,2024-05-01 12:30\n2,P\n";
    let (summary, _) = import(csv, &mapping(id_column("id")));
    let mut table = Vec::new();
    summary.write(&mut table, Output::Table, Style::PLAIN).unwrap();
    let expected = "\
ROWS                  COUNT
read                      4
stored                    1
duplicates                1
conflicts                 1
preconditions failed      0
errors                    1
unclear times             0

LINE  DUPLICATE OF
   3  partition 0, offset 0

LINE  CONFLICT WITH
   4  partition 0, offset 0

LINE  ERROR
   5  2 fields, the header has 3
";
    assert_eq!(String::from_utf8(table).unwrap(), expected);
    let mut json = Vec::new();
    summary.write(&mut json, Output::Json, Style::PLAIN).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["rows"], 4);
    assert_eq!(json["conflicts"]["lines"][0]["line"], 4);
    assert_eq!(json["errors"]["lines"][0]["what"], "2 fields, the header has 3");
}

#[test]
fn lists_are_bounded_and_counts_are_not() {
    let mut summary = Summary::default();
    let place = Place { partition: PartitionNumber::new(0), offset: Offset::new(9) };
    for line in 0..LIST_MAX as u64 + 5 {
        summary.add(line, &Verdict::Duplicate { of: place, order_sequence: None });
    }
    assert_eq!(summary.duplicates.count, LIST_MAX as u64 + 5);
    assert_eq!(summary.duplicates.lines.len(), LIST_MAX);
    let mut table = Vec::new();
    summary.write(&mut table, Output::Table, Style::PLAIN).unwrap();
    assert!(String::from_utf8(table).unwrap().ends_with("... and 5 more\n"));
}
