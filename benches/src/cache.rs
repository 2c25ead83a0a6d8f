//! The page cache of this machine, and what the system says of this process.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use rustix::fs::{Advice, fadvise};

/// Makes all files of a directory durable, so that no later measurement waits for their writing.
///
/// # Errors
/// What the file system says.
pub fn settle(dir: &Path) -> io::Result<()> {
    for_each_file(dir, File::sync_all)?;
    File::open(dir)?.sync_all()
}

/// Takes the files of a directory out of the page cache, and nothing else: other programs on the
/// machine keep theirs, and no special right is needed.
///
/// # Errors
/// What the file system says.
pub fn evict(dir: &Path) -> io::Result<()> {
    for_each_file(dir, |file| Ok(fadvise(file, 0, None, Advice::DontNeed)?))
}

/// Of those that are removed meanwhile nothing is asked.
fn for_each_file(dir: &Path, mut each: impl FnMut(&File) -> io::Result<()>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        match File::open(entry?.path()) {
            Ok(file) => each(&file)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// `read_bytes`: what this process caused to be fetched from the device.
///
/// # Panics
/// As [`proc_number`].
pub fn fetched_bytes() -> u64 {
    proc_number("/proc/self/io", "read_bytes:")
}

/// The number behind a name in one of the files in which Linux describes a process.
///
/// # Panics
/// If there is none.
pub fn proc_number(path: &str, name: &str) -> u64 {
    let text = fs::read_to_string(path).expect("Linux has it");
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    let number = value.and_then(|value| value.split_whitespace().next()?.parse().ok());
    number.expect("a number")
}

/// Processes that are running or waiting for the disk, over the last minute.
///
/// # Errors
/// What the file system says.
pub fn load() -> io::Result<f64> {
    let text = fs::read_to_string("/proc/loadavg")?;
    Ok(text.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(f64::NAN))
}
