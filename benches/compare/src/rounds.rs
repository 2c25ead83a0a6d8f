//! All runs, in rounds: each round measures the machine's limits and runs every workload against
//! every system once. So what else the machine does in that time meets all of them.

use std::io;
use std::path::PathBuf;

use crate::contender::{Kind, Programs};
use crate::machine::{self, About};
use crate::results::{Line, Skipped};
use crate::run::{RunError, Settings, run};
use crate::workload::Workload;

/// What is to be run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How often.
    pub rounds: u32,
    /// How each run goes.
    pub settings: Settings,
    /// The systems, in the order of tables.
    pub kinds: Vec<Kind>,
    /// What is asked of them.
    pub workloads: Vec<Workload>,
    /// Where they are.
    pub programs: Programs,
    /// Where their data is to be.
    pub dir: PathBuf,
}

/// Why the rounds ended early.
#[derive(Debug, thiserror::Error)]
pub enum RoundsError {
    /// A run failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Something about this machine could not be measured.
    #[error(transparent)]
    Machine(#[from] machine::MachineError),
    /// A line could not be told.
    #[error("cannot print a result: {0}")]
    Tell(io::Error),
}

/// Runs everything, and tells each line as soon as it is known.
///
/// # Errors
/// [`RoundsError`]: the first run that fails ends it all.
pub async fn all(
    plan: &Plan,
    mut tell: impl FnMut(Line) -> io::Result<()>,
) -> Result<(), RoundsError> {
    let Plan { settings, programs, dir, .. } = plan;
    let mut say = |line| tell(line).map_err(RoundsError::Tell);
    say(Line::About(About::look(programs, settings.size, settings.orders)?))?;
    let is_there = |kind: &Kind| programs.of(kind.system()).is_some();
    let (kinds, missing): (Vec<Kind>, Vec<Kind>) = plan.kinds.iter().partition(|k| is_there(k));
    for contender in missing {
        let reason = contender.system().hint().to_owned();
        say(Line::Skipped(Skipped { contender, reason }))?;
    }
    for round in 1..=plan.rounds {
        say(Line::Limits(machine::limits(round, programs, dir).await?))?;
        for &workload in &plan.workloads {
            for kind in turned(&kinds, round) {
                say(Line::Run(run((round, kind, workload), *settings, programs, dir).await?))?;
            }
        }
    }
    Ok(())
}

/// The same from another place on in each round, so that none always comes behind the same one.
fn turned(kinds: &[Kind], round: u32) -> Vec<Kind> {
    let mut kinds = kinds.to_vec();
    let by = usize::try_from(round).unwrap_or(0) % kinds.len().max(1);
    kinds.rotate_left(by);
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_round_has_all_and_begins_with_another_one() {
        let first: Vec<_> = (1..=6).map(|round| turned(&Kind::ALL, round)[0]).collect();
        for kind in Kind::ALL {
            assert!(first.contains(&kind) && turned(&Kind::ALL, 3).contains(&kind));
        }
        assert_eq!(turned(&[], 3), []);
    }
}
