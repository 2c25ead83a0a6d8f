use super::*;

fn printed(table: &Table<3>, style: Style) -> String {
    let mut out = Vec::new();
    table.write(&mut out, style).unwrap();
    String::from_utf8(out).unwrap()
}

fn table() -> Table<3> {
    let columns = [Column::left("TOPIC"), Column::right("EVENTS"), Column::left("STATE")];
    let mut table = Table::new(columns);
    table.push(["orders".into(), count(4_503).into(), Cell::from("open").tone(Tone::Good)]);
    table.push(["k\u{fc}che".into(), "7".into(), "".into()]);
    table
}

#[test]
fn columns_line_up() {
    let expected = "TOPIC   EVENTS  STATE\norders   4,503  open\nk\u{fc}che        7\n";
    assert_eq!(printed(&table(), Style::PLAIN), expected);
}

#[test]
fn colours_do_not_move_columns_and_no_color_is_heard() {
    let coloured = printed(&table(), Style::new(true, None));
    assert!(coloured.contains("  \x1b[32mopen\x1b[0m\n"));
    assert_eq!(Style::new(true, Some(OsStr::new("1"))), Style::PLAIN);
    assert_eq!(Style::new(false, None), Style::PLAIN);
    assert_ne!(Style::new(true, Some(OsStr::new(""))), Style::PLAIN);
}

#[test]
fn control_characters_are_escaped() {
    let cell = Cell::from("a\x1b[2J\n\u{202e}b");
    assert_eq!(cell.text, "a\\u{1b}[2J\\n\\u{202e}b");
}

#[test]
fn numbers_read_well() {
    assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
    assert_eq!([0, 1_023, 1_536, 64 << 20].map(size), ["0 B", "1023 B", "1.5 KiB", "64.0 MiB"]);
    assert_eq!(size(u64::MAX), "16,777,215.9 TiB");
    let ms = |ms| duration(Duration::from_millis(ms));
    assert_eq!([0, 35, 1_250].map(ms), ["0 s", "35 ms", "1.2 s"]);
    assert_eq!([125_000, 7_500_000].map(ms), ["2 min 5 s", "2 h 5 min"]);
    assert_eq!(ms(86_400_000 * 3 + 3_600_000 * 4), "3 d 4 h");
    assert_eq!(duration(Duration::from_micros(120)), "120 us");
    assert_eq!(duration(Duration::from_nanos(1)), "0 us");
}

#[test]
fn json_is_one_line() {
    let mut out = Vec::new();
    json_line(&mut out, &["a\nb"]).unwrap();
    assert_eq!(out, b"[\"a\\nb\"]\n");
}
