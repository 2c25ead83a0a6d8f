//! `takt serve`

use std::future::Future;
use std::io::{self, Write};
use std::path::PathBuf;
use std::pin::{Pin, pin};

use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;
use takt_storage::store::OpenReport;
use tracing_subscriber::EnvFilter;

use super::connection::has_colour;
use super::outcome::{Failure, Outcome};
use super::output::{Output, json_line};
use super::stop::Stop;
use crate::config::{LogFormat, LogSettings, Settings};
use crate::node::{Node, NodeOpenError, NodeOptions};

#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// The node's configuration, as `takt init` makes it.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// The line that says that the node serves.
#[derive(Serialize)]
struct Serving<'a> {
    ready: bool,
    node: &'a str,
    address: String,
    created: bool,
    replayed_commits: u64,
    cut: Option<Cut<'a>>,
}

/// What was behind the journal's end and never acknowledged.
#[derive(Serialize)]
struct Cut<'a> {
    position: u64,
    len_bytes: u64,
    kept_in: Option<&'a str>,
}

pub(super) async fn run(args: ServeArgs, output: Output) -> Result<Outcome, Failure> {
    let settings = Settings::load(&args.config)?;
    log_to_stderr(&settings.log);
    let open_files_max = raise_open_files();
    tracing::info!(open_files_max, "each kept journal file, run and connection takes open files");
    let mut stop = Stop::new()?;
    let options = NodeOptions::from_settings(&settings)?;
    let name = options.name.clone();
    let data_dir = options.data_dir.clone();
    let opening = pin!(Node::open(options));
    let node = tokio::select! {
        node = open(opening, &settings) => node?,
        // Nothing is acknowledged yet: an open that is broken off is done anew at the next start.
        () = stop.wait() => return Ok(Outcome::Done),
    };
    tell_findings(node.report(), &data_dir.display().to_string());
    let address = node.address().unwrap_or(settings.listen);
    tell_ready(name.as_str(), &address.to_string(), node.report(), output)?;
    tokio::select! {
        () = stop.wait() => tracing::info!("stopping"),
        reason = node.failed() => {
            node.hang_up().await;
            // It may be tried anew only from the disk's content: see the journal's start.
            return Err(Failure::new(format!(
                "the journal in {} has failed: {reason}; nothing more is acknowledged. See to the \
                 disk and start the node again",
                data_dir.display()
            )));
        }
    }
    let closed = tokio::select! {
        closed = node.close() => closed,
        () = stop.wait() => return Err(Failure::new("stopped before the clean stop was done")),
    };
    closed.map_err(|reason| Failure::new(format!("no clean stop: {reason}")))?;
    tracing::info!("stopped");
    Ok(Outcome::Done)
}

/// Lets the process have as many open files as the system grants it, and returns how many that is:
/// the usual soft limit of 1,024 is less than a long retention takes. `None` is without a limit.
fn raise_open_files() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
    getrlimit(Resource::Nofile).current
}

/// Waits for the node, and says so where that takes long.
async fn open(
    mut opening: Pin<&mut impl Future<Output = Result<Node, NodeOpenError>>>,
    settings: &Settings,
) -> Result<Node, NodeOpenError> {
    let deadline = settings.node.open_deadline;
    if let Ok(node) = tokio::time::timeout(deadline.duration(), &mut opening).await {
        return node;
    }
    tracing::warn!(%deadline, "the start takes longer than open_deadline; it goes on");
    opening.await
}

fn log_to_stderr(settings: &LogSettings) {
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(settings.level.as_str()))
        .with_writer(io::stderr)
        .with_ansi(has_colour());
    match settings.format {
        LogFormat::Full => subscriber.init(),
        LogFormat::Compact => subscriber.compact().init(),
    }
}

fn tell_findings(report: &OpenReport, data_dir: &str) {
    tracing::info!(
        data_dir,
        created = report.created,
        replayed_commits = report.replayed_commits,
        copied_bytes = report.copied_bytes,
        incarnation = %report.incarnation,
        "opened"
    );
    if let Some(cut) = &report.cut {
        tracing::warn!(
            position = %cut.position,
            len_bytes = cut.len_bytes,
            kept_in = cut.kept_in.as_deref().unwrap_or("nowhere: there was no room"),
            "cut off what was behind the journal's end and never acknowledged"
        );
    }
    if report.runs_rebuilt > 0 {
        tracing::warn!(runs = report.runs_rebuilt, "damaged runs are made again from the journal");
    }
    if report.used_reserve {
        tracing::error!("the disk is full: the reserve is in use; free space");
    }
}

fn tell_ready(name: &str, address: &str, report: &OpenReport, output: Output) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match output {
        Output::Table => writeln!(out, "ready {name} {address}")?,
        Output::Json => {
            let cut = report.cut.as_ref().map(|cut| Cut {
                position: cut.position.get(),
                len_bytes: cut.len_bytes,
                kept_in: cut.kept_in.as_deref(),
            });
            let ready = Serving {
                ready: true,
                node: name,
                address: address.to_owned(),
                created: report.created,
                replayed_commits: report.replayed_commits,
                cut,
            };
            json_line(&mut out, &ready)?;
        }
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_open_files_that_the_system_grants_are_taken() {
        let hard = getrlimit(Resource::Nofile).maximum;
        let few = Rlimit { current: Some(256), maximum: hard };
        setrlimit(Resource::Nofile, few).unwrap();
        assert_eq!(raise_open_files(), hard);
        assert_eq!(getrlimit(Resource::Nofile).current, hard);
    }
}
