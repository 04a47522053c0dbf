//! The start-up audit where a boot can go on: what it finds, what the log then declares, and what it does not.

mod data;

use std::path::Path;
use std::sync::Arc;

use audit_writer::audit_log::AuditLog;
use audit_writer::disk::{Disk, DiskFile, Lock, RealDisk};
use audit_writer::record::{
    Entry, Headers, KindReceived, QueryKeys, QueryPairs, Received, Request, Source, Unnumbered, V1,
};
use audit_writer::ring::{Need, Ticket};
use audit_writer::time::Timestamp;
use audit_writer::verify::Outcome;
use audit_writer::watermark;
use data::{Data, durable, events, good, of_kind, record, stop, wait_until};
use serde_json::Value;

const WAL: &str = "spool/wal-0000000000";

/// A log of one open segment with `groups` groups of three records each.
fn begun(data: &Data, groups: u64) -> AuditLog {
    let log = data.open_with(|config| config.segment.max_bytes = 1 << 30).expect("opened");
    for group in 1..=groups {
        record(&log, 3);
        wait_until("a group is durable", || durable(&log) == group * 3);
    }
    log
}

fn mark(data: &Data) -> watermark::Mark {
    let spool = data.path().join("spool");
    watermark::read(&RealDisk, &spool).expect("readable").expect("there is a mark")
}

/// As after `kill -9` in a moment when nothing was going on.
fn killed_in_quiet(data: &Data, log: AuditLog) -> Data {
    wait_until("all is quiet", || mark(data).quiet);
    let killed = data.copy();
    assert!(mark(&killed).quiet);
    stop(log);
    killed
}

/// As after `kill -9` while a request was served.
fn killed_while_serving(data: &Data, log: AuditLog) -> Data {
    let in_flight = log.recorder().enter();
    let killed = data.copy();
    assert!(!mark(&killed).quiet);
    drop(in_flight);
    stop(log);
    killed
}

/// Starts, stops, and gives every record; the log verifies.
fn restarted(data: &Data) -> Vec<Value> {
    stop(data.open().expect("goes on"));
    good(&data.verify());
    data.records()
}

fn text<'a>(record: &'a Value, name: &str) -> &'a str {
    record[name].as_str().expect("a text")
}

/// Reason and `from` of each gap.
fn gaps(records: &[Value]) -> Vec<(&str, &str)> {
    of_kind(records, "gap").into_iter().map(|gap| (text(gap, "reason"), text(gap, "from"))).collect()
}

fn unclean(records: &[Value]) -> Vec<bool> {
    let starts = records.iter().filter(|record| record["event"] == "start");
    starts.map(|start| start["unclean"].as_bool().expect("a truth")).collect()
}

fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).expect("there");
    change(&mut bytes);
    std::fs::write(path, bytes).expect("written");
}

/// Where each group of a write-ahead log ends.
fn group_ends(bytes: &[u8]) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let length = u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        at += 8 + length as usize;
        ends.push(at);
    }
    ends
}

#[test]
fn a_kill_in_quiet_loses_nothing_and_declares_nothing() {
    let data = Data::new();
    let log = begun(&data, 5);
    let killed = killed_in_quiet(&data, log);
    let records = restarted(&killed);
    assert_eq!(
        (of_kind(&records, "rejected").len(), gaps(&records), unclean(&records)),
        (15, vec![], vec![false, true])
    );
}

#[test]
fn a_kill_while_a_request_is_served_declares_a_gap_from_the_watermark_to_the_start() {
    let data = Data::new();
    let log = begun(&data, 5);
    let killed = killed_while_serving(&data, log);
    let since = mark(&killed).since;
    let records = restarted(&killed);
    assert_eq!(gaps(&records), [("crash", &*since.to_string())]);
    let gap = of_kind(&records, "gap")[0];
    let start = records.iter().rfind(|record| record["event"] == "start").expect("a start");
    assert_eq!((&gap["to"], &gap["lost"]), (&start["ts"], &Value::Null));
    assert_eq!(gap["seq"], start["seq"].as_u64().expect("a number") + 1, "right after the start");
}

/// The real disk, on a machine that was started again.
#[derive(Debug)]
struct AnotherRun;

impl Disk for AnotherRun {
    fn machine_boot(&self) -> std::io::Result<String> {
        Ok("another-run-of-the-machine".to_owned())
    }
    fn create(&self, path: &Path) -> std::io::Result<Box<dyn DiskFile>> {
        RealDisk.create(path)
    }
    fn link(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        RealDisk.link(from, to)
    }
    fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        RealDisk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> std::io::Result<()> {
        RealDisk.remove(path)
    }
    fn make_dir(&self, path: &Path) -> std::io::Result<()> {
        RealDisk.make_dir(path)
    }
    fn sync_dir(&self, path: &Path) -> std::io::Result<()> {
        RealDisk.sync_dir(path)
    }
    fn open(&self, path: &Path) -> std::io::Result<Box<dyn std::io::Read + Send>> {
        RealDisk.open(path)
    }
    fn list(&self, path: &Path) -> std::io::Result<Vec<std::ffi::OsString>> {
        RealDisk.list(path)
    }
    fn size(&self, path: &Path) -> std::io::Result<u64> {
        RealDisk.size(path)
    }
    fn free(&self, path: &Path) -> std::io::Result<u64> {
        RealDisk.free(path)
    }
    fn lock(&self, path: &Path) -> std::io::Result<Option<Box<dyn Lock>>> {
        RealDisk.lock(path)
    }
    fn protect(&self, path: &Path) -> std::io::Result<()> {
        RealDisk.protect(path)
    }
}

#[test]
fn quiet_is_not_believed_after_the_machine_was_started_again() {
    let data = Data::new();
    let log = begun(&data, 5);
    let killed = killed_in_quiet(&data, log);
    let since = mark(&killed).since;
    stop(killed.open_on(Arc::new(AnotherRun)).expect("goes on"));
    good(&killed.verify());
    assert_eq!(gaps(&killed.records()), [("crash", &*since.to_string())]);
}

#[test]
fn a_clean_stop_is_one_also_after_the_machine_was_started_again() {
    let data = Data::new();
    stop(begun(&data, 2));
    stop(data.open_on(Arc::new(AnotherRun)).expect("goes on"));
    let records = data.records();
    assert_eq!((gaps(&records), unclean(&records)), (vec![], vec![false, false]));
}

#[test]
fn without_a_readable_watermark_records_may_be_missing_since_the_newest_segment_began() {
    for change in [
        |path: &Path| std::fs::remove_file(path).expect("removed"),
        |path: &Path| edit(path, |bytes| bytes[9] ^= 1),
    ] {
        let data = Data::new();
        let log = begun(&data, 3);
        let killed = killed_in_quiet(&data, log);
        change(&killed.path().join("spool/watermark"));
        let records = restarted(&killed);
        assert_eq!(gaps(&records), [("crash", records[0]["ts"].as_str().expect("a time"))]);
    }
}

#[test]
fn a_spool_of_the_version_before_is_read_and_declares_since_the_newest_segment_began() {
    let data = Data::new();
    stop(data.open().expect("opened"));
    let log = data.open_with(|config| config.segment.max_bytes = 1 << 30).expect("opened");
    record(&log, 5);
    wait_until("all are durable", || durable(&log) == 5);
    let killed = killed_in_quiet(&data, log);
    std::fs::remove_file(killed.path().join("spool/watermark")).expect("removed");
    let state = killed.path().join("spool/state");
    let mut older: Value = serde_json::from_slice(&std::fs::read(&state).expect("there")).expect("JSON");
    older.as_object_mut().expect("an object").remove("open").expect("there");
    older["committed"].as_object_mut().expect("an object").remove("boot").expect("there");
    std::fs::write(&state, older.to_string()).expect("written");
    let records = restarted(&killed);
    assert_eq!(of_kind(&records, "rejected").len(), 5);
    let begin = records.iter().filter(|record| record["event"] == "segment").nth(1).expect("two segments");
    assert_eq!(gaps(&records), [("crash", text(begin, "ts"))]);
}

#[test]
fn a_torn_group_is_what_a_crash_leaves_and_the_watermark_tells_since_when() {
    let data = Data::new();
    let log = begun(&data, 5);
    let killed = killed_while_serving(&data, log);
    edit(&killed.path().join(WAL), |bytes| bytes.truncate(bytes.len() - 3));
    let since = mark(&killed).since;
    let records = restarted(&killed);
    assert_eq!(of_kind(&records, "rejected").len(), 12);
    let [("crash", from)] = gaps(&records)[..] else { panic!("{:?}", gaps(&records)) };
    // The group was durable when it was cut here, so what is seen of it is older than the watermark.
    assert!(from.parse::<Timestamp>().expect("a time") <= since);
}

#[test]
fn a_group_that_is_cut_though_all_was_quiet_is_declared() {
    let data = Data::new();
    let log = begun(&data, 5);
    let killed = killed_in_quiet(&data, log);
    let lost = {
        let bytes = std::fs::read(killed.path().join(WAL)).expect("there");
        let text = String::from_utf8_lossy(&bytes[group_ends(&bytes)[4]..]).into_owned();
        text.split(r#""ts":""#).nth(1).expect("a record")[..27].to_owned()
    };
    edit(&killed.path().join(WAL), |bytes| bytes.truncate(bytes.len() - 3));
    let records = restarted(&killed);
    let [("crash", from)] = gaps(&records)[..] else { panic!("{:?}", gaps(&records)) };
    assert!(*from <= *lost, "{from} {lost}");
}

#[test]
fn whole_groups_that_were_cut_off_or_taken_away_are_declared_though_all_was_quiet() {
    for groups in [4, 1, 0] {
        let data = Data::new();
        let log = begun(&data, 5);
        let killed = killed_in_quiet(&data, log);
        edit(&killed.path().join(WAL), |bytes| {
            let end = group_ends(bytes).get(groups).copied().filter(|_| groups > 0).unwrap_or(0);
            bytes.truncate(end);
        });
        if groups == 0 {
            std::fs::remove_file(killed.path().join(WAL)).expect("removed");
        }
        let records = restarted(&killed);
        assert_eq!(gaps(&records).len(), 1, "{groups}: {:?}", gaps(&records));
        assert_eq!(gaps(&records)[0].0, "crash");
        assert_eq!(unclean(&records).last(), Some(&true));
    }
}

#[test]
fn a_damaged_group_with_whole_ones_behind_it_is_kept_aside_and_declared_since_its_oldest_record() {
    let data = Data::new();
    let log = begun(&data, 9);
    let killed = killed_in_quiet(&data, log);
    let wal = killed.path().join(WAL);
    let mut oldest = String::new();
    edit(&wal, |bytes| {
        let ends = group_ends(bytes);
        let text = String::from_utf8_lossy(&bytes[ends[3]..]).into_owned();
        oldest = text.split(r#""ts":""#).nth(1).expect("a record")[..27].to_owned();
        bytes[ends[3] + 150] ^= 0x10;
    });
    let damaged = std::fs::read(&wal).expect("there");
    let records = restarted(&killed);
    // The segment's record and the start were the first group.
    assert_eq!(of_kind(&records, "rejected").len(), 9);
    let [("crash", from)] = gaps(&records)[..] else { panic!("{:?}", gaps(&records)) };
    assert!(*from <= *oldest, "{from} {oldest}");
    let kept = std::fs::read(killed.path().join("spool/damaged-wal-0000000000")).expect("kept");
    assert!(kept == damaged, "as it was");
    // It is declared once.
    assert_eq!(gaps(&restarted(&killed)).len(), 1);
}

#[test]
fn a_flipped_bit_anywhere_recovers_to_a_log_that_verifies_and_declares_what_it_lost() {
    let data = Data::new();
    let log = begun(&data, 6);
    let killed = killed_in_quiet(&data, log);
    let length = std::fs::metadata(killed.path().join(WAL)).expect("there").len() as usize;
    for at in (0..length).step_by(211) {
        let flipped = killed.copy();
        edit(&flipped.path().join(WAL), |bytes| bytes[at] ^= 1);
        let records = restarted(&flipped);
        assert_eq!(gaps(&records).len(), 1, "byte {at}: {:?}", gaps(&records));
    }
}

#[test]
fn files_that_were_never_finished_are_removed_and_others_left_alone() {
    let data = Data::new();
    let log = begun(&data, 2);
    let killed = killed_in_quiet(&data, log);
    let spool = killed.path().join("spool");
    for name in [".state.tmp", ".wal-0000000000.tmp", ".watermark.tmp", "0000000000.building"] {
        std::fs::write(spool.join(name), "torn").expect("written");
    }
    std::fs::write(spool.join("note"), "of an operator").expect("written");
    let records = restarted(&killed);
    assert_eq!((of_kind(&records, "rejected").len(), gaps(&records)), (6, vec![]));
    let mut left: Vec<_> =
        std::fs::read_dir(&spool).expect("there").flatten().map(|entry| entry.file_name()).collect();
    left.sort();
    assert_eq!(left, ["lock", "note", "state", "watermark"]);
}

#[test]
fn a_segment_that_only_the_store_has_is_adopted_and_what_else_is_missing_declared() {
    let data = Data::new();
    stop(data.open().expect("opened"));
    // An old copy of the spool: the store has one segment more, whose checkpoint was not put.
    let old = data.copy();
    let log = data.open_with(|config| config.segment.max_bytes = 1 << 30).expect("opened");
    record(&log, 7);
    stop(log);
    let checkpoint = data.path().join("store/audit.test/gw-1/checkpoints/0000000001");
    data::make_mutable(&checkpoint);
    std::fs::remove_file(&checkpoint).expect("removed");
    std::fs::remove_dir_all(data.path().join("spool")).expect("removed");
    data::copy_all(&old.path().join("spool"), &data.path().join("spool"));
    let records = restarted(&data);
    assert!(checkpoint.exists(), "put again");
    assert_eq!(of_kind(&records, "rejected").len(), 7);
    let begin = records.iter().filter(|record| record["event"] == "segment").nth(1).expect("two segments");
    assert_eq!(gaps(&records), [("spool_lost", begin["ts"].as_str().expect("a time"))]);
}

fn receive(log: &AuditLog, id: &str) -> Ticket {
    let recorder = log.recorder();
    let mut ticket = recorder.enter();
    assert!(ticket.try_reserve(Need::BeginAndEnd));
    let received = Received {
        seq: Unnumbered,
        v: V1,
        kind: KindReceived,
        ts: ticket.since(),
        boot: recorder.boot(),
        request_id: id,
        trace_id: None,
        listener: "edge",
        actor: None,
        source: Source { ip: [203, 0, 113, 9].into(), port: 1, peer: None, claimed: &[] },
        tls: None,
        request: Request {
            method: "GET",
            scheme: "http",
            host: "api.test",
            path: "/",
            raw: None,
            query: QueryKeys(""),
            query_values: QueryPairs(""),
            http: "1.1",
            bytes: 0,
            body_sha256: None,
            content_digest: None,
            headers: Headers(&[]),
        },
        route: None,
        action: None,
        decision: None,
        config: "3f6a0000",
        trunc: None,
    };
    ticket.begin(Entry::received(&received, 8192));
    ticket
}

/// A log that was killed after `ids` were received in this segment or one before, and its gap.
fn unfinished(data: &Data) -> Vec<(u64, String)> {
    let records = restarted(data);
    let gaps = of_kind(&records, "gap").into_iter().filter(|gap| gap["reason"] == "unfinished");
    gaps.map(|gap| {
        (gap["lost"].as_u64().expect("a number"), gap["from"].as_str().expect("a time").to_owned())
    })
    .collect()
}

#[test]
fn what_was_received_and_has_no_end_is_counted_once_across_segments_and_boots() {
    let data = Data::new();
    let log = data.open().expect("opened");
    let first = receive(&log, "r-1");
    let since = first.since().to_string();
    // Segments are sealed, shipped and forgotten while it is open.
    record(&log, 300);
    let shipped = || log.status_view().read().store.shipped.last_checkpoint.is_some();
    wait_until("a segment is in the store", shipped);
    let second = receive(&log, "r-2");
    record(&log, 3);
    wait_until("all are durable", || durable(&log) == 305);
    let killed = data.copy();
    drop((first, second));
    stop(log);

    assert_eq!(unfinished(&killed), [(2, since.clone())]);
    // Declared once, also by a boot that dies before it has sealed anything.
    let log = killed.open().expect("goes on");
    let third = receive(&log, "r-3");
    wait_until("it is durable", || durable(&log) == 1);
    let again = killed.copy();
    drop(third);
    stop(log);
    let found = unfinished(&again);
    assert_eq!(found.iter().map(|(lost, _)| *lost).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(again.verify().outcome(), Outcome::Ok);
    assert_eq!(events(&again.records()).iter().filter(|event| **event == "start").count(), 4);
}
