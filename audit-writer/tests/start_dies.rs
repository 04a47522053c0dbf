//! Boots that die in recovery, at each of its steps, twice in a row: the boot that lives finds and declares the same.

mod data;

use std::ffi::OsString;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use audit_writer::disk::{Disk, DiskFile, Lock, RealDisk};
use data::{Data, durable, good, of_kind, record, stop, wait_until};

/// The real disk, until the boot dies: after so many steps that change it, nothing changes any more. A killed process
/// leaves what it wrote in the page cache, so nothing is synced.
#[derive(Debug)]
struct Dying {
    steps: Arc<AtomicI64>,
}

/// Takes a step, unless the boot is dead.
fn step(steps: &AtomicI64) -> io::Result<()> {
    if steps.fetch_sub(1, Ordering::SeqCst) > 0 { Ok(()) } else { Err(io::Error::other("the boot is dead")) }
}

#[derive(Debug)]
struct DyingFile {
    file: Box<dyn DiskFile>,
    steps: Arc<AtomicI64>,
}

impl DiskFile for DyingFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Err(dead) = step(&self.steps) {
            // It died within the call: a part of the bytes is there.
            if self.steps.load(Ordering::SeqCst) == -1 {
                self.file.append(&bytes[..bytes.len() / 2])?;
            }
            return Err(dead);
        }
        self.file.append(bytes)
    }
    fn sync(&mut self) -> io::Result<()> {
        step(&self.steps)
    }
    fn truncate(&mut self, len: u64) -> io::Result<()> {
        step(&self.steps)?;
        self.file.truncate(len)
    }
    fn overwrite(&mut self, bytes: &[u8]) -> io::Result<()> {
        step(&self.steps)?;
        self.file.overwrite(bytes)
    }
    fn read_back(&mut self) -> io::Result<Vec<u8>> {
        self.file.read_back()
    }
}

impl Disk for Dying {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        step(&self.steps)?;
        Ok(Box::new(DyingFile { file: RealDisk.create(path)?, steps: self.steps.clone() }))
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        step(&self.steps)?;
        RealDisk.link(from, to)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        step(&self.steps)?;
        RealDisk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        step(&self.steps)?;
        RealDisk.remove(path)
    }
    fn make_dir(&self, path: &Path) -> io::Result<()> {
        step(&self.steps)?;
        RealDisk.make_dir(path)
    }
    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        step(&self.steps)
    }
    fn protect(&self, path: &Path) -> io::Result<()> {
        step(&self.steps)?;
        RealDisk.protect(path)
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        RealDisk.open(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        RealDisk.list(path)
    }
    fn size(&self, path: &Path) -> io::Result<u64> {
        RealDisk.size(path)
    }
    fn free(&self, path: &Path) -> io::Result<u64> {
        RealDisk.free(path)
    }
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        RealDisk.lock(path)
    }
    fn machine_boot(&self) -> io::Result<String> {
        RealDisk.machine_boot()
    }
}

fn dying_after(steps: i64) -> Arc<Dying> {
    Arc::new(Dying { steps: Arc::new(AtomicI64::new(steps)) })
}

/// Starts a boot that dies after `steps`. Whether it died before it could serve.
fn dies_in_recovery(data: &Data, steps: i64) -> bool {
    let disk = dying_after(steps);
    match data.open_on(disk.clone()) {
        Err(error) => {
            assert_eq!(error.exit_code(), 75, "{error}");
            true
        }
        Ok(log) => {
            // It lived through its recovery: the rest is not what is tested here.
            disk.steps.store(i64::MAX, Ordering::SeqCst);
            let _ = log.stop(std::time::Instant::now());
            false
        }
    }
}

/// What a log says: how many records of hooks it has, and the reasons of its gaps.
fn told(data: &Data) -> (usize, Vec<String>) {
    let records = data.records();
    let reasons =
        of_kind(&records, "gap").into_iter().map(|gap| gap["reason"].as_str().expect("a text").to_owned());
    (of_kind(&records, "rejected").len(), reasons.collect())
}

/// Lets a boot die after each number of steps, and one after it too; the one that lives must tell `expected`, where the
/// same loss may be declared by a boot that died as well.
fn whatever_dies(data: &Data, expected: (usize, &[&str])) {
    let mut steps = 0;
    loop {
        let first = data.copy();
        if !dies_in_recovery(&first, steps) {
            break;
        }
        let then = if steps % 2 == 0 { steps / 2 } else { steps + 3 };
        if dies_in_recovery(&first, then) {
            stop(
                first
                    .open_on(dying_after(i64::MAX))
                    .unwrap_or_else(|error| panic!("{steps}, then {then}: {error}")),
            );
            good(&first.verify());
            let (records, mut reasons) = told(&first);
            assert_eq!(records, expected.0, "{steps}, then {then}");
            reasons.dedup();
            assert_eq!(reasons, expected.1, "{steps}, then {then}");
        }
        steps += 1;
    }
    assert!(steps > 10, "it dies only in its first {steps} steps");
}

fn killed_in_quiet() -> Data {
    let data = Data::new();
    let log = data.open_with(|config| config.segment.max_bytes = 1 << 30).expect("opened");
    for group in 1..=5 {
        record(&log, 3);
        wait_until("a group is durable", || durable(&log) == group * 3);
    }
    let spool = data.path().join("spool");
    let quiet =
        || audit_writer::watermark::read(&RealDisk, &spool).expect("readable").is_some_and(|mark| mark.quiet);
    wait_until("all is quiet", quiet);
    let killed = data.copy();
    stop(log);
    killed
}

#[test]
fn after_a_quiet_kill_nothing_is_lost_whatever_dies() {
    whatever_dies(&killed_in_quiet(), (15, &[]));
}

#[test]
fn a_damaged_group_is_declared_whatever_dies() {
    let data = killed_in_quiet();
    let wal = data.path().join("spool/wal-0000000000");
    let mut bytes = std::fs::read(&wal).expect("there");
    let half = bytes.len() / 2;
    bytes[half] ^= 1;
    std::fs::write(&wal, bytes).expect("written");
    let alone = data.copy();
    stop(alone.open().expect("goes on"));
    let (records, reasons) = told(&alone);
    assert!(records < 15 && reasons == ["crash"], "{records} {reasons:?}");
    whatever_dies(&data, (records, &["crash"]));
}

#[test]
fn a_group_that_was_cut_though_all_was_quiet_is_declared_whatever_dies() {
    let data = killed_in_quiet();
    let wal = data.path().join("spool/wal-0000000000");
    let bytes = std::fs::read(&wal).expect("there");
    std::fs::write(&wal, &bytes[..bytes.len() - 3]).expect("written");
    whatever_dies(&data, (12, &["crash"]));
}

#[test]
fn a_spool_that_was_lost_is_declared_whatever_dies() {
    let data = Data::new();
    let log = data.open().expect("opened");
    record(&log, 300);
    stop(log);
    std::fs::remove_dir_all(data.path().join("spool")).expect("removed");
    whatever_dies(&data, (300, &["spool_lost"]));
}

#[test]
fn a_segment_that_is_adopted_is_so_whatever_dies() {
    let data = Data::new();
    let log = data.open().expect("opened");
    record(&log, 300);
    stop(log);
    let store = data.path().join("store/audit.test/gw-1/checkpoints");
    let mut names = Vec::new();
    data::find(&store, &mut names);
    data::make_mutable(&store);
    std::fs::remove_file(names.iter().max().expect("some")).expect("removed");
    std::fs::remove_dir_all(data.path().join("spool")).expect("removed");
    whatever_dies(&data, (300, &["spool_lost"]));
}

#[test]
fn a_clean_stop_is_one_whatever_dies_after_it() {
    let data = Data::new();
    let log = data.open().expect("opened");
    record(&log, 10);
    stop(log);
    whatever_dies(&data, (10, &[]));
}

#[test]
fn a_log_begins_whatever_dies_at_its_creation() {
    let data = Data::new();
    std::fs::create_dir(data.path().join("store")).expect("made");
    whatever_dies(&data, (0, &[]));
}
