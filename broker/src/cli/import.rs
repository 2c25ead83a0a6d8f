//! `takt import`

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{ArgGroup, Args, Subcommand};
use takt_client::{BatchReceiptFuture, Client, Event, Producer, PublishError, Receipt};
use takt_protocol::batch::Verdict;
use takt_protocol::hashing::{DigestFields, DigestHasher};

use super::outcome::{Failure, Outcome};
use super::output::{Output, Style};
use super::progress::Progress;
use crate::import::{
    AmbiguousTime, CsvMapping, DedupColumns, Identity, Imported, LineList, ReadError, RowError,
    RowProblem, Rows, Summary, ValueOf,
};

/// Rows that are handed over at a time.
const CHUNK_ROWS: usize = 500;
/// A chunk ends when its data has grown to this.
const CHUNK_BYTES: usize = 256 << 10;
/// Chunks that are waited for at the same time.
const WINDOW_CHUNKS: usize = 16;

const KIND_DEFAULT: &str = "takt.import.row.v1";
const SOURCE_DEFAULT: &str = "//takt/import";

#[derive(Debug, Subcommand)]
pub(super) enum ImportCommand {
    /// Publish the rows of a CSV file with a header row, in their order. An import that was broken
    /// off is run again from the start: rows that are there are told as duplicates.
    Csv(Box<CsvArgs>),
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("identity").required(true).args(["id_column", "dedup_columns"]))]
pub(super) struct CsvArgs {
    /// The file; `-` for standard input.
    file: PathBuf,
    /// The topic.
    #[arg(long)]
    topic: String,
    /// The column of what stays in order, such as the production order.
    #[arg(long, value_name = "COLUMN")]
    order_key: String,
    /// The column that identifies a row, together with the source; `#` is the row's number.
    #[arg(long, value_name = "COLUMN")]
    id_column: Option<String>,
    /// The columns that identify a row together: `all`, or names with commas between. A row that
    /// repeats these and differs elsewhere is a conflict. `all` merges rows that are the same.
    #[arg(long, value_name = "all|A,B,..")]
    dedup_columns: Option<Columns>,
    /// The column of the time at which it occurred.
    #[arg(long, value_name = "COLUMN")]
    time: String,
    /// How times are written, as in strftime: `%Y/%m/%d %H:%M:%S%.f`.
    #[arg(long, value_name = "FORMAT")]
    time_format: String,
    /// The zone of times without an offset, such as Europe/Berlin or UTC.
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// The type of the events.
    #[arg(long = "type", value_name = "TYPE", default_value = KIND_DEFAULT)]
    kind: String,
    /// The column of the type of the events.
    #[arg(long = "type-column", value_name = "COLUMN", conflicts_with = "kind")]
    kind_column: Option<String>,
    /// The source of the events.
    #[arg(long, value_name = "SOURCE", default_value = SOURCE_DEFAULT)]
    source: String,
    /// The column of the source of the events.
    #[arg(long, value_name = "COLUMN", conflicts_with = "source")]
    source_column: Option<String>,
    /// What stands between two fields.
    #[arg(long, value_name = "CHAR", default_value_t = ',')]
    delimiter: char,
    /// What happens at a row that is no event.
    #[arg(long, value_enum, default_value_t = OnError::Stop)]
    on_error: OnError,
    /// List duplicates and conflicts with their lines and the first's position, up to 100,000 of each,
    /// as JSON always does.
    #[arg(long)]
    list: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum OnError {
    /// Nothing behind it is sent; exit code 1.
    Stop,
    /// It is left out and told; exit code 3.
    Skip,
}

/// `all`, or names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Columns(DedupColumns);

impl FromStr for Columns {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(match text {
            "all" => DedupColumns::All,
            names => DedupColumns::Named(names.split(',').map(str::to_owned).collect()),
        }))
    }
}

impl CsvArgs {
    fn mapping(&self) -> Result<CsvMapping, Failure> {
        let identity = match (&self.id_column, &self.dedup_columns) {
            (Some(column), _) => Identity::IdColumn(column.clone()),
            (None, Some(Columns(columns))) => Identity::DedupColumns(columns.clone()),
            (None, None) => unreachable!("one of the two is required"),
        };
        let value = |column: &Option<String>, literal: &str| match column {
            Some(column) => ValueOf::Column(column.clone()),
            None => ValueOf::Literal(literal.to_owned()),
        };
        let delimiter = u8::try_from(self.delimiter).ok().filter(u8::is_ascii);
        Ok(CsvMapping {
            order_key: self.order_key.clone(),
            identity,
            time: self.time.clone(),
            time_format: self.time_format.clone(),
            time_zone: self.time_zone.clone(),
            kind: value(&self.kind_column, &self.kind),
            source: value(&self.source_column, &self.source),
            delimiter: delimiter
                .ok_or_else(|| Failure::usage("the delimiter must be an ASCII character"))?,
        })
    }
}

pub(super) async fn run(
    client: &Client,
    command: ImportCommand,
    output: Output,
) -> Result<Outcome, Failure> {
    let ImportCommand::Csv(args) = command;
    let mapping = args.mapping()?;
    let shown = args.file.display();
    let file: Box<dyn Read> = if args.file.as_os_str() == "-" {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(&args.file).map_err(|e| Failure::new(format!("{shown}: {e}")))?)
    };
    let rows = Rows::new(BufReader::new(file), &mapping).map_err(|error| match error {
        ReadError::Mapping(mapping) => Failure::usage(format!("{shown}: {mapping}")),
        other @ (ReadError::Empty
        | ReadError::HeaderEncoding
        | ReadError::RowTooLong { .. }
        | ReadError::Io { .. }) => Failure::new(format!("{shown}: {other}")),
    })?;
    let producer = client
        .producer(&args.topic)
        .name(&producer_name(&args.file))
        .build()
        .map_err(|error| Failure::usage(error.to_string()))?;
    producer.ready().await?;

    let mut import = Import {
        summary: Summary::default(),
        waiting: VecDeque::new(),
        progress: Progress::new("rows"),
    };
    let sent = import.send_all(&producer, rows, args.on_error).await;
    let answered = import.wait_for(0).await;
    import.progress.end();
    let mut summary = import.summary;
    if !args.list && output == Output::Table {
        forget_lines(&mut summary.duplicates);
        forget_lines(&mut summary.conflicts);
    }
    summary.write(&mut io::stdout().lock(), output, Style::stdout())?;
    answered?;
    sent.map_err(|failure| failure.hint(&format!("nothing behind it in {shown} was sent")))?;
    producer.close().await?;
    let look = summary.conflicts.count + summary.preconditions_failed + summary.errors.count > 0;
    Ok(if look { Outcome::Look } else { Outcome::Done })
}

fn forget_lines<T>(list: &mut LineList<T>) {
    list.lines.clear();
}

/// The same for the same file: of two imports of one file at a time the later one takes over. The
/// numbers of its records go on from the last import's, and rows are told apart by their keys.
fn producer_name(file: &Path) -> String {
    let name = file.file_name().unwrap_or(file.as_os_str()).as_encoded_bytes();
    let none = DigestFields { order_key: None, kind: b"", content_type: None, time: None };
    format!("import-{}", DigestHasher::default().digest(&none, [name]))
}

/// Rows that were handed over together, with their lines.
struct Chunk {
    rows: Vec<(u64, Option<AmbiguousTime>)>,
    receipts: BatchReceiptFuture,
}

struct Import {
    summary: Summary,
    /// Oldest first.
    waiting: VecDeque<Chunk>,
    progress: Progress,
}

impl Import {
    async fn send_all<R: Read>(
        &mut self,
        producer: &Producer,
        mut rows: Rows<R>,
        on_error: OnError,
    ) -> Result<(), Failure> {
        loop {
            let (mut events, mut lines, mut bytes) = (Vec::new(), Vec::new(), 0);
            let mut end = None;
            while events.len() < CHUNK_ROWS && bytes < CHUNK_BYTES {
                match rows.next() {
                    Some(Ok(Ok(Imported { line, event, ambiguous_time, .. }))) => {
                        bytes += event.data.len();
                        events.push(event);
                        lines.push((line, ambiguous_time));
                    }
                    Some(Ok(Err(error))) => {
                        self.summary.add_error(&error);
                        if on_error == OnError::Stop {
                            end = Some(Err(Failure::new(error.to_string())));
                            break;
                        }
                    }
                    Some(Err(error)) => {
                        end = Some(Err(error.into()));
                        break;
                    }
                    None => {
                        end = Some(Ok(()));
                        break;
                    }
                }
            }
            self.send(producer, events, lines).await?;
            if let Some(end) = end {
                return end;
            }
        }
    }

    async fn send(
        &mut self,
        producer: &Producer,
        events: Vec<Event>,
        rows: Vec<(u64, Option<AmbiguousTime>)>,
    ) -> Result<(), Failure> {
        if events.is_empty() {
            return Ok(());
        }
        let receipts = producer.send_batch(events).await?;
        self.waiting.push_back(Chunk { rows, receipts });
        self.wait_for(WINDOW_CHUNKS).await
    }

    /// Takes receipts until those of at most `left` chunks are waited for.
    async fn wait_for(&mut self, left: usize) -> Result<(), Failure> {
        while self.waiting.len() > left {
            let Some(Chunk { rows, receipts }) = self.waiting.pop_front() else { break };
            for ((line, time), receipt) in rows.into_iter().zip(receipts.await) {
                match receipt {
                    Ok(receipt) => self.summary.add(line, &verdict(receipt)),
                    Err(PublishError::Event(error)) => {
                        let what = RowProblem::Event(error);
                        self.summary.add_error(&RowError { line, what });
                        continue;
                    }
                    Err(error) => return Err(Failure::from(error)),
                }
                if let Some(time) = &time {
                    self.summary.add_ambiguous_time(line, time);
                }
            }
            self.progress.at(self.summary.rows);
        }
        Ok(())
    }
}

fn verdict(receipt: Receipt) -> Verdict {
    match receipt {
        Receipt::Appended { order_sequence, .. } => {
            Verdict::Visible { order_sequence, restarted: false }
        }
        Receipt::Duplicate { of, order_sequence } => Verdict::Duplicate { of, order_sequence },
        Receipt::Conflict { with } => Verdict::Conflict { with, listed: true },
        Receipt::PreconditionFailed { at } => Verdict::PreconditionFailed { at },
    }
}
