//! What the simulated disk promises and, above all, what it does not.

use super::*;
use crate::disk::{self, Disk};

fn disk_with_folder(seed: u64) -> SimDisk {
    let disk = SimDisk::new(seed, None);
    disk::create_dir(&disk, Path::new(SPOOL)).expect("made");
    disk
}

fn at(name: &str) -> PathBuf {
    Path::new(SPOOL).join(name)
}

fn write(disk: &SimDisk, name: &str, bytes: &[u8]) {
    let mut file = disk.create(&at(name)).expect("created");
    file.append(bytes).expect("written");
    file.sync().expect("synced");
}

/// In how many of many power losses `holds` is so.
fn count(prepare: impl Fn(&SimDisk), holds: impl Fn(&SimDisk) -> bool) -> usize {
    let outcomes = (0..200).map(|seed| {
        let disk = disk_with_folder(seed);
        prepare(&disk);
        disk.lose_power();
        holds(&disk)
    });
    outcomes.filter(|held| *held).count()
}

#[test]
fn a_synced_file_has_no_name_until_its_directory_is_synced() {
    let is_there = |disk: &SimDisk| disk::read(disk, &at("a")).is_ok_and(|bytes| bytes == b"content");
    let without = count(|disk| write(disk, "a", b"content"), is_there);
    assert!((20..180).contains(&without), "{without} of 200");
    let with = count(
        |disk| {
            write(disk, "a", b"content");
            disk.sync_dir(Path::new(SPOOL)).expect("synced");
        },
        is_there,
    );
    assert_eq!(with, 200);
}

#[test]
fn a_rename_that_is_not_synced_leaves_the_old_file_or_the_new_one_whole() {
    let prepare = |disk: &SimDisk| {
        write(disk, "state", b"old");
        disk.sync_dir(Path::new(SPOOL)).expect("synced");
        write(disk, ".state.tmp", b"new");
        disk.rename(&at(".state.tmp"), &at("state")).expect("renamed");
    };
    let old = count(prepare, |disk| disk::read(disk, &at("state")).is_ok_and(|bytes| bytes == b"old"));
    let new = count(prepare, |disk| disk::read(disk, &at("state")).is_ok_and(|bytes| bytes == b"new"));
    assert_eq!(old + new, 200);
    assert!(old > 20 && new > 20, "{old} {new}");
}

#[test]
fn what_lies_in_a_directory_without_a_durable_name_is_lost_with_it() {
    let prepare = |disk: &SimDisk| {
        disk.make_dir(&at("d")).expect("made");
        write(disk, "d/a", b"content");
        disk.sync_dir(&at("d")).expect("synced");
    };
    let lost = count(prepare, |disk| disk::read(disk, &at("d/a")).is_err());
    assert!(lost > 20, "{lost} of 200");
}

#[test]
fn a_killed_process_loses_its_locks_and_nothing_that_it_wrote() {
    let disk = disk_with_folder(1);
    let boot = disk.machine_boot().expect("a boot");
    let held = disk.lock(&at("lock")).expect("locked").expect("free");
    assert!(disk.lock(&at("lock")).expect("asked").is_none());
    disk.create(&at("a")).expect("created").append(b"unsynced").expect("written");
    disk.kill();
    assert!(disk.lock(&at("lock")).expect("locked").is_some());
    drop(held);
    assert_eq!(disk::read(&disk, &at("a")).expect("read"), b"unsynced");
    assert_eq!(disk.machine_boot().expect("a boot"), boot);
    disk.lose_power();
    assert_ne!(disk.machine_boot().expect("a boot"), boot);
}

#[test]
fn a_doomed_process_does_so_much_and_no_more() {
    for (moment, expected) in [(Moment::Before, None), (Moment::After, Some("ab"))] {
        let disk = disk_with_folder(1);
        let mut file = disk.create(&at("a")).expect("created");
        disk.doom(1, moment);
        file.append(b"a").expect("lives");
        file.append(b"b").expect_err("dies");
        file.append(b"c").expect_err("is dead");
        assert!(disk.is_dead() && disk.list(Path::new(SPOOL)).is_err());
        disk.kill();
        let found = disk::read(&disk, &at("a")).expect("read");
        assert_eq!(found, expected.unwrap_or("a").as_bytes());
    }
}

#[test]
fn faults_come_when_they_are_due_and_go() {
    let disk = disk_with_folder(1);
    let mut file = disk.create(&at("a")).expect("created");
    disk.arm(Armed { fault: Fault::NoSpace, on: Some(Operation::Append), skip: 1, times: 2 });
    file.append(b"1").expect("passes");
    let full = file.append(b"2").expect_err("fails");
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    file.sync().expect("another operation");
    file.append(b"3").expect_err("fails");
    file.append(b"4").expect("passes");
    disk.set_spool(Condition::ReadOnly);
    assert_eq!(file.append(b"5").expect_err("fails").kind(), io::ErrorKind::ReadOnlyFilesystem);
    disk.heal();
    disk.remove(&at("a")).expect("removed");
    file.append(b"6").expect("a file without a name can be written");
    file.sync().expect_err("but not be kept");
}
