//! The tests that need more than one crate, and what they share: a hub and plants in a temporary
//! directory, the processes that run them, events, and the check of what they hold at the end.
//!
//! Every wait is bounded by [`DEADLINE`] and ends as soon as what it waits for is there. Sites do
//! not meet: each has its directory and its ports, each test process its loopback address.

pub mod account;
pub mod check;
pub mod compare;
pub mod cuts;
pub mod driver;
pub mod events;
pub mod faults;
pub mod flood;
pub mod golden;
pub mod images;
pub mod kills;
pub mod lossy;
pub mod outbox;
#[cfg(takt_planted)]
pub mod planted;
pub mod power;
pub mod process;
pub mod raw;
pub mod room;
pub mod script;
pub mod sim;
pub mod simulate;
pub mod site;
pub mod strace;
pub mod udp;

use std::fmt::Display;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long a test waits for anything. Far longer than it takes on a machine that is busy.
pub const DEADLINE: Duration = Duration::from_secs(90);
/// How often something is asked that nobody announces.
const ASK_EVERY: Duration = Duration::from_millis(20);

/// Asks until there is an answer.
///
/// # Panics
/// If there is none within [`DEADLINE`]; with the last reason why not.
pub async fn eventually<R, E: Display>(
    what: &str,
    mut ask: impl AsyncFnMut() -> Result<R, E>,
) -> R {
    let until = Instant::now() + DEADLINE;
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(reason) if Instant::now() > until => panic!("{what} has not happened: {reason}"),
            Err(_) => sleep(ASK_EVERY).await,
        }
    }
}

/// Waits for something that says itself when it has happened.
///
/// # Panics
/// If it has not within [`DEADLINE`].
pub async fn within<R>(what: &str, happening: impl Future<Output = R>) -> R {
    let in_time = tokio::time::timeout(DEADLINE, happening).await;
    in_time.unwrap_or_else(|_| panic!("{what} has not happened within {DEADLINE:?}"))
}
