//! A disk that lies: its syncs are answered and keep nothing, as with a cache that forgets.

use super::SimDisk;

impl SimDisk {
    /// From now on syncs are answered, and what they were to keep stays pending: a power cut may
    /// lose any of it. That ends the lie.
    pub fn lie(&self) {
        self.state().lies = true;
    }

    /// Whether its syncs keep nothing.
    pub fn lies(&self) -> bool {
        self.state().lies
    }

    /// It keeps after all what it has said that it had, and from now on does as it says. What is
    /// dirty and was not synced is kept too.
    pub fn make_good(&self) {
        let state = &mut *self.state();
        if std::mem::take(&mut state.lies) {
            state.inodes.values_mut().for_each(super::inode::Inode::sync);
            state.sync_names();
        }
    }
}
