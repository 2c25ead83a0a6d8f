//! One decoder after the other, by the first byte: bytes are refused or mean something, and what
//! they mean is the same after it was laid out and read again.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use takt_protocol::batch::StoredBatch;
use takt_protocol::chunks::Chunks;
use takt_protocol::varint::Cursor;
use takt_protocol::wire::{
    BatchReceipt, FrameDecoder, FrameKind, decode_control, deliver_frame, encode_control,
    mirror_frame, publish_frame, take_batches, take_deliver, take_mirror, take_receipts,
};
use takt_protocol::words::PartitionChain;
use takt_storage::disk::Disk;
use takt_storage::disk::sim::SimDisk;
use takt_storage::entry::Entry;
use takt_storage::runs::{KeyRun, RunInfo, RunReader, Slot};

fuzz_target!(|data: &[u8]| {
    let [which, data @ ..] = data else { return };
    let bytes = Bytes::copy_from_slice(data);
    match which % 8 {
        0 => receipt(bytes),
        1 => control(&bytes),
        2 => bodies(bytes),
        3 => stored(bytes),
        4 => entry(&bytes),
        5 => drop(run_info(data)),
        6 => run(data),
        _ => drop(take_receipts(&Chunks::from(bytes))),
    }
});

fn receipt(mut bytes: Bytes) {
    let Ok(receipt) = BatchReceipt::decode(&mut bytes) else { return };
    assert_eq!(receipt.receipts().count(), receipt.records);
    let mut out = Vec::new();
    receipt.encode(&mut out);
    let again = BatchReceipt::decode(&mut Bytes::from(out));
    assert_eq!(again.expect("what was laid out can be read"), receipt);
}

fn control(bytes: &Bytes) {
    let mut frames = FrameDecoder::new();
    let Ok(frame) = takt_protocol::wire::OutFrame::new(FrameKind::Control, bytes, []) else {
        return;
    };
    frames.push(frame.to_bytes());
    let frame = frames.next().expect("a frame that holds").expect("all of it");
    let Ok(body) = decode_control(frame) else { return };
    let text = format!("{body:?}");
    let Ok(frame) = encode_control(body) else { return };
    frames.push(frame.to_bytes());
    let frame = frames.next().expect("a frame that holds").expect("all of it");
    let again = decode_control(frame).expect("what was laid out can be read");
    assert_eq!(format!("{again:?}"), text);
}

fn bodies(bytes: Bytes) {
    let mut frames = FrameDecoder::new();
    if let Ok(batches) = take_batches(Chunks::from(bytes.clone())) {
        let pieces = batches.iter().flat_map(|batch| batch.pieces().map(|piece| piece.to_vec()));
        let frame = publish_frame(pieces.map(Bytes::from)).expect("it was in a frame");
        frames.push(frame.to_bytes());
        let frame = frames.next().expect("a frame that holds").expect("all of it");
        let again = take_batches(frame.body).expect("what was laid out can be read");
        assert_eq!(again.len(), batches.len());
    }
    if let Ok((slot, batches)) = take_deliver(Chunks::from(bytes.clone())) {
        let pieces = batches.iter().flat_map(|batch| batch.pieces().map(|piece| piece.to_vec()));
        let frame = deliver_frame(slot, pieces.map(Bytes::from)).expect("it was in a frame");
        frames.push(frame.to_bytes());
        let frame = frames.next().expect("a frame that holds").expect("all of it");
        let again = take_deliver(frame.body).expect("what was laid out can be read");
        assert_eq!((again.0, again.1.len()), (slot, batches.len()));
    }
    if let Ok((head, batch)) = take_mirror(Chunks::from(bytes)) {
        let pieces = batch.pieces().map(|piece| Bytes::from(piece.to_vec()));
        let frame = mirror_frame(head, pieces).expect("it was in a frame");
        frames.push(frame.to_bytes());
        let frame = frames.next().expect("a frame that holds").expect("all of it");
        assert_eq!(take_mirror(frame.body).expect("what was laid out can be read").0, head);
    }
}

/// With the checksums of the batch and of its header made good.
fn stored(bytes: Bytes) {
    let mut bytes = bytes.to_vec();
    let number = |at: usize| {
        let four = bytes.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(four)).ok()
    };
    let (Some(header), Some(len)) = (number(4), number(8)) else { return };
    let Some(end) = header.checked_add(len).filter(|end| *end <= bytes.len()) else { return };
    if header < 72 || len < 48 {
        return;
    }
    let mut crc = crc32fast::Hasher::new();
    crc.update(&bytes[header..header + 4]);
    crc.update(&bytes[header + 8..end]);
    let crc = crc.finalize().to_le_bytes();
    bytes[header + 4..header + 8].copy_from_slice(&crc);
    bytes[64..68].copy_from_slice(&crc);
    bytes[40..56].fill(0);
    let chained = [&[0; 16], &bytes[..header]].concat();
    let chain = xxhash_rust::xxh3::xxh3_128(&chained).to_le_bytes();
    bytes[40..56].copy_from_slice(&chain);
    let Ok(stored) = StoredBatch::take(&mut Chunks::from(Bytes::from(bytes))) else { return };
    if stored.check(PartitionChain::default(), 4).is_ok() {
        let visible = stored.verdicts().filter(|v| v.as_ref().is_ok_and(|v| v.is_visible()));
        assert_eq!(visible.count(), stored.header().visible);
        assert_eq!(stored.verdicts().count(), stored.header().records);
        for record in stored.batch().records().expect("a checked batch") {
            let _ = record.expect("a checked record");
        }
    }
}

fn entry(bytes: &Bytes) {
    let Some((kind, _)) = bytes.split_first() else { return };
    if let Ok(entry) = Entry::decode(*kind, &bytes.slice(1..)) {
        assert_eq!(entry.kind(), *kind);
    }
}

fn run_info(data: &[u8]) -> Option<RunInfo> {
    let info = RunInfo::decode(&mut Cursor::new(data)).ok()?;
    let mut out = Vec::new();
    info.encode(&mut out);
    assert_eq!(RunInfo::decode(&mut Cursor::new(&out)).ok(), Some(info.clone()));
    Some(info)
}

/// A run whose checksums hold, as the manifest names it.
fn run(data: &[u8]) {
    let mut bytes = data.to_vec();
    if takt_fuzz::repair::repair_run(&mut bytes).is_none() {
        return;
    }
    let Some(info) = takt_fuzz::repair::run_info(&bytes) else { return };
    let Ok(journal) = <[u8; 16]>::try_from(&bytes[16..32]) else { return };
    let disk = SimDisk::new();
    let file = disk.create(&info.name()).expect("a name");
    file.write_at(0, &bytes).expect("there is room");
    let journal = takt_storage::journal::JournalId::new(journal);
    if let Ok(keys) = KeyRun::open(&disk, journal, &info) {
        let keys = std::sync::Arc::new(keys);
        let mut hits = Vec::new();
        keys.pass(&[0, 7, u128::MAX], &mut hits);
        let mut found = 0;
        let _ = keys.contents(7, |_| found += 1);
        let _ = keys.head(7);
        let _ = keys.verify();
    }
    let Ok(run) = RunReader::open(&disk, journal, &info) else { return };
    let _ = run.verify();
    for slot in run.slots().map(|summary| summary.slot).take(8).collect::<Vec<_>>() {
        let _ = run.first_extent(slot);
        let _ = run.last_extent(slot);
        let _ = run.extent_at_or_before(slot, takt_protocol::words::Offset::new(3));
        let _ = run.extent_by_batch(slot, takt_protocol::words::BatchNumber::new(3));
        let _ = run.extent_by_time(slot, takt_protocol::words::Timestamp::from_micros(3));
    }
    let _ = run.slot(Slot::new(0));
    let _ = run.extents().take(1_000).filter(Result::is_ok).count();
    let _ = run.conflicts().take(1_000).filter(Result::is_ok).count();
}
