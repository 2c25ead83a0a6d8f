//! `takt sub`

use std::collections::BTreeMap;
use std::future::ready;
use std::io::{self, BufWriter, Write};
use std::time::Duration;

use clap::Args;
use takt_client::admin::{Admin, messages};
use takt_client::{
    Client, ConsumeError, Consumer, Delivered, Offset, PartitionId, Start, Timestamp, TopicName,
};
use tokio::time::{Instant, sleep_until};

use super::connection::refused;
use super::event_line::event_line;
use super::outcome::{Failure, Outcome};
use super::start::{From, partition};
use super::stop::Stop;

/// How often a cursor is moved while events come.
const COMMIT_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(super) struct SubArgs {
    /// The topic.
    topic: String,
    /// Go on with what comes, until SIGINT. Else it ends where the topic ended when it began.
    #[arg(short, long)]
    follow: bool,
    /// earliest, latest, cursor, an offset of each partition, or a time such as
    /// 2026-11-22T06:15:00Z [default: cursor where one is named, else earliest].
    #[arg(long, value_name = "POSITION")]
    from: Option<From>,
    /// Keep the position behind what was printed under this name.
    #[arg(long, value_name = "NAME")]
    cursor: Option<String>,
    /// Print at most so many events.
    #[arg(short = 'n', long, value_name = "COUNT")]
    max: Option<u64>,
    /// Only what this node judged.
    #[arg(long, value_name = "NODE")]
    origin: Option<String>,
}

/// A partition as it stood when the command began.
struct Extent {
    id: PartitionId,
    start: Offset,
    end: Offset,
}

pub(super) async fn run(client: &Client, args: SubArgs) -> Result<Outcome, Failure> {
    let from = match (args.from, &args.cursor) {
        (Some(From::Cursor), None) => {
            return Err(Failure::usage("--from cursor needs --cursor NAME"));
        }
        (Some(from), _) => from,
        (None, Some(_)) => From::Cursor,
        (None, None) => From::Earliest,
    };
    let admin = client.admin();
    let info = admin.topic_info(&args.topic).await.map_err(refused)?;
    let extents = extents(&info, args.origin.as_deref())?;
    if extents.is_empty()
        && let Some(origin) = &args.origin
    {
        eprintln!("takt: the topic {} has no partition of {origin} here yet", args.topic);
    }
    // Before what is to be printed is known, so that a stop in between is a clean one, too.
    let mut stop = Stop::new()?;
    let goals =
        if args.follow { None } else { Some(goals(client, &admin, &args, from, &extents).await?) };
    let mut printing = Printing {
        consumer: consumer(client, &args, from, &extents)?,
        keeps_position: args.cursor.is_some(),
        goals,
        left: args.max.unwrap_or(u64::MAX),
        out: BufWriter::with_capacity(64 << 10, io::stdout().lock()),
        outcome: Outcome::Done,
        uncommitted: false,
        committed: Instant::now(),
    };
    printing.run(&mut stop).await?;
    printing.commit().await?;
    Ok(printing.outcome)
}

fn extents(info: &messages::TopicInfo, origin: Option<&str>) -> Result<Vec<Extent>, Failure> {
    let topic = TopicName::new(&info.name)?;
    let wanted = info.partitions.iter().filter(|p| origin.is_none_or(|o| o == p.origin));
    let extent = |p: &messages::PartitionInfo| {
        let id = partition(&topic, &p.origin, p.number)?;
        Some(Extent { id, start: Offset::new(p.start_offset), end: Offset::new(p.end_offset) })
    };
    Ok(wanted.filter_map(extent).collect())
}

fn consumer(
    client: &Client,
    args: &SubArgs,
    from: From,
    extents: &[Extent],
) -> Result<Consumer, Failure> {
    let start = match (from, &args.cursor) {
        (From::Latest, _) => Start::Latest,
        (From::Cursor, Some(name)) => Start::Cursor(name.clone()),
        (From::Earliest | From::Cursor, _) => Start::Earliest,
        (From::Time(time), _) => Start::Time(time),
        (From::Offset(offset), _) => {
            Start::Offsets(extents.iter().map(|extent| (extent.id.clone(), offset)).collect())
        }
    };
    let mut builder = client.consumer(&args.topic).from(start);
    if let Some(name) = &args.cursor {
        builder = builder.cursor(name);
    }
    if let Some(origin) = &args.origin {
        builder = builder.origin(origin);
    }
    builder.build().map_err(|error| Failure::usage(error.to_string()))
}

/// Up to where each partition is to be printed. What has nothing to print is not in it.
async fn goals(
    client: &Client,
    admin: &Admin,
    args: &SubArgs,
    from: From,
    extents: &[Extent],
) -> Result<BTreeMap<PartitionId, Offset>, Failure> {
    let mut goals = BTreeMap::new();
    let cursors = match (from, &args.cursor) {
        (From::Cursor, Some(_)) => admin.cursors(Some(&args.topic)).await.map_err(refused)?,
        _ => Vec::new(),
    };
    let stands = |extent: &Extent| {
        let cursor = cursors.iter().find(|cursor| Some(&cursor.name) == args.cursor.as_ref())?;
        let of = |p: &&messages::CursorPosition| {
            p.origin == extent.id.origin.as_str() && p.number == u32::from(extent.id.number.get())
        };
        cursor.positions.iter().find(of).map(|position| Offset::new(position.offset))
    };
    for extent in extents {
        let begin = match from {
            From::Earliest => extent.start,
            From::Latest => extent.end,
            From::Cursor => stands(extent).unwrap_or(extent.start),
            From::Offset(offset) => offset,
            From::Time(time) => match last_append(client, extent).await? {
                Some(last) if last >= time => extent.start,
                Some(_) | None => extent.end,
            },
        };
        if begin.max(extent.start) < extent.end {
            goals.insert(extent.id.clone(), extent.end);
        }
    }
    Ok(goals)
}

/// When the partition's last event was appended; `None` where it has none.
async fn last_append(client: &Client, extent: &Extent) -> Result<Option<Timestamp>, Failure> {
    let Some(last) = extent.end.get().checked_sub(1).map(Offset::new) else { return Ok(None) };
    if last < extent.start {
        return Ok(None);
    }
    let PartitionId { origin, topic, .. } = &extent.id;
    let mut probe = client
        .consumer(topic.as_str())
        .origin(origin.as_str())
        .from(Start::Offsets(vec![(extent.id.clone(), last)]))
        .build()?;
    while let Some(delivered) = probe.next().await {
        let delivered = delivered?;
        if delivered.partition == extent.id && delivered.offset >= last {
            return Ok(Some(delivered.append_time));
        }
    }
    Ok(None)
}

struct Printing<W: Write> {
    consumer: Consumer,
    keeps_position: bool,
    /// Partitions that are not at their end yet; `None` where it goes on for ever.
    goals: Option<BTreeMap<PartitionId, Offset>>,
    left: u64,
    out: BufWriter<W>,
    outcome: Outcome,
    uncommitted: bool,
    committed: Instant,
}

impl<W: Write> Printing<W> {
    async fn run(&mut self, stop: &mut Stop) -> Result<(), Failure> {
        while self.left > 0 && self.goals.as_ref().is_none_or(|goals| !goals.is_empty()) {
            let commit_at = self.committed + COMMIT_EVERY;
            tokio::select! {
                biased;
                () = stop.wait() => return Ok(()),
                next = self.consumer.next() => match next {
                    Some(Ok(delivered)) => self.print(delivered)?,
                    Some(Err(ConsumeError::Trimmed { partition, from, to })) => {
                        self.trimmed(&partition, from, to);
                    }
                    Some(Err(error)) => return Err(error.into()),
                    None => return Err(Failure::new("the subscription has ended")),
                },
                // Nothing has come at once: let the reader have what there is.
                () = ready(()), if !self.out.buffer().is_empty() => self.out.flush()?,
                () = sleep_until(commit_at), if self.uncommitted => {}
            }
            if self.uncommitted && Instant::now() >= commit_at {
                self.commit().await?;
            }
        }
        Ok(())
    }

    fn print(&mut self, delivered: Delivered) -> Result<(), Failure> {
        let (partition, offset) = (delivered.partition.clone(), delivered.offset);
        self.uncommitted = self.keeps_position;
        if let Some(goals) = &mut self.goals {
            match goals.get(&partition) {
                Some(end) if offset.advance(1) >= *end => drop(goals.remove(&partition)),
                // Newer than the command: printed only where a cursor will stand behind it.
                None if !self.keeps_position => return Ok(()),
                Some(_) | None => {}
            }
        }
        match event_line(delivered) {
            Ok(line) => {
                self.out.write_all(&line)?;
                self.left -= 1;
            }
            Err(error) => {
                eprintln!("takt: {partition}, offset {offset}: not printed: {error}");
                self.outcome = Outcome::Look;
            }
        }
        Ok(())
    }

    fn trimmed(&mut self, partition: &PartitionId, from: Offset, to: Offset) {
        eprintln!("takt: {partition}: retention has dropped the events {from} up to {to}");
        self.outcome = Outcome::Look;
        if let Some(goals) = &mut self.goals
            && goals.get(partition).is_some_and(|end| to >= *end)
        {
            goals.remove(partition);
        }
    }

    /// Keeps the position behind what was printed, once it is printed.
    async fn commit(&mut self) -> Result<(), Failure> {
        self.out.flush()?;
        if self.uncommitted {
            self.consumer.commit().await?;
            self.uncommitted = false;
            self.committed = Instant::now();
        }
        Ok(())
    }
}
