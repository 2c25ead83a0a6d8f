//! The results as an SVG: one panel for each workload, a row for each system, on a logarithmic
//! scale. A dot is the median, its line reaches from the lowest to the highest round. It is filled
//! where an acknowledgement means synced, and hollow where it does not.

use std::fmt::{self, Write};

use crate::contender::Kind;
use crate::markdown::{count, ms};
use crate::results::{Results, micros};
use crate::stats::Spread;
use crate::workload::Workload;

const WIDTH: f64 = 920.0;
/// Where the scale begins and ends.
const LEFT: f64 = 290.0;
const RIGHT: f64 = 800.0;
const ROW: f64 = 26.0;
/// Above and below the rows of a panel.
const HEAD: f64 = 40.0;
const FOOT: f64 = 44.0;
/// Below all panels.
const LEGEND: f64 = 30.0;

/// The whole picture.
pub fn svg(results: &Results) -> String {
    let panels: Vec<Panel> = Workload::ALL
        .into_iter()
        .map(|workload| Panel::of(results, workload))
        .filter(|panel| !panel.rows.is_empty())
        .collect();
    let mut out = String::new();
    write_all(&mut out, &panels).expect("a string takes it");
    out
}

fn write_all(out: &mut String, panels: &[Panel]) -> fmt::Result {
    let height: f64 = panels.iter().map(Panel::height).sum::<f64>() + LEGEND;
    writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">"
    )?;
    writeln!(out, "<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"white\"/>")?;
    let mut top = 0.0;
    for panel in panels {
        panel.write(out, top)?;
        top += panel.height();
    }
    let y = top + 12.0;
    dot(out, 20.0, y, true, BLUE)?;
    text(out, (30.0, y + 4.0), "start", "an acknowledgement means synced")?;
    dot(out, 280.0, y, false, BLUE)?;
    text(out, (290.0, y + 4.0), "start", "it does not")?;
    text(out, (400.0, y + 4.0), "start", "dot: median, line: lowest to highest round")?;
    writeln!(out, "</svg>")
}

const BLUE: &str = "#1f6fb2";
const ORANGE: &str = "#d1620a";
const GREY: &str = "#8a8a8a";

/// One workload.
struct Panel {
    title: String,
    rows: Vec<Row>,
    /// A value to compare with, and what it is.
    mark: Option<(f64, &'static str)>,
    unit: fn(f64) -> String,
    scale: Scale,
}

struct Row {
    kind: Kind,
    value: Spread,
}

impl Panel {
    fn of(results: &Results, workload: Workload) -> Self {
        let times = workload == Workload::OneInFlight;
        let row = |kind| {
            let figures = results.figures(kind, workload)?;
            let value = if times { figures.p50_us } else { figures.events_per_s };
            Some(Row { kind, value })
        };
        let rows: Vec<Row> = Kind::ALL.into_iter().filter_map(row).collect();
        let mark = times.then(|| synced_write(results)).flatten();
        let mark = mark.map(|us| (us, "a synced write of 4 KiB"));
        let values = rows.iter().flat_map(|row| [row.value.low, row.value.high]);
        let scale = Scale::over(values.chain(mark.map(|(at, _)| at)));
        let what = if times { "time to the acknowledgement, p50" } else { "events a second" };
        let title = format!("{}: {what}", workload.title());
        let unit = if times { ms } else { count };
        Self { title, rows, mark, unit, scale }
    }

    fn height(&self) -> f64 {
        HEAD + FOOT + ROW * micros(self.rows.len() as u64)
    }

    fn write(&self, out: &mut String, top: f64) -> fmt::Result {
        let bottom = top + self.height() - FOOT;
        writeln!(
            out,
            "<text x=\"10\" y=\"{:.1}\" font-size=\"14\" font-weight=\"bold\">{}</text>",
            top + 22.0,
            self.title
        )?;
        for decade in self.scale.decades() {
            let x = self.scale.x(decade);
            line(out, (x, top + HEAD - 6.0), (x, bottom), "stroke=\"#dddddd\"")?;
            text(out, (x, bottom + 16.0), "middle", &(self.unit)(decade))?;
        }
        if let Some((at, what)) = self.mark {
            let x = self.scale.x(at);
            let style = format!("stroke=\"{GREY}\" stroke-dasharray=\"4 3\"");
            line(out, (x, top + HEAD - 6.0), (x, bottom), &style)?;
            text(out, (x, bottom + 32.0), "middle", what)?;
        }
        for (index, row) in self.rows.iter().enumerate() {
            self.row(out, top + HEAD + ROW * (micros(index as u64) + 0.5), row)?;
        }
        Ok(())
    }

    fn row(&self, out: &mut String, y: f64, Row { kind, value }: &Row) -> fmt::Result {
        let colour = if *kind == Kind::Takt { ORANGE } else { BLUE };
        let style = format!("stroke=\"{colour}\" stroke-width=\"2\"");
        let (low, high) = (self.scale.x(value.low), self.scale.x(value.high));
        text(out, (LEFT - 14.0, y + 4.0), "end", &kind.title().replace('`', ""))?;
        line(out, (low, y), (high, y), &style)?;
        for end in [low, high] {
            line(out, (end, y - 5.0), (end, y + 5.0), &style)?;
        }
        dot(out, self.scale.x(value.median), y, kind.promise().synced, colour)?;
        text(out, (RIGHT + 16.0, y + 4.0), "start", &(self.unit)(value.median))
    }
}

/// The middle of what a synced write of the smallest size took, in microseconds.
fn synced_write(results: &Results) -> Option<f64> {
    let of_round = results.limits.iter().filter_map(|limits| limits.synced_writes.first());
    Spread::of(of_round.map(|writes| micros(writes.p50_us))).map(|spread| spread.median)
}

/// Whole decades, from the one below the lowest value to the one above the highest.
struct Scale {
    low: i32,
    high: i32,
}

impl Scale {
    #[expect(clippy::cast_possible_truncation, reason = "a power of ten of a figure is small")]
    fn over(values: impl IntoIterator<Item = f64>) -> Self {
        let Some(all) = Spread::of(values.into_iter().filter(|value| *value > 0.0)) else {
            return Self { low: 0, high: 1 };
        };
        let low = all.low.log10().floor() as i32;
        let high = all.high.log10().ceil() as i32;
        Self { low, high: high.max(low + 1) }
    }

    fn decades(&self) -> impl Iterator<Item = f64> {
        (self.low..=self.high).map(|power| 10_f64.powi(power))
    }

    fn x(&self, value: f64) -> f64 {
        let (low, high) = (f64::from(self.low), f64::from(self.high));
        let part = (value.max(f64::MIN_POSITIVE).log10() - low) / (high - low);
        LEFT + (RIGHT - LEFT) * part.clamp(0.0, 1.0)
    }
}

fn line(out: &mut String, from: (f64, f64), to: (f64, f64), style: &str) -> fmt::Result {
    let ((x1, y1), (x2, y2)) = (from, to);
    writeln!(out, "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" {style}/>")
}

fn text(out: &mut String, (x, y): (f64, f64), anchor: &str, text: &str) -> fmt::Result {
    writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>")
}

fn dot(out: &mut String, x: f64, y: f64, filled: bool, colour: &str) -> fmt::Result {
    let fill = if filled { colour } else { "white" };
    writeln!(
        out,
        "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\" fill=\"{fill}\" stroke=\"{colour}\" \
         stroke-width=\"2\"/>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::example;

    #[test]
    fn a_decade_is_as_long_as_another() {
        let scale = Scale::over([900.0, 5_000.0, 30_000.0]);
        assert_eq!(scale.decades().collect::<Vec<_>>(), [1e2, 1e3, 1e4, 1e5]);
        let step = scale.x(1e3) - scale.x(1e2);
        assert!((scale.x(1e5) - scale.x(1e4) - step).abs() < 1e-9);
        assert!((scale.x(1e2) - LEFT).abs() < 1e-9 && (scale.x(1e5) - RIGHT).abs() < 1e-9);
        assert!((scale.x(0.0) - LEFT).abs() < 1e-9);
        assert_eq!(Scale::over([]).decades().count(), 2);
        assert_eq!(Scale::over([1e3]).decades().count(), 2);
    }

    #[test]
    fn all_panels_and_rows_are_there_and_every_element_is_closed() {
        let picture = svg(&example());
        assert!(picture.starts_with("<svg") && picture.ends_with("</svg>\n"));
        assert_eq!(picture.matches("font-weight").count(), 3);
        assert_eq!(picture.matches(">NATS JetStream, as shipped</text>").count(), 3);
        // Two rows in each of three panels, and the legend; all but Takt's and one are hollow.
        assert_eq!(picture.matches("<circle").count(), 8);
        assert_eq!(picture.matches("fill=\"white\" stroke").count(), 4);
        assert!(picture.contains("stroke-dasharray") && !picture.contains("NaN"));
        for element in picture.lines() {
            let closed = element.ends_with("/>") || element.ends_with("</text>");
            assert!(closed || element.contains("<svg") || element == "</svg>", "{element}");
        }
    }

    #[test]
    fn no_results_are_an_empty_picture() {
        let picture = svg(&Results::default());
        assert_eq!(picture.matches("font-weight").count(), 0);
    }
}
