//! The write half against the read half: what was recorded is what `verify` finds, across stops, crashes and losses.

mod data;

use std::time::{Duration, Instant};

use audit_writer::audit_log::{AuditLog, OpenError};
use audit_writer::ring::Need;
use data::{Data, copy_all, durable, events, good, make_mutable, of_kind, record, stop, wait_until};

#[test]
fn what_is_recorded_is_stored_once_each_in_order_and_verifies() {
    let data = Data::new();
    let log = data.open().expect("opened");
    record(&log, 5000);
    stop(log);
    let report = data.verify();
    good(&report);
    let records = data.records();
    let bytes: Vec<_> = of_kind(&records, "rejected").iter().map(|record| record["bytes"].as_u64()).collect();
    assert_eq!(bytes, (0..5000).map(Some).collect::<Vec<_>>());
    assert!(records.iter().enumerate().all(|(n, record)| record["seq"] == n));
    assert_eq!((events(&records).first(), events(&records).last()), (Some(&"start"), Some(&"stop")));
}

#[test]
fn a_log_goes_on_over_clean_stops_without_a_gap() {
    let data = Data::new();
    for _ in 0..3 {
        let log = data.open().expect("opened");
        record(&log, 100);
        stop(log);
        good(&data.verify());
    }
    let records = data.records();
    assert_eq!(of_kind(&records, "rejected").len(), 300);
    assert!(of_kind(&records, "gap").is_empty());
    let starts: Vec<_> = records.iter().filter(|record| record["event"] == "start").collect();
    assert!(starts.iter().all(|start| start["unclean"] == false), "{starts:?}");
}

#[test]
fn after_a_crash_whole_groups_are_sealed_and_the_next_boot_says_unclean() {
    let data = Data::new();
    let log = data.open().expect("opened");
    record(&log, 500);
    wait_until("all are durable", || durable(&log) == 500);
    let in_flight = log.recorder().enter();
    let crashed = data.copy();
    drop(in_flight);
    record(&log, 1);
    stop(log);

    // Nothing was shipped before the crash, the configuration of that boot included.
    let log = crashed.open_as(b"version: 1 # another\n", |_| {}).expect("recovered");
    record(&log, 10);
    stop(log);
    let report = crashed.verify();
    good(&report);
    let records = crashed.records();
    assert_eq!(of_kind(&records, "rejected").len(), 510);
    let gaps = of_kind(&records, "gap");
    assert_eq!(
        gaps.iter().map(|gap| (&gap["reason"], &gap["lost"])).collect::<Vec<_>>(),
        [(&"crash".into(), &serde_json::Value::Null)]
    );
    let start = records.iter().rfind(|record| record["event"] == "start").expect("a start");
    assert_eq!(start["unclean"], true);
    assert_eq!(
        start["last_durable_seq"],
        start["seq"].as_u64().expect("a number") - 2,
        "the segment record is between"
    );
}

#[test]
fn a_write_ahead_log_cut_anywhere_recovers_to_a_log_that_verifies() {
    let data = Data::new();
    // No segment is sealed before the copy.
    let log = data.open_with(|config| config.segment.max_bytes = 1 << 30).expect("opened");
    for _ in 0..20 {
        record(&log, 3);
        let so_far = log.status_view().read().counters.captured;
        wait_until("a group is durable", || durable(&log) == so_far);
    }
    let whole = data.copy();
    stop(log);
    let wal = "spool/wal-0000000000";
    let length = std::fs::metadata(whole.path().join(wal)).expect("there").len();
    for cut in (0..length).step_by(397) {
        let torn = whole.copy();
        let file = std::fs::OpenOptions::new().write(true).open(torn.path().join(wal)).expect("there");
        file.set_len(cut).expect("cut");
        let log = torn.open().expect("recovered");
        record(&log, 2);
        stop(log);
        let report = torn.verify();
        good(&report);
    }
}

#[test]
fn a_lost_spool_is_declared_and_the_log_goes_on_from_the_stores_head() {
    let data = Data::new();
    let log = data.open().expect("opened");
    record(&log, 300);
    stop(log);
    std::fs::remove_dir_all(data.path().join("spool")).expect("removed");
    let log = data.open_with(|config| config.create_log = false).expect("goes on");
    record(&log, 5);
    stop(log);
    let report = data.verify();
    good(&report);
    let records = data.records();
    assert_eq!(of_kind(&records, "rejected").len(), 305);
    assert_eq!(of_kind(&records, "gap")[0]["reason"], "spool_lost");
}

#[test]
fn a_segment_without_its_checkpoint_is_adopted_by_a_boot_without_a_spool() {
    let data = Data::new();
    let log = data.open().expect("opened");
    record(&log, 300);
    stop(log);
    let checkpoints = data.path().join("store/audit.test/gw-1/checkpoints");
    let mut names: Vec<_> =
        std::fs::read_dir(&checkpoints).expect("there").flatten().map(|e| e.path()).collect();
    names.sort();
    make_mutable(&checkpoints);
    std::fs::remove_file(names.last().expect("some")).expect("removed");
    std::fs::remove_dir_all(data.path().join("spool")).expect("removed");
    stop(data.open().expect("goes on"));
    let report = data.verify();
    good(&report);
    assert!(names.last().expect("some").exists(), "the checkpoint was put again");
    assert_eq!(of_kind(&data.records(), "rejected").len(), 300);
}

#[test]
fn a_log_begins_only_where_it_may_and_a_lost_store_is_no_new_log() {
    let data = Data::new();
    let code = |result: Result<AuditLog, OpenError>| result.map(drop).expect_err("refused").exit_code();
    // The store is not there at all: it may be away.
    assert_eq!(code(data.open_with(|config| config.create_log = false)), 75);
    std::fs::create_dir(data.path().join("store")).expect("made");
    assert_eq!(code(data.open_with(|config| config.create_log = false)), 78);
    let log = data.open().expect("created");
    record(&log, 3);
    stop(log);
    // An unmounted store: an empty directory in its place.
    make_mutable(data.path());
    std::fs::rename(data.path().join("store"), data.path().join("elsewhere")).expect("moved");
    std::fs::create_dir(data.path().join("store")).expect("made");
    assert_eq!(code(data.open()), 78);
    // A store that cannot be asked does not stop a gateway that knows its log.
    std::fs::remove_dir(data.path().join("store")).expect("removed");
    let log = data.open().expect("the spool takes it");
    record(&log, 300);
    wait_until("all are durable", || durable(&log) == 300);
    let view = log.status_view();
    wait_until("it says that they wait", || view.read().store.shipped.oldest_waiting.is_some());
    std::fs::rename(data.path().join("elsewhere"), data.path().join("store")).expect("back");
    stop(log);
    good(&data.verify());
    assert_eq!(of_kind(&data.records(), "rejected").len(), 303);
}

#[test]
fn a_key_of_another_log_and_a_key_that_is_not_the_markers_are_refused() {
    let data = Data::new();
    stop(data.open().expect("created"));
    let other = data.open_with(|config| config.log = "audit.test/gw-2".parse().expect("a name"));
    assert_eq!(other.map(drop).expect_err("another log's key").exit_code(), 78);
    for file in ["gateway.key", "gateway.pub"] {
        std::fs::remove_file(data.path().join(file)).expect("removed");
    }
    let error = data.open().map(drop).expect_err("another key");
    assert_eq!(error.exit_code(), 70, "{error}");
}

#[test]
fn a_second_gateway_on_the_same_spool_is_refused() {
    let data = Data::new();
    let log = data.open().expect("opened");
    assert_eq!(data.open().map(drop).expect_err("locked").exit_code(), 75);
    stop(log);
}

#[test]
fn two_histories_of_one_log_are_a_split_that_names_both_roots() {
    let data = Data::new();
    stop(data.open().expect("created"));
    let copy = data.copy();
    let log = data.open().expect("opened");
    record(&log, 10);
    stop(log);
    // The copy goes on for itself, with another history, and then meets the first one's store.
    let log = copy.open().expect("opened");
    record(&log, 20);
    stop(log);
    make_mutable(data.path());
    make_mutable(copy.path());
    std::fs::remove_dir_all(copy.path().join("store")).expect("removed");
    copy_all(&data.path().join("store"), &copy.path().join("store"));
    let error = copy.open().map(drop).expect_err("split");
    assert_eq!(error.exit_code(), 70);
    assert!(
        error.to_string().contains("split log") && error.to_string().matches("root").count() >= 1,
        "{error}"
    );
}

#[test]
fn a_full_spool_refuses_service_until_there_is_room_again() {
    let data = Data::new();
    let log = data.open_with(|config| config.spool.min_free = u64::MAX / 2).expect("opened");
    assert!(!log.recorder().enter().try_reserve(Need::Record));
    assert_eq!(log.status_view().read().refusing, Some("spool_full"));
    stop(log);
    good(&data.verify());
}

#[test]
fn losses_become_gaps_and_the_counters_add_up() {
    let data = Data::new();
    let log = data.open().expect("opened");
    record(&log, 10);
    (0..7).for_each(|_| log.recorder().enter().lost());
    wait_until("all are durable", || durable(&log) == 10);
    let counters = log.status_view().read().counters;
    assert_eq!((counters.captured, counters.durable, counters.queued, counters.lost), (17, 10, 0, 7));
    log.stop(Instant::now() + Duration::from_secs(30)).expect("a clean stop");
    let records = data.records();
    let lost: u64 = of_kind(&records, "gap").iter().filter_map(|gap| gap["lost"].as_u64()).sum();
    assert_eq!(lost, 7);
    let report = data.verify();
    good(&report);
    let stop = records.last().expect("a stop");
    assert_eq!((&stop["counters"]["captured"], &stop["counters"]["lost"]), (&17.into(), &7.into()));
}

#[test]
fn every_record_of_the_log_itself_fits_the_schema() {
    let data = Data::new();
    let log = data.open_with(|config| config.heartbeat_interval = Duration::from_millis(20)).expect("opened");
    log.recorder().enter().lost();
    record(&log, 10);
    let sealed = || log.status_view().read().store.shipped.last_checkpoint.is_some();
    wait_until("a segment is in the store", sealed);
    log.stop(Instant::now() + Duration::from_secs(30)).expect("a clean stop");
    let schema = audit_writer::record::schema::record();
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let records = data.records();
    for record in &records {
        assert!(validator.is_valid(record), "{record}");
        let fields: Vec<_> = record.as_object().expect("an object").keys().cloned().collect();
        for field in &fields {
            let mut without = record.clone();
            without.as_object_mut().expect("an object").remove(field);
            let optional = field == "last_durable_seq";
            assert_eq!(validator.is_valid(&without), optional, "without {field}: {record}");
        }
        let mut with = record.clone();
        with["extra"] = 1.into();
        assert!(!validator.is_valid(&with), "{record}");
    }
    for event in ["start", "heartbeat", "stored", "stop"] {
        assert!(events(&records).contains(&event), "{event}");
    }
}

#[test]
fn an_idle_log_does_not_feed_on_itself() {
    let data = Data::new();
    let log = data.open_with(|config| config.segment.max_age = Duration::from_millis(5)).expect("opened");
    record(&log, 1);
    let shipped = || log.status_view().read().store.shipped.last_checkpoint.map(|last| last.segment.0);
    wait_until("the first segment is in the store", || shipped() == Some(0));
    // `stored` of segment 0 opens segment 1, which holds `lifecycle` records alone and waits for the heartbeat.
    wait_until("it is recorded", || log.status_view().read().tree_size > 4);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(shipped(), Some(0));
    let view = log.status_view();
    stop(log);
    assert_eq!(view.read().store.shipped.last_checkpoint.map(|last| last.segment.0), Some(1));
}
