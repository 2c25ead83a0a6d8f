//! The bytes of a pack, for ever, and what becomes of damaged ones.

use super::*;
use crate::disk::Disk;
use crate::disk::sim::SimDisk;
use crate::kept::side::tests::stored;

const JOURNAL: JournalId = JournalId::new([7; 16]);

fn bytes_of(number: u64) -> Vec<u8> {
    stored(number).pieces().flat_map(|piece| piece.to_vec()).collect()
}

/// Two partitions with these batches each, the second with more than a block holds.
fn written(disk: &SimDisk, compression: PackCompression) -> PackFile {
    let range = (Position::new(0x5000), Position::new(0x9000));
    let mut writer = PackWriter::begin(disk, range, 3, Position::ZERO, compression).unwrap();
    writer.push(Slot::new(2), BatchNumber::new(300), &bytes_of(300)).unwrap();
    for number in numbers() {
        writer.push(Slot::new(4), BatchNumber::new(number), &bytes_of(number)).unwrap();
    }
    writer.sync().unwrap();
    writer.finish(disk, JOURNAL).unwrap()
}

fn numbers() -> impl Iterator<Item = u64> {
    (0..3_000).map(|number| 2 * number)
}

const GOLDEN: &[&str] = &[
    "54414b5450414b0a0100000003000000070707070707070707070707070707070050000000000000",
    "00900000000000000100000000000000ee0100000000000032010000000000000000000000000000",
    "659363cdb54a20ef776b5c4a406632972a02966063bac62882dd45e76d94b60b020000002c010000",
    "00000000990000002d01000000000000990000007b0100004e0000004b000000010001002c010000",
    "0000000007000000000000000100000000000000121b42387399f25c0277687162406bd901000000",
    "000000002b2598b600000000046964237000b70100002b2598b64b0000001b000000000000000100",
    "00000200000000000000010000000000000000000000000000000173016b0000010000001a579dfe",
    "fef0001ef940f353cd848f7a007b0100004e0000004b000000010001002d01000000000000070000",
    "000000000001000000000000005b295f5b1260b15ad79d6d233c5c946401000000000000002b2598",
    "b600000000046964237000b70100002b2598b64b0000001b00000000000000010000000200000000",
    "000000010000000000000000000000000000000173016b0000010000001a579dfefef0001ef940f3",
    "53cd848f7a0002000000000000002c0100000000000070000000000000004e0100004e0100003ef6",
    "9c47bc5c4cf97a4537ccd6954f61",
];

#[test]
fn a_pack_has_these_bytes_for_ever() {
    let disk = SimDisk::new();
    let range = (Position::new(0x5000), Position::new(0x9000));
    let mut writer =
        PackWriter::begin(&disk, range, 3, Position::ZERO, PackCompression::None).unwrap();
    writer.push(Slot::new(2), BatchNumber::new(300), &bytes_of(300)).unwrap();
    writer.push(Slot::new(2), BatchNumber::new(301), &bytes_of(301)).unwrap();
    let pack = writer.finish(&disk, JOURNAL).unwrap();
    assert_eq!(pack.name(), "pack-0000000000005000-0000000000009000-00000003.pack");
    let bytes = disk.content(&pack.name()).unwrap();
    let hex = bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    assert_eq!(hex, GOLDEN.concat());
}

#[test]
fn what_was_put_in_is_found() {
    for compression in [PackCompression::None, PackCompression::Zstd] {
        let disk = SimDisk::new();
        let pack = written(&disk, compression);
        assert!(pack.blocks >= 3, "{pack:?}");
        let is_shorter = pack.len_bytes < pack.batch_bytes;
        assert_eq!(is_shorter, compression == PackCompression::Zstd);
        let reader = PackReader::open(&disk, JOURNAL, &pack).unwrap();
        reader.verify().unwrap();
        let blocks = PackBlocks::default();
        let read = |slot, number| {
            reader.batch(&blocks, Slot::new(slot), BatchNumber::new(number)).unwrap()
        };
        assert_eq!(read(2, 300).unwrap(), bytes_of(300));
        for number in numbers() {
            assert_eq!(read(4, number).unwrap(), bytes_of(number));
            assert_eq!(read(4, number + 1), None);
        }
        for (slot, number) in [(1, 300), (2, 299), (2, 301), (3, 0), (4, u64::MAX), (5, 0)] {
            assert_eq!(read(slot, number), None);
        }
    }
}

#[test]
fn no_damage_is_served() {
    let disk = SimDisk::new();
    let pack = written(&disk, PackCompression::Zstd);
    let whole = disk.content(&pack.name()).unwrap();
    let damaged = |bytes: &[u8]| {
        disk.remove(&pack.name()).unwrap();
        disk.create(&pack.name()).unwrap().write_at(0, bytes).unwrap();
        PackReader::open(&disk, JOURNAL, &pack).and_then(|reader| reader.verify()).unwrap_err()
    };
    for at in (0..whole.len()).step_by(7).chain(0..HEADER).chain(whole.len() - ROW..whole.len()) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        let error = damaged(&bytes);
        let is_version = (8..10).contains(&at);
        assert_eq!(matches!(error, crate::kept::KeptError::Version { .. }), is_version, "{error}");
    }
    damaged(&whole[..whole.len() - 1]);
    damaged(&[&whole[..], &[0]].concat());
    disk.remove(&pack.name()).unwrap();
    let missing = PackReader::open(&disk, JOURNAL, &pack).unwrap_err();
    assert!(matches!(missing, crate::kept::KeptError::Missing { .. }));
}

#[test]
fn another_pack_than_the_named_one_is_none() {
    let disk = SimDisk::new();
    let pack = written(&disk, PackCompression::None);
    let open = |journal, pack: &PackFile| PackReader::open(&disk, journal, pack).map(drop);
    assert!(open(JournalId::new([8; 16]), &pack).is_err());
    assert!(open(JOURNAL, &PackFile { checksum: pack.checksum ^ 1, ..pack }).is_err());
    assert!(open(JOURNAL, &PackFile { batch_bytes: 1, ..pack }).is_err());
    assert!(open(JOURNAL, &PackFile { blocks: u64::MAX, ..pack }).is_err());
}

#[test]
fn a_name_tells_the_positions() {
    let found = Some((Position::new(0x5000), Position::new(0x9000)));
    assert_eq!(parse_pack("pack-0000000000005000-0000000000009000-00000003.pack"), found);
    assert_eq!(parse_pack("pack-0000000000005000-0000000000009000-00000003.pack.tmp"), found);
    for name in
        ["pack-5000.pack", "pack-5000-9000.pack", "pack-5000-9000-1-2.pack", "pack-x-y-z.pack"]
    {
        assert_eq!(parse_pack(name), None);
    }
}

#[test]
fn a_pack_that_fails_at_its_end_leaves_nothing() {
    let disk = SimDisk::new();
    let range = (Position::new(0x5000), Position::new(0x9000));
    let mut writer =
        PackWriter::begin(&disk, range, 0, Position::ZERO, PackCompression::None).unwrap();
    writer.push(Slot::new(2), BatchNumber::new(300), &bytes_of(300)).unwrap();
    disk.fail_write_at(disk.writes() + 1);
    assert!(writer.finish(&disk, JOURNAL).is_err());
    assert_eq!(disk.names(), [""; 0]);
}
