use super::*;
use crate::archive::Archive;
use crate::audit_log::{Assembled, assemble};
use crate::checkpoint::Keyring;
use crate::config::{KeyConfig, RingConfig, SegmentConfig, SpoolConfig, StoreConfig};
use crate::disk::RealDisk;
use crate::key_file;
use crate::record::{KindRejected, Rejected, Source, Unnumbered, V1};
use crate::ring::{Need, Recorder};
use crate::ship::{Shipper, Try};
use crate::verify::{Options, Report, State, verify};

/// An open log on a real file system, whose writer and shipper go step by step.
struct Log {
    dir: tempfile::TempDir,
    recorder: Recorder,
    ring: Arc<Ring>,
    writer: Option<Writer>,
    shipper: Shipper,
}

impl Drop for Log {
    fn drop(&mut self) {
        crate::test_support::make_mutable(self.dir.path());
    }
}

impl Log {
    fn open() -> Log {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name);
        let config = AuditConfig {
            log: "audit.test/gw-1".parse().expect("a name"),
            key: KeyConfig { file: path("gateway.key"), create: true },
            create_log: true,
            sync_interval: Duration::from_millis(1),
            heartbeat_interval: Duration::from_secs(300),
            max_record: 8192,
            ring: RingConfig { slots: 64, max_bytes: 1 << 30 },
            spool: SpoolConfig { path: path("spool"), max_bytes: 1 << 30, min_free: 0, warn_at_percent: 80 },
            segment: SegmentConfig {
                max_bytes: 2000,
                max_age: Duration::from_secs(60),
                compression_level: 1,
            },
            store: StoreConfig::Directory(path("store")),
        };
        let key = Arc::new(key_file::open(&config.key.file, &config.log, true).expect("a key"));
        let instance = Instance { version: "0.0.0".into(), config: (*b"version: 1\n").into() };
        let metrics = AuditMetrics::new(&prometheus::Registry::new()).expect("a new registry");
        let parts =
            assemble(Arc::new(RealDisk), key, config, instance, "0123abcd".into(), metrics).expect("opened");
        let Assembled { ring, writer, shipper, .. } = parts;
        Log { recorder: Recorder::new(ring.clone()), ring, writer: Some(writer), shipper, dir }
    }

    fn spool(&self) -> std::path::PathBuf {
        self.dir.path().join("spool")
    }

    fn record(&self) {
        let mut ticket = self.recorder.enter();
        assert!(ticket.try_reserve(Need::Record), "{:?}", self.recorder.refusing());
        let ts = ticket.since();
        ticket.end(Entry::rejected(&Rejected {
            seq: Unnumbered,
            v: V1,
            kind: KindRejected,
            ts,
            boot: "0123abcd",
            listener: "edge",
            source: Source { ip: [127, 0, 0, 1].into(), port: 1, peer: None, claimed: &[] },
            tls: None,
            reason: "malformed_request",
            bytes: 1,
            response: None,
            duration_us: 1,
            trunc: None,
        }));
    }

    fn writer(&mut self) -> &mut Writer {
        self.writer.as_mut().expect("not stopped")
    }

    fn step(&mut self) -> Round {
        self.writer().step()
    }

    /// Goes on until the writer has passed an error.
    fn recover(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.step() == Round::Failing {
            assert!(Instant::now() < deadline, "still failing");
            std::thread::yield_now();
        }
    }

    fn ship(&mut self) {
        self.shipper.take();
        while self.shipper.step() == Try::Shipped {}
    }

    fn stop_and_verify(mut self) -> Report {
        let writer = self.writer.take().expect("not stopped");
        writer.finish(Instant::now() + Duration::from_millis(500)).expect("a clean stop");
        self.ship();
        let keys = Keyring::read(&[self.dir.path().join("gateway.pub")]).expect("a key");
        let archive = Archive::open(self.dir.path().to_str().expect("UTF-8")).expect("a store");
        verify(&archive, &keys, &Options::new(), &State::default(), &|_| {}).expect("verifiable").0
    }
}

fn findings(report: &Report) -> Vec<String> {
    let findings = report.logs.iter().flat_map(|log| &log.findings);
    findings.map(|finding| format!("{} {}", finding.kind, finding.message)).collect()
}

#[test]
fn a_record_that_is_dropped_without_a_word_breaks_the_accounting_and_verify_finds_it() {
    for drop_one in [false, true] {
        let mut log = Log::open();
        (0..5).for_each(|_| log.record());
        log.writer().drop_one = drop_one;
        assert_eq!(log.step(), Round::Done);
        let now = log.ring.accounting().snapshot();
        assert_eq!(now.captured == now.durable + now.queued + now.lost, !drop_one, "{now:?}");
        let report = log.stop_and_verify();
        let found = findings(&report);
        assert_eq!(
            found.iter().any(|finding| finding.starts_with("accounting captured 5 is not durable 4")),
            drop_one,
            "{found:?}"
        );
        assert_eq!(found.is_empty(), !drop_one, "{found:?}");
    }
}

#[test]
fn a_spool_that_is_deleted_and_made_again_loses_nothing_and_goes_on_with_the_next_number() {
    let mut log = Log::open();
    let deleted = |log: &Log| std::fs::remove_dir_all(log.spool()).expect("deleted");
    (0..3).for_each(|_| log.record());
    assert_eq!(log.step(), Round::Done);
    let before = log.writer().next_seq();
    (0..2).for_each(|_| log.record());
    deleted(&log);
    for _ in 0..3 {
        assert_eq!(log.step(), Round::Failing);
        assert_eq!(log.recorder.refusing(), Some(Reason::WriterFailed));
        assert_eq!(log.writer().next_seq(), before, "nothing is acknowledged that lies in a deleted file");
    }
    std::fs::create_dir(log.spool()).expect("made");
    log.recover();
    assert_eq!((log.recorder.refusing(), log.writer().next_seq()), (None, Seq(before.0 + 2)));

    // Again, with sealed segments that wait for the store, and nothing queued.
    (0..9).for_each(|_| log.record());
    assert_eq!(log.step(), Round::Done);
    deleted(&log);
    std::fs::create_dir(log.spool()).expect("made");
    log.record();
    log.writer().let_time_pass();
    log.recover();
    log.ship();
    let report = log.stop_and_verify();
    assert_eq!(findings(&report), [""; 0]);
}

#[test]
fn what_the_store_has_taken_is_recorded_also_where_the_writer_could_not_write_meanwhile() {
    let mut log = Log::open();
    (0..20).for_each(|_| log.record());
    assert_eq!(log.step(), Round::Done);
    log.ship();
    let stored = log.writer().next_seq();
    std::fs::remove_dir_all(log.spool()).expect("deleted");
    log.record();
    log.writer().listen();
    assert_eq!(log.step(), Round::Failing);
    std::fs::create_dir(log.spool()).expect("made");
    log.recover();
    assert!(log.writer().next_seq().0 >= stored.0 + 2);
    assert_eq!(findings(&log.stop_and_verify()), [""; 0]);
}
