//! The bytes of a side file, for ever.

use bytes::Bytes;
use takt_protocol::batch::{Batch, BatchBuilder, Compression, StoredHeader, StoredKind};
use takt_protocol::chunks::Chunks;
use takt_protocol::event::Event;
use takt_protocol::words::{
    Epoch, Offset, PartitionChain, PartitionNumber, ProducerId, Sequence, Timestamp,
};

use super::*;
use crate::disk::sim::SimDisk;

pub(in crate::kept) fn stored(number: u64) -> StoredBatch {
    let mut builder = BatchBuilder::new(Compression::None);
    let event = Event { source: "s".into(), kind: "k".into(), ..Event::default() };
    builder.push(&event).unwrap();
    let bytes = builder.finish(PartitionNumber::new(0), Sequence::new(1)).unwrap();
    let batch = Batch::take(&mut Chunks::from(bytes)).unwrap();
    let header = StoredHeader {
        kind: StoredKind::Data,
        batch_number: BatchNumber::new(number),
        base_offset: Offset::new(7),
        visible: 1,
        records: 1,
        append_time: Timestamp::from_micros(1),
        producer: ProducerId::from_text("id#p").unwrap(),
        epoch: Epoch::new(1),
        crc: batch.header().crc,
        chain: PartitionChain::default(),
        batch_len: batch.header().len,
    };
    let mut bytes = Vec::new();
    header.encode(PartitionChain::default(), &[0], &mut bytes);
    batch.pieces().for_each(|piece| bytes.extend_from_slice(piece));
    StoredBatch::take(&mut Chunks::from(Bytes::from(bytes))).unwrap()
}

const GOLDEN: &[&str] = &[
    "54414b545349440a0100000003000000070707070707070707070707070707070050000000000000",
    "0200000000000000e20100000000000000000000000000008931988a2db2a6f72e6a762192b8c7cc",
    "e8538998f2e5c9b9b5c219a2fc9e469702000000990000002c01000000000000b000000000000000",
    "30ade373b01c413188b4034036ee325f02000000990000002d010000000000004901000000000000",
    "bff84ce23841c14ee8dda8de041b9a047b0100004e0000004b000000010001002c01000000000000",
    "07000000000000000100000000000000121b42387399f25c0277687162406bd90100000000000000",
    "2b2598b600000000046964237000b70100002b2598b64b0000001b00000000000000010000000200",
    "000000000000010000000000000000000000000000000173016b0000010000001a579dfefef0001e",
    "f940f353cd848f7a007b0100004e0000004b000000010001002d0100000000000007000000000000",
    "0001000000000000005b295f5b1260b15ad79d6d233c5c946401000000000000002b2598b6000000",
    "00046964237000b70100002b2598b64b0000001b0000000000000001000000020000000000000001",
    "0000000000000000000000000000000173016b0000010000001a579dfefef0001ef940f353cd848f",
    "7a00",
];

#[test]
fn a_side_file_has_these_bytes_for_ever() {
    let (disk, journal) = (SimDisk::new(), JournalId::new([7; 16]));
    let (start, incarnation) = (Position::new(0x5000), Incarnation::new(3));
    let mut writer = SideWriter::begin(&disk, start, incarnation, 2).unwrap();
    writer.push(Slot::new(2), &stored(300)).unwrap();
    writer.push(Slot::new(2), &stored(301)).unwrap();
    let side = writer.finish(journal).unwrap();
    let bytes = disk.content(&side.name()).unwrap();
    let hex = bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    assert_eq!(side.name(), "conflicts-0000000000005000-00000003.side");
    assert_eq!(hex, GOLDEN.concat());
    let reader = SideReader::open(&disk, journal, &side).unwrap();
    let found = reader.batch(Slot::new(2), BatchNumber::new(301)).unwrap().unwrap();
    assert_eq!(found.header().batch_number, BatchNumber::new(301));
}
