//! Processor time of a process, as Linux counts it.

use std::io;
use std::time::Duration;

/// `/proc` counts in ticks of 10 ms on every architecture that Linux runs this program on.
const TICK: Duration = Duration::from_millis(10);

/// User and system time of the process so far, its threads included, to 10 ms.
///
/// # Errors
/// Where the process is gone, or there is no `/proc`.
pub(super) fn cpu_time(pid: u32) -> io::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    parse(&stat).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no process times"))
}

/// Fields 14 and 15. The command's name, in brackets before, may hold spaces and brackets.
fn parse(stat: &str) -> Option<Duration> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u32>().ok();
    Some(TICK * ticks()?.checked_add(ticks()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_hides_nothing() {
        let stat = "12 (a) b) S 1 12 12 0 -1 4194560 9 0 0 0 150 50 7 7 20 0 1 0 100 0 0";
        assert_eq!(parse(stat), Some(Duration::from_secs(2)));
        assert_eq!(parse("12 (a"), None);
    }

    #[test]
    fn this_process_has_a_time() {
        assert!(cpu_time(std::process::id()).is_ok());
    }
}
