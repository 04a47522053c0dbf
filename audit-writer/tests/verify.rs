//! `verify` against stores that are right, stores that were meddled with, and stores that make no sense.

#![allow(clippy::unwrap_used, reason = "in a test a panic is how a failure is told")]

mod store;

use std::fs;
use std::path::{Path, PathBuf};

use audit_writer::archive::Archive;
use audit_writer::checkpoint::{Checkpoint, Keyring, SigningKey};
use audit_writer::ids::SegmentNo;
use audit_writer::merkle::Hash;
use audit_writer::record::MAX_LINE;
use audit_writer::time::Timestamp;
use audit_writer::verify::{FindingKind, NoticeKind, Options, Outcome, Report, State, verify};
use proptest::prelude::*;
use store::{
    Draft, Line, LogBuilder, Store, completed, completed_as, draft, findings, gap, gap_between, heartbeat,
    keyring, received, report, report_with, start, stop, stop_with_losses, stored,
};

const LOG: &str = "audit.test/gw-1";

fn ordinary() -> (Store, LogBuilder) {
    let store = Store::new();
    let log = LogBuilder::ordinary(&store.path(), LOG);
    (store, log)
}

fn kinds(store: &Store, log: &LogBuilder) -> Vec<FindingKind> {
    report(store, log).findings.into_iter().map(|finding| finding.kind).collect()
}

/// Findings, each of which must be of the segment.
fn kinds_in_segment(store: &Store, log: &LogBuilder, segment: u64) -> Vec<FindingKind> {
    let report = report(store, log);
    let found = findings(&report);
    assert!(found.iter().all(|(_, at, _)| *at == Some(segment)), "{found:#?}");
    found.into_iter().map(|(kind, ..)| kind).collect()
}

fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

#[test]
fn an_ordinary_log_is_good_and_its_line_says_how_much_of_it() {
    let (store, log) = ordinary();
    let report = report_with(&store, &log, |_| ());
    assert_eq!(report.outcome(), Outcome::Ok);
    let text = report.to_string();
    assert_eq!(
        text,
        format!(
            "log {LOG}: segments 3/3  records 12  checkpoints 3/3  declared lost 0  open 0  newest 2026-03-01T12:00:00Z \
             (1m00s ago)  store directory (not write-once)  root ok\nOK: 1 log, 0 findings, 1 notice\n"
        )
    );
}

#[test]
fn a_log_of_many_segments_and_frames_is_good_on_any_number_of_threads() {
    let store = Store::new();
    let mut log = LogBuilder::new(&store.path(), LOG);
    for number in 0..20 {
        let pad = "x".repeat(20_000);
        let drafts: Vec<Draft> = (0..130).map(|n| completed(&format!("/{number}/{n}/{pad}"), 200)).collect();
        log.segment(&drafts);
    }
    log.segment(&[stop(20 * 130)]);
    for threads in [1, 2, 7] {
        let report = report_with(&store, &log, |options| options.threads = threads.try_into().unwrap());
        assert_eq!(report.outcome(), Outcome::Ok, "{report}");
        assert_eq!(report.logs[0].records, 20 * 131 + 2);
    }
}

/// What somebody does who can write everything and has not the key.
type Forgery = fn(&mut Vec<Vec<Line>>);

const FORGERIES: &[(&str, Forgery)] = &[
    ("a status is changed", |s| s[1][2] = s[1][2].replace("\"status\":200", "\"status\":204")),
    ("an address is changed", |s| s[1][2] = s[1][2].replace("203.0.113.9", "203.0.113.8")),
    ("a time is changed", |s| s[1][2] = s[1][2].replace("12:00:00.", "12:00:01.")),
    ("a record is dropped", |s| drop(s[1].remove(2))),
    ("the last record is dropped", |s| drop(s[1].pop())),
    ("a record is inserted", |s| {
        let copy = s[1][2].clone();
        s[1].insert(3, copy);
    }),
    ("two records are swapped", |s| s[1].swap(2, 3)),
    ("all but two records are cut off", |s| s[1].truncate(2)),
    ("a record is moved to the next segment", |s| {
        let moved = s[1].pop().unwrap();
        s[2].insert(1, moved);
    }),
    ("a segment is taken out", |s| drop(s.remove(1))),
];

#[test]
fn whoever_rebuilds_everything_but_the_signatures_is_found_out_by_the_tree() {
    for (name, forgery) in FORGERIES {
        let (store, log) = ordinary();
        let mut segments = log.segments.clone();
        forgery(&mut segments);
        log.forge(segments);
        let report = report(&store, &log);
        let found = findings(&report);
        assert!(found.iter().all(|(_, segment, _)| segment.is_none_or(|at| at >= 1)), "{name}: {found:#?}");
        assert!(
            found.iter().any(|(kind, at, _)| *kind == FindingKind::Changed && *at == Some(1)),
            "{name}: {found:#?}"
        );
        assert!(!report.root_ok, "{name}");
        assert!(report.findings.iter().all(|finding| finding.place.log.as_deref() == Some(LOG)), "{name}");
    }
}

/// This is the test that a Merkle comparison stubbed to `true` does not pass: frames, index, chain and names are right,
/// and so is the number of records.
#[test]
fn a_changed_record_in_a_perfectly_rebuilt_log_is_seen_by_its_root_alone() {
    let (store, log) = ordinary();
    let mut segments = log.segments.clone();
    let last = segments.len() - 1;
    segments[last][1] = segments[last][1].replace("\"status\":503", "\"status\":200");
    assert_ne!(segments, log.segments);
    log.forge(segments);
    let report = report(&store, &log);
    let found = findings(&report);
    let [(FindingKind::Changed, Some(2), message)] = &found[..] else { panic!("{found:#?}") };
    let signed =
        Checkpoint::parse_unverified(&fs::read(log.checkpoint_path(SegmentNo(2))).unwrap()).unwrap().root;
    assert!(
        message.starts_with("leaves hash to ") && message.ends_with(&format!("checkpoint 2 signs {signed}")),
        "{message}"
    );
    assert_eq!(report.findings[0].place.seq.map(|seqs| (seqs.first.0, seqs.last.0)), Some((9, 11)));
}

#[test]
fn rebuilding_without_a_change_is_no_forgery() {
    let (store, log) = ordinary();
    log.forge(log.segments.clone());
    assert_eq!(kinds(&store, &log), []);
}

#[test]
fn a_forger_with_a_key_of_his_own_is_a_stranger() {
    let (store, log) = ordinary();
    let stranger = SigningKey::generate(LOG.parse().unwrap()).unwrap();
    let mut forged = LogBuilder::with_key(&store.dir.path().join("forged"), stranger);
    forged.segment(&[start(), completed("/nothing/happened", 200), stop(1)]);
    fs::remove_dir_all(&log.home).unwrap();
    fs::rename(&forged.home, &log.home).unwrap();
    let found = kinds(&store, &log);
    assert_eq!(
        found,
        [FindingKind::UnknownKey, FindingKind::UnknownKey],
        "the marker's key and the checkpoint's"
    );
}

#[test]
fn another_root_under_the_old_signature_does_not_verify() {
    let (store, log) = ordinary();
    let path = log.checkpoint_path(SegmentNo(1));
    let other = fs::read_to_string(log.checkpoint_path(SegmentNo(0))).unwrap();
    let root = other.lines().nth(2).unwrap().to_owned();
    edit(&path, |note| {
        let text = String::from_utf8(note.clone()).unwrap();
        let own = text.lines().nth(2).unwrap().to_owned();
        *note = text.replace(&own, &root).into_bytes();
    });
    assert_eq!(kinds_in_segment(&store, &log, 1), [FindingKind::BadSignature]);
}

#[test]
fn one_damaged_segment_does_not_hide_that_those_after_it_are_good() {
    let (store, log) = ordinary();
    edit(&log.segment_path(1), |bytes| bytes[20] ^= 1);
    let report = report(&store, &log);
    let found = findings(&report);
    assert!(!found.is_empty() && found.iter().all(|(_, segment, _)| *segment == Some(1)), "{found:#?}");
    assert_eq!((report.segments.good, report.checkpoints.good), (2, 3));
    // With a bad frame, its place and its records are named.
    let place = &report.findings[0].place;
    assert_eq!((place.frame, place.seq.map(|seqs| (seqs.first.0, seqs.last.0))), (Some(0), Some((4, 8))));
}

#[test]
fn missing_files_are_named() {
    for number in 0..3 {
        let (store, log) = ordinary();
        fs::remove_file(log.segment_path(number)).unwrap();
        assert_eq!(kinds_in_segment(&store, &log, number), [FindingKind::Missing]);
        let (store, log) = ordinary();
        fs::remove_file(log.checkpoint_path(SegmentNo(number))).unwrap();
        assert_eq!(kinds_in_segment(&store, &log, number), [FindingKind::Missing]);
    }
    let (store, log) = ordinary();
    fs::remove_file(log.home.join("log")).unwrap();
    assert_eq!(kinds(&store, &log), [FindingKind::Missing]);
}

#[test]
fn a_log_that_has_just_begun_is_told_from_an_emptied_one_by_its_gateways_spool() {
    let store = Store::new();
    let mut log = LogBuilder::new(&store.path(), LOG);
    assert_eq!(kinds(&store, &log), [FindingKind::Missing]);
    let spool = store.dir.path().join("spool");
    fs::create_dir(&spool).unwrap();
    fs::write(spool.join("lock"), "").unwrap();
    let with_spool = |committed: &str| {
        let state = format!(r#"{{"v":1,"log":"{LOG}","stopped":false,"committed":{committed}}}"#);
        fs::write(spool.join("state"), state).unwrap();
        with_spool_of(&store, &log)
    };
    assert_eq!(with_spool("null"), []);
    // What the gateway committed is not there.
    let mut elsewhere = LogBuilder::with_key(&store.dir.path().join("elsewhere"), log.key.clone());
    elsewhere.segment(&[start(), completed("/1", 200)]);
    let note = fs::read_to_string(elsewhere.checkpoint_path(SegmentNo(0))).unwrap();
    let committed = serde_json::json!({ "segment": 0, "checkpoint": note }).to_string();
    assert_eq!(with_spool(&committed), [FindingKind::Missing, FindingKind::Rollback]);
    // The store has another history of the same size.
    log.segment(&[start(), completed("/2", 200)]);
    assert!(with_spool_of(&store, &log).contains(&FindingKind::Split));
}

/// The findings on a gateway's data directory.
fn with_spool_of(store: &Store, log: &LogBuilder) -> Vec<FindingKind> {
    let archive = Archive::open(store.dir.path().to_str().unwrap()).unwrap();
    let (report, _) =
        verify(&archive, &keyring(&[log]), &Options::new(), &State::default(), &|_| ()).unwrap();
    report.logs[0].findings.iter().map(|finding| finding.kind).collect()
}

#[test]
fn a_number_out_of_all_proportion_is_a_range_that_is_missing() {
    let (store, log) = ordinary();
    fs::copy(log.checkpoint_path(SegmentNo(2)), log.checkpoint_path(SegmentNo(9_999_999_999))).unwrap();
    let found = kinds(&store, &log);
    assert!(found.contains(&FindingKind::Missing) && found.len() < 10, "{found:?}");
}

#[test]
fn what_does_not_belong_is_inserted() {
    let (store, log) = ordinary();
    for stray in
        ["note", "segments/note", "segments/date=2026-03-01/note", "checkpoints/note", "cosignatures/x"]
    {
        let path = log.home.join(stray);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    assert_eq!(kinds(&store, &log), [FindingKind::Inserted; 5]);
}

#[test]
fn a_segment_under_another_date_or_number_or_log_is_seen() {
    let (store, log) = ordinary();
    let moved = log.home.join("segments/date=2026-03-02");
    fs::create_dir(&moved).unwrap();
    fs::rename(log.segment_path(1), moved.join("0000000001.ndjson.zst")).unwrap();
    assert_eq!(kinds_in_segment(&store, &log, 1), [FindingKind::Inserted]);

    let (store, log) = ordinary();
    let (a, b) = (fs::read(log.segment_path(0)).unwrap(), fs::read(log.segment_path(1)).unwrap());
    fs::write(log.segment_path(0), b).unwrap();
    fs::write(log.segment_path(1), a).unwrap();
    let found = kinds(&store, &log);
    assert!(found.contains(&FindingKind::Reordered) && found.contains(&FindingKind::Changed), "{found:?}");

    let (store, log) = ordinary();
    let other = LogBuilder::ordinary(&store.dir.path().join("other"), "audit.test/gw-2");
    fs::copy(other.segment_path(1), log.segment_path(1)).unwrap();
    let found = kinds(&store, &log);
    assert!(found.contains(&FindingKind::Inserted) && found.contains(&FindingKind::Changed), "{found:?}");
}

#[test]
fn a_clock_that_goes_back_between_segments_is_a_finding() {
    let store = Store::new();
    let mut log = LogBuilder::new(&store.path(), LOG);
    log.segment(&[start(), completed("/1", 200)]);
    log.clock = Timestamp::from_micros(log.clock.as_micros() - 1_000_000);
    log.segment(&[completed("/2", 200), stop(2)]);
    assert_eq!(kinds_in_segment(&store, &log, 1), [FindingKind::Clock]);
}

#[test]
fn counters_that_differ_from_what_is_on_the_log_are_a_finding() {
    let of = |segments: &[&[Draft]]| {
        let store = Store::new();
        let mut log = LogBuilder::new(&store.path(), LOG);
        for drafts in segments {
            log.segment(drafts);
        }
        findings(&report(&store, &log))
            .into_iter()
            .map(|(kind, segment, _)| (kind, segment))
            .collect::<Vec<_>>()
    };
    let one = || completed("/1", 200);
    let accounting = |segment| [(FindingKind::Accounting, Some(segment))];
    assert_eq!(of(&[&[start(), one(), heartbeat(1, 0)], &[one(), heartbeat(2, 0), stop(2)]]), []);
    assert_eq!(of(&[&[start(), one(), heartbeat(2, 0), stop(2)]]), accounting(0));
    assert_eq!(of(&[&[start(), one(), one()], &[one(), stop(2)]]), accounting(1));
    assert_eq!(of(&[&[start(), one(), heartbeat(1, 0), one(), stop(1)]]), accounting(0));
    // Losses: a gap that no counter knows, counters that no gap declares.
    assert_eq!(of(&[&[start(), gap(Some(3), "ring_full"), heartbeat(0, 3), stop_with_losses(0, 3)]]), []);
    assert_eq!(
        of(&[&[start(), gap(Some(3), "ring_full"), heartbeat(0, 2), stop_with_losses(0, 3)]]),
        accounting(0)
    );
    assert_eq!(of(&[&[start(), gap(Some(3), "ring_full")], &[stop_with_losses(0, 5)]]), accounting(1));
    // What was refused never goes back, within a segment or from one to the next; what a stop leaves queued is lost.
    let beat = |refused: u64| {
        let counters = format!(r#"{{"captured":0,"durable":0,"queued":0,"lost":0,"refused":{refused}}}"#);
        draft("lifecycle", format!(r#","event":"heartbeat","counters":{counters}"#))
    };
    assert_eq!(of(&[&[start(), beat(3)], &[beat(3), beat(4)], &[stop(0)]]), []);
    assert_eq!(of(&[&[start(), beat(3), beat(2), stop(0)]]), accounting(0));
    assert_eq!(of(&[&[start(), beat(3)], &[beat(2), stop(0)]]), accounting(1));
    let queued = r#","event":"stop","counters":{"captured":1,"durable":0,"queued":1,"lost":0,"refused":0}"#;
    assert_eq!(of(&[&[start(), draft("lifecycle", queued)]]), accounting(0));
    // What another boot lost is not this one's.
    assert_eq!(of(&[&[start(), gap(None, "crash"), gap(Some(0), "unfinished"), stop(0)]]), []);
}

/// What is found in a log of two boots: the first received three requests, ended one and died.
fn after_a_crash(second: &[Draft]) -> Vec<(FindingKind, Option<u64>)> {
    let store = Store::new();
    let mut log = LogBuilder::new(&store.path(), LOG);
    log.segment(&[start(), received("r-1"), received("r-2"), completed_as("r-1", "/1", 200)]);
    log.segment(&[received("r-3")]);
    log.boot = "00000002".into();
    log.segment(second);
    let report = report(&store, &log);
    if report.findings.is_empty() {
        assert_eq!(report.open, 0, "{report:#?}");
    }
    findings(&report).into_iter().map(|(kind, segment, _)| (kind, segment)).collect()
}

#[test]
fn an_unfinished_gap_counts_exactly_what_boots_before_left_open() {
    let accounting = [(FindingKind::Accounting, Some(2))];
    let unfinished = |count| [start(), gap(None, "crash"), gap(Some(count), "unfinished"), stop(0)];
    assert_eq!(after_a_crash(&unfinished(2)), []);
    assert_eq!(after_a_crash(&unfinished(1)), accounting);
    assert_eq!(after_a_crash(&unfinished(3)), accounting);
    assert_eq!(after_a_crash(&[start(), gap(None, "unfinished"), stop(0)]), accounting);
    let twice = [start(), gap(Some(2), "unfinished"), gap(Some(0), "unfinished"), stop(0)];
    assert!(after_a_crash(&twice).contains(&accounting[0]));
}

#[test]
fn what_was_declared_unfinished_is_not_declared_again_by_a_later_boot() {
    let found = |second: u64| {
        let store = Store::new();
        let mut log = LogBuilder::new(&store.path(), LOG);
        log.segment(&[start(), received("r-1")]);
        log.boot = "00000002".into();
        log.segment(&[start(), gap(Some(1), "unfinished"), received("r-2"), received("r-3")]);
        // The same id again, open in this segment and in the one before.
        log.segment(&[received("r-3"), completed_as("r-3", "/3", 200)]);
        log.boot = "00000003".into();
        log.segment(&[start(), gap(Some(second), "unfinished"), stop(0)]);
        kinds(&store, &log)
    };
    assert_eq!(found(1), []);
    assert_eq!(found(2), [FindingKind::Accounting]);
}

#[test]
fn requests_that_no_gap_counts_are_open_also_where_their_end_went_with_a_spool() {
    let store = Store::new();
    let mut log = LogBuilder::new(&store.path(), LOG);
    log.segment(&[start(), received("r-1"), received("r-2")]);
    log.boot = "00000002".into();
    log.segment(&[start(), gap(None, "spool_lost"), received("r-3")]);
    log.boot = "00000003".into();
    log.segment(&[start(), gap(Some(1), "unfinished"), stop(0)]);
    let report = report(&store, &log);
    assert_eq!((findings(&report), report.open), (vec![], 2), "{report:#?}");
    assert!(report.notices.iter().any(|notice| notice.message.contains("with the spool that was lost")));
}

#[test]
fn gaps_of_boots_before_follow_the_start_and_end_with_it() {
    let found = |drafts: &[Draft]| {
        let store = Store::new();
        let mut log = LogBuilder::new(&store.path(), LOG);
        log.segment(drafts);
        kinds(&store, &log)
    };
    let crash = |from, to| gap_between(None, "crash", from, to);
    let (early, late) = ("2026-03-01T11:00:00.000000Z", "2026-03-01T12:00:09.000000Z");
    assert_eq!(found(&[start(), crash(early, early), gap(None, "spool_lost"), stop(0)]), []);
    assert_eq!(found(&[start(), crash(early, late), stop(0)]), [FindingKind::Clock]);
    assert_eq!(found(&[start(), crash(late, early), stop(0)]), [FindingKind::Clock]);
    assert_eq!(found(&[crash(early, early), start(), stop(0)]), [FindingKind::Accounting]);
    let after_a_record = [start(), completed("/1", 200), crash(early, early), stop(1)];
    assert_eq!(found(&after_a_record), [FindingKind::Accounting]);
    let after_a_gap = [start(), gap(Some(1), "ring_full"), crash(early, early), stop_with_losses(0, 1)];
    assert_eq!(found(&after_a_gap), [FindingKind::Accounting]);
    let backwards = [start(), gap_between(Some(1), "ring_full", late, early), stop_with_losses(0, 1)];
    assert_eq!(found(&backwards), [FindingKind::Clock]);
}

#[test]
fn each_boot_counts_from_its_own_beginning() {
    let store = Store::new();
    let mut log = LogBuilder::new(&store.path(), LOG);
    log.segment(&[start(), completed("/1", 200), completed("/2", 200)]);
    log.boot = "00000002".into();
    log.segment(&[start(), completed("/3", 200), stop(1)]);
    assert_eq!(kinds(&store, &log), []);
}

#[test]
fn a_file_that_a_stored_record_names_with_another_hash_is_changed() {
    let store = Store::new();
    let mut log = LogBuilder::new(&store.path(), LOG);
    log.segment(&[start(), completed("/1", 200)]);
    log.segment(&[stored(0, Hash::of(b"another file")), stop(1)]);
    assert_eq!(kinds_in_segment(&store, &log, 0), [FindingKind::Changed]);
}

#[test]
fn losses_and_requests_without_an_end_are_notices() {
    let store = Store::new();
    let mut log = LogBuilder::new(&store.path(), LOG);
    log.segment(&[
        start(),
        gap(None, "crash"),
        received("r-1"),
        received("r-2"),
        received("r-3"),
        completed_as("r-1", "/1", 200),
    ]);
    log.segment(&[completed_as("r-2", "/2", 200), gap(Some(17), "ring_full"), stop_with_losses(5, 17)]);
    let report = report_with(&store, &log, |_| ());
    assert_eq!(report.outcome(), Outcome::Ok, "{report}");
    let log_report = &report.logs[0];
    assert_eq!((log_report.open, log_report.declared_lost, log_report.declared_lost_unknown), (1, 17, 1));
    let text = report.to_string();
    assert!(
        text.contains("NOTICE gap log audit.test/gw-1 segment 1 seq 9: 17 records lost (ring_full), from "),
        "{text}"
    );
    assert!(text.contains("declared lost 17 and 1 of unknown size  open 1  "), "{text}");
    assert!(text.ends_with("OK: 1 log, 0 findings, 4 notices\n"), "{text}");
    for notice in [NoticeKind::Gap, NoticeKind::Open, NoticeKind::NotWriteOnce] {
        let report = report_with(&store, &log, |options| options.fail_on = vec![notice]);
        assert_eq!(report.outcome(), Outcome::Failed, "{notice}");
    }
}

#[test]
fn a_log_that_ends_without_a_stop_is_open_after_two_heartbeats_of_silence() {
    let (store, log) = {
        let store = Store::new();
        let mut log = LogBuilder::new(&store.path(), LOG);
        log.segment(&[start(), completed("/1", 200)]);
        (store, log)
    };
    let after = |minutes: u64| {
        let report = report_with(&store, &log, |options| {
            options.now = Timestamp::from_micros(log.clock.as_micros() + minutes * 60_000_000);
        });
        report.logs[0].findings.iter().map(|finding| finding.kind).collect::<Vec<_>>()
    };
    assert_eq!(after(9), []);
    assert_eq!(after(11), [FindingKind::OpenEnd]);
}

#[test]
fn a_log_that_is_older_than_allowed_is_stale() {
    let (store, log) = ordinary();
    let stale = |seconds| {
        report_with(&store, &log, |options| options.max_age = Some(std::time::Duration::from_secs(seconds)))
            .outcome()
    };
    assert_eq!((stale(61), stale(59)), (Outcome::Ok, Outcome::Failed));
}

#[test]
fn logs_that_are_expected_and_not_there_are_absent() {
    let (store, log) = ordinary();
    let absent =
        report_with(&store, &log, |options| options.expect = vec!["audit.test/gw-9".parse().unwrap()]);
    assert_eq!(absent.outcome(), Outcome::Failed);
    assert!(
        absent
            .to_string()
            .contains("FINDING absent_log log audit.test/gw-9: it is expected, and not in the store\n")
    );
    let strangers =
        verify(&store.archive(), &Keyring::default(), &Options::new(), &State::default(), &|_| ()).unwrap().0;
    assert_eq!(strangers.logs[0].findings[0].kind, FindingKind::UnknownKey);
}

#[test]
fn configurations_are_what_their_names_say_and_those_that_served_are_there() {
    let store = Store::new();
    let mut log = LogBuilder::new(&store.path(), LOG);
    let config = b"version: 1\n";
    let hash = Hash::of(config);
    log.segment(&[
        draft("lifecycle", format!(r#","event":"start","config":"{hash}""#)),
        completed("/1", 200),
    ]);
    assert_eq!(kinds_in_segment(&store, &log, 0), [FindingKind::Missing]);
    let path = log.home.join(format!("configs/{hash}.yaml"));
    fs::create_dir(log.home.join("configs")).unwrap();
    fs::write(&path, config).unwrap();
    assert_eq!(kinds(&store, &log), []);
    edit(&path, |bytes| bytes[0] ^= 1);
    assert_eq!(kinds(&store, &log), [FindingKind::Changed]);
}

fn verify_on(store: &Store, log: &LogBuilder, state: &State) -> (Report, State) {
    let mut options = Options::new();
    options.now = Timestamp::from_micros(log.clock.as_micros() + 60_000_000);
    verify(&store.archive(), &keyring(&[log]), &options, state, &|_| ()).unwrap()
}

#[test]
fn a_state_lets_only_what_is_new_be_read_and_counts_on_from_there() {
    let store = Store::new();
    let mut log = LogBuilder::new(&store.path(), LOG);
    log.segment(&[start(), received("r-1"), completed("/1", 200)]);
    log.segment(&[completed("/2", 200), heartbeat(3, 0)]);
    let (report, state) = verify_on(&store, &log, &State::default());
    assert_eq!(report.outcome(), Outcome::Ok, "{report}");

    let path = store.dir.path().join("state.json");
    state.write(&path).unwrap();
    let state = State::read(&path, &keyring(&[&log])).unwrap();
    // What was verified is not read again: were it gone, its name would tell.
    edit(&log.segment_path(0), |bytes| bytes[20] ^= 1);
    log.segment(&[completed_as("r-1", "/3", 200), stop(4)]);
    let (report, state) = verify_on(&store, &log, &state);
    assert_eq!(report.outcome(), Outcome::Ok, "{report}");
    assert_eq!((report.logs[0].records, report.logs[0].open, report.logs[0].segments.good), (10, 0, 3));
    let (report, _) = verify_on(&store, &log, &state);
    assert_eq!(report.outcome(), Outcome::Ok, "{report}");
    assert_ne!(verify_on(&store, &log, &State::default()).0.outcome(), Outcome::Ok);
}

#[test]
fn a_log_that_was_rolled_back_or_rewritten_since_is_seen() {
    let (store, log) = ordinary();
    let (_, state) = verify_on(&store, &log, &State::default());
    fs::remove_file(log.segment_path(2)).unwrap();
    fs::remove_file(log.checkpoint_path(SegmentNo(2))).unwrap();
    let (report, _) = verify_on(&store, &log, &state);
    assert!(report.logs[0].findings.iter().any(|f| f.kind == FindingKind::Rollback), "{report}");

    // The gateway's own key signs another history of the same size, and of another.
    let rewrite = |drafts: &[Draft]| {
        fs::remove_dir_all(&log.home).unwrap();
        let mut again = LogBuilder::with_key(&store.path(), log.key.clone());
        again.segment(&[start(), completed("/orders/1", 200), completed("/orders/2", 404)]);
        again.segment(&vec![completed("/users/1", 200); 4]);
        again.segment(drafts);
        let (report, _) = verify_on(&store, &log, &state);
        report.logs[0].findings.iter().map(|finding| finding.kind).collect::<Vec<_>>()
    };
    assert!(rewrite(&[completed("/x", 200), stop(7)]).contains(&FindingKind::Split));
    assert!(rewrite(&[completed("/x", 200), completed("/y", 200), stop(8)]).contains(&FindingKind::Rollback));
}

#[test]
fn a_log_that_a_state_knows_and_that_is_gone_is_absent() {
    let (store, log) = ordinary();
    let (_, state) = verify_on(&store, &log, &State::default());
    LogBuilder::ordinary(&store.path(), "audit.test/gw-2");
    fs::remove_dir_all(&log.home).unwrap();
    let (report, _) = verify_on(&store, &log, &state);
    assert!(report.to_string().contains("FINDING absent_log log audit.test/gw-1"), "{report}");
}

#[test]
fn a_state_that_was_tampered_with_is_refused() {
    let (store, log) = ordinary();
    let (_, state) = verify_on(&store, &log, &State::default());
    let path = store.dir.path().join("state.json");
    let refuse = |from: &str, to: &str, keys: &Keyring| {
        state.write(&path).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
        State::read(&path, keys).unwrap_err().to_string()
    };
    let keys = keyring(&[&log]);
    assert!(refuse("\\n12\\n", "\\n13\\n", &keys).contains("does not verify"));
    assert!(refuse("\"size\":12", "\"size\":13", &keys).contains("is not that of its checkpoint"));
    assert!(refuse("\"v\":1", "\"v\":2", &keys).contains("version 2"));
    assert!(refuse("{", "[", &keys).contains("state file"));
    assert!(refuse("{", "{", &Keyring::default()).contains("not among the trusted keys"));
}

#[test]
fn since_reads_only_segments_of_that_time_and_still_proves_them() {
    let store = Store::new();
    let mut log = LogBuilder::new(&store.path(), LOG);
    for number in 0..5 {
        log.clock = format!("2026-03-0{}T12:00:00.000000Z", number + 1).parse().unwrap();
        log.segment(&[completed("/1", 200), heartbeat(number + 1, 0)]);
    }
    log.segment(&[stop(5)]);
    let since = "2026-03-04T00:00:00.000000Z".parse().unwrap();
    edit(&log.segment_path(1), |bytes| bytes[20] ^= 1);
    let report = report_with(&store, &log, |options| options.since = Some(since));
    assert_eq!(report.outcome(), Outcome::Ok, "{report}");
    assert_eq!(report.logs[0].segments.good, 3);
    edit(&log.segment_path(4), |bytes| bytes[20] ^= 1);
    let report = report_with(&store, &log, |options| options.since = Some(since));
    assert_eq!(report.outcome(), Outcome::Failed);
}

/// Seals lines that no gateway would write, and signs them all the same.
fn signed_lines(change: impl FnOnce(&mut Vec<Line>)) -> Vec<FindingKind> {
    let store = Store::new();
    let mut log = LogBuilder::new(&store.path(), LOG);
    let mut lines = log.lines(&[start(), completed("/1", 200), completed("/2", 200), stop(2)]);
    change(&mut lines);
    log.seal(lines);
    log.sign();
    kinds(&store, &log)
}

#[test]
fn lines_that_are_no_records_are_findings_even_where_the_key_signed_them() {
    assert_eq!(signed_lines(|_| ()), []);
    assert_eq!(signed_lines(|lines| lines.swap(2, 3)), [FindingKind::Reordered]);
    assert_eq!(signed_lines(|lines| drop(lines.remove(2)))[0], FindingKind::Missing);
    assert_eq!(signed_lines(|lines| drop(lines.remove(0))), [FindingKind::Changed]);
    assert_eq!(
        signed_lines(|lines| lines[0] = lines[0].replace(LOG, "audit.test/gw-2"))[0],
        FindingKind::Inserted
    );
    assert_eq!(
        signed_lines(|lines| lines[0] = lines[0].replace("\"segment\":0", "\"segment\":1")),
        [FindingKind::Reordered]
    );
    assert_eq!(
        signed_lines(|lines| lines[2] = lines[2].replace("9f3c01aa", "9f3c01ab")),
        [FindingKind::Changed]
    );
    assert_eq!(
        signed_lines(|lines| lines[2] = lines[2].replace("\"end\":\"ok\"", "\"end\":\"\\ud800\"")),
        [FindingKind::Changed]
    );
    assert_eq!(
        signed_lines(|lines| lines[2] = lines[2].replace("\"end\":", "\"ts\":\"x\",\"end\":")),
        [FindingKind::Changed]
    );
    let begin_again = signed_lines(|lines| {
        let again = lines[0].replace("\"seq\":0", "\"seq\":5");
        lines.push(again);
    });
    assert_eq!(begin_again, [FindingKind::Changed]);
}

#[test]
fn the_longest_line_is_a_record() {
    let longest = |lines: &mut Vec<Line>| {
        let pad = MAX_LINE - lines[2].len() - r#","pad":"""#.len();
        lines[2] = lines[2].replace(r#","end""#, &format!(r#","pad":"{}","end""#, "x".repeat(pad)));
        assert_eq!(lines[2].len(), MAX_LINE);
    };
    assert_eq!(signed_lines(longest), []);
}

/// A file in the place of segment 1.
fn instead_of_segment_1(bytes: &[u8]) -> Vec<FindingKind> {
    let (store, log) = ordinary();
    fs::write(log.segment_path(1), bytes).unwrap();
    kinds_in_segment(&store, &log, 1)
}

/// The index frame around J.
fn index_frame(j: &[u8]) -> Vec<u8> {
    let len = j.len() as u32;
    [&[0x5A, 0x2A, 0x4D, 0x18], &(len + 12).to_le_bytes()[..], j, &len.to_le_bytes(), b"SEALIDX1"].concat()
}

#[test]
fn files_that_make_no_sense_are_findings_and_cost_no_memory() {
    let bomb = zstd::bulk::compress(&vec![b' '; 1 << 28], 19).unwrap();
    let frame = |offset: u64, len: u64, first_seq: u64, count: u64| {
        let zero = Hash::ZERO;
        let ts = "2026-03-01T12:00:00.000000Z";
        format!(
            r#"{{"offset":{offset},"len":{len},"raw_len":1,"first_seq":{first_seq},"count":{count},"min_ts":"{ts}","max_ts":"{ts}","sha256":"{zero}"}}"#
        )
    };
    let index = |frames: &[String]| {
        let ts = "2026-03-01T12:00:00.000000Z";
        let j = format!(
            r#"{{"v":1,"log":"{LOG}","segment":1,"boot":"9f3c01aa","first_seq":4,"count":1,"lost":0,"lost_unknown":0,"min_ts":"{ts}","max_ts":"{ts}","raw_bytes":1,"frames":[{}],"before":[],"range":[],"sets":{{"actor":[],"route":[],"status":[],"kind":[]}}}}"#,
            frames.join(",")
        );
        index_frame(j.as_bytes())
    };
    let with_bomb = [&bomb[..], &index(&[frame(0, bomb.len() as u64, 4, 1)])].concat();
    let overlapping: Vec<String> = (0..1000).map(|_| frame(0, 10, 4, 1)).collect();
    let huge_numbers = frame(u64::MAX, u64::MAX, u64::MAX, u64::MAX);
    let cases: &[(&str, Vec<u8>)] = &[
        ("nothing", vec![]),
        ("zeros", vec![0; 1000]),
        ("one byte", vec![b'S']),
        ("text", b"SEALIDX1".repeat(1000)),
        ("no frames", index(&[])),
        ("a bomb of 256 MiB", with_bomb),
        ("frames that overlap", [&[0; 10][..], &index(&overlapping)].concat()),
        ("the greatest numbers", index(&[huge_numbers])),
        ("an index of nonsense", index_frame(b"{}")),
        ("an index of brackets", index_frame(&b"[".repeat(1_000_000))),
        ("an index said to be huge", [&[0; 8][..], &u32::MAX.to_le_bytes(), b"SEALIDX1"].concat()),
    ];
    for (name, bytes) in cases {
        let found = instead_of_segment_1(bytes);
        assert!(found.contains(&FindingKind::Changed), "{name}: {found:?}");
    }
}

#[test]
fn a_cut_file_is_a_finding_wherever_it_is_cut() {
    let (_store, log) = ordinary();
    let whole = fs::read(log.segment_path(1)).unwrap();
    for end in (0..whole.len()).step_by(37) {
        assert!(instead_of_segment_1(&whole[..end]).contains(&FindingKind::Changed), "cut to {end}");
    }
    assert!(instead_of_segment_1(&[&whole[..], b"\0"].concat()).contains(&FindingKind::Changed));
    assert!(instead_of_segment_1(&[&whole[..], &whole[..]].concat()).contains(&FindingKind::Changed));
}

#[test]
fn every_byte_of_every_file_of_a_small_log_matters() {
    let store = Store::new();
    let mut log = LogBuilder::new(&store.path(), LOG);
    log.segment(&[start(), completed("/1", 200), stop(1)]);
    assert_eq!(kinds(&store, &log), []);
    let files: Vec<PathBuf> =
        vec![log.home.join("log"), log.segment_path(0), log.checkpoint_path(SegmentNo(0))];
    for file in files {
        let good = fs::read(&file).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x20;
            fs::write(&file, bad).unwrap();
            assert_ne!(kinds(&store, &log), [], "{} byte {at}", file.display());
        }
        fs::write(&file, good).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn meddling_anywhere_with_several_bytes_is_seen(
        number in 0u64..3,
        edits in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let (store, log) = ordinary();
        let path = log.segment_path(number);
        let good = fs::read(&path).unwrap();
        let mut bad = good.clone();
        edits.iter().for_each(|(at, byte)| bad[at.index(good.len())] = *byte);
        prop_assume!(bad != good);
        fs::write(&path, bad).unwrap();
        prop_assert!(!kinds(&store, &log).is_empty());
    }
}
