//! What one producer has to do, and running all of them.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use tokio::task::JoinSet;

use super::BenchError;
use super::closed_loop::ClosedLoop;
use super::each_loop::EachLoop;
use super::open_loop::OpenLoop;
use super::tally::Tally;

/// What one producer has to do.
#[derive(Debug)]
pub(super) enum Load {
    Closed(ClosedLoop),
    Each(EachLoop),
    Open(OpenLoop),
}

/// Runs all producers from `start` on, which is now, until all receipts have come. `acknowledged`
/// counts along.
pub(super) async fn run(
    loads: Vec<Load>,
    start: Instant,
    acknowledged: &Arc<AtomicU64>,
) -> Result<Tally, BenchError> {
    let mut tasks = JoinSet::new();
    for load in loads {
        let tally = Tally::new(start, Arc::clone(acknowledged));
        match load {
            Load::Closed(load) => tasks.spawn(load.run(start, tally)),
            Load::Each(load) => tasks.spawn(load.run(start, tally)),
            Load::Open(load) => tasks.spawn(load.run(start, tally)),
        };
    }
    let mut all = Tally::new(start, Arc::clone(acknowledged));
    while let Some(done) = tasks.join_next().await {
        all.merge(&done.map_err(|error| BenchError::Task(error.to_string()))??);
    }
    Ok(all)
}
