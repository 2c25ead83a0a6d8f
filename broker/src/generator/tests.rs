use std::collections::{HashMap, HashSet};

use super::splitmix::SplitMix;
use super::{Row, generate, to_csv};
use crate::import::{DedupColumns, Identity, Report, ReportKind, Rows, production_mapping};

#[test]
fn the_generator_gives_the_published_numbers() {
    let mut random = SplitMix::new(1_234_567);
    let first = [random.next(), random.next(), random.next()];
    assert_eq!(
        first,
        [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
    );
}

#[test]
fn the_same_seed_gives_the_same_log() {
    assert_eq!(to_csv(&generate(7, 40)), to_csv(&generate(7, 40)));
    assert_ne!(to_csv(&generate(7, 40)), to_csv(&generate(8, 40)));
    assert!(generate(7, 0).is_empty());
}

#[test]
fn a_log_looks_like_one() {
    let rows = generate(42, 200);
    let distinct: HashSet<&Row> = rows.iter().collect();
    let repeats = rows.len() - distinct.len();
    assert!((1..rows.len() / 50).contains(&repeats), "{repeats} of {}", rows.len());
    assert!(rows.is_sorted_by_key(|row| row.complete));
    assert!(rows.iter().all(|row| row.start < row.complete));
    for kind in ['D', 'S', 'B'] {
        assert!(rows.iter().any(|row| row.kind == kind), "{kind}");
    }
    assert!(rows.iter().any(|row| row.rework) && rows.iter().any(|row| row.review > 0));

    let mut orders: HashMap<&str, Vec<&Row>> = HashMap::new();
    for row in &rows {
        orders.entry(&row.order).or_default().push(row);
    }
    assert_eq!(orders.len(), 200);
    let mut lengths = HashSet::new();
    for reports in orders.values_mut() {
        reports.dedup();
        assert!(reports.is_sorted_by(|a, b| a.complete <= b.start));
        let operations: HashSet<&str> = reports.iter().map(|row| row.operation).collect();
        assert!((3..=12).contains(&operations.len()), "{}", operations.len());
        assert_eq!(reports.last().unwrap().operation, "Packing");
        lengths.insert(operations.len());
    }
    assert!(lengths.len() > 5, "routings differ: {lengths:?}");
}

#[test]
fn a_log_goes_through_the_import_unchanged() {
    let rows = generate(3, 25);
    let identity = Identity::DedupColumns(DedupColumns::All);
    let mapping = production_mapping("//acme/plant01/mes", identity, "UTC");
    let csv = to_csv(&rows);
    let imported: Vec<_> =
        Rows::new(&csv[..], &mapping).unwrap().map(|row| row.unwrap().unwrap()).collect();
    assert_eq!(imported.len(), rows.len());
    for (imported, row) in imported.iter().zip(&rows) {
        assert_eq!(imported.event.data, row.to_json());
        let report = Report::from_data(&imported.event.data).unwrap();
        assert_eq!((report.good, report.rejected), (row.good, row.review));
        assert_eq!((report.order.as_str(), report.rework), (row.order.as_str(), row.rework));
        assert_eq!(report.kind == ReportKind::Done, row.kind == 'D');
    }
}
