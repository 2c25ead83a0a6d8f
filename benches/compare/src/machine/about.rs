//! Where, when and with what was measured.

use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

use super::{MachineError, read};
use crate::contender::{Programs, System};

/// Where, when and with what was measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Year, month and day, in UTC.
    pub date: String,
    /// The commit that this program was built in, and whether files differ from it.
    pub commit: String,
    /// Processor, cores, memory and kernel.
    pub machine: String,
    /// What the servers say of their versions.
    pub versions: Vec<String>,
    /// How this program was called.
    pub command: String,
    /// Bytes of data in an event.
    pub size: usize,
    /// Different order keys.
    pub orders: u32,
}

impl About {
    /// Looks around.
    ///
    /// # Errors
    /// [`MachineError::Proc`].
    pub fn look(programs: &Programs, size: usize, orders: u32) -> Result<Self, MachineError> {
        let date = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
        let (cpu, memory) = (read("/proc/cpuinfo")?, read("/proc/meminfo")?);
        let kernel = read("/proc/sys/kernel/osrelease")?;
        let versions = [System::Takt, System::Nats, System::Redis];
        let versions = versions.into_iter().filter_map(|system| programs.version(system)).collect();
        let command: Vec<_> = std::env::args().skip(1).collect();
        Ok(Self {
            date,
            commit: commit().unwrap_or_else(|| "unknown".to_owned()),
            machine: machine(&cpu, &memory, kernel.trim()),
            versions,
            command: ["takt-compare".to_owned()]
                .into_iter()
                .chain(command)
                .collect::<Vec<_>>()
                .join(" "),
            size,
            orders,
        })
    }
}

fn machine(cpu: &str, memory: &str, kernel: &str) -> String {
    let value = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let model = value(cpu, "model name").unwrap_or_else(|| "an unknown processor".to_owned());
    let cores = cpu.lines().filter(|line| line.starts_with("processor")).count();
    let kib = value(memory, "MemTotal").and_then(|kib| kib.split(' ').next()?.parse::<u64>().ok());
    let gib = kib.unwrap_or(0) >> 20;
    format!("{cores} cores of {model}, {gib} GiB of memory, Linux {kernel}")
}

fn commit() -> Option<String> {
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.arg("-C").arg(Path::new(env!("CARGO_MANIFEST_DIR"))).args(arguments);
        let output = git.output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
    };
    let changed = !git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
    let hash = git(&["rev-parse", "--short", "HEAD"])?;
    Some(if changed { format!("{hash} with changes") } else { hash })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_one_line() {
        let cpu = "processor\t: 0\nmodel name\t: A\nprocessor\t: 1\nmodel name\t: A\n";
        let line = machine(cpu, "MemTotal:       24684100 kB\n", "6.18.1");
        assert_eq!(line, "2 cores of A, 23 GiB of memory, Linux 6.18.1");
        assert_eq!(
            machine("", "", "x"),
            "0 cores of an unknown processor, 0 GiB of memory, Linux x"
        );
    }
}
