//! Files that only their owner may read, written whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::InitError;

const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;

/// What was written and what was left alone.
#[derive(Debug, Default)]
pub(super) struct Files {
    pub made: Vec<PathBuf>,
    pub kept: Vec<PathBuf>,
}

impl Files {
    /// Writes a file, in place of one that may be there.
    pub(super) fn write(&mut self, path: &Path, text: &str) -> Result<(), InitError> {
        replace(path, text).map_err(|source| failed("write", path, source))?;
        self.made.push(path.to_owned());
        Ok(())
    }

    /// Writes a file, unless one is there and is not to be replaced.
    pub(super) fn write_once(
        &mut self,
        path: &Path,
        text: &str,
        force: bool,
    ) -> Result<(), InitError> {
        if path.exists() && !force {
            self.kept.push(path.to_owned());
            return Ok(());
        }
        self.write(path, text)
    }
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> InitError {
    InitError::Io { action, path: path.to_owned(), source }
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let draft = PathBuf::from(draft);
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    // A new file, so that its mode is ours from the first byte on.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, path)
}

/// Makes a directory and those above it, unless they are there.
pub(super) fn make_dir(path: &Path) -> Result<(), InitError> {
    DirBuilder::new()
        .recursive(true)
        .mode(DIR_MODE)
        .create(path)
        .map_err(|source| failed("make directory", path, source))
}

/// Makes the names in a directory durable.
pub(super) fn sync_dir(path: &Path) -> Result<(), InitError> {
    File::open(path)
        .and_then(|dir| dir.sync_all())
        .map_err(|source| failed("sync directory", path, source))
}

pub(super) fn read(path: &Path) -> Result<String, InitError> {
    fs::read_to_string(path).map_err(|source| failed("read", path, source))
}
