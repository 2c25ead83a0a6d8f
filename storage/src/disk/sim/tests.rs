use super::*;

fn synced(disk: &SimDisk, name: &str, bytes: &[u8]) -> Box<dyn DiskFile> {
    let file = disk.create(name).unwrap();
    file.write_at(0, bytes).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir().unwrap();
    file
}

#[test]
fn a_crash_keeps_any_subset_of_the_dirty_sectors() {
    let disk = SimDisk::new();
    let file = synced(&disk, "a", &[1; 3 * SECTOR_BYTES]);
    file.write_at(0, &[2; 3 * SECTOR_BYTES]).unwrap();
    for subset in 0..8_u32 {
        let image = disk.crash_image(&mut |n| subset >> n & 1 == 1);
        let content = image.content("a").unwrap();
        for (n, sector) in content.chunks(SECTOR_BYTES).enumerate() {
            let expected = if subset >> n & 1 == 1 { 2 } else { 1 };
            assert!(sector.iter().all(|&b| b == expected));
        }
    }
    disk.crash(&mut |_| false);
    assert!(file.read_at(0, &mut [0]).is_err(), "an old handle is dead");
    assert_eq!(disk.content("a").unwrap(), [1; 3 * SECTOR_BYTES]);
}

#[test]
fn names_and_lengths_are_pending_apart() {
    let disk = SimDisk::new();
    let file = disk.create("a").unwrap();
    file.write_at(0, b"x").unwrap();
    file.sync_all().unwrap();
    assert_eq!(disk.crash_image(&mut |_| false).content("a"), None);
    disk.sync_dir().unwrap();
    disk.rename("a", "b").unwrap();
    assert!(disk.crash_image(&mut |_| false).content("a").is_some());
    assert!(disk.crash_image(&mut |_| true).content("b").is_some());
    file.write_at(1, &[7; 600]).unwrap();
    // Change 0 is the rename, 1 the length, 2 and 3 the sectors.
    assert_eq!(disk.crash_image(&mut |n| n != 1).content("b").unwrap(), b"x");
    let grown = disk.crash_image(&mut |n| n < 2).content("b").unwrap();
    assert_eq!((grown.len(), grown[0], grown[600]), (601, b'x', 0));
}

#[test]
fn a_failed_sync_leaves_a_cache_that_lies() {
    let disk = SimDisk::new();
    let file = synced(&disk, "a", &[1; 512]);
    file.write_at(0, &[2; 512]).unwrap();
    disk.fail_sync_at(disk.syncs());
    assert!(file.sync_data().is_err());
    file.sync_data().unwrap();
    assert_eq!(disk.content("a").unwrap(), [2; 512]);
    assert_eq!(disk.crash_image(&mut |_| true).content("a").unwrap(), [1; 512]);
}

#[test]
fn a_disk_that_lies_keeps_nothing_until_it_makes_good() {
    let disk = SimDisk::new();
    let file = synced(&disk, "a", &[1; 512]);
    let write = |byte| {
        file.write_at(0, &[byte; 512]).unwrap();
        file.sync_all().unwrap();
    };
    disk.lie();
    write(2);
    drop(synced(&disk, "b", &[1; 512]));
    disk.remove("b").unwrap();
    disk.kill();
    // Each change is pending by itself, whatever was synced and in which order.
    let lost = disk.crash_image(&mut |_| false);
    assert_eq!((lost.content("a").unwrap(), lost.names().len()), (vec![1; 512], 1));
    let kept = disk.crash_image(&mut |n| n == 0 || n > 1);
    assert_eq!(kept.files().into_keys().collect::<Vec<_>>(), ["a", "b"]);
    disk.make_good();
    let made = disk.crash_image(&mut |_| false);
    assert_eq!((made.content("a").unwrap(), made.names().len()), (vec![2; 512], 1));
    assert!(!disk.lies() && !lost.lies());
}

#[test]
fn capacity_power_and_write_faults() {
    let disk = SimDisk::new();
    let file = synced(&disk, "a", &[1; 1000]);
    disk.set_capacity(Some(1500));
    assert_eq!(disk.free_bytes().unwrap(), 500);
    file.write_at(0, &[2; 1000]).unwrap();
    let full = file.write_at(1000, &[2; 501]).unwrap_err();
    assert!(crate::disk::is_full(&full));
    file.write_at(1000, &[2; 500]).unwrap();
    disk.fail_write_at(disk.writes());
    assert!(file.write_at(0, &[3; 1000]).is_err());
    assert_eq!(disk.content("a").unwrap()[499..501], [3, 2]);
    disk.cut_power_at(disk.operations() + 1);
    file.write_at(0, &[4; 10]).unwrap();
    assert!(file.write_at(0, &[5; 10]).is_err());
    assert!(file.write_at(0, &[6; 10]).is_err());
    assert!(disk.open("a", false).is_err());
    assert_eq!(disk.crash_image(&mut |_| true).content("a").unwrap()[0], 5);
}

#[test]
fn a_grain_survives_as_a_whole_or_in_its_first_bytes() {
    let disk = SimDisk::new();
    let file = synced(&disk, "a", &[1; 3 * 4096]);
    file.write_at(0, &[2; 3 * 4096]).unwrap();
    file.write_at(512, &[1; 512]).unwrap();
    // What is written as it was makes no difference.
    assert_eq!((disk.pending(SECTOR_BYTES), disk.pending(4096)), (23, 3));
    let image = disk.crash_image_by(4096, &mut |n| match n {
        0 => Kept::Lost,
        1 => Kept::Whole,
        _ => Kept::First(700),
    });
    let content = image.content("a").unwrap();
    assert!(content[..4096].iter().all(|&b| b == 1));
    assert!(content[4096..8192 + 700].iter().all(|&b| b == 2));
    assert!(content[8192 + 700..].iter().all(|&b| b == 1));
}

#[test]
fn every_moment_before_an_operation_is_recorded() {
    let disk = SimDisk::new();
    synced(&disk, "a", b"old");
    let begun = disk.operations();
    disk.record();
    let file = disk.open("a", true).unwrap();
    file.write_at(0, b"new").unwrap();
    file.sync_all().unwrap();
    disk.rename("a", "b").unwrap();
    let moments = disk.recorded();
    assert!(moments.keys().copied().eq(begun..=begun + 3));
    let seen = |at: u64, keep: bool| moments[&(begun + at)].crash_image(&mut |_| keep).files();
    let file = |name: &str, content: &[u8]| BTreeMap::from([(name.to_owned(), content.to_vec())]);
    assert_eq!(seen(0, true), file("a", b"old"));
    assert_eq!((seen(1, false), seen(1, true)), (file("a", b"old"), file("a", b"new")));
    assert_eq!(seen(2, false), file("a", b"new"));
    assert_eq!((seen(3, false), seen(3, true)), (file("a", b"new"), file("b", b"new")));
}

#[test]
fn a_call_of_any_kind_fails_once() {
    for call in Call::ALL {
        for fault in [Fault::Error, Fault::Full, Fault::Short] {
            let disk = SimDisk::new();
            let file = synced(&disk, "a", &[1; 100]);
            disk.fail_call_at(call, disk.calls(call), fault);
            let run = || match call {
                Call::Create => disk.create("b").map(drop),
                Call::Open => disk.open("a", true).map(drop),
                Call::Rename => disk.rename("a", "b").and_then(|()| disk.rename("b", "a")),
                Call::Remove => disk.remove("a"),
                Call::List => disk.list().map(drop),
                Call::SyncDir => disk.sync_dir(),
                Call::Read => file.read_at(0, &mut [0; 10]),
                Call::Write => file.write_at(0, &[2; 100]),
                Call::Sync => file.sync_data(),
                Call::SetLen => file.set_len(50),
            };
            let error = run().unwrap_err();
            let sync = matches!(call, Call::Sync | Call::SyncDir);
            assert_eq!(crate::disk::is_full(&error), fault == Fault::Full && !sync);
            let content = disk.content("a").unwrap();
            let half = call == Call::Write && fault != Fault::Error;
            let written = content.iter().position(|&b| b != 2);
            assert_eq!(written, Some(if half { 50 } else { 0 }));
            run().unwrap();
        }
    }
}

#[test]
fn a_bit_that_turned_turns_back_under_any_name_unless_its_sector_was_written() {
    let disk = SimDisk::new();
    let file = synced(&disk, "a", &[1; 2_000]);
    disk.sync_dir().unwrap();

    // Its name is gone, but not durably.
    disk.rot("a", 4);
    disk.remove("a").unwrap();
    disk.put_right();
    drop(file);
    disk.crash(&mut |_| false);
    assert_eq!(disk.content("a").unwrap(), [1; 2_000]);

    // It is written anew: in the cache under its new name, not yet on the disk.
    disk.rot("a", 4);
    disk.rename("a", "b").unwrap();
    disk.open("b", true).unwrap().write_at(0, &[2; 2_000]).unwrap();
    disk.put_right();
    assert_eq!(disk.content("b").unwrap(), [2; 2_000]);
    disk.crash(&mut |_| false);
    assert_eq!(disk.content("a").unwrap(), [1; 2_000]);
}
