//! A snapshot: the control state as bytes, in front of each journal file's commits.

use std::collections::{BTreeMap, VecDeque};

use crate::{
    contents::{Edge, OpenConflict, Producer, ProducerKey},
    entry::Settings,
    input::{Input, Why, ensure},
    manifest::{Manifest, Run, SealedFile, SideFile},
    packs::PackFile,
    receipt::Receipt,
    state::{KnownProducer, SlotCursor, State, Topic},
    verdict::Place,
};

/// Reads a snapshot.
pub(crate) fn read(bytes: &[u8]) -> Result<State<'_>, Why> {
    let input = &mut Input::new(bytes);
    let version = input.u8()?;
    ensure(matches!(version, 1..=5), "its version is not known")?;
    let (node, secret, append_time) = (input.text()?, input.array()?, input.signed()?);
    let mut state = State {
        node,
        secret,
        append_time,
        topics: BTreeMap::new(),
        partitions: Vec::new(),
        producers: BTreeMap::new(),
        cursors: BTreeMap::new(),
        conflicts: BTreeMap::new(),
        manifest: Manifest::default(),
    };
    read_topics(input, &mut state)?;
    for slot in &mut state.partitions {
        slot.start = read_edge(input)?;
        slot.end = read_edge(input)?;
        slot.append_time = input.signed()?;
    }
    for _ in 0..input.varint()? {
        let (topic, producer) = (input.text()?, input.text()?);
        state.producers.insert(ProducerKey { producer, topic }, read_producer(input)?);
    }
    for _ in 0..input.varint()? {
        let name = input.text()?;
        let (topic, hold) = (input.text()?, input.flag()?);
        let mut positions = BTreeMap::new();
        for _ in 0..input.varint()? {
            let slot = input.small()?;
            state.slot(slot)?;
            positions.insert(slot, input.varint()?);
        }
        state.cursors.insert(name, SlotCursor { topic, hold, positions });
    }
    for _ in 0..input.varint()? {
        let (slot, batch, index) = (input.small()?, input.varint()?, input.small()?);
        state.slot(slot)?;
        let with = Place { partition: input.small()?, offset: input.varint()? };
        let conflict = OpenConflict { with, append_time: input.signed()? };
        state.conflicts.insert((slot, batch, index), conflict);
    }
    state.manifest.runs_upto = input.varint()?;
    for _ in 0..input.varint()? {
        let file = SealedFile::read(input)?;
        state.manifest.files.insert(file.start, file);
    }
    for _ in 0..input.varint()? {
        let side = SideFile::read(input)?;
        state.manifest.sides.insert(side.start, side);
    }
    let merged = if version == 1 { 0 } else { input.varint()? };
    for _ in 0..merged {
        let run = Run::read_merged(input)?;
        let last = state.manifest.merged.last_key_value();
        let behind = last.is_none_or(|(before, _)| *before < run.start);
        ensure(behind, "its merged runs are not sorted")?;
        state.manifest.merged.insert(run.start, run);
        if version > 2 {
            state.manifest.merged_times.insert(run.start, input.signed()?);
        }
    }
    state.manifest.keys_from = if version > 2 { input.varint()? } else { 0 };
    state.manifest.check_merged()?;
    if version > 3 {
        read_packs(input, version, &mut state.manifest)?;
    }
    input.end()?;
    Ok(state)
}

/// Who has no packs writes version 3, and 4 where none is compacted.
fn read_packs(input: &mut Input<'_>, version: u8, manifest: &mut Manifest) -> Result<(), Why> {
    let count = input.varint()?;
    ensure(version != 4 || count > 0, "it is of version 4 and has no packs")?;
    let read = if version == 4 { PackFile::read } else { PackFile::read_compacted };
    for _ in 0..count {
        let pack = read(input)?;
        let last = manifest.packs.last_key_value();
        ensure(last.is_none_or(|(before, _)| *before < pack.start), "its packs are not sorted")?;
        manifest.packs.insert(pack.start, pack);
    }
    let compacted = version == 4 || manifest.packs.values().any(PackFile::is_compacted);
    ensure(compacted, "it is of version 5 and has no compacted pack")?;
    manifest.check_packs()
}

/// Topics stand by name; their partitions by slot.
fn read_topics<'a>(input: &mut Input<'a>, state: &mut State<'a>) -> Result<(), Why> {
    let mut by_slot = BTreeMap::new();
    for _ in 0..input.varint()? {
        let (name, origin) = (input.text()?, input.text()?);
        let first_slot = input.small()?;
        let mirror_of = if input.flag()? { Some(input.array()?) } else { None };
        let topic = Topic { first_slot, settings: Settings::read(input)?, mirror_of };
        by_slot.insert(first_slot, (name, origin, topic));
        state.topics.insert((name, origin), topic);
    }
    ensure(by_slot.len() == state.topics.len(), "two topics have one slot")?;
    for (first_slot, (name, origin, topic)) in by_slot {
        let follows = usize::try_from(first_slot) == Ok(state.partitions.len());
        ensure(follows, "a topic's slots do not follow")?;
        state.add_slots(name, origin, topic)?;
    }
    Ok(())
}

fn read_producer<'a>(input: &mut Input<'a>) -> Result<KnownProducer<'a>, Why> {
    let (epoch, last) = (input.varint()?, input.varint()?);
    let transient = input.flag()?;
    let mut kept = VecDeque::new();
    for _ in 0..input.varint()? {
        kept.push_back(Receipt::read(input)?);
    }
    Ok(KnownProducer { producer: Producer { epoch, last, transient }, kept })
}

fn read_edge(input: &mut Input<'_>) -> Result<Edge, Why> {
    let (offset, batch, chain) = (input.varint()?, input.varint()?, input.array()?);
    Ok(Edge { offset, batch, chain, bytes: input.varint()? })
}
