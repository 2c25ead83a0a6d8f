//! One call of the disk that fails, whichever it is.

use std::io;

use super::SimDisk;

/// A kind of call, counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// [`crate::disk::Disk::create`]
    Create,
    /// [`crate::disk::Disk::open`]
    Open,
    /// [`crate::disk::Disk::rename`]
    Rename,
    /// [`crate::disk::Disk::remove`]
    Remove,
    /// [`crate::disk::Disk::list`]
    List,
    /// [`crate::disk::Disk::sync_dir`]
    SyncDir,
    /// [`crate::disk::DiskFile::read_at`]
    Read,
    /// [`crate::disk::DiskFile::write_at`]
    Write,
    /// [`crate::disk::DiskFile::sync_data`] and [`crate::disk::DiskFile::sync_all`]
    Sync,
    /// [`crate::disk::DiskFile::set_len`]
    SetLen,
}

impl Call {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Create,
        Self::Open,
        Self::Rename,
        Self::Remove,
        Self::List,
        Self::SyncDir,
        Self::Read,
        Self::Write,
        Self::Sync,
        Self::SetLen,
    ];
}

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// An input/output error. Of a write nothing is left; what a sync was to make durable is
    /// clean and lost.
    Error,
    /// No space; of a write the first half is left.
    Full,
    /// Of a write the first half is left; otherwise as [`Fault::Error`].
    Short,
}

/// Calls so far, and the one that is to fail.
#[derive(Debug, Clone, Default)]
pub(super) struct Calls {
    counts: [u64; Call::ALL.len()],
    planned: Option<(Call, u64, Fault)>,
}

impl Calls {
    /// Counts a call; its fault if it is the one that is to fail.
    pub(super) fn count(&mut self, call: Call) -> Option<Fault> {
        let count = &mut self.counts[call as usize];
        *count += 1;
        let at = *count - 1;
        let (_, _, fault) = self.planned.filter(|planned| (planned.0, planned.1) == (call, at))?;
        Some(fault)
    }

    /// As [`Calls::count`], for a call that leaves nothing where it fails.
    pub(super) fn pass(&mut self, call: Call) -> io::Result<()> {
        self.count(call).map_or(Ok(()), |fault| Err(fault.error()))
    }

    pub(super) fn forgive(&mut self) {
        self.planned = None;
    }
}

impl Fault {
    pub(super) fn error(self) -> io::Error {
        match self {
            Self::Error | Self::Short => io::Error::other("the call failed"),
            Self::Full => io::ErrorKind::StorageFull.into(),
        }
    }
}

impl SimDisk {
    /// Calls of a kind since the start.
    pub fn calls(&self, call: Call) -> u64 {
        self.state().calls.counts[call as usize]
    }

    /// Call `at` of its kind (counted as [`SimDisk::calls`], from 0) fails, once.
    pub fn fail_call_at(&self, call: Call, at: u64, fault: Fault) {
        self.state().calls.planned = Some((call, at, fault));
    }
}
