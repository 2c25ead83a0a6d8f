//! The results as Markdown.

use std::fmt::{self, Write};

use crate::contender::Kind;
use crate::machine::Limits;
use crate::results::{Figures, Results, micros};
use crate::stats::Spread;
use crate::workload::Workload;

/// All of it, from where it was measured to the machine's limits.
pub fn markdown(results: &Results) -> String {
    let mut out = String::new();
    write_all(&mut out, results).expect("a string takes it");
    out
}

fn write_all(out: &mut String, results: &Results) -> fmt::Result {
    about(out, results)?;
    for workload in Workload::ALL {
        if results.runs.iter().any(|run| run.workload == workload) {
            table(out, results, workload)?;
        }
    }
    limits(out, results)
}

fn about(out: &mut String, results: &Results) -> fmt::Result {
    if let Some(about) = &results.about {
        writeln!(out, "{}, commit {}: `{}`.", about.date, about.commit, about.command)?;
        writeln!(out, "{}. {}.", about.machine, about.versions.join("; "))?;
        let (size, orders) = (about.size, count(micros(u64::from(about.orders))));
        writeln!(out, "Events of {size} bytes of data, {orders} order keys.")?;
    }
    if let Some(load) = results.load_average() {
        let Spread { median, low, high } = load;
        writeln!(out, "Load average meanwhile, its own included: {median} ({low} to {high}).")?;
    }
    let rounds = results.rounds();
    writeln!(out, "Medians of {rounds} rounds (lowest to highest), ratios within the same round.")?;
    if !results.skipped.is_empty() {
        writeln!(out)?;
    }
    for skipped in &results.skipped {
        writeln!(out, "SKIPPED {}: {}", skipped.contender.title(), skipped.reason)?;
    }
    Ok(())
}

fn table(out: &mut String, results: &Results, workload: Workload) -> fmt::Result {
    writeln!(out, "\n#### {}\n\n{}\n", workload.title(), workload.description())?;
    let ratio = match workload {
        Workload::Single | Workload::Batch => "of Takt's events",
        Workload::OneInFlight => "of Takt's p50",
    };
    writeln!(
        out,
        "| system | synced before it is acknowledged | a repeat is known for | events a second | \
         {ratio} | p50 | p99 | CPU an event |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|---|")?;
    for kind in Kind::ALL {
        let Some(figures) = results.figures(kind, workload) else { continue };
        let Figures { events_per_s, p50_us, p99_us, cpu_us, rate_ratio, p50_ratio } = figures;
        let ratio = match workload {
            Workload::Single | Workload::Batch => rate_ratio,
            Workload::OneInFlight => p50_ratio,
        };
        let promise = kind.promise();
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            kind.title(),
            promise.disk,
            promise.dedup,
            spread(events_per_s, count),
            ratio.map_or("–".to_owned(), |ratio| spread(ratio, part)),
            spread(p50_us, ms),
            spread(p99_us, ms),
            spread(cpu_us, |us| format!("{us:.1} µs")),
        )?;
    }
    Ok(())
}

fn limits(out: &mut String, results: &Results) -> fmt::Result {
    let Some(first) = results.limits.first() else { return Ok(()) };
    let of = |of: &dyn Fn(&Limits) -> Option<f64>| Spread::of(results.limits.iter().filter_map(of));
    let cell = |found: Option<Spread>, unit: fn(f64) -> String| {
        found.map_or("–".to_owned(), |found| spread(found, unit))
    };
    writeln!(out, "\n#### What the machine can do\n")?;
    writeln!(out, "| measured at the start of each round | MB a second | p50 |\n|---|---|---|")?;
    for (index, writes) in first.synced_writes.iter().enumerate() {
        writeln!(
            out,
            "| writes of {} KiB over written blocks, each synced | {} | {} |",
            writes.bytes >> 10,
            cell(of(&|limits| Some(limits.synced_writes.get(index)?.mb_per_s)), megabytes),
            cell(of(&|limits| Some(micros(limits.synced_writes.get(index)?.p50_us))), ms),
        )?;
    }
    let quic = cell(of(&|limits| Some(limits.quic_mb_per_s)), megabytes);
    writeln!(
        out,
        "| one stream of QUIC on loopback, configured as Takt's, nothing behind it | {quic} | – |"
    )
}

fn spread(spread: Spread, unit: impl Fn(f64) -> String) -> String {
    format!("{} ({} to {})", unit(spread.median), unit(spread.low), unit(spread.high))
}

/// A whole number, with commas.
pub fn count(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Microseconds as milliseconds, to two or three digits.
pub fn ms(us: f64) -> String {
    let ms = us / 1_000.0;
    match ms {
        ..1.0 => format!("{ms:.3} ms"),
        ..10.0 => format!("{ms:.2} ms"),
        ..100.0 => format!("{ms:.1} ms"),
        _ => format!("{} ms", count(ms)),
    }
}

/// A ratio, to two digits or more.
fn part(ratio: f64) -> String {
    if ratio < 0.1 { format!("{ratio:.3}") } else { format!("{ratio:.2}") }
}

fn megabytes(number: f64) -> String {
    if number < 100.0 { format!("{number:.1}") } else { count(number) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::example;

    #[test]
    fn every_row_says_what_it_promises() {
        let text = markdown(&example());
        let row = "| NATS JetStream, as shipped | no: every 2 min | 2 min | \
                   50,000 (40,000 to 80,000) | 0.10 (0.10 to 0.10) | 0.250 ms (0.250 ms to 0.250 ms)";
        assert!(text.contains(row), "{text}");
        assert_eq!(text.matches("| Takt | yes | 400 days | ").count(), 3, "{text}");
        assert!(text.contains("| 0.25 (0.25 to 0.25) |"), "the ratio of times\n{text}");
        assert!(text.contains("writes of 4 KiB") && text.contains("| 4.0 (4.0 to 4.0) |"));
        assert!(text.contains("\nSKIPPED Redis Streams, `appendfsync always`: redis-server"));
        assert!(!text.contains("| Redis"), "a row without figures\n{text}");
    }

    #[test]
    fn nothing_measured_is_no_table() {
        let text = markdown(&Results::default());
        assert!(!text.contains('|') && text.contains("0 rounds"), "{text}");
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(count(0.0), "0");
        assert_eq!(count(999.6), "1,000");
        assert_eq!(count(1_234_567.0), "1,234,567");
        assert_eq!([0.0042, 0.25, 11.25].map(part).join(" "), "0.004 0.25 11.25");
        assert_eq!(
            [900.0, 1_234.0, 12_345.0, 2e6].map(ms).join(" "),
            "0.900 ms 1.23 ms 12.3 ms 2,000 ms"
        );
    }
}
