//! One plant's node as a process of its own, and the command line that talks to it.

use std::io::{BufRead, BufReader, Write};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

pub const TAKT: &str = env!("CARGO_BIN_EXE_takt");

/// The order of a plant's import: what README.md beside the log calls a dedup key.
pub const FIVE_COLUMNS: &str = "Case ID,Activity,Resource,Start Timestamp,Complete Timestamp";

/// A directory of `takt init`, with the plant `munich` in it.
pub struct Site {
    dir: TempDir,
}

impl Site {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Plants get the port behind that of a hub, which is not made here.
        let probe = UdpSocket::bind("127.0.0.1:0").unwrap();
        let base = probe.local_addr().unwrap().port() - 1;
        let site = Self { dir };
        let path = site.dir.path().to_str().unwrap();
        let init = ["init", "--dir", path, "--plant", "munich", "--port-base", &base.to_string()];
        let made = run(Command::new(TAKT).args(init));
        assert!(made.status.success(), "{}", text(&made.stderr));
        site
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("plant-munich").join(name)
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        std::fs::read_dir(self.path(""))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.is_dir())
            .unwrap()
    }

    /// Starts the node and waits until it serves.
    pub fn serve(&self) -> Server {
        let mut child =
            self.serve_command().stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let server = Server { child };
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line:?}"));
        assert_eq!(ready["ready"], true);
        assert_eq!(ready["node"], "munich");
        server
    }

    pub fn serve_command(&self) -> Command {
        let mut command = Command::new(TAKT);
        command
            .args(["serve", "--output", "json", "--config"])
            .arg(self.path("plant.toml"))
            .env("TAKT_JOURNAL__FILE_SIZE", "4MiB");
        command
    }

    /// A command with the context of an operator at the node.
    pub fn takt(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(TAKT);
        command.args(arguments).env("TAKT_CONTEXT", self.path("operator.toml"));
        command
    }

    /// Runs a command that ends with the exit code.
    pub fn ends(&self, code: i32, arguments: &[&str]) -> Output {
        expect(run(&mut self.takt(arguments)), code, arguments)
    }

    /// As [`Site::ends`], with the command's standard input.
    pub fn ends_with_input(&self, code: i32, arguments: &[&str], input: &str) -> Output {
        let mut child = piped(&mut self.takt(arguments));
        // It fails where the command ends before it has read all, which may be what is wanted.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        expect(child.wait_with_output().unwrap(), code, arguments)
    }

    /// The JSON lines that a command prints.
    pub fn json(&self, code: i32, arguments: &[&str]) -> Vec<Value> {
        let mut arguments = arguments.to_vec();
        arguments.extend(["--output", "json"]);
        lines(&self.ends(code, &arguments))
    }

    /// The arguments of an import of the production log under an identity.
    pub fn import<'a>(file: &'a str, identity: &[&'a str]) -> Vec<&'a str> {
        let mut arguments = vec!["import", "csv", file, "--topic", "production"];
        arguments.extend(["--order-key", "Case ID", "--time", "Complete Timestamp"]);
        arguments.extend(["--time-format", "%Y/%m/%d %H:%M:%S%.f"]);
        arguments.extend(["--time-zone", "Europe/Berlin"]);
        arguments.extend(identity);
        arguments
    }

    /// How many events the topic holds.
    pub fn events(&self) -> u64 {
        let info = self.json(0, &["topic", "info", "production"]).remove(0);
        let partitions = info["partitions"].as_array().unwrap();
        partitions.iter().map(|partition| partition["end_offset"].as_u64().unwrap()).sum()
    }
}

/// A running node; killed where a test fails.
pub struct Server {
    child: Child,
}

impl Server {
    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM: a clean stop, with exit code 0.
    pub fn stop(mut self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a command that is fed and read.
pub fn piped(command: &mut Command) -> Child {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

pub fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap()
}

pub fn expect(output: Output, code: i32, what: &[&str]) -> Output {
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{what:?}\n{out}\n{err}");
    output
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub fn lines(output: &Output) -> Vec<Value> {
    text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The production log, where it is there.
pub fn production_log() -> Option<PathBuf> {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let path = shared.join("production_event_log.csv");
    if path.is_file() {
        return Some(path);
    }
    eprintln!("SKIPPED: {} is not there", path.display());
    None
}
