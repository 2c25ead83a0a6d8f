//! The command `takt` as a process: its lines, its end, and how it is killed.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::watch;

use crate::{DEADLINE, within};

/// The binary that runs `takt`, beside the test or the program that asks.
///
/// # Panics
/// If it is not there.
pub fn binary() -> PathBuf {
    beside("takt-test-node")
}

/// A binary of this package, beside the test or the program that asks.
///
/// # Panics
/// If it is not there.
pub fn beside(name: &str) -> PathBuf {
    let mut dir = std::env::current_exe().expect("a program has a path");
    dir.pop();
    if dir.ends_with("deps") {
        dir.pop();
    }
    let path = dir.join(name);
    assert!(path.is_file(), "{} is not built", path.display());
    path
}

/// A running `takt`. It is killed and reaped when this is dropped; where a test fails then, it prints
/// what it said.
#[derive(Debug)]
pub struct Process {
    child: Child,
    lines: Arc<Lines>,
}

/// All that a process has said, on both outputs.
#[derive(Debug, Default)]
struct Lines {
    said: Mutex<Vec<String>>,
    count: watch::Sender<usize>,
}

impl Lines {
    fn follow(self: &Arc<Self>, output: impl Read + Send + 'static) {
        let lines = Arc::clone(self);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let mut said = lines.said.lock().unwrap_or_else(PoisonError::into_inner);
                said.push(line);
                lines.count.send_replace(said.len());
            }
        });
    }

    fn find(&self, text: &str) -> Option<String> {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.iter().find(|line| line.contains(text)).cloned()
    }
}

impl Process {
    /// Starts a command.
    ///
    /// # Panics
    /// If the system does not.
    pub fn spawn(command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let lines = Arc::new(Lines::default());
        lines.follow(child.stdout.take().expect("its output is piped"));
        lines.follow(child.stderr.take().expect("its errors are piped"));
        Self { child, lines }
    }

    /// Waits until the node serves, and says where.
    ///
    /// # Panics
    /// If it does not.
    pub async fn ready(&mut self) -> SocketAddr {
        let line = self.said("ready ").await;
        let address = line.rsplit(' ').next().and_then(|address| address.parse().ok());
        address.unwrap_or_else(|| panic!("no address in {line:?}"))
    }

    /// Waits for a line with this text in it.
    ///
    /// # Panics
    /// If none comes.
    pub async fn said(&mut self, text: &str) -> String {
        let mut count = self.lines.count.subscribe();
        let until = Instant::now() + DEADLINE;
        loop {
            count.borrow_and_update();
            if let Some(line) = self.lines.find(text) {
                return line;
            }
            let ended = self.child.try_wait().ok().flatten();
            let wait = tokio::time::timeout(std::time::Duration::from_millis(200), count.changed());
            assert!(
                wait.await.is_ok() || (ended.is_none() && Instant::now() < until),
                "no line has {text:?} in it; ended: {ended:?}; it said\n{}",
                self.log()
            );
        }
    }

    /// Whether a line with this text has come.
    pub fn has_said(&self, text: &str) -> bool {
        self.lines.find(text).is_some()
    }

    /// All that it said.
    pub fn log(&self) -> String {
        self.lines.said.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// kill -9. Nothing of it runs when this returns.
    ///
    /// # Panics
    /// If it has ended by itself: with what it said.
    pub fn kill(&mut self) {
        self.assert_running();
        self.child.kill().expect("a process of ours can be killed");
        self.child.wait().expect("a process of ours can be waited for");
    }

    /// It has not ended by itself.
    ///
    /// # Panics
    /// If it has: with what it said.
    pub fn assert_running(&mut self) {
        if let Ok(Some(status)) = self.child.try_wait() {
            panic!("it has ended by itself with {status}; it said\n{}", self.log());
        }
    }

    /// Asks it to end by SIGTERM, and waits until it has.
    ///
    /// # Panics
    /// If it does not end.
    pub async fn stop(mut self) -> ExitStatus {
        let id = i32::try_from(self.id()).ok().and_then(Pid::from_raw).expect("a process id");
        // It may have ended by itself.
        let _ = kill_process(id, Signal::TERM);
        self.ended().await
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it does not end.
    pub async fn ended(&mut self) -> ExitStatus {
        let child = &mut self.child;
        let ended = async {
            loop {
                if let Some(status) = child.try_wait().expect("a process of ours") {
                    return status;
                }
                tokio::time::sleep(crate::ASK_EVERY).await;
            }
        };
        within("the end of a process", ended).await
    }

    /// The most memory that it ever had in RAM, in bytes (`VmHWM`).
    ///
    /// # Panics
    /// If it has ended.
    pub fn memory_peak_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()));
        let status = status.expect("the process lives");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kib.expect("a number of KiB") << 10
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let (id, ended) = (self.id(), self.child.try_wait().ok().flatten());
            eprintln!("process {id}, ended: {ended:?}, said\n{}", self.log());
        }
        // Both fail only where it has ended and been reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
