//! Where the servers are.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::System;

/// Why there is nothing to compare with.
#[derive(Debug, thiserror::Error)]
pub enum ProgramsError {
    /// A program that was named is not there.
    #[error("there is no program {}", .0.display())]
    NotThere(PathBuf),
    /// Takt is not built.
    #[error(
        "takt is not built: cargo build --release -p takt-broker, or say where it is by --takt"
    )]
    NoTakt,
}

/// Where the servers are; `None` where one is not installed.
#[derive(Debug, Clone)]
pub struct Programs {
    takt: PathBuf,
    nats: Option<PathBuf>,
    redis: Option<PathBuf>,
}

impl Programs {
    /// Takes those that are named, and looks for the others: Takt beside this program, if both are
    /// built in one directory, and in that of the repository, the peers where `install` puts them,
    /// and all of them on the path.
    ///
    /// # Errors
    /// [`ProgramsError`]. That a peer is not installed is none.
    pub fn find(
        takt: Option<&Path>,
        nats: Option<&Path>,
        redis: Option<&Path>,
    ) -> Result<Self, ProgramsError> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let this = std::env::current_exe().unwrap_or_default();
        // A test lies one folder below what else is built.
        let beside = this.ancestors().skip(1).take(2).map(|dir| dir.join("takt"));
        let built: Vec<_> = beside.chain([here.join("../../target/release/takt")]).collect();
        let installed = here.join("target/peers/bin/nats-server");
        Ok(Self {
            takt: choose(takt, &built, "takt")?.ok_or(ProgramsError::NoTakt)?,
            nats: choose(nats, &[installed], "nats-server")?,
            redis: choose(redis, &[], "redis-server")?,
        })
    }

    /// The server of a system.
    pub fn of(&self, system: System) -> Option<&Path> {
        match system {
            System::Takt => Some(&self.takt),
            System::Nats => self.nats.as_deref(),
            System::Redis => self.redis.as_deref(),
        }
    }

    /// What the program of a system says of its version, in one line.
    pub fn version(&self, system: System) -> Option<String> {
        let output = Command::new(self.of(system)?).arg("--version").output().ok()?;
        let said = String::from_utf8(output.stdout).ok()?;
        said.lines().next().map(str::to_owned)
    }
}

impl System {
    /// What to do where it is not there.
    pub const fn hint(self) -> &'static str {
        match self {
            Self::Takt => "build it: cargo build --release -p takt-broker",
            Self::Nats => "nats-server is not installed: run benches/compare/install",
            Self::Redis => {
                "redis-server is not installed: run benches/compare/install, or apt-get install \
                 redis-server"
            }
        }
    }
}

fn choose(
    named: Option<&Path>,
    usual: &[PathBuf],
    name: &str,
) -> Result<Option<PathBuf>, ProgramsError> {
    if let Some(named) = named {
        return match named.canonicalize() {
            Ok(path) => Ok(Some(path)),
            Err(_) => Err(ProgramsError::NotThere(named.to_owned())),
        };
    }
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let on_the_path = std::env::split_paths(&paths).map(|dir| dir.join(name));
    Ok(usual.iter().cloned().chain(on_the_path).find(|path| path.is_file()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_must_be_there_and_what_is_looked_for_need_not() {
        let nowhere = Path::new("/nowhere/nats-server");
        let there = Path::new("/bin/sh");
        assert!(matches!(
            Programs::find(Some(there), Some(nowhere), None),
            Err(ProgramsError::NotThere(path)) if path == nowhere
        ));
        assert_eq!(choose(None, &[], "no-such-program-4711").unwrap(), None);
        assert!(choose(None, &[], "sh").unwrap().is_some());
        let programs = Programs::find(Some(there), Some(there), None).unwrap();
        assert!(programs.of(System::Nats).is_some());
    }
}
