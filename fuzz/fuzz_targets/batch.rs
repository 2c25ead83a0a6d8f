//! Bytes as batches and as stored batches: whatever passes the checks can be read to its end.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use takt_protocol::batch::{Batch, StoredBatch};
use takt_protocol::chunks::Chunks;
use takt_protocol::hashing::DigestHasher;
use takt_protocol::words::PartitionChain;

fuzz_target!(|data: &[u8]| {
    let mut chunks = Chunks::from(Bytes::copy_from_slice(data));
    while let Ok(batch) = Batch::take(&mut chunks) {
        read(&batch);
    }
    // A checksum keeps a fuzzer out: make it fit.
    if data.len() >= 8 {
        let mut bytes = data.to_vec();
        let len = u32::try_from(bytes.len()).unwrap_or(0);
        if bytes.len() >= 12 {
            bytes[8..12].copy_from_slice(&len.to_le_bytes());
        }
        let crc = crc32(&[&bytes[..4], &bytes[8..]]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        if let Ok(batch) = Batch::take(&mut Chunks::from(Bytes::from(bytes))) {
            read(&batch);
        }
    }
    let mut chunks = Chunks::from(Bytes::copy_from_slice(data));
    while let Ok(stored) = StoredBatch::take(&mut chunks) {
        let _ = stored.verdicts().count();
        if stored.check(PartitionChain::default(), 1).is_ok() {
            assert_eq!(
                stored.verdicts().filter(|v| v.is_ok_and(|v| v.is_visible())).count(),
                stored.header().visible
            );
            let _ = stored.end_offset();
        }
        read(stored.batch());
    }
});

fn read(batch: &Batch) {
    let checked = batch.check(1).is_ok();
    let payload = batch.raw_payload();
    let _ = batch.check_digests(1, &mut DigestHasher::default());
    let Ok(records) = batch.records() else { return assert!(!checked) };
    let mut count = 0;
    for record in records {
        let Ok(record) = record else { return assert!(!checked) };
        count += 1;
        let Ok(payload) = &payload else { continue };
        let Some(end) = record.data_at.checked_add(record.data_len) else {
            return assert!(!checked);
        };
        if end > payload.len() {
            return assert!(!checked, "a checked record's data is there");
        }
        let event = record.to_event(payload.slice(record.data_at..end));
        if checked {
            event.expect("a checked record is an event");
        }
    }
    if checked {
        assert_eq!(count, batch.header().records);
    }
}

fn crc32(parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}
