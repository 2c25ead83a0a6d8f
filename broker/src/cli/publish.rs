//! `takt pub`

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;

use bytes::Bytes;
use clap::Args;
use serde::Serialize;
use takt_client::json::{self, DecodeError};
use takt_client::{Client, Event, Producer, PublishError, Receipt, ReceiptFuture};
use takt_protocol::limits::RECORD_BYTES_MAX;

use super::event_line::PLACE_ATTRIBUTES;
use super::outcome::{Failure, Outcome};
use super::output::{Cell, Column, Output, Style, Table, Tone, count, json_line};
use super::progress::Progress;

/// A record of any content is shorter as JSON: base64, escapes, and its attributes.
const LINE_BYTES_MAX: usize = 8 * RECORD_BYTES_MAX;
/// Receipts that are waited for at the same time.
const WINDOW: usize = 8_192;

#[derive(Debug, Args)]
pub(super) struct PubArgs {
    /// The topic.
    topic: String,
    /// A file of CloudEvents as JSON, one per line; `-` for standard input.
    #[arg(default_value = "-")]
    file: PathBuf,
    /// Publish as the producer of this name; a newer one of the same name takes over.
    #[arg(long, value_name = "PRODUCER")]
    name: Option<String>,
}

/// What became of the events.
#[derive(Debug, Default, Serialize)]
struct Counts {
    sent: u64,
    appended: u64,
    duplicates: u64,
    conflicts: u64,
    preconditions_failed: u64,
}

#[derive(Debug, thiserror::Error)]
enum LineError {
    #[error("{0}")]
    Read(#[from] io::Error),
    #[error("longer than {LINE_BYTES_MAX} bytes")]
    TooLong,
    #[error("{0}")]
    Event(#[from] DecodeError),
}

pub(super) async fn run(
    client: &Client,
    args: PubArgs,
    output: Output,
) -> Result<Outcome, Failure> {
    let lines: Box<dyn Read> = if args.file.as_os_str() == "-" {
        Box::new(io::stdin())
    } else {
        let failed = |e: io::Error| Failure::new(format!("{}: {e}", args.file.display()));
        Box::new(File::open(&args.file).map_err(failed)?)
    };
    let mut builder = client.producer(&args.topic);
    if let Some(name) = &args.name {
        builder = builder.name(name);
    }
    let producer = builder.build().map_err(|error| Failure::usage(error.to_string()))?;
    producer.ready().await?;
    let mut publishing = Publishing {
        counts: Counts::default(),
        waiting: VecDeque::new(),
        refused: None,
        progress: Progress::new("events"),
    };
    let sent = publishing.send_all(&producer, BufReader::new(lines)).await;
    let answered = publishing.wait_for(0).await;
    publishing.progress.end();
    publishing.counts.write(output)?;
    if let Some(refused) = publishing.refused {
        return Err(refused);
    }
    // A bad line is the cause where both failed only if the producer was not the cause of it.
    answered?;
    sent?;
    producer.close().await?;
    let look = publishing.counts.conflicts + publishing.counts.preconditions_failed > 0;
    Ok(if look { Outcome::Look } else { Outcome::Done })
}

struct Publishing {
    counts: Counts,
    /// Oldest first, each with its line.
    waiting: VecDeque<(u64, ReceiptFuture)>,
    /// Of the first line that cannot be stored: nothing is sent after it is known, and what was
    /// sent behind it is counted.
    refused: Option<Failure>,
    progress: Progress,
}

impl Publishing {
    async fn send_all(
        &mut self,
        producer: &Producer,
        mut lines: impl BufRead,
    ) -> Result<(), Failure> {
        let mut number = 0;
        loop {
            number += 1;
            let at = |error: LineError| Failure::new(format!("line {number}: {error}"));
            let Some(line) = next_line(&mut lines).map_err(at)? else { return Ok(()) };
            if line.trim_ascii().is_empty() {
                continue;
            }
            let mut event = json::decode(&line).map_err(|error| at(error.into()))?;
            // Where it stood, if `takt sub` wrote the line, is not where it will stand.
            drop_place(&mut event);
            let receipt = producer.send(event).await?;
            self.counts.sent += 1;
            self.waiting.push_back((number, receipt));
            self.wait_for(WINDOW).await?;
            if self.refused.is_some() {
                return Ok(());
            }
        }
    }

    /// Takes receipts until at most `left` are waited for.
    async fn wait_for(&mut self, left: usize) -> Result<(), Failure> {
        while self.waiting.len() > left {
            let Some((line, receipt)) = self.waiting.pop_front() else { break };
            match receipt.await {
                Ok(Receipt::Appended { .. }) => self.counts.appended += 1,
                Ok(Receipt::Duplicate { .. }) => self.counts.duplicates += 1,
                Ok(Receipt::Conflict { with }) => {
                    self.counts.conflicts += 1;
                    self.progress.end();
                    eprintln!(
                        "line {line}: conflict with partition {}, offset {}",
                        with.partition, with.offset
                    );
                }
                Ok(Receipt::PreconditionFailed { at }) => {
                    self.counts.preconditions_failed += 1;
                    self.progress.end();
                    eprintln!("line {line}: precondition failed, the order stands at {at}");
                }
                Err(error @ PublishError::Event(_)) => {
                    let refused = || Failure::new(format!("line {line}: {error}"));
                    self.refused.get_or_insert_with(refused);
                }
                Err(error) => return Err(error.into()),
            }
            self.progress.at(self.counts.sent - self.waiting.len() as u64);
        }
        Ok(())
    }
}

impl Counts {
    fn write(&self, output: Output) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if output == Output::Json {
            return json_line(&mut out, self);
        }
        let mut table = Table::new([Column::left("EVENTS"), Column::right("COUNT")]);
        let warn = |count: u64| if count > 0 { Tone::Warn } else { Tone::Plain };
        for (what, number, tone) in [
            ("sent", self.sent, Tone::Plain),
            ("appended", self.appended, Tone::Good),
            ("duplicates", self.duplicates, Tone::Plain),
            ("conflicts", self.conflicts, warn(self.conflicts)),
            ("preconditions failed", self.preconditions_failed, warn(self.preconditions_failed)),
        ] {
            table.push([what.into(), Cell::from(count(number)).tone(tone)]);
        }
        table.write(&mut out, Style::stdout())
    }
}

fn next_line(lines: &mut impl BufRead) -> Result<Option<Bytes>, LineError> {
    let mut line = Vec::new();
    let read = lines.take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut line)?;
    match read {
        0 => Ok(None),
        len if len > LINE_BYTES_MAX => Err(LineError::TooLong),
        _ => Ok(Some(line.into())),
    }
}

/// Takes away where `takt sub` has said that the event stood. Only a line that has all of it is
/// one of `takt sub`'s; an attribute of the same name alone is the event's own.
fn drop_place(event: &mut Event) {
    let mut always = PLACE_ATTRIBUTES.iter().filter(|name| **name != "ordersequence");
    if always.all(|name| event.attribute(name).is_some()) {
        event.attributes.retain(|a| !PLACE_ATTRIBUTES.contains(&a.name.as_str()));
    }
}
