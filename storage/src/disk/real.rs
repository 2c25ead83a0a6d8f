//! A directory of the operating system.

use std::{
    fs::{DirBuilder, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::FlockOperation;

use super::{Disk, DiskFile, check_name};

const DIR_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
const LOCK_NAME: &str = "lock";

/// A real directory, mode 0700, with files of mode 0600.
#[derive(Debug)]
pub struct RealDisk {
    path: PathBuf,
    dir: File,
}

impl RealDisk {
    /// Opens the directory; makes it, with its parents, where it is missing. Takes away what group
    /// and others may do with it.
    ///
    /// # Errors
    /// What the file system says.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref().to_path_buf();
        if !path.is_dir() {
            DirBuilder::new().recursive(true).mode(DIR_MODE).create(&path)?;
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            rustix::fs::fsync(File::open(parent.unwrap_or(Path::new(".")))?)?;
        }
        let dir = File::open(&path)?;
        if dir.metadata()?.permissions().mode() & 0o077 != 0 {
            dir.set_permissions(Permissions::from_mode(DIR_MODE))?;
        }
        Ok(Self { path, dir })
    }

    /// Takes the directory for this process, without waiting, until the lock is dropped or the
    /// process ends.
    ///
    /// # Errors
    /// [`LockError::DiskLocked`] if another process has it.
    pub fn lock(&self) -> Result<DiskLock, LockError> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .open(self.path.join(LOCK_NAME))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(DiskLock { _file: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                Err(LockError::DiskLocked { path: self.path.clone() })
            }
            Err(error) => Err(LockError::Io(error.into())),
        }
    }

    fn file(&self, name: &str) -> io::Result<PathBuf> {
        check_name(name)?;
        Ok(self.path.join(name))
    }
}

/// The directory is this process's while it lives.
#[derive(Debug)]
pub struct DiskLock {
    _file: File,
}

/// Why the directory could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("{path} is in use by another process")]
    DiskLocked {
        /// The directory.
        path: PathBuf,
    },
    /// The lock file could not be made or locked.
    #[error("the lock file failed")]
    Io(#[from] io::Error),
}

impl Disk for RealDisk {
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(FILE_MODE);
        Ok(Box::new(RealFile(options.open(self.file(name)?)?)))
    }

    fn open(&self, name: &str, write: bool) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(write).open(self.file(name)?)?;
        if write && file.metadata()?.permissions().mode() & 0o077 != 0 {
            file.set_permissions(Permissions::from_mode(FILE_MODE))?;
        }
        Ok(Box::new(RealFile(file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.file(from)?, self.file(to)?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.file(name)?)
    }

    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if let Ok(name) = entry.file_name().into_string()
                && metadata.is_file()
                && check_name(&name).is_ok()
            {
                files.push((name, metadata.len()));
            }
        }
        files.sort_unstable();
        Ok(files)
    }

    fn sync_dir(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.dir)?)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::fstatvfs(&self.dir)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// `FileExt` goes on after short reads and writes and after EINTR. The syncs go straight to the
/// system call, because the standard library repeats them after EINTR.
#[derive(Debug)]
struct RealFile(File);

impl DiskFile for RealFile {
    fn read_at(&self, at: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(bytes, at)
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, at)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(rustix::fs::fdatasync(&self.0)?)
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.0)?)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_private_and_names_are_flat() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("node");
        let disk = RealDisk::open(&path).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);

        let file = disk.create("a").unwrap();
        assert_eq!(mode(&path.join("a")), 0o600);
        assert_eq!(disk.create("a").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        file.write_at(3, b"xyz").unwrap();
        file.sync_data().unwrap();
        assert_eq!(disk.list().unwrap(), [("a".to_owned(), 6)]);
        disk.rename("a", "b").unwrap();
        disk.sync_dir().unwrap();
        let mut bytes = [1; 6];
        disk.open("b", false).unwrap().read_at(0, &mut bytes).unwrap();
        assert_eq!(&bytes, b"\0\0\0xyz");
        let eof = file.read_at(1, &mut bytes).unwrap_err();
        assert_eq!(eof.kind(), io::ErrorKind::UnexpectedEof);
        for name in ["", ".", "..", "../x", "a/b", ".x", "a\0"] {
            assert_eq!(disk.create(name).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
        assert!(disk.free_bytes().unwrap() > 0);
        disk.remove("b").unwrap();
        assert!(disk.list().unwrap().is_empty());
    }

    #[test]
    fn a_directory_is_locked_once() {
        let home = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(home.path()).unwrap();
        let other = RealDisk::open(home.path()).unwrap();
        let lock = disk.lock().unwrap();
        assert!(matches!(other.lock(), Err(LockError::DiskLocked { .. })));
        drop(lock);
        other.lock().unwrap();
    }
}
