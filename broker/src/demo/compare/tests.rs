//! Forged histories: each kind of difference must be found, and only it.

use super::*;

fn fact(order: &str, number: u32, good: u32) -> Fact {
    let data = format!(
        "{{\"Case ID\":\"{order}\",\"Activity\":\"Lapping\",\"Resource\":\"ID{number}\",\
         \"Qty_Completed\":\"{good}\",\"Qty_for_MRB\":\"1\",\"Report_Type\":\"D\",\
         \"Rework\":\"{}\"}}",
        if number == 2 { "Y" } else { "" }
    );
    Fact { order: order.to_owned(), key: format!("{order}/{number}").into(), data: data.into() }
}

/// Two orders of three reports each; one report is in the file twice.
fn file() -> Vec<Fact> {
    let mut facts: Vec<Fact> =
        (1..=3).flat_map(|n| [fact("A", n, 10 * n), fact("B", n, 7)]).collect();
    facts.insert(4, facts[0].clone());
    facts
}

/// What a hub holds that did its work: A is of one plant, B of the other.
fn hub(facts: &[Fact]) -> Vec<Seen> {
    let mut seen: Vec<Seen> = Vec::new();
    for fact in facts {
        if seen.iter().any(|s| s.fact == *fact) {
            continue;
        }
        let before = |s: &&Seen| s.fact.order == fact.order;
        let number = seen.iter().filter(before).count() as u64;
        let origin = if fact.order == "A" { "munich" } else { "lyon" }.to_owned();
        let order_sequence = number + 1;
        let fact = fact.clone();
        seen.push(Seen { origin, partition: 0, offset: number, order_sequence, fact });
    }
    seen
}

/// Offsets and order sequences anew, as if the plant had judged so.
fn renumber(seen: &mut [Seen]) {
    for i in 0..seen.len() {
        let before = seen[..i].iter().filter(|s| s.fact.order == seen[i].fact.order).count() as u64;
        seen[i].offset = before;
        seen[i].order_sequence = before + 1;
    }
}

#[test]
fn equal_is_equal() {
    let found = compare(&file(), &hub(&file()));
    assert_eq!(found, Comparison { distinct: 6, at_hub: 6, ..Comparison::default() });
    assert!(found.is_equal());
}

#[test]
fn a_lost_report_is_found_with_its_pieces() {
    let mut seen = hub(&file());
    seen.retain(|s| s.fact.key != "A/2");
    renumber(&mut seen);
    let found = compare(&file(), &seen);
    assert!(!found.is_equal());
    // 20 good, 1 rejected, 20 rework.
    assert_eq!((found.lost, found.quantity_difference), (1, 41));
    assert_eq!((found.doubled, found.unexpected, found.order_violations), (0, 0, 0));
    assert_eq!(found.sequence_gaps, 0);
    assert_eq!(found.words[0], "A: report 2 is lost");
}

#[test]
fn a_gap_is_found() {
    let mut seen = hub(&file());
    seen.retain(|s| s.fact.key != "B/2");
    let found = compare(&file(), &seen);
    // An offset and an order sequence.
    assert_eq!((found.lost, found.sequence_gaps), (1, 2));
}

#[test]
fn a_doubled_report_is_found() {
    let mut seen = hub(&file());
    let again = seen.iter().find(|s| s.fact.key == "A/1").unwrap().clone();
    seen.push(again);
    renumber(&mut seen);
    let found = compare(&file(), &seen);
    assert_eq!((found.doubled, found.quantity_difference), (1, 11));
    assert_eq!((found.lost, found.order_violations, found.sequence_gaps), (0, 0, 0));
    assert_eq!(found.at_hub, 7);
}

#[test]
fn swapped_reports_are_found() {
    let mut facts = file();
    facts.dedup_by(|a, b| a.key == b.key);
    let (one, two) = (0, facts.iter().position(|f| f.key == "A/2").unwrap());
    facts.swap(one, two);
    let found = compare(&file(), &hub(&facts));
    assert_eq!(found.order_violations, 1);
    assert_eq!((found.lost, found.doubled, found.sequence_gaps), (0, 0, 0));
    assert_eq!(found.quantity_difference, 0);
}

#[test]
fn a_wrong_quantity_is_found() {
    let mut seen = hub(&file());
    let changed = seen.iter_mut().find(|s| s.fact.key == "B/3").unwrap();
    changed.fact = fact("B", 3, 9);
    let found = compare(&file(), &seen);
    assert_eq!((found.quantity_difference, found.lost, found.unexpected), (2, 1, 1));
}

#[test]
fn an_order_of_two_origins_is_found() {
    let mut seen = hub(&file());
    let moved = seen.iter_mut().find(|s| s.fact.key == "A/3").unwrap();
    moved.origin = "lyon".to_owned();
    moved.order_sequence = 1;
    moved.offset = 3;
    let found = compare(&file(), &seen);
    assert_eq!(found.order_violations, 1);
}

#[test]
fn words_are_bounded_and_counts_are_not() {
    let facts: Vec<Fact> = (1..100).map(|n| fact("A", n, 1)).collect();
    let found = compare(&facts, &[]);
    assert_eq!(found.lost, 99);
    assert_eq!(found.words.len(), WORDS_MAX);
}
