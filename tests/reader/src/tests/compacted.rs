//! Compacted batches that contradict themselves, in a directory that is good else.

use super::{
    Dice,
    batches::{client_at, event, seal_compacted},
    compaction::refused,
    world::{BatchOf, World, check},
};

/// Changes the batch of which one record of three is gone, and all that vouches for it.
fn third(number: usize, bytes: &mut Vec<u8>, change: impl FnOnce(&mut Vec<u8>, usize)) {
    sealed(number == 3, bytes, change);
}

/// Changes the batch of which nothing is left, and all that vouches for it.
fn empty(number: usize, bytes: &mut Vec<u8>, change: impl FnOnce(&mut Vec<u8>, usize)) {
    sealed(number == 2, bytes, change);
}

/// Changes the one of which one record of three is gone, and nothing that vouches for it.
fn unsealed(number: usize, bytes: &mut Vec<u8>, change: impl FnOnce(&mut Vec<u8>)) {
    if number == 3 {
        change(bytes);
    }
}

fn sealed(wanted: bool, bytes: &mut Vec<u8>, change: impl FnOnce(&mut Vec<u8>, usize)) {
    if wanted {
        let client = client_at(bytes);
        change(bytes, client);
        seal_compacted(bytes);
    }
}

fn with(change: fn(usize, &mut Vec<u8>), expected: &str) {
    refused(|world| world.change = change, expected);
}

#[test]
fn every_part_has_its_checksum() {
    let mut world = World::new();
    world.change = |n, b| third(n, b, |_, _| ());
    assert_eq!(world.check(), Ok(()));
    let crc = "the CRC of a compacted batch is wrong";
    with(|n, b| unsealed(n, b, |b| b[12] ^= 1), crc);
    with(|n, b| unsealed(n, b, |b| b[90] ^= 1), crc);
    with(|n, b| unsealed(n, b, |b| *b.last_mut().unwrap() ^= 1), "a batch's CRC is wrong");
}

#[test]
fn its_front_is_of_one_form() {
    with(|n, b| unsealed(n, b, |b| b.push(0)), "a batch's length is wrong");
    with(|n, b| unsealed(n, b, |b| b[8] ^= 1), "a batch's length is wrong");
    let none = "a stored batch's header is none";
    with(|n, b| unsealed(n, b, |b| b[3] = 1), none);
    with(|n, b| unsealed(n, b, |b| b[2] = 2), none);
    // The origin's header is of kind 0, and nothing lies behind it.
    with(|n, b| third(n, b, |b, _| b[18] = 1), none);
    with(|n, b| third(n, b, |b, _| b[4] -= 1), "its bytes end early");
    with(
        |n, b| {
            third(n, b, |b, at| {
                b.insert(at - 1, 0);
                b[4] += 1;
            });
        },
        "a compacted batch's header is longer than the origin's",
    );
    with(|n, b| third(n, b, |b, _| b[16 + 40] ^= 1), "its chain does not follow");
    let visible = "visible records are not as many as it says";
    with(|n, b| third(n, b, |b, _| b[16 + 14] -= 1), visible);
}

#[test]
fn each_bit_stands_for_a_record() {
    let spare = "a bit of a compacted batch stands for no record";
    with(|n, b| third(n, b, |b, at| b[at - 1] |= 8), spare);
    with(|n, b| third(n, b, |b, at| b[at - 1] |= 0x80), spare);
    with(|n, b| third(n, b, |b, at| b[at - 1] |= 1), "a compacted batch has all of its records");
    let count = "a compacted batch does not have the records that it says";
    with(|n, b| third(n, b, |b, at| b[at - 1] = 2), count);
    with(|n, b| empty(n, b, |b, at| b[at + 20] = 1), count);
    // The records are there, in other places than it says.
    let follows = "an order sequence does not follow";
    with(|n, b| third(n, b, |b, at| b[at - 1] = 0b101), follows);
    refused(
        |world| {
            let records = vec![event("b", 3), event("c", 2)];
            world.batches.push(BatchOf { file: 1, records, kept: None });
            world.batches[3].kept = Some(vec![1]);
            assert_eq!(world.check(), Ok(()));
            world.change = |n, b| third(n, b, |b, at| b[at - 1] = 0b001);
        },
        follows,
    );
}

#[test]
fn what_is_kept_is_of_the_batch_that_was_stored() {
    let sequences = "a batch's sequences are none";
    with(|n, b| third(n, b, |b, at| b[at + 32..at + 40].fill(0)), sequences);
    with(|n, b| third(n, b, |b, at| b[at + 32..at + 40].fill(0xff)), sequences);
    // They are enough for the two that are kept, not for the three that were there.
    with(
        |n, b| {
            third(n, b, |b, at| {
                b[at + 32..at + 40].copy_from_slice(&(u64::MAX - 2).to_le_bytes());
            });
        },
        sequences,
    );
    let answered = "its first sequence is not the one that was answered";
    with(|n, b| third(n, b, |b, at| b[at + 32] += 1), answered);
    with(|n, b| empty(n, b, |b, at| b[at + 32] += 1), answered);
    with(|n, b| empty(n, b, |b, at| b[at + 26] = 1), "it is of another partition");
    let digest = "a digest does not fit its record";
    with(|n, b| third(n, b, |b, at| b[at + 40] += 1), digest);
    with(|n, b| third(n, b, |b, _| *b.last_mut().unwrap() ^= 1), digest);
    let broken = "what is kept of a batch does not decompress";
    with(|n, b| third(n, b, |b, at| b[at + 2] = 2), broken);
}

#[test]
fn it_is_shorter_than_what_was_stored() {
    let not_shorter = "a compacted batch is not shorter than it was";
    with(|n, b| third(n, b, |b, _| b[16 + 8..16 + 12].copy_from_slice(&[0, 1, 0, 0])), not_shorter);
    with(|n, b| third(n, b, |b, _| b[16 + 10] = 16), "a compacted batch was longer than any is");
    // The journal says how long it was.
    let differ = "its chain does not follow";
    with(|n, b| third(n, b, |b, _| b[16 + 8] += 1), differ);
}

#[test]
fn a_batch_without_records_is_its_header() {
    let longer = |n, b: &mut Vec<u8>| {
        empty(n, b, |b, client| {
            b.push(0);
            for at in [8, client + 8, client + 16] {
                b[at] += 1;
            }
        });
    };
    with(longer, "a batch without records is more than its header");
    with(|n, b| empty(n, b, |b, at| b[at + 22] = 1), "its bytes end early");
    // How nothing is compressed is of no account.
    let mut world = World::new();
    world.change = |n, b| empty(n, b, |b, at| b[at + 2] = 1);
    assert_eq!(world.check(), Ok(()));
}

#[test]
fn compacted_batches_with_good_checksums_are_read_or_refused() {
    let mut dice = Dice(13);
    let (mut refused, mut tried) = (0, 0);
    for mirror in [false, true] {
        let mut world = World::new();
        world.mirror = mirror;
        let drafts = world.packed();
        for _ in 0..3_000 {
            let mut batches = drafts.clone();
            let batch = &mut batches[dice.below(4)];
            let front = client_at(batch);
            if dice.below(2) == 0 {
                dice.spoil(&mut batch[..front]);
            } else {
                dice.spoil(&mut batch[front..]);
            }
            if batch[..4] == [0x7b, 1, 1, 0] && client_at(batch) == front {
                seal_compacted(batch);
            }
            refused += u64::from(check(&world.lay_out_with(&batches)).is_err());
            tried += 1;
        }
    }
    assert!(refused * 10 > tried * 9, "{refused} of {tried}");
}
