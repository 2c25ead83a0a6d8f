//! A directory of the operating system.

use std::{
    fs::{DirBuilder, File, OpenOptions, Permissions},
    io,
    ops::Range,
    os::fd::AsRawFd,
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use rustix::fs::FlockOperation;

use super::{
    ALIGNMENT, AlignedBuf, Disk, DiskFile,
    aligned::is_aligned,
    check_name,
    helper::{ReadAhead, WriteBehind},
};

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
        let path = self.file(name)?;
        let file = options.open(&path)?;
        Ok(Box::new(RealFile::new(file, open_direct(&path))))
    }

    fn open(&self, name: &str, write: bool) -> io::Result<Box<dyn DiskFile>> {
        let path = self.file(name)?;
        let file = OpenOptions::new().read(true).write(write).open(&path)?;
        if write && file.metadata()?.permissions().mode() & 0o077 != 0 {
            file.set_permissions(Permissions::from_mode(FILE_MODE))?;
        }
        Ok(Box::new(RealFile::new(file, if write { open_direct(&path) } else { None })))
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

/// Opens the file once more, for writes that go past the page cache: commits, and the zeros before
/// them, need not be copied there, and what they hold is not read again soon. Not every file system
/// can.
fn open_direct(path: &Path) -> Option<Arc<File>> {
    let flags = rustix::fs::OFlags::DIRECT.bits().cast_signed();
    OpenOptions::new().write(true).custom_flags(flags).open(path).ok().map(Arc::new)
}

/// An open file, and the threads that read ahead and write behind while it is made use of that.
#[derive(Debug)]
struct RealFile {
    handles: Arc<Handles>,
    ahead: Mutex<Option<ReadAhead>>,
    behind: Mutex<Option<WriteBehind>>,
}

impl RealFile {
    fn new(file: File, direct: Option<Arc<File>>) -> Self {
        let handles = Handles { file, direct: Mutex::new(direct), once: OnceLock::new() };
        Self { handles: Arc::new(handles), ahead: Mutex::default(), behind: Mutex::default() }
    }

    /// Waits for what is written behind the caller.
    fn settle(&self) -> io::Result<()> {
        lock(&self.behind).as_mut().map_or(Ok(()), WriteBehind::settle)
    }
}

/// A holder that panicked has left whole values behind: every change is one call.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The ways to one file.
///
/// `FileExt` goes on after short reads and writes and after EINTR. The syncs go straight to the
/// system call, because the standard library repeats them after EINTR.
#[derive(Debug)]
struct Handles {
    file: File,
    direct: Mutex<Option<Arc<File>>>,
    /// For reads past the page cache, from the first of them on.
    once: OnceLock<Option<File>>,
}

impl Handles {
    /// The same file, whatever its name is by now.
    fn once(&self) -> Option<&File> {
        let open = || {
            let flags = rustix::fs::OFlags::DIRECT.bits().cast_signed();
            let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            OpenOptions::new().read(true).custom_flags(flags).open(path).ok()
        };
        self.once.get_or_init(open).as_ref()
    }

    /// Reads whole blocks; `None` where that is not possible.
    fn read_blocks(&self, at: u64, least: usize, blocks: &mut [u8]) -> Option<io::Result<()>> {
        let direct = self.once()?;
        let mut done = 0;
        while done < least {
            match direct.read_at(&mut blocks[done..], at + done as u64) {
                Ok(0) => return Some(Err(io::ErrorKind::UnexpectedEof.into())),
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The device wants other alignments, or a part was short.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => return None,
                Err(error) => return Some(Err(error)),
            }
        }
        Some(Ok(()))
    }

    fn read_once(&self, at: u64, len: usize, buffer: &mut AlignedBuf) -> io::Result<Range<usize>> {
        let before = at % ALIGNMENT as u64;
        let lead = usize::try_from(before).expect("less than a block");
        buffer.resize((lead + len).next_multiple_of(ALIGNMENT));
        let blocks = self.read_blocks(at - before, lead + len, buffer.as_mut_slice());
        let wanted = lead..lead + len;
        let read = || self.file.read_exact_at(&mut buffer.as_mut_slice()[wanted.clone()], at);
        blocks.unwrap_or_else(read)?;
        Ok(wanted)
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let direct = if is_aligned(at, bytes) { lock(&self.direct).clone() } else { None };
        match direct.map(|direct| direct.write_all_at(bytes, at)) {
            // The device wants other alignments, or it came to a part that has none.
            Some(Err(error)) if error.kind() == io::ErrorKind::InvalidInput => {
                *lock(&self.direct) = None;
                self.file.write_all_at(bytes, at)
            }
            Some(done) => done,
            None => self.file.write_all_at(bytes, at),
        }
    }
}

impl DiskFile for RealFile {
    fn read_at(&self, at: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.handles.file.read_exact_at(bytes, at)
    }

    fn read_once(&self, at: u64, len: usize, buffer: &mut AlignedBuf) -> io::Result<Range<usize>> {
        let begun = lock(&self.ahead).as_mut().and_then(|ahead| ahead.fetch(at, len, buffer));
        begun.unwrap_or_else(|| self.handles.read_once(at, len, buffer))
    }

    fn prefetch(&self, at: u64, len: u64) {
        // A hint: where it fails, the read itself will say why.
        let len = std::num::NonZeroU64::new(len);
        let _ = rustix::fs::fadvise(&self.handles.file, at, len, rustix::fs::Advice::WillNeed);
    }

    fn read_ahead(&self, at: u64, len: usize) {
        let mut ahead = lock(&self.ahead);
        if len == 0 {
            *ahead = None;
            return;
        }
        if ahead.is_none() {
            let handles = Arc::clone(&self.handles);
            let read = move |at, len, buffer: &mut AlignedBuf| handles.read_once(at, len, buffer);
            // Without a thread it is read when it is asked for.
            *ahead = ReadAhead::start(read).ok();
        }
        if let Some(ahead) = &mut *ahead {
            ahead.begin(at, len);
        }
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.settle()?;
        self.handles.write_at(at, bytes)
    }

    fn write_behind(&self, at: u64, buffer: &mut AlignedBuf, len: usize) -> io::Result<()> {
        let mut behind = lock(&self.behind);
        if behind.is_none() {
            let handles = Arc::clone(&self.handles);
            *behind = WriteBehind::start(move |at, bytes| handles.write_at(at, bytes)).ok();
        }
        if let Some(behind) = &mut *behind {
            return behind.write(at, buffer, len);
        }
        // There is no thread to be had.
        self.handles.write_at(at, &buffer[..len])?;
        buffer.consume(len);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.settle()?;
        Ok(rustix::fs::fdatasync(&self.handles.file)?)
    }

    fn sync_all(&self) -> io::Result<()> {
        self.settle()?;
        Ok(rustix::fs::fsync(&self.handles.file)?)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.handles.file.metadata()?.len())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.settle()?;
        self.handles.file.set_len(bytes)
    }

    fn end_writing(&self) {
        *lock(&self.handles.direct) = None;
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

    /// Whole blocks may go another way than the rest: what is read does not depend on it.
    #[test]
    fn what_was_written_is_read_whichever_way_it_went() {
        const BLOCK: usize = super::super::ALIGNMENT;
        let home = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(home.path()).unwrap();
        let file = disk.create("a").unwrap();
        let mut model = vec![0; 64 * BLOCK];
        let mut whole = AlignedBuf::default();
        whole.resize(model.len());
        file.write_at(0, &whole).unwrap();
        let writes = [(0, 3), (3, 1), (2, 4), (40, 24), (1, 1), (0, 64), (7, 2), (7, 2)];
        for (round, (from, blocks)) in (1..).zip(writes) {
            let mut buffer = AlignedBuf::default();
            buffer.extend_from_slice(&vec![round; blocks * BLOCK]);
            // Every other one a byte off, which no direct write can be.
            let (at, bytes) = match round % 2 {
                0 => (from * BLOCK, &buffer[..]),
                _ => (from * BLOCK + 1, &buffer[1..]),
            };
            file.write_at(at as u64, bytes).unwrap();
            model[at..at + bytes.len()].copy_from_slice(bytes);
            let mut read = vec![0; model.len()];
            file.read_at(0, &mut read).unwrap();
            assert!(read == model, "after write {round}");
            // Past the page cache it is the same, also of a file whose name is gone.
            let mut once = AlignedBuf::default();
            for (at, len) in [(0, model.len()), (1, 4096), (4095, 2), (8192, 4096), (9000, 1)] {
                let wanted = file.read_once(at as u64, len, &mut once).unwrap();
                assert!(once[wanted] == model[at..at + len]);
            }
            let behind = file.read_once(model.len() as u64 - 1, 2, &mut once).unwrap_err();
            assert_eq!(behind.kind(), io::ErrorKind::UnexpectedEof);
            if round == 6 {
                file.end_writing();
            }
        }
        file.sync_data().unwrap();
        let mut read = vec![0; model.len()];
        disk.open("a", false).unwrap().read_at(0, &mut read).unwrap();
        assert!(read == model);
    }

    /// As the file of a run is written and read: whole blocks behind the caller, the rest not.
    #[test]
    fn what_was_written_behind_is_there_after_a_sync_and_is_read_ahead() {
        const BLOCK: usize = super::super::ALIGNMENT;
        let home = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(home.path()).unwrap();
        let file = disk.create("a").unwrap();
        let (mut model, mut at) = (Vec::new(), 0);
        let mut buffer = AlignedBuf::default();
        for round in 0..100_u8 {
            let more = vec![round; usize::from(round) * 157 + 1];
            buffer.extend_from_slice(&more);
            model.extend_from_slice(&more);
            // The last ones, by chance, are no whole blocks either.
            let len = if round < 90 { buffer.len() / BLOCK * BLOCK } else { buffer.len() };
            file.write_behind(at, &mut buffer, len).unwrap();
            at += len as u64;
            if round % 30 == 29 {
                file.sync_data().unwrap();
                assert_eq!(file.len().unwrap(), at);
            }
        }
        // What comes behind them is not overtaken.
        file.write_at(7, b"later").unwrap();
        model[7..12].copy_from_slice(b"later");
        file.sync_all().unwrap();
        let mut read = vec![0; model.len()];
        file.read_at(0, &mut read).unwrap();
        assert!(read == model);

        let file = disk.open("a", false).unwrap();
        let mut once = AlignedBuf::default();
        for first in (0..model.len()).step_by(5000) {
            let len = 5000.min(model.len() - first);
            let wanted = file.read_once(first as u64, len, &mut once).unwrap();
            assert!(once[wanted] == model[first..first + len]);
            let next = 5000.min(model.len() - first - len);
            file.read_ahead((first + len) as u64, next);
        }
        file.read_ahead(model.len() as u64 - 1, 2);
        let behind = file.read_once(model.len() as u64 - 1, 2, &mut once).unwrap_err();
        assert_eq!(behind.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_write_that_fails_behind_its_caller_fails_the_sync() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a");
        std::fs::write(&path, b"old").unwrap();
        // What is open to be read alone takes no write.
        let file = || RealFile::new(File::open(&path).unwrap(), None);
        let write = |file: &RealFile| {
            let mut buffer = AlignedBuf::default();
            buffer.extend_from_slice(b"new");
            file.write_behind(0, &mut buffer, 3)
        };
        for told in [
            RealFile::sync_data,
            RealFile::sync_all,
            |file: &RealFile| file.write_at(0, b""),
            |file: &RealFile| file.set_len(3),
        ] {
            let file = file();
            write(&file).unwrap();
            let error = told(&file).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::BADF.raw_os_error()));
        }
        let file = file();
        assert!((0..4).any(|_| write(&file).is_err()), "at the latest when there is no room");
        drop(file);
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
    }

    #[test]
    fn no_thread_is_kept_for_what_nobody_will_ask_for() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a");
        std::fs::write(&path, b"read").unwrap();
        let file = RealFile::new(File::open(&path).unwrap(), None);
        file.read_ahead(0, 2);
        file.read_ahead(2, 2);
        assert_eq!(Arc::strong_count(&file.handles), 2, "one thread has them");
        file.read_ahead(4, 0);
        assert_eq!(Arc::strong_count(&file.handles), 1);
        let mut once = AlignedBuf::default();
        let wanted = file.read_once(2, 2, &mut once).unwrap();
        assert_eq!(once[wanted], *b"ad");
    }

    #[test]
    fn a_file_that_is_dropped_has_what_was_written_behind() {
        let home = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(home.path()).unwrap();
        let file = disk.create("a").unwrap();
        let mut buffer = AlignedBuf::default();
        let content = vec![7; 1 << 20];
        buffer.extend_from_slice(&content);
        for at in 0..4 {
            file.write_behind(at << 18, &mut buffer, 1 << 18).unwrap();
        }
        drop(file);
        assert!(std::fs::read(home.path().join("a")).unwrap() == content);
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
