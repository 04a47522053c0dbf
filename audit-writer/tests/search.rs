//! Searching stores and spools: what is found, in which order, and what is read for it.

#![allow(clippy::unwrap_used, reason = "in a test a panic is how a failure is told")]

mod store;

use std::fs;
use std::ops::ControlFlow;

use audit_writer::archive::LogView;
use audit_writer::ids::Seq;
use audit_writer::search::{Filter, Follower, Hit, Overview, Summary, find_record, search};
use audit_writer::time::Timestamp;
use store::{Draft, LogBuilder, Store, completed_as, start, stop};
use uuid::{NoContext, Uuid};

const LOG: &str = "audit.test/gw-1";
const MINUTE: u64 = 60_000_000;

/// A UUIDv7 of an instant.
fn id_at(ts: Timestamp) -> String {
    let (seconds, micros) = (ts.as_micros() / 1_000_000, ts.as_micros() % 1_000_000);
    Uuid::new_v7(uuid::Timestamp::from_unix(NoContext, seconds, micros as u32 * 1_000)).to_string()
}

/// Segments of some frames each, a minute apart; the id of each record names its own time.
fn long_log(store: &Store, name: &str, segments: usize) -> (LogBuilder, Vec<String>) {
    let mut log = LogBuilder::new(&store.path(), name);
    let mut ids = Vec::new();
    for number in 0..segments {
        log.clock = Timestamp::from_micros(log.clock.as_micros() + MINUTE);
        let mut clock = log.clock.as_micros() + log.step;
        let drafts: Vec<Draft> = (0..100)
            .map(|n| {
                clock += log.step;
                ids.push(id_at(Timestamp::from_micros(clock)));
                let path = format!("/{number}/{n}/{}", "x".repeat(30_000));
                completed_as(&ids[ids.len() - 1], &path, if n % 2 == 0 { 200 } else { 404 })
            })
            .collect();
        log.segment(&drafts);
    }
    (log, ids)
}

fn found(views: &[LogView], filter: &Filter, limit: Option<usize>) -> (Vec<Hit>, Summary) {
    let mut hits = Vec::new();
    let summary = search(views, filter, limit, |hit| {
        hits.push(hit);
        ControlFlow::Continue(())
    });
    (hits, summary.unwrap())
}

#[test]
fn records_come_newest_first_over_all_logs() {
    let store = Store::new();
    for (name, shift) in [("audit.test/a", 0), ("audit.test/b", 500), ("audit.test/c", MINUTE)] {
        let mut log = LogBuilder::new(&store.path(), name);
        log.clock = Timestamp::from_micros(log.clock.as_micros() + shift);
        log.segment(&[start(), completed_as("1", "/1", 200)]);
        log.segment(&[completed_as("2", "/2", 200), stop(2)]);
    }
    let views = store.archive().views().unwrap();
    let (hits, summary) = found(&views, &Filter::default(), None);
    assert_eq!((hits.len(), summary.found, summary.limited), (18, 18, false));
    assert!(hits.windows(2).all(|pair| pair[0].ts >= pair[1].ts));
    for name in ["audit.test/a", "audit.test/b", "audit.test/c"] {
        let seqs: Vec<u64> =
            hits.iter().filter(|hit| hit.log.as_str() == name).map(|hit| hit.seq.0).collect();
        assert_eq!(seqs, [5, 4, 3, 2, 1, 0]);
    }
    let (first, summary) = found(&views, &Filter::default(), Some(5));
    assert_eq!((&first[..], summary.limited), (&hits[..5], true));
    assert!(!found(&views, &Filter::default(), Some(18)).1.limited);
}

#[test]
fn a_search_that_has_enough_reads_no_further() {
    let store = Store::new();
    long_log(&store, LOG, 5);
    let views = store.archive().views().unwrap();
    let (_, summary) = found(&views, &Filter::default(), Some(3));
    assert_eq!((summary.stats.indexes_read, summary.stats.frames_read), (1, 1));
}

#[test]
fn times_and_sets_rule_out_segments_and_frames() {
    let store = Store::new();
    let (log, _) = long_log(&store, LOG, 5);
    let views = store.archive().views().unwrap();
    let last = log.segments[3].last().unwrap();
    let ts: Timestamp = last.split("\"ts\":\"").nth(1).unwrap()[..27].parse().unwrap();
    let (hits, summary) =
        found(&views, &Filter { since: Some(ts), until: Some(ts), ..Filter::default() }, None);
    assert_eq!(hits.iter().map(|hit| hit.seq.0).collect::<Vec<_>>(), [4 * 101 - 1]);
    assert_eq!((summary.stats.segments_skipped, summary.stats.frames_read), (4, 1));
    let (hits, summary) = found(&views, &Filter { route: vec!["nobody".into()], ..Filter::default() }, None);
    assert_eq!((hits.len(), summary.stats.frames_read, summary.stats.segments_skipped), (0, 0, 5));
}

#[test]
fn a_request_is_found_by_the_time_in_its_id_with_one_frame() {
    let store = Store::new();
    let (_, ids) = long_log(&store, LOG, 8);
    let views = store.archive().views().unwrap();
    for id in [&ids[0], &ids[50], &ids[333], ids.last().unwrap()] {
        let (hits, summary) =
            found(&views, &Filter { request_id: vec![id.clone()], ..Filter::default() }, None);
        assert_eq!(hits.len(), 1, "{id}");
        assert!(String::from_utf8_lossy(&hits[0].line).contains(id.as_str()));
        assert!(summary.stats.frames_read <= 2, "{:?}", summary.stats);
        assert_eq!(summary.stats.indexes_read, 8);
    }
}

#[test]
fn a_request_whose_id_names_another_time_is_found_all_the_same() {
    let store = Store::new();
    let mut log = LogBuilder::new(&store.path(), LOG);
    let far = id_at("2020-01-01T00:00:00.000000Z".parse().unwrap());
    let near = id_at(Timestamp::from_micros(log.clock.as_micros() + 5 * MINUTE));
    log.segment(&[
        start(),
        completed_as(&far, "/far", 200),
        completed_as(&near, "/near", 200),
        completed_as("v4", "/x", 200),
    ]);
    let views = store.archive().views().unwrap();
    for id in [far, near, "v4".to_owned()] {
        assert_eq!(found(&views, &Filter { request_id: vec![id], ..Filter::default() }, None).0.len(), 1);
    }
    let absent = id_at(log.clock);
    assert_eq!(found(&views, &Filter { request_id: vec![absent], ..Filter::default() }, None).0, []);
}

#[test]
fn a_record_is_found_by_its_number_with_few_indexes() {
    let store = Store::new();
    let (log, _) = long_log(&store, LOG, 30);
    let views = store.archive().views().unwrap();
    for seq in [0, 1, 100, 101, 1717, 30 * 101 - 1] {
        let (hit, summary) = find_record(&views[0], Seq(seq)).unwrap();
        let expected = &log.segments[seq as usize / 101][seq as usize % 101];
        assert_eq!(String::from_utf8_lossy(&hit.unwrap().line), expected.as_str());
        assert!(summary.stats.indexes_read <= 6 && summary.stats.frames_read == 1, "{:?}", summary.stats);
    }
    assert_eq!(find_record(&views[0], Seq(30 * 101)).unwrap().0, None);
}

#[test]
fn a_segment_that_cannot_be_read_is_told_and_hides_no_other() {
    let store = Store::new();
    let log = LogBuilder::ordinary(&store.path(), LOG);
    fs::write(log.segment_path(1), b"nonsense").unwrap();
    let views = store.archive().views().unwrap();
    let (hits, summary) = found(&views, &Filter::default(), None);
    assert_eq!(hits.len(), 7);
    assert_eq!(summary.troubles.len(), 1);
    assert!(
        summary.troubles[0].contains("0000000001.ndjson.zst: the segment has no index frame"),
        "{:?}",
        summary.troubles
    );
    // Halving over it still finds what lies around it.
    for seq in [0, 3, 9, 11] {
        assert!(find_record(&views[0], Seq(seq)).unwrap().0.is_some(), "{seq}");
    }
}

#[test]
fn a_store_is_followed_as_it_grows() {
    let store = Store::new();
    let mut log = LogBuilder::ordinary(&store.path(), LOG);
    let filter = Filter { kind: vec!["completed".into()], ..Filter::default() };
    let mut follower = Follower::new(store.archive(), filter, vec![]).unwrap();
    let mut look = || {
        let mut seqs = Vec::new();
        follower.look(|hit| seqs.push(hit.seq.0)).unwrap();
        seqs
    };
    assert_eq!(look(), [0u64; 0]);
    log.segment(&[completed_as("1", "/1", 200), completed_as("2", "/2", 200)]);
    log.segment(&[completed_as("3", "/3", 200)]);
    assert_eq!(look(), [13, 14, 16]);
    assert_eq!(look(), [0u64; 0]);
    // A log that begins meanwhile is followed from its beginning.
    LogBuilder::ordinary(&store.path(), "audit.test/gw-2");
    assert_eq!(look(), [2, 3, 6, 7, 10]);
}

#[test]
fn an_overview_says_how_much_there_is() {
    let store = Store::new();
    let log = LogBuilder::ordinary(&store.path(), LOG);
    let now = Timestamp::from_micros(log.clock.as_micros() + 3 * MINUTE);
    let overview = Overview::of(&store.archive().views().unwrap()[0], now);
    assert_eq!((overview.records, overview.segments, overview.checkpoints), (12, 3, 3));
    assert_eq!(
        (overview.last, overview.checkpoint_age_s, overview.unsealed),
        (Some(log.clock), Some(180), None)
    );
}
