//! The start-up audit where a boot cannot go on: each case by its name, its exit code and its numbers; nothing is
//! touched, and with the operator's fix the log goes on.

mod data;

use std::path::Path;

use audit_writer::audit_log::{AuditLog, OpenError};
use audit_writer::recover::RecoverError;
use audit_writer::spool::SpoolError;
use data::{Data, copy_all, durable, find, good, make_mutable, of_kind, record, stop, wait_until};

fn refused(result: Result<AuditLog, OpenError>) -> (u8, String, OpenError) {
    let error = result.map(drop).expect_err("refused");
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    (error.exit_code(), text, error)
}

/// The code of a refusal whose error is as `is` says, and whose message holds all of `words`.
fn code(data: &Data, is: fn(&OpenError) -> bool, words: &[&str]) -> u8 {
    let (code, text, error) = refused(data.open());
    assert!(is(&error), "{error:?}");
    for word in words {
        assert!(text.contains(word), "{word:?} is expected in: {text}");
    }
    code
}

macro_rules! recover {
    ($variant:ident) => {
        |error| matches!(error, OpenError::Recover(RecoverError::$variant { .. }))
    };
}

fn remove(path: &Path) {
    make_mutable(path);
    if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }.expect("removed");
}

fn replace(path: &Path, with: &Path) {
    remove(path);
    copy_all(with, path);
}

fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).expect("there");
    change(&mut bytes);
    std::fs::write(path, bytes).expect("written");
}

/// A log whose spool holds sealed segments, from 1 on, because the store is away.
fn with_pending() -> Data {
    let data = Data::new();
    stop(data.open().expect("opened"));
    let (store, away) = (data.path().join("store"), data.path().join("away"));
    make_mutable(&store);
    std::fs::rename(&store, &away).expect("moved");
    let log = data.open().expect("the spool takes it");
    for _ in 0..4 {
        record(&log, 150);
        let so_far = log.status_view().read().counters.captured;
        wait_until("they are durable", || durable(&log) == so_far);
    }
    // Stopped, but not shipped.
    log.stop(std::time::Instant::now()).expect("a clean stop");
    std::fs::rename(&away, &store).expect("back");
    let sealed = data.path().join("spool");
    assert!((1..=3).all(|n| sealed.join(format!("{n:010}.ndjson.zst")).exists()), "{sealed:?}");
    data
}

/// As after `kill -9`: one segment committed, the next one open.
fn killed() -> Data {
    let data = Data::new();
    stop(data.open().expect("opened"));
    let log = data.open().expect("opened");
    record(&log, 10);
    wait_until("all are durable", || durable(&log) == 10);
    let killed = data.copy();
    stop(log);
    assert!(killed.path().join("spool/wal-0000000001").exists());
    killed
}

/// With the spool moved aside the log goes on from the store's head, and declares it.
fn goes_on_without_its_spool(data: &Data) {
    remove(&data.path().join("spool"));
    stop(data.open().expect("goes on"));
    good(&data.verify());
    assert_eq!(of_kind(&data.records(), "gap").last().expect("a gap")["reason"], "spool_lost");
}

#[test]
fn a_sealed_segment_that_is_missing_between_others_or_at_the_end() {
    let data = with_pending();
    let spool = data.path().join("spool");
    let kept = data.path().join("kept");
    std::fs::rename(spool.join("0000000002.ndjson.zst"), &kept).expect("moved");
    let words = ["holds segment 3", "not segment 2", "move the whole spool aside"];
    assert_eq!(code(&data, recover!(SegmentMissing), &words), 70);
    std::fs::rename(&kept, spool.join("0000000002.ndjson.zst")).expect("moved");
    let mut names = Vec::new();
    find(&spool, &mut names);
    let last = names.into_iter().filter(|name| name.to_string_lossy().ends_with(".zst")).max().expect("some");
    std::fs::rename(&last, &kept).expect("moved");
    assert_eq!(code(&data, recover!(SegmentsGone), &["has sealed segment", "nothing after record"]), 70);
    std::fs::rename(&kept, &last).expect("moved");
    stop(data.open().expect("goes on"));
    good(&data.verify());
    assert!(of_kind(&data.records(), "gap").is_empty());
}

#[test]
fn a_sealed_segment_that_is_damaged() {
    let data = with_pending();
    let path = data.path().join("spool/0000000002.ndjson.zst");
    edit(&path, |bytes| bytes[100] ^= 1);
    let words =
        ["0000000002.ndjson.zst`, sealed and not yet shipped, is damaged: restore", "data frame at byte 0"];
    assert_eq!(code(&data, recover!(SealedDamaged), &words), 70);
    goes_on_without_its_spool(&data);
}

#[test]
fn a_sealed_segment_that_is_damaged_while_its_write_ahead_log_is_there() {
    let data = killed();
    let spool = data.path().join("spool");
    std::fs::write(spool.join("0000000001.ndjson.zst"), "not a segment").expect("written");
    let words = ["`wal-0000000001` is still there: with the file moved aside it is sealed again from that"];
    assert_eq!(code(&data, recover!(SealedDamaged), &words), 70);
    remove(&spool.join("0000000001.ndjson.zst"));
    stop(data.open().expect("goes on"));
    good(&data.verify());
    assert_eq!(of_kind(&data.records(), "rejected").len(), 10);
}

#[test]
fn a_write_ahead_log_of_another_segment_of_other_numbers_or_of_another_log() {
    let wal = |data: &Data, n: u64| data.path().join(format!("spool/wal-{n:010}"));
    let data = killed();
    std::fs::rename(wal(&data, 1), wal(&data, 5)).expect("moved");
    let words = ["wal-0000000005` is there", "the segment to go on with is 1, not 5"];
    assert_eq!(code(&data, recover!(WalOutOfPlace), &words), 70);

    let other = Data::new();
    let log = other.open_with(|config| config.segment.max_bytes = 1 << 30).expect("opened");
    record(&log, 3);
    wait_until("all are durable", || durable(&log) == 3);
    let other = other.copy();
    stop(log);
    std::fs::copy(wal(&other, 0), wal(&data, 1)).expect("copied");
    remove(&wal(&data, 5));
    let words = ["wal-0000000001` begins with record 0, but the records before end with"];
    assert_eq!(code(&data, recover!(WalNumbers), &words), 70);

    let third = Data::new();
    stop(third.open().expect("opened"));
    let log = third.open().expect("opened");
    record(&log, 3);
    wait_until("all are durable", || durable(&log) == 3);
    let third = third.copy();
    stop(log);
    std::fs::copy(wal(&third, 1), wal(&data, 1)).expect("copied");
    let words = [
        "wal-0000000001` begins segment 1 of log audit.test/gw-1 after a file with SHA-256",
        "expected is segment 1",
    ];
    assert_eq!(code(&data, recover!(WalForeign), &words), 70);
    goes_on_without_its_spool(&data);
}

#[test]
fn a_state_that_is_missing_garbage_or_another_logs() {
    let data = killed();
    let state = data.path().join("spool/state");
    let good_state = std::fs::read_to_string(&state).expect("there");
    remove(&state);
    assert_eq!(code(&data, recover!(StateMissing), &["holds 1 segments, but no `state`"]), 70);

    for text in ["", "{", "null", "\u{0}\u{0}\u{0}\u{0}"] {
        std::fs::write(&state, text).expect("written");
        let garbage: fn(&OpenError) -> bool =
            |error| matches!(error, OpenError::Spool(SpoolError::State { .. }));
        assert_eq!(
            code(&data, garbage, &["state` is not a spool's state", "move the whole spool aside"]),
            70
        );
    }

    std::fs::write(&state, good_state.replacen("audit.test/gw-1", "audit.test/gw-2", 1)).expect("written");
    let other: fn(&OpenError) -> bool =
        |error| matches!(error, OpenError::Spool(SpoolError::OtherLog { .. }));
    assert_eq!(code(&data, other, &["is of the log audit.test/gw-2, not of audit.test/gw-1"]), 78);

    let mut changed: serde_json::Value = serde_json::from_str(&good_state).expect("JSON");
    let range = changed["committed"]["range"].as_array_mut().expect("hashes");
    *range.last_mut().expect("one") = "00".repeat(32).into();
    std::fs::write(&state, changed.to_string()).expect("written");
    assert_eq!(code(&data, recover!(StateTree), &["have the root", "its checkpoint 0 signs"]), 70);

    let note = changed["committed"]["checkpoint"].as_str().expect("a note").replacen(
        "audit.test/gw-1\n",
        "audit.test/gw-1\n1",
        1,
    );
    changed["committed"]["checkpoint"] = note.into();
    std::fs::write(&state, changed.to_string()).expect("written");
    assert_eq!(
        code(&data, recover!(StateCheckpoint), &["remembers checkpoint 0, which is not this gateway's"]),
        70
    );

    std::fs::write(&state, good_state).expect("written");
    stop(data.open().expect("goes on"));
    good(&data.verify());
}

#[test]
fn a_key_that_is_not_the_spools_is_refused_also_while_the_store_is_away() {
    let data = killed();
    for file in ["gateway.key", "gateway.pub"] {
        remove(&data.path().join(file));
    }
    make_mutable(data.path());
    std::fs::rename(data.path().join("store"), data.path().join("away")).expect("moved");
    assert_eq!(code(&data, recover!(StateCheckpoint), &["restore the key that wrote this spool"]), 70);
    std::fs::rename(data.path().join("away"), data.path().join("store")).expect("moved");
    // Without a spool, the marker says whose it is.
    remove(&data.path().join("spool"));
    assert_eq!(
        code(
            &data,
            recover!(WrongKey),
            &["belongs to the key audit.test/gw-1+", "this gateway's is audit.test/gw-1+"]
        ),
        70
    );
}

#[test]
fn a_store_that_is_not_mounted_or_lost_and_one_that_cannot_be_asked() {
    let data = killed();
    let (store, away) = (data.path().join("store"), data.path().join("away"));
    make_mutable(&store);
    std::fs::rename(&store, &away).expect("moved");
    std::fs::create_dir(&store).expect("made");
    let words = ["holds no log `audit.test/gw-1`", "has committed 1 of its segments and holds 1 more: mount"];
    assert_eq!(code(&data, recover!(StoreLost), &words), 78);
    std::fs::remove_dir(&store).expect("removed");
    // The store is away, and the spool is lost: nothing says how far the log has come.
    std::fs::rename(data.path().join("spool"), data.path().join("spool-away")).expect("moved");
    let (exit, text, _) = refused(data.open_with(|config| config.create_log = false));
    assert_eq!(exit, 75);
    assert!(text.contains("start again when it can be reached"), "{text}");
    std::fs::rename(&away, &store).expect("back");
    remove(&data.path().join("spool"));
    std::fs::rename(data.path().join("spool-away"), data.path().join("spool")).expect("back");
    stop(data.open().expect("goes on"));
    good(&data.verify());
}

#[test]
fn a_spool_behind_the_store_and_one_ahead_of_it() {
    let data = Data::new();
    stop(data.open().expect("opened"));
    let old = data.copy();
    let log = data.open().expect("opened");
    record(&log, 5);
    stop(log);
    let new = data.copy();
    replace(&data.path().join("spool"), &old.path().join("spool"));
    let words =
        ["newest checkpoint is 1, root", "this spool ends with segment 0, root", "move the spool aside"];
    assert_eq!(code(&data, recover!(SpoolBehind), &words), 70);

    replace(&data.path().join("spool"), &new.path().join("spool"));
    replace(&data.path().join("store"), &old.path().join("store"));
    let words = ["this spool committed segment 1, but the newest checkpoint in the store", "is 0"];
    assert_eq!(code(&data, recover!(SpoolAhead), &words), 70);
    replace(&data.path().join("store"), &new.path().join("store"));
    stop(data.open().expect("goes on"));
    good(&data.verify());
}

/// Two histories of one log: `ours` has shipped nothing of its own yet, `theirs` is in the store.
fn split() -> (Data, Data) {
    let data = Data::new();
    stop(data.open().expect("opened"));
    let theirs = data.copy();
    let log = theirs.open().expect("opened");
    record(&log, 20);
    stop(log);
    let (store, away) = (data.path().join("store"), data.path().join("away"));
    make_mutable(&store);
    std::fs::rename(&store, &away).expect("moved");
    let log = data.open().expect("the spool takes it");
    record(&log, 10);
    log.stop(std::time::Instant::now()).expect("a clean stop");
    copy_all(&theirs.path().join("store"), &store);
    (data, theirs)
}

#[test]
fn two_histories_with_a_checkpoint_and_without_are_a_split_that_names_both_roots() {
    let (data, _theirs) = split();
    let words = [
        "split log: after segment 1 the spool's tree has root",
        "records, the store's",
        "stop the other one",
    ];
    assert_eq!(code(&data, recover!(Split), &words), 70);
    remove(&data.path().join("store/audit.test/gw-1/checkpoints/0000000001"));
    assert_eq!(code(&data, recover!(Split), &words), 70);
    // What lies there is no segment of this log at all.
    let mut files = Vec::new();
    find(&data.path().join("store/audit.test/gw-1/segments"), &mut files);
    let second = files.into_iter().find(|file| file.ends_with("0000000001.ndjson.zst")).expect("there");
    make_mutable(&second);
    remove(&second);
    std::fs::write(&second, "something else").expect("written");
    let words = ["holds a segment 1 without a checkpoint that does not go on from this spool's root"];
    assert_eq!(code(&data, recover!(ForeignSegment), &words), 70);
}

#[test]
fn a_checkpoint_of_the_store_that_this_key_has_not_signed() {
    let data = killed();
    let checkpoint = data.path().join("store/audit.test/gw-1/checkpoints/0000000000");
    make_mutable(&checkpoint);
    let bytes = std::fs::read(&checkpoint).expect("there");
    remove(&checkpoint);
    std::fs::write(&checkpoint, [&bytes[..], b"x"].concat()).expect("written");
    assert_eq!(
        code(&data, recover!(ForeignCheckpoint), &["checkpoint 0 in the store", "is not this gateway's"]),
        70
    );
}

#[test]
fn a_marker_that_is_garbage_and_a_spool_that_another_holds() {
    let data = killed();
    let marker = data.path().join("store/audit.test/gw-1/log");
    make_mutable(&marker);
    let bytes = std::fs::read(&marker).expect("there");
    remove(&marker);
    std::fs::write(&marker, "{}").expect("written");
    assert_eq!(code(&data, recover!(Marker), &["the marker of log `audit.test/gw-1`"]), 70);
    remove(&marker);
    std::fs::write(&marker, bytes).expect("written");
    let log = data.open().expect("goes on");
    let locked: fn(&OpenError) -> bool = |error| matches!(error, OpenError::Spool(SpoolError::Locked { .. }));
    assert_eq!(code(&data, locked, &["is locked by another gateway"]), 75);
    stop(log);
    good(&data.verify());
}
