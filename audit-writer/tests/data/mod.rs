//! A gateway's data directory, and what tests do with it.

#![allow(dead_code, reason = "each test program uses its part of it")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use audit_writer::archive::Archive;
use audit_writer::audit_log::{AuditLog, OpenError};
use audit_writer::checkpoint::Keyring;
use audit_writer::config::{
    AuditConfig, Instance, KeyConfig, RingConfig, SegmentConfig, SpoolConfig, StoreConfig,
};
use audit_writer::disk::{Disk, RealDisk};
use audit_writer::metrics::AuditMetrics;
use audit_writer::record::{Entry, KindRejected, Rejected, Source, Unnumbered, V1};
use audit_writer::ring::Need;
use audit_writer::time::Timestamp;
use audit_writer::verify::{Options, Outcome, Report, State, verify};
use prometheus::Registry;

/// A gateway's data directory that goes away at the end, immutable files included.
pub(crate) struct Data(tempfile::TempDir);

impl Data {
    pub(crate) fn new() -> Data {
        Data(tempfile::tempdir().expect("a directory"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn config(&self) -> AuditConfig {
        AuditConfig {
            log: "audit.test/gw-1".parse().expect("a name"),
            key: KeyConfig { file: self.path().join("gateway.key"), create: true },
            create_log: true,
            sync_interval: Duration::from_millis(2),
            heartbeat_interval: Duration::from_secs(300),
            max_record: 8192,
            ring: RingConfig { slots: 1024, max_bytes: 1 << 30 },
            spool: SpoolConfig {
                path: self.path().join("spool"),
                max_bytes: 1 << 30,
                min_free: 0,
                warn_at_percent: 80,
            },
            segment: SegmentConfig {
                max_bytes: 20_000,
                max_age: Duration::from_secs(60),
                compression_level: 1,
            },
            store: StoreConfig::Directory(self.path().join("store")),
        }
    }

    pub(crate) fn open(&self) -> Result<AuditLog, OpenError> {
        self.open_with(|_| {})
    }

    pub(crate) fn open_with(&self, change: impl FnOnce(&mut AuditConfig)) -> Result<AuditLog, OpenError> {
        self.open_as(b"version: 1\n", change)
    }

    pub(crate) fn open_as(
        &self,
        text: &[u8],
        change: impl FnOnce(&mut AuditConfig),
    ) -> Result<AuditLog, OpenError> {
        self.open_all(Arc::new(RealDisk), text, change)
    }

    pub(crate) fn open_on(&self, disk: Arc<dyn Disk>) -> Result<AuditLog, OpenError> {
        self.open_all(disk, b"version: 1\n", |_| {})
    }

    fn open_all(
        &self,
        disk: Arc<dyn Disk>,
        text: &[u8],
        change: impl FnOnce(&mut AuditConfig),
    ) -> Result<AuditLog, OpenError> {
        let mut config = self.config();
        change(&mut config);
        let instance = Instance { version: "0.0.0".into(), config: text.into() };
        let metrics = AuditMetrics::new(&Registry::new()).expect("a new registry");
        AuditLog::open_on(disk, config, instance, metrics)
    }

    /// What a machine has on its disk at this moment: as after `kill -9`. A copy during which files came or went is
    /// of no moment, and is made again.
    pub(crate) fn copy(&self) -> Data {
        loop {
            let (mut before, mut after) = (Vec::new(), Vec::new());
            find(self.path(), &mut before);
            let copy = Data::new();
            copy_all(self.path(), copy.path());
            find(self.path(), &mut after);
            before.sort();
            after.sort();
            if before == after {
                return copy;
            }
        }
    }

    pub(crate) fn verify(&self) -> Report {
        let keys = Keyring::read(&[self.path().join("gateway.pub")]).expect("a key");
        let archive = Archive::open(self.path().to_str().expect("UTF-8")).expect("a store");
        verify(&archive, &keys, &Options::new(), &State::default(), &|_| {}).expect("verifiable").0
    }

    /// Every record in the store, in order.
    pub(crate) fn records(&self) -> Vec<serde_json::Value> {
        let mut files = Vec::new();
        find(&self.path().join("store/audit.test/gw-1/segments"), &mut files);
        files.sort();
        let lines = files.iter().flat_map(|file| {
            let raw = zstd::decode_all(std::fs::File::open(file).expect("there")).expect("zstd");
            String::from_utf8(raw).expect("UTF-8").lines().map(str::to_owned).collect::<Vec<_>>()
        });
        lines.map(|line| serde_json::from_str(&line).expect("JSON")).collect()
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        make_mutable(self.path());
    }
}

pub(crate) fn make_mutable(path: &Path) {
    use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
    if let Ok(file) = std::fs::File::open(path)
        && let Ok(flags) = ioctl_getflags(&file)
        && flags.contains(IFlags::IMMUTABLE)
    {
        let _ = ioctl_setflags(&file, flags & !IFlags::IMMUTABLE);
    }
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        make_mutable(&entry.path());
    }
}

pub(crate) fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("made");
    for entry in std::fs::read_dir(from).expect("there").flatten() {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_all(&entry.path(), &to);
        } else if let Err(error) = std::fs::copy(entry.path(), &to) {
            // Shipped, and so removed, while we copied.
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{}", entry.path().display());
        }
    }
}

pub(crate) fn find(path: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.path().is_dir() { find(&entry.path(), files) } else { files.push(entry.path()) }
    }
}

pub(crate) fn record(log: &AuditLog, count: u64) {
    let recorder = log.recorder();
    for n in 0..count {
        let mut ticket = recorder.enter();
        while !ticket.try_reserve(Need::Record) {
            std::thread::yield_now();
        }
        ticket.end(Entry::rejected(&Rejected {
            seq: Unnumbered,
            v: V1,
            kind: KindRejected,
            ts: Timestamp::now(),
            boot: recorder.boot(),
            listener: "edge",
            source: Source { ip: [203, 0, 113, 9].into(), port: 1, peer: None, claimed: &[] },
            tls: None,
            reason: "malformed_request",
            bytes: n,
            response: None,
            duration_us: 1,
            trunc: None,
        }));
    }
}

pub(crate) fn stop(log: AuditLog) {
    let stopped = log.stop(Instant::now() + Duration::from_secs(30)).expect("a clean stop");
    assert_eq!(stopped.unshipped_segments, 0);
    assert_eq!(stopped.counters.captured, stopped.counters.durable);
}

pub(crate) fn good(report: &Report) {
    assert_eq!(report.outcome(), Outcome::Ok, "{report:#?}");
}

pub(crate) fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < Duration::from_secs(30), "not within 30 s: {what}");
        std::thread::yield_now();
    }
}

pub(crate) fn durable(log: &AuditLog) -> u64 {
    log.status_view().read().counters.durable
}

pub(crate) fn of_kind<'a>(records: &'a [serde_json::Value], kind: &str) -> Vec<&'a serde_json::Value> {
    records.iter().filter(|record| record["kind"] == kind).collect()
}

pub(crate) fn events(records: &[serde_json::Value]) -> Vec<&str> {
    records.iter().filter_map(|record| record["event"].as_str()).filter(|event| *event != "segment").collect()
}
