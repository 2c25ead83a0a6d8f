//! The witness of a clean stop: at which end of which journal, and a checksum of the index then.

use std::io;

use xxhash_rust::xxh3::xxh3_128;

use crate::{
    disk::Disk,
    journal::{JournalId, Position},
};

const NAME: &str = "index.stamp";
const TEMPORARY: &str = "index.stamp.tmp";
const MAGIC: [u8; 8] = *b"TAKTIDX\n";
const VERSION: u64 = 1;
/// Magic, version, journal id, position, checksum of the pages, checksum of all that.
const LEN: usize = 8 + 8 + 16 + 8 + 16 + 16;

/// The moment for which an index stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The journal.
    pub journal: JournalId,
    /// Its end at a clean stop.
    pub end: Position,
}

fn encode(stamp: &Stamp, pages: u128) -> Vec<u8> {
    let mut out = Vec::with_capacity(LEN);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&stamp.journal.bytes());
    out.extend_from_slice(&stamp.end.get().to_le_bytes());
    out.extend_from_slice(&pages.to_le_bytes());
    let checksum = xxh3_128(&out);
    out.extend_from_slice(&checksum.to_le_bytes());
    out
}

/// The checksum of the pages, if there is a stamp and it is `stamp`.
pub(super) fn read(disk: &dyn Disk, stamp: &Stamp) -> io::Result<Option<u128>> {
    let file = match disk.open(NAME, false) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = [0; LEN];
    if file.len()? != LEN as u64 {
        return Ok(None);
    }
    file.read_at(0, &mut bytes)?;
    let mut pages = [0; 16];
    pages.copy_from_slice(&bytes[LEN - 32..LEN - 16]);
    let pages = u128::from_le_bytes(pages);
    Ok((encode(stamp, pages) == bytes).then_some(pages))
}

/// Durable when it returns.
pub(super) fn write(disk: &dyn Disk, stamp: &Stamp, pages: u128) -> io::Result<()> {
    remove_if_there(disk, TEMPORARY)?;
    let file = disk.create(TEMPORARY)?;
    file.write_at(0, &encode(stamp, pages))?;
    file.sync_all()?;
    disk.rename(TEMPORARY, NAME)?;
    disk.sync_dir()
}

/// Durable when it returns: nothing may be changed in the index before.
pub(super) fn remove(disk: &dyn Disk) -> io::Result<()> {
    remove_if_there(disk, TEMPORARY)?;
    if remove_if_there(disk, NAME)? { disk.sync_dir() } else { Ok(()) }
}

fn remove_if_there(disk: &dyn Disk, name: &str) -> io::Result<bool> {
    match disk.remove(name) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::sim::SimDisk;

    const GOLDEN: &[&str] = &[
        "54414b544944580a0100000000000000070707070707070707070707070707070050000000000000",
        "0a0b0000000000000000000000000000c27e3d94540b8c96ea49d963ce375518",
    ];

    #[test]
    fn a_stamp_has_these_bytes_for_ever() {
        let stamp = Stamp { journal: JournalId::new([7; 16]), end: Position::new(0x5000) };
        let bytes = encode(&stamp, 0x0b0a);
        let hex = bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
        assert_eq!(hex, GOLDEN.concat());
        let disk = SimDisk::new();
        write(&disk, &stamp, 0x0b0a).unwrap();
        assert_eq!(disk.content(NAME).unwrap(), bytes);
        assert_eq!(read(&disk, &stamp).unwrap(), Some(0x0b0a));
    }
}
