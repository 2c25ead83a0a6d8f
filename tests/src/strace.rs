//! A fault in one system call of a process, put there by `strace`.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// How long a process may take to end.
const END_MAX: Duration = Duration::from_mins(1);
/// How often a process is asked whether it has ended.
const ASK_EVERY: Duration = Duration::from_millis(2);

/// What happens in the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// The process is killed as it enters the call.
    Kill,
    /// The call is not made and returns EIO.
    Eio,
    /// The call is not made and returns ENOSPC.
    Enospc,
}

/// In whose calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// In each thread's own, from the process's first on; the thread that comes first is it.
    All,
    /// In those of the thread with this name, once the node is open.
    Thread(&'static str),
}

/// One system call of a process: the `when`th (from 1) of this name in its thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The name of the system call.
    pub call: &'static str,
    /// Whose.
    pub scope: Scope,
    /// Which one.
    pub when: u32,
    /// What happens.
    pub effect: Effect,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { call, scope, when, effect } = self;
        write!(f, "{effect:?} in {call} number {when} of {scope:?}")
    }
}

/// How a process ended.
#[derive(Debug)]
pub struct Ended {
    /// The fault has happened.
    pub hit: bool,
    /// The name of the file in whose call it was, where it was an error and in such a call.
    pub file: Option<String>,
    /// `None` where it was killed, by the fault.
    pub code: Option<u8>,
    /// It did not end by itself in time.
    pub hung: bool,
    /// Its output.
    pub out: String,
    /// Its errors, with those of `strace`.
    pub err: String,
}

/// Whether `strace` is there and may be used, or why not.
///
/// # Errors
/// What is missing.
pub fn usable() -> Result<(), String> {
    let mut command = Command::new("strace");
    command.args(["-f", "-o", "/dev/null", "-e", "inject=fsync:signal=SIGKILL"]);
    let output = command.arg("true").output().map_err(|error| format!("strace: {error}"))?;
    let err = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("strace: {err}")) }
}

/// The options that put the fault into a call; `log` takes a line for each call.
fn tracer(fault: &Fault, log: &Path) -> Command {
    let Fault { call, when, effect, .. } = fault;
    let effect = match effect {
        Effect::Kill => "signal=SIGKILL",
        Effect::Eio => "error=EIO",
        Effect::Enospc => "error=ENOSPC",
    };
    let mut command = Command::new("strace");
    // With the files' names.
    command.arg("-y").arg("-o").arg(log).arg("-e").arg(format!("trace={call}"));
    command.arg("-e").arg(format!("inject={call}:{effect}:when={when}"));
    command
}

/// Runs `program` with `args` until it ends, with the fault in it. Where the fault is in one thread
/// of it, the program says `opened` when that thread is there, and then waits for a line.
///
/// # Errors
/// What the system says when it does not start the process or `strace`.
pub fn run(program: &Path, args: &[&str], fault: &Fault, scratch: &Path) -> io::Result<Ended> {
    let log = scratch.join("strace.log");
    let mut command = match fault.scope {
        Scope::All => {
            let mut command = tracer(fault, &log);
            // Not with --seccomp-bpf: strace 6.1 delivers no signal then.
            command.args(["-f", "--"]).arg(program).args(args);
            command
        }
        Scope::Thread(_) => {
            let mut command = Command::new(program);
            command.args(args).arg("wait");
            command
        }
    };
    let errors = File::create(scratch.join("errors"))?;
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors).process_group(0);
    // An earlier log says nothing of this run.
    File::create(&log)?;
    let mut child = command.spawn()?;
    let mut stdin = child.stdin.take();
    let mut out = BufReader::new(child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?);
    let mut attached = None;
    let mut said = String::new();
    if let Scope::Thread(name) = fault.scope
        && out.read_line(&mut said)? > 0
        && let Some(stdin) = &mut stdin
    {
        attached = Some(attach(child.id(), &[name], fault, &log)?);
        stdin.write_all(b"go\n")?;
    }
    let (code, hung) = wait(&mut child)?;
    if let Some(mut tracer) = attached {
        // It ends with the thread that it follows.
        let _ = tracer.wait();
    }
    out.read_to_string(&mut said)?;
    let log = std::fs::read_to_string(&log)?;
    let injected = log.lines().find(|line| line.contains("(INJECTED)"));
    let hit = injected.is_some() || (code.is_none() && !hung);
    let file = injected.and_then(file_of);
    let err = std::fs::read_to_string(scratch.join("errors"))?;
    Ok(Ended { hit, file, code, hung, out: said, err })
}

/// The name of the file in a call such as `fdatasync(9</data/journal-1>) = 0`.
fn file_of(line: &str) -> Option<String> {
    let (_, path) = line.split_once('(').and_then(|(_, args)| args.split_once('<'))?;
    let (path, _) = path.split_once('>')?;
    path.rsplit('/').next().map(str::to_owned)
}

/// Puts the fault into each of some threads of a process that runs; counted from now on. What is
/// returned ends with those threads.
///
/// # Errors
/// Where there is no such thread, or `strace` may not follow it.
pub fn attach(process: u32, threads: &[&str], fault: &Fault, log: &Path) -> io::Result<Child> {
    let mut tracer = tracer(fault, log);
    for thread in threads {
        tracer.arg("-p").arg(find_thread(process, thread)?);
    }
    let mut tracing = tracer.stderr(Stdio::piped()).spawn()?;
    let errors = tracing.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let mut errors = BufReader::new(errors);
    for _ in threads {
        let mut line = String::new();
        errors.read_line(&mut line)?;
        if !line.contains("attached") {
            return Err(io::Error::other(line));
        }
    }
    Ok(tracing)
}

/// The number of a thread. It gives itself its name when it first runs.
fn find_thread(process: u32, name: &str) -> io::Result<OsString> {
    let until = Instant::now() + END_MAX;
    while Instant::now() < until {
        for task in std::fs::read_dir(format!("/proc/{process}/task"))? {
            let task = task?;
            // Other threads come and go.
            let comm = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            if comm.trim_end() == name {
                return Ok(task.file_name());
            }
        }
        std::thread::sleep(ASK_EVERY);
    }
    Err(io::Error::other(format!("there is no thread {name}")))
}

fn wait(child: &mut Child) -> io::Result<(Option<u8>, bool)> {
    let until = Instant::now() + END_MAX;
    loop {
        if let Some(status) = child.try_wait()? {
            let code = status.code().and_then(|code| u8::try_from(code).ok());
            debug_assert!(code.is_some() || status.signal().is_some(), "one of both");
            return Ok((code, false));
        }
        if Instant::now() > until {
            if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                // It fails only where all have ended.
                let _ = kill_process_group(group, Signal::KILL);
            }
            child.wait()?;
            return Ok((None, true));
        }
        std::thread::sleep(ASK_EVERY);
    }
}
