//! The bytes on disk, frozen: a change here is a new format version.

use std::fmt::Write;

use super::*;
use crate::disk::AlignedBuf;
use crate::journal::{
    commit::{Header, Mismatch, body_hash},
    layout::{BLOCK, COMMIT_HEADER},
    position::{Identity, Salt},
    preamble::{Draft, Preamble},
};

fn identity() -> Identity {
    let bytes = std::array::from_fn(|n| u8::try_from(n).unwrap());
    Identity {
        id: JournalId::new(bytes),
        incarnation: Incarnation::new(3),
        salt: Salt(bytes.map(|byte| byte + 0xa0)),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.chunks(16).fold(String::new(), |mut out, row| {
        for byte in row {
            write!(out, "{byte:02x}").unwrap();
        }
        out.push('\n');
        out
    })
}

#[test]
fn preamble() {
    let (preamble, bytes) = Preamble::encode(&Draft {
        identity: identity(),
        start: Position::new(0x5000),
        previous: Some((Position::new(0x1000), Incarnation::new(2))),
        chain: Chain::new([0xcc; 16]),
        recycled: true,
        file_len: 64 << 20,
        snapshot: b"state",
    });
    assert_eq!(bytes.len(), 2 * BLOCK);
    let expected = "\
        54616b744a726e6c0100010003000000\n\
        000102030405060708090a0b0c0d0e0f\n\
        a0a1a2a3a4a5a6a7a8a9aaabacadaeaf\n\
        00500000000000000010000000000000\n\
        02000000020000000500000000000000\n\
        cccccccccccccccccccccccccccccccc\n\
        64a9f670f80a5fe4f748853354252450\n\
        00000004000000000000000000000000\n\
        2472965c028c4f5d4e396f7951ac9363\n\
    ";
    assert_eq!(hex(&bytes[..144]), expected);
    assert!(bytes[144..BLOCK].iter().all(|&byte| byte == 0));
    assert_eq!(&bytes[BLOCK..BLOCK + 6], b"state\0");

    let block = bytes[..BLOCK].try_into().unwrap();
    assert_eq!(Preamble::decode(&block), Ok(preamble.clone()));
    assert_eq!(preamble.snapshot(bytes[BLOCK..].to_vec()), Ok(b"state".to_vec()));
}

#[test]
fn commit() {
    let mut builder = CommitBuilder::new(2 * BLOCK, AlignedBuf::default());
    assert_eq!(builder.push(1, &[b"ab", b"c"]), 117);
    assert_eq!(builder.push(2, &[]), 125);
    let (mut bytes, body_len, entry_count) = builder.finish();
    let header = Header {
        position: Position::new(0x5000),
        synced_upto: Position::new(0x4000),
        chain: Chain::new([0xcc; 16]),
        entry_count,
        body_len,
        body_hash: body_hash(&bytes),
    };
    header.encode(&identity(), bytes.as_mut_slice());
    assert_eq!(bytes.len(), BLOCK);
    let expected = "\
        546b4301010000000d00000000100000\n\
        02000000030000000001020304050607\n\
        08090a0b0c0d0e0f0050000000000000\n\
        00400000000000000000000000000000\n\
        cccccccccccccccccccccccccccccccc\n\
        754400f15374c499ae2fca49e35d5704\n\
        c953fc19eb951f463de1049312c2f0c1\n\
        01030000006162630200000000000000\n\
    ";
    assert_eq!(hex(&bytes[..128]), expected);
    assert!(bytes[128..].iter().all(|&byte| byte == 0));
    assert_eq!(hex(&header.chain_after().bytes()), "46b7ba0f60972b34e31db78a7fa1a4b7\n");

    let position = header.position;
    assert_eq!(Header::decode(&bytes, &identity(), position), Ok(header));
    let view = CommitRef::verify(header, &bytes).unwrap();
    let entries: Vec<_> = view.entries().map(|e| (e.kind, e.position.get(), e.bytes)).collect();
    assert_eq!(entries, [(1, 0x5000 + 117, &b"abc"[..]), (2, 0x5000 + 125, b"")]);

    // Another incarnation, salt or place is not its own.
    let mut other = identity();
    other.incarnation = other.incarnation.next();
    assert_eq!(Header::decode(&bytes, &other, position), Err(Mismatch::Foreign));
    let elsewhere = position.plus(4096);
    assert_eq!(Header::decode(&bytes, &identity(), elsewhere), Err(Mismatch::Foreign));
    let mut other = identity();
    other.salt.0[0] ^= 1;
    assert_eq!(Header::decode(&bytes, &other, position), Err(Mismatch::Header));
}

#[test]
fn mark() {
    let mut bytes = vec![0; BLOCK];
    let header = Header {
        position: Position::new(0x5000),
        synced_upto: Position::new(0x5000),
        chain: Chain::new([0xcc; 16]),
        entry_count: 0,
        body_len: 0,
        body_hash: body_hash(&bytes),
    };
    header.encode(&identity(), bytes.as_mut_slice());
    let expected = "\
        546b4301010001000000000000100000\n\
        00000000030000000001020304050607\n\
        08090a0b0c0d0e0f0050000000000000\n\
        00500000000000000000000000000000\n\
        cccccccccccccccccccccccccccccccc\n\
        827b7758a59cc3cadccfef0eb92bb828\n\
        67e6985de88f82f9d17cf9b7219816cc\n\
    ";
    assert_eq!(hex(&bytes[..COMMIT_HEADER]), expected);
    assert!(bytes[COMMIT_HEADER..].iter().all(|&byte| byte == 0));
    let back = Header::decode(&bytes, &identity(), header.position);
    assert_eq!(back, Ok(header));
    assert!(CommitRef::verify(header, &bytes).unwrap().is_mark());
}

/// Every bit of a commit and of a preamble counts.
#[test]
fn every_bit_is_checked() {
    let disk = SimDisk::new();
    let mut journal = create(&disk, 1).unwrap();
    append(&mut journal, &payload(1, 4000)).unwrap();
    let name = journal.files()[0].name.clone();
    let good = disk.content(&name).unwrap();
    let block: [u8; BLOCK] = good[..BLOCK].try_into().unwrap();
    let preamble = Preamble::decode(&block).unwrap();
    for bit in 0..BLOCK * 8 {
        let mut block = block;
        block[bit / 8] ^= 1 << (bit % 8);
        assert!(Preamble::decode(&block).is_err(), "bit {bit} of the preamble");
        let mut rest = good[BLOCK..2 * BLOCK].to_vec();
        rest[bit / 8] ^= 1 << (bit % 8);
        assert!(preamble.snapshot(rest).is_err(), "bit {bit} of the snapshot");
    }
    let commit = &good[2 * BLOCK..];
    let header = Header::decode(commit, &preamble.identity, Position::ZERO).unwrap();
    let commit = &commit[..header.total_len()];
    assert!(commit.len() > BLOCK, "the commit is padded");
    CommitRef::verify(header, commit).unwrap();
    for bit in 0..commit.len() * 8 {
        let mut commit = commit.to_vec();
        commit[bit / 8] ^= 1 << (bit % 8);
        let found = Header::decode(&commit, &preamble.identity, Position::ZERO)
            .and_then(|header| CommitRef::verify(header, &commit).map(|_| ()));
        assert!(found.is_err(), "bit {bit} of the commit");
        assert!(bit >= COMMIT_HEADER * 8 || found != Err(Mismatch::Body));
    }
}
