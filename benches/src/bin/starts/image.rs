//! What the killed process left, kept apart from the openings of it.

use std::fs;
use std::io;
use std::path::Path;

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
