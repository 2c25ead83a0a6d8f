//! The batches that packs hold.

use std::collections::BTreeMap;

use crate::{
    compacted::is_compacted,
    error::ReadError,
    input::{Why, ensure},
    pack_file::{self, Unpacked},
    packs::PackFile,
    state::State,
};

/// A batch in a pack.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packed<'a> {
    pub(crate) pack: PackFile,
    pub(crate) bytes: &'a [u8],
}

/// The batches of each slot that the packs are to hold, by number.
pub(crate) type BySlot<'a> = BTreeMap<u32, BTreeMap<u64, Packed<'a>>>;

/// Reads all packs that the manifest names. Each must hold what its files hold, and may hold what these
/// have lost.
pub(crate) fn read<'a>(
    files: &'a BTreeMap<String, Vec<u8>>,
    unpacked: &'a Unpacked,
    journal: &[u8; 16],
    state: &State<'_>,
) -> Result<BySlot<'a>, ReadError> {
    let mut by_slot = BySlot::new();
    for pack in state.manifest.packs.values() {
        let file = pack.name();
        let bytes = files.get(&file).ok_or(ReadError::PackMissing { file: file.clone() })?;
        let found = pack_file::read(bytes, journal, pack, unpacked)
            .and_then(|batches| take(pack, batches, state, &mut by_slot));
        found.map_err(|why| ReadError::Pack { file, why: why.0 })?;
    }
    Ok(by_slot)
}

/// Takes what is kept of a pack's batches.
fn take<'a>(
    pack: &PackFile,
    mut batches: pack_file::Batches<'a>,
    state: &State<'_>,
    by_slot: &mut BySlot<'a>,
) -> Result<(), Why> {
    for ((slot, _), batch) in &batches {
        // A mirror's batches may have come so.
        let own = state.slot(*slot)?.topic.mirror_of.is_none();
        let whole = !own || pack.is_compacted() || !is_compacted(batch);
        ensure(whole, "it says that it is not compacted, and has a compacted batch")?;
    }
    for (_, file) in state.manifest.files.range(pack.start..pack.end) {
        for end in &file.slots {
            let begins = state.slot(end.slot)?.start.batch;
            let of_slot = by_slot.entry(end.slot).or_default();
            for number in state.manifest.first_in(file, end.slot, begins)..end.edge.batch {
                let bytes = batches.remove(&(end.slot, number));
                let bytes = bytes.ok_or(Why("it lacks a batch of its files"))?;
                of_slot.insert(number, Packed { pack: *pack, bytes });
            }
        }
    }
    for (slot, number) in batches.into_keys() {
        let gone = number < state.slot(slot)?.start.batch;
        ensure(gone, "it holds a batch that its files do not hold")?;
    }
    Ok(())
}
