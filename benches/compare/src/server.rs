//! A server that this program starts and that ends with it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

/// How long a server may take until it serves.
const READY: Duration = Duration::from_mins(1);
/// How long it may take to stop by itself.
const STOP: Duration = Duration::from_mins(1);
/// How often it is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(10);
/// How much of what it said is shown where it failed.
const LINES_SHOWN: usize = 8;

/// Why a server did not start, or not stop.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The process could not be made, or its directory not used.
    #[error("cannot start {}: {source}", program.display())]
    Spawn {
        /// What was to be started.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It ended, or did not say that it is ready in time.
    #[error("{} did not become ready ({why}); it said last:\n{said}", program.display())]
    NotReady {
        /// What was started.
        program: PathBuf,
        /// How it ended, or how long was waited.
        why: String,
        /// The last lines of its output.
        said: String,
    },
    /// It ended before it was told to, or with an error, or had to be killed.
    #[error("{} did not stop cleanly: {why}; it said last:\n{said}", program.display())]
    Stop {
        /// What was started.
        program: PathBuf,
        /// How it ended.
        why: String,
        /// The last lines of its output.
        said: String,
    },
}

/// A running server. It is killed when it is dropped, and waited for, so that none is left behind
/// whatever becomes of a measurement.
#[derive(Debug)]
pub struct Server {
    child: Child,
    program: PathBuf,
    log: PathBuf,
}

impl Server {
    /// Starts `command`, all of whose output goes to the file `log`, and waits until `ready` finds
    /// in that output what it looks for.
    ///
    /// # Errors
    /// [`ServerError`]; then the process has ended.
    pub async fn start<T>(
        mut command: Command,
        log: PathBuf,
        ready: impl Fn(&str) -> Option<T>,
    ) -> Result<(Self, T), ServerError> {
        let program = PathBuf::from(command.get_program());
        let spawned = File::create(&log).and_then(|out| {
            let error = out.try_clone()?;
            command.stdin(Stdio::null()).stdout(out).stderr(error).spawn()
        });
        let child = match spawned {
            Ok(child) => child,
            Err(source) => return Err(ServerError::Spawn { program, source }),
        };
        let mut server = Self { child, program, log };
        let started = Instant::now();
        loop {
            // Looked at before the log: what it said last is in there then.
            let ended = server.child.try_wait();
            if let Some(found) = ready(&server.said()) {
                return Ok((server, found));
            }
            let why = match ended {
                Ok(None) if started.elapsed() < READY => {
                    sleep(LOOK).await;
                    continue;
                }
                Ok(None) => format!("not within {READY:?}"),
                Ok(Some(status)) => status.to_string(),
                Err(error) => error.to_string(),
            };
            let (program, said) = (server.program.clone(), last_lines(&server.said()));
            return Err(ServerError::NotReady { program, why, said });
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tells it to end and waits until it has.
    ///
    /// # Errors
    /// [`ServerError::Stop`] where it does not end by itself, or says that something went wrong.
    pub async fn stop(mut self) -> Result<(), ServerError> {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        let told = match pid {
            Some(pid) => kill_process(pid, Signal::TERM).map_err(|error| error.to_string()),
            None => Err("it has no process id".to_owned()),
        };
        let ended = match told {
            Ok(()) => self.ended().await,
            Err(why) => Err(why),
        };
        match ended {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(self.stop_error(status.to_string())),
            Err(why) => Err(self.stop_error(why)),
        }
    }

    async fn ended(&mut self) -> Result<ExitStatus, String> {
        let told = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) if told.elapsed() < STOP => sleep(LOOK).await,
                Ok(None) => return Err(format!("not within {STOP:?}")),
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    fn stop_error(&self, why: String) -> ServerError {
        ServerError::Stop { program: self.program.clone(), why, said: last_lines(&self.said()) }
    }

    fn said(&self) -> String {
        std::fs::read(&self.log)
            .map(|said| String::from_utf8_lossy(&said).into_owned())
            .unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn last_lines(said: &str) -> String {
    let lines: Vec<_> = said.lines().collect();
    lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n")
}

/// The file for the output of a server in its directory.
pub fn log_in(dir: &Path) -> PathBuf {
    dir.join("output.log")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    fn word(said: &str) -> Option<String> {
        said.lines().find_map(|line| line.strip_prefix("ready ")).map(str::to_owned)
    }

    fn is_running(pid: u32) -> bool {
        Path::new(&format!("/proc/{pid}")).exists()
    }

    #[tokio::test]
    async fn what_it_says_when_ready_is_found_and_it_ends_when_told() {
        let dir = tempfile::tempdir().unwrap();
        let script = "echo ready 4711; exec cat /dev/zero > /dev/null";
        let started = Server::start(sh(script), log_in(dir.path()), word).await;
        let (server, found) = started.unwrap();
        assert_eq!(found, "4711");
        let pid = server.pid();
        assert!(is_running(pid));
        // The signal's own end is none of its own.
        assert!(matches!(server.stop().await, Err(ServerError::Stop { .. })));
        assert!(!is_running(pid));
    }

    #[tokio::test]
    async fn it_is_gone_when_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let script = "trap '' TERM; echo ready 1; while :; do read x < /dev/zero; done";
        let started = Server::start(sh(script), log_in(dir.path()), word).await;
        let pid = started.unwrap().0.pid();
        assert!(!is_running(pid));
    }

    #[tokio::test]
    async fn one_that_ends_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let script = "echo no room >&2; exit 3";
        let error = Server::start(sh(script), log_in(dir.path()), word).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("no room") && text.contains('3'), "{text}");
    }
}
