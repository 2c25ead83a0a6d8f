//! A disk in memory that can lose what was not synced.
//!
//! Each file has a durable image and the page cache's image of it, which readers see. A write
//! marks its 512-byte sectors dirty; a sync copies the dirty ones; a failed sync marks them clean
//! and copies nothing, as Linux does: the cache then shows what the disk does not have. Names and
//! lengths are pending apart from the content. A crash keeps any subset of what is pending, as the
//! caller chooses: all is deterministic.

mod crash;
mod fault;
mod inode;
mod lie;
mod sectors;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Disk, DiskFile, check_name};
use crash::History;
pub use crash::Kept;
use fault::Calls;
pub use fault::{Call, Fault};
use inode::{Inode, NameChange};

/// What a power cut keeps or loses as a whole, in bytes.
pub const SECTOR_BYTES: usize = 512;

/// The simulated disk. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
    history: Arc<History>,
}

#[derive(Debug, Clone, Default)]
struct State {
    inodes: BTreeMap<u64, Inode>,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    pending_names: Vec<NameChange>,
    inode_next: u64,
    capacity_bytes: Option<u64>,
    boot: u64,
    operations: u64,
    calls: Calls,
    writes: u64,
    syncs: u64,
    power_cut_at: Option<u64>,
    write_fails_at: Option<u64>,
    sync_fails_at: Option<u64>,
    misdirected_at: Option<(u64, u64)>,
    astray: Option<Astray>,
    turned: Option<Turned>,
    reads_fail: bool,
    opens_fail: bool,
    lies: bool,
}

/// A write that landed elsewhere in its file, and what it would take to put that right.
#[derive(Debug, Clone)]
struct Astray {
    /// The file, and its name at that time: under another one, what it held says nothing.
    inode: u64,
    name: String,
    meant: usize,
    hit: usize,
    bytes: Vec<u8>,
    before: Vec<u8>,
}

/// A bit that turned, and its sector since then: where that is still there, the bit can turn back.
#[derive(Debug, Clone)]
struct Turned {
    inode: u64,
    bit: u64,
    sector: Vec<u8>,
}

impl SimDisk {
    /// An empty disk without a limit.
    pub fn new() -> Self {
        Self::default()
    }

    /// Limits the sum of all file lengths; writes beyond it fail with `StorageFull`.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity_bytes = bytes;
    }

    /// Operations that change something or sync, since the start: the steps at which power can be
    /// cut.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// File writes since the start.
    pub fn writes(&self) -> u64 {
        self.state().writes
    }

    /// Syncs of files and of the directory since the start.
    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// From operation `at` on (counted as [`SimDisk::operations`], from 0) everything fails. If it
    /// is a write it is pending, as a write that was under way.
    pub fn cut_power_at(&self, at: u64) {
        self.state().power_cut_at = Some(at);
    }

    /// Write `at` (counted as [`SimDisk::writes`], from 0) fails and changes its first half.
    pub fn fail_write_at(&self, at: u64) {
        self.state().write_fails_at = Some(at);
    }

    /// Sync `at` (counted as [`SimDisk::syncs`], from 0) fails; what was dirty is clean after it
    /// and not on the disk. A later sync succeeds.
    pub fn fail_sync_at(&self, at: u64) {
        self.state().sync_fails_at = Some(at);
    }

    /// Files that are held open, each as often as it was opened, on this disk's clones' account too.
    pub fn open_files(&self) -> usize {
        Arc::strong_count(&self.state)
    }

    /// Flips one bit of a file, on the disk and in the cache: rot.
    ///
    /// # Panics
    /// If there is no such file or bit.
    pub fn flip_bit(&self, name: &str, bit: u64) {
        let state = &mut *self.state();
        let inode = state.names.get(name).and_then(|inode| state.inodes.get_mut(inode));
        let inode = inode.expect("the file exists");
        let byte = usize::try_from(bit / 8).expect("a bit within the file");
        for image in [&mut inode.cached, &mut inode.durable] {
            Arc::make_mut(image)[byte] ^= 1 << (bit % 8);
        }
    }

    /// As [`SimDisk::flip_bit`]; [`SimDisk::put_right`] turns it back.
    ///
    /// # Panics
    /// If there is no such file or bit.
    pub fn rot(&self, name: &str, bit: u64) {
        self.flip_bit(name, bit);
        let state = &mut *self.state();
        let inode = state.names[name];
        let sector = state.inodes[&inode].sector_of(bit).expect("the bit is there").to_vec();
        state.turned = Some(Turned { inode, bit, sector });
    }

    /// Write `at` (counted as [`SimDisk::writes`], from 0) lands `by` bytes before its place, where
    /// the file is that long; nobody is told.
    pub fn misdirect_write_at(&self, at: u64, by: u64) {
        self.state().misdirected_at = Some((at, by));
    }

    /// Whether a write has gone astray and was not put right.
    pub fn is_astray(&self) -> bool {
        self.state().astray.is_some()
    }

    /// Of a write that has gone astray: its file, and where in it the write was meant to go. `None`
    /// where there is none, or its file has been removed or renamed since.
    pub fn astray(&self) -> Option<(String, usize)> {
        let state = self.state();
        let astray = state.astray.as_ref()?;
        let named = state.names.get(&astray.name) == Some(&astray.inode);
        named.then(|| (astray.name.clone(), astray.meant))
    }

    /// Puts the write that went astray where it was meant to go, durably; not in a file that has
    /// been removed or renamed since. Turns the bit back that [`SimDisk::rot`] turned, whatever name
    /// the file has now or may get again, unless its sector has been written since.
    pub fn put_right(&self) {
        let state = &mut *self.state();
        if let Some(Turned { inode, bit, sector }) = state.turned.take()
            && let Some(inode) = state.inodes.get_mut(&inode)
        {
            inode.turn_back(bit, &sector);
        }
        let Some(astray) = state.astray.take() else { return };
        if state.names.get(&astray.name) == Some(&astray.inode)
            && let Some(inode) = state.inodes.get_mut(&astray.inode)
        {
            inode.put(astray.hit, &astray.before);
            inode.put(astray.meant, &astray.bytes);
        }
    }

    /// Lets every read fail, or work again.
    pub fn fail_reads(&self, fail: bool) {
        self.state().reads_fail = fail;
    }

    /// Lets every opening and making of a file fail, as without file descriptors, or work again.
    pub fn fail_opens(&self, fail: bool) {
        self.state().opens_fail = fail;
    }

    /// Takes back what was planned to fail, and a power cut that was.
    pub fn keep_power(&self) {
        self.state().keep_power();
    }

    /// Whether the power is gone.
    pub fn is_off(&self) -> bool {
        self.state().power().is_err()
    }

    /// The process dies: its files are closed, and what it wrote is where it was, in the cache or
    /// on the disk.
    pub fn kill(&self) {
        let state = &mut *self.state();
        state.boot += 1;
        let pending = state.pending_names.iter().map(NameChange::inode);
        let named = state.names.values().chain(state.durable_names.values());
        let live: BTreeSet<u64> = named.copied().chain(pending).collect();
        state.inodes.retain(|inode, _| live.contains(inode));
    }

    /// The number of the file that has a name now; another file may get the name.
    pub fn inode(&self, name: &str) -> Option<u64> {
        self.state().names.get(name).copied()
    }

    /// The names of all files, sorted.
    pub fn names(&self) -> Vec<String> {
        self.state().names.keys().cloned().collect()
    }

    /// All files as readers see them.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.state();
        let content = |inode| state.inodes[inode].cached.to_vec();
        state.names.iter().map(|(name, inode)| (name.clone(), content(inode))).collect()
    }

    /// What a reader sees of a file; `None` if there is none.
    pub fn content(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.state();
        let inode = state.names.get(name)?;
        Some(state.inodes[inode].cached.to_vec())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, for an operation that changes something or syncs.
    fn changing(&self) -> MutexGuard<'_, State> {
        let state = self.state();
        self.history.note(&state);
        state
    }

    fn handle(&self, state: &State, inode: u64, write: bool) -> Box<dyn DiskFile> {
        Box::new(SimFile { disk: self.clone(), inode, boot: state.boot, write })
    }
}

impl State {
    fn keep_power(&mut self) {
        self.power_cut_at = None;
        self.write_fails_at = None;
        self.sync_fails_at = None;
        self.misdirected_at = None;
        self.calls.forgive();
    }

    /// Counts one operation; `Err` if the power is gone, with whether it goes at this one.
    fn step(&mut self) -> Result<(), PowerCut> {
        let at = self.operations;
        self.operations += 1;
        match self.power_cut_at {
            Some(cut) if at >= cut => Err(PowerCut { now: at == cut }),
            Some(_) | None => Ok(()),
        }
    }

    fn sync_step(&mut self, call: Call) -> Result<bool, PowerCut> {
        self.step()?;
        self.syncs += 1;
        let planned = self.calls.count(call).is_some();
        Ok(!planned && self.sync_fails_at != Some(self.syncs - 1))
    }

    fn power(&self) -> io::Result<()> {
        match self.power_cut_at {
            Some(cut) if self.operations > cut => Err(PowerCut { now: false }.into()),
            Some(_) | None => Ok(()),
        }
    }

    fn sync_names(&mut self) {
        for change in std::mem::take(&mut self.pending_names) {
            change.apply(&mut self.durable_names);
        }
    }

    fn can_open(&self) -> io::Result<()> {
        if self.opens_fail { Err(io::Error::other("too many open files")) } else { Ok(()) }
    }

    fn find(&self, name: &str) -> io::Result<u64> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn free_bytes(&self) -> u64 {
        let Some(capacity) = self.capacity_bytes else { return u64::MAX / 2 };
        // A file without a name counts no more, as if it had been closed.
        let len = |inode| self.inodes.get(inode).map_or(0, |inode| inode.cached.len() as u64);
        let used: u64 = self.names.values().map(len).sum();
        capacity.saturating_sub(used)
    }
}

struct PowerCut {
    now: bool,
}

impl From<PowerCut> for io::Error {
    fn from(_: PowerCut) -> Self {
        io::Error::other("the power is cut")
    }
}

impl Disk for SimDisk {
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        check_name(name)?;
        let state = &mut *self.changing();
        state.can_open()?;
        state.step()?;
        state.calls.pass(Call::Create)?;
        if state.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = state.inode_next;
        state.inode_next += 1;
        state.inodes.insert(inode, Inode::default());
        state.names.insert(name.to_owned(), inode);
        state.pending_names.push(NameChange::Create { name: name.to_owned(), inode });
        Ok(self.handle(state, inode, true))
    }

    fn open(&self, name: &str, write: bool) -> io::Result<Box<dyn DiskFile>> {
        check_name(name)?;
        let state = &mut *self.state();
        state.power()?;
        state.can_open()?;
        state.calls.pass(Call::Open)?;
        Ok(self.handle(state, state.find(name)?, write))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        check_name(from).and_then(|()| check_name(to))?;
        let state = &mut *self.changing();
        state.step()?;
        state.calls.pass(Call::Rename)?;
        let inode = state.find(from)?;
        let change = NameChange::Rename { from: from.to_owned(), to: to.to_owned(), inode };
        change.clone().apply(&mut state.names);
        state.pending_names.push(change);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        check_name(name)?;
        let state = &mut *self.changing();
        state.step()?;
        state.calls.pass(Call::Remove)?;
        let inode = state.find(name)?;
        let change = NameChange::Remove { name: name.to_owned(), inode };
        change.clone().apply(&mut state.names);
        state.pending_names.push(change);
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let state = &mut *self.state();
        state.power()?;
        state.calls.pass(Call::List)?;
        let len = |inode| state.inodes[inode].cached.len() as u64;
        Ok(state.names.iter().map(|(name, inode)| (name.clone(), len(inode))).collect())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let state = &mut *self.changing();
        if !state.sync_step(Call::SyncDir)? {
            if !state.lies {
                state.pending_names.clear();
            }
            return Err(io::Error::other("the sync of the directory failed"));
        }
        if !state.lies {
            state.sync_names();
        }
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.state().free_bytes())
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    inode: u64,
    boot: u64,
    write: bool,
}

impl SimFile {
    fn with<T>(&self, run: impl FnOnce(&mut State, &mut Inode) -> io::Result<T>) -> io::Result<T> {
        let state = &mut *self.disk.state();
        if state.boot != self.boot {
            return Err(io::Error::other("opened before the crash"));
        }
        let mut inode = state.inodes.remove(&self.inode).expect("an open file has an inode");
        let result = run(state, &mut inode);
        state.inodes.insert(self.inode, inode);
        result
    }

    fn sync(&self) -> io::Result<()> {
        drop(self.disk.changing());
        self.with(|state, inode| {
            let synced = state.sync_step(Call::Sync)?;
            match (synced, state.lies) {
                (true, false) => inode.sync(),
                (false, false) => inode.lose(),
                // Nothing of it is on the disk, whatever it says: all is pending still.
                (_, true) => {}
            }
            if synced { Ok(()) } else { Err(io::Error::other("the sync failed")) }
        })
    }

    fn check_writable(&self) -> io::Result<()> {
        if self.write { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }
}

fn offset(bytes: u64) -> io::Result<usize> {
    usize::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput.into())
}

impl DiskFile for SimFile {
    fn read_at(&self, at: u64, bytes: &mut [u8]) -> io::Result<()> {
        let at = offset(at)?;
        self.with(|state, inode| {
            state.power()?;
            if state.reads_fail {
                return Err(io::Error::other("the reads fail"));
            }
            state.calls.pass(Call::Read)?;
            let found = inode.cached.get(at..at.saturating_add(bytes.len()));
            bytes.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.check_writable()?;
        let at = offset(at)?;
        drop(self.disk.changing());
        self.with(|state, inode| {
            if let Err(cut) = state.step() {
                if cut.now {
                    inode.write(at, bytes);
                }
                return Err(cut.into());
            }
            state.writes += 1;
            if state.write_fails_at == Some(state.writes - 1) {
                inode.write(at, &bytes[..bytes.len() / 2]);
                return Err(io::Error::other("the write failed"));
            }
            if let Some(fault) = state.calls.count(Call::Write) {
                if fault != Fault::Error {
                    inode.write(at, &bytes[..bytes.len() / 2]);
                }
                return Err(fault.error());
            }
            let growth = (at + bytes.len()).saturating_sub(inode.cached.len()) as u64;
            let used = inode.cached.len() as u64;
            if growth > 0 && growth > state.free_bytes().saturating_sub(used) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            if let Some((write, by)) = state.misdirected_at
                && write == state.writes - 1
                && let Some(hit) = at.checked_sub(offset(by)?)
            {
                let before = inode.cached[hit..hit + bytes.len()].to_vec();
                let (meant, bytes) = (at, bytes.to_vec());
                inode.write(hit, &bytes);
                let inode = self.inode;
                let name = state.names.iter().find(|(_, named)| **named == inode);
                let name = name.map_or_else(String::new, |(name, _)| name.clone());
                state.astray = Some(Astray { inode, name, meant, hit, bytes, before });
                return Ok(());
            }
            inode.write(at, bytes);
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync()
    }

    fn len(&self) -> io::Result<u64> {
        self.with(|_, inode| Ok(inode.cached.len() as u64))
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.check_writable()?;
        let len = offset(bytes)?;
        drop(self.disk.changing());
        self.with(|state, inode| {
            state.step()?;
            state.calls.pass(Call::SetLen)?;
            inode.set_len(len);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests;
