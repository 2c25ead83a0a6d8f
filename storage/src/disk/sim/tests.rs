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
