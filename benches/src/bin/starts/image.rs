//! What the killed process left, kept apart from the openings of it.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use rustix::fs::{Advice, fadvise};

/// Makes all files of a directory durable, so that no later measurement waits for their writing.
///
/// # Errors
/// What the file system says.
pub(super) fn settle(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        File::open(entry?.path())?.sync_all()?;
    }
    File::open(dir)?.sync_all()
}

/// Makes a directory `to` with the same files as `from`, as links: a start makes new files and
/// removes old names, and changes no file that it finds.
///
/// # Errors
/// What the file system says.
pub(super) fn link(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::hard_link(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

/// Takes the files of a directory out of the page cache, and nothing else: other programs on the
/// machine keep theirs, and no special right is needed.
///
/// # Errors
/// What the file system says.
pub(super) fn evict(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        fadvise(File::open(entry?.path())?, 0, None, Advice::DontNeed)?;
    }
    Ok(())
}
