//! Every size limit of the wire and the disk, in one place, checked against each other at compile
//! time. Units are in the names; every bound is inclusive unless it says otherwise.

/// The largest frame: its length field never exceeds this.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// The largest commit of the journal, header and padding included.
pub const COMMIT_BYTES_MAX: usize = 1 << 20;
/// The largest stored batch: the node's header and the client's batch.
pub const STORED_BATCH_BYTES_MAX: usize = 960 << 10;
/// The largest batch that a client lays out: with the largest header that its node may put in
/// front, it is still a stored batch.
pub const fn batch_bytes_max(records: usize) -> usize {
    STORED_BATCH_BYTES_MAX - stored_header_bytes_max(records)
}
/// The largest header that a node puts in front of a batch of `records`: its fixed part, the
/// producer's name, and the longest verdict for each record.
pub const fn stored_header_bytes_max(records: usize) -> usize {
    STORED_HEADER_FIXED_BYTES + 1 + PRODUCER_ID_BYTES_MAX + records * VERDICT_BYTES_MAX
}
/// The fixed part of a stored batch's header.
pub const STORED_HEADER_FIXED_BYTES: usize = 72;
/// The longest encoded verdict: a code, a partition (u16) and two u64, all as varints.
pub const VERDICT_BYTES_MAX: usize = 1 + 3 + 10 + 10;
/// The largest record: its data and all of its attributes.
pub const RECORD_BYTES_MAX: usize = 896 << 10;
/// The most records in one batch.
pub const BATCH_RECORDS_MAX: usize = 4_096;
/// The most batches in one publish frame.
pub const FRAME_BATCHES_MAX: usize = 64;
/// For how long dedup keys and orders are known where a topic's settings say 0, in seconds: 400 days.
pub const HORIZON_S_DEFAULT: u64 = 400 * 24 * 60 * 60;
/// The shortest horizon of a topic that is made, in seconds.
pub const HORIZON_S_MIN: u64 = 60;
/// The longest name of a topic, a node, a cursor or an attribute.
pub const NAME_BYTES_MAX: usize = 255;
/// The longest order key.
pub const ORDER_KEY_BYTES_MAX: usize = 255;
/// The longest dedup key, source and id together.
pub const DEDUP_KEY_BYTES_MAX: usize = 1_024;
/// The longest value of an attribute.
pub const ATTRIBUTE_BYTES_MAX: usize = 1_024;
/// The most attributes of a record beside the ones with a field of their own.
pub const ATTRIBUTES_MAX: usize = 64;
/// The most different order keys, and the most different shared strings, in one batch.
pub const DICTIONARY_ENTRIES_MAX: usize = BATCH_RECORDS_MAX;
/// What a compressed payload may grow to.
pub const PAYLOAD_RAW_BYTES_MAX: usize = 8 << 20;
/// How many times its size a compressed payload may grow.
pub const PAYLOAD_RATIO_MAX: usize = 100;
/// The longest producer id: certificate identity, `#`, and name.
pub const PRODUCER_ID_BYTES_MAX: usize = 255;
/// Batches in flight for a producer, and receipts kept for it.
pub const IN_FLIGHT_BATCHES_MAX: usize = 64;
/// Partitions of one topic.
pub const PARTITIONS_MAX: u16 = 1_024;

const _: () = {
    assert!(STORED_BATCH_BYTES_MAX + 4_096 <= COMMIT_BYTES_MAX, "a stored batch fits a commit");
    assert!(STORED_BATCH_BYTES_MAX + 4_096 <= FRAME_BYTES_MAX, "a stored batch fits a frame");
    assert!(RECORD_BYTES_MAX + 4_096 <= batch_bytes_max(1), "the largest record fits a batch");
    assert!(DEDUP_KEY_BYTES_MAX < RECORD_BYTES_MAX, "a key fits a record");
    assert!(BATCH_RECORDS_MAX <= u16::MAX as usize, "an index in a batch fits u16");
    assert!(ATTRIBUTES_MAX * (ATTRIBUTE_BYTES_MAX + NAME_BYTES_MAX + 8) < RECORD_BYTES_MAX);
};
