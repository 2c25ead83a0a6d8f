//! Which journal file is the newest, said beside it: by an empty file with a name of its own. A file
//! before it that is gone is missed by the one behind, and the newest by nothing in the journal.
//!
//! The name moves on when the journal file's own is durable, and before that one takes a commit: so it
//! is never ahead of the journal, and behind it only where the disk had no room for it.

use std::io;

use super::{
    names,
    position::{Incarnation, Position},
};
use crate::disk::{Disk, is_full};

/// The name that is there, if any.
#[derive(Debug, Default)]
pub(crate) struct Newest(pub(crate) Option<String>);

impl Newest {
    /// Names the journal file that is durable now. When this returns without an error the name is
    /// durable too, unless the disk is full: then the old one stays.
    pub(crate) fn move_to(
        &mut self,
        disk: &dyn Disk,
        start: Position,
        incarnation: Incarnation,
    ) -> io::Result<()> {
        let name = names::newest(start, incarnation);
        let create = || disk.create(&name).map(drop);
        let moved = match &self.0 {
            None => create(),
            Some(before) => match disk.rename(before, &name) {
                // Somebody has tidied the empty file away.
                Err(error) if error.kind() == io::ErrorKind::NotFound => create(),
                moved => moved,
            },
        };
        match moved {
            Ok(()) => {}
            Err(error) if is_full(&error) => return Ok(()),
            Err(error) => return Err(error),
        }
        self.0 = Some(name);
        disk.sync_dir()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{DiskFile, sim::SimDisk};

    /// A disk whose directory takes no further name.
    #[derive(Debug)]
    struct Full(SimDisk);

    impl Disk for Full {
        fn create(&self, _: &str) -> io::Result<Box<dyn DiskFile>> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn open(&self, name: &str, write: bool) -> io::Result<Box<dyn DiskFile>> {
            self.0.open(name, write)
        }
        fn rename(&self, _: &str, _: &str) -> io::Result<()> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn remove(&self, name: &str) -> io::Result<()> {
            self.0.remove(name)
        }
        fn list(&self) -> io::Result<Vec<(String, u64)>> {
            self.0.list()
        }
        fn sync_dir(&self) -> io::Result<()> {
            self.0.sync_dir()
        }
        fn free_bytes(&self) -> io::Result<u64> {
            self.0.free_bytes()
        }
    }

    #[test]
    fn a_name_that_was_removed_is_made_anew() {
        let disk = SimDisk::new();
        let mut newest = Newest::default();
        newest.move_to(&disk, Position::new(0), Incarnation::FIRST).unwrap();
        disk.remove(newest.0.as_deref().unwrap()).unwrap();
        newest.move_to(&disk, Position::new(4096), Incarnation::FIRST).unwrap();
        assert_eq!(disk.names(), [names::newest(Position::new(4096), Incarnation::FIRST)]);
    }

    #[test]
    fn a_full_disk_keeps_the_old_name() {
        let disk = SimDisk::new();
        let full = Full(disk.clone());
        let mut newest = Newest::default();
        let at = Position::new;
        newest.move_to(&full, at(0), Incarnation::FIRST).unwrap();
        assert_eq!(newest.0, None);
        newest.move_to(&disk, at(0), Incarnation::FIRST).unwrap();
        newest.move_to(&full, at(4096), Incarnation::FIRST).unwrap();
        assert_eq!(newest.0, Some(names::newest(at(0), Incarnation::FIRST)));
        newest.move_to(&disk, at(8192), Incarnation::FIRST).unwrap();
        assert_eq!(disk.names(), [names::newest(at(8192), Incarnation::FIRST)]);
    }
}
