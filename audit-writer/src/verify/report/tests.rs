//! The report in the words of the contract.

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn report(log: LogReport) -> Report {
    Report { now: at("2026-11-24T09:13:40.000000Z"), logs: vec![log], present: 1, fail_on: vec![] }
}

#[test]
fn a_finding_is_written_as_the_contract_shows() {
    let mut log = LogReport::new("audit.example.com/gw-1");
    let place = Place::log(&log.log).segment(SegmentNo(17)).frame(3).records(Seq(40211), 1797);
    log.finding(FindingKind::Changed, place, "leaves hash to 9f3c…, checkpoint 17 signs 01aa…");
    let report = report(log);
    let text = report.to_string();
    let mut lines = text.lines();
    assert_eq!(
        lines.next(),
        Some(
            "FINDING changed log audit.example.com/gw-1 segment 17 frame 3 seq 40211..42007: leaves hash to 9f3c…, checkpoint 17 signs 01aa…"
        )
    );
    assert_eq!(lines.next_back(), Some("FAILED: 1 log, 1 finding, 0 notices"));
    assert_eq!(report.outcome(), Outcome::Failed);
}

#[test]
fn the_line_of_a_log_is_written_as_the_contract_shows() {
    let mut log = LogReport::new("audit.example.com/gw-1");
    log.segments = Tally { good: 412, of: 412 };
    log.checkpoints = log.segments;
    log.records = 8_214_990;
    log.newest = Some(at("2026-11-24T09:12:59.000001Z"));
    log.notice(NoticeKind::NotWriteOnce, Place::log(&log.log), "the store is a directory");
    assert_eq!(
        report(log).to_string(),
        "log audit.example.com/gw-1: segments 412/412  records 8214990  checkpoints 412/412  declared lost 0  open 0  \
         newest 2026-11-24T09:12:59Z (40s ago)  store directory (not write-once)  root ok\n\
         OK: 1 log, 0 findings, 1 notice\n"
    );
}

#[test]
fn notices_fail_only_where_the_auditor_says_so() {
    let mut log = LogReport::new("a");
    log.notice(NoticeKind::Gap, Place::log("a").records(Seq(4), 1), "17 lost");
    let mut report = report(log);
    assert_eq!(report.outcome(), Outcome::Ok);
    assert!(report.to_string().contains("NOTICE gap log a seq 4: 17 lost\n"));
    report.fail_on = vec![NoticeKind::Gap];
    assert_eq!(report.outcome(), Outcome::Failed);
}

#[test]
fn what_cannot_be_read_is_neither_good_nor_a_finding() {
    let mut log = LogReport::new("a");
    log.unreadable(std::path::Path::new("x"), "permission denied");
    let mut report = report(log);
    assert_eq!(report.outcome(), Outcome::Incomplete);
    assert!(report.to_string().ends_with("INCOMPLETE: 1 log, 0 findings, 0 notices, 1 unreadable\n"));
    report.logs[0].finding(FindingKind::Missing, Place::log("a"), "gone");
    assert_eq!(report.outcome(), Outcome::Failed);
}

#[test]
fn findings_without_number_are_counted_and_not_kept() {
    let mut log = LogReport::new("a");
    for n in 0..5_000 {
        log.finding(FindingKind::Inserted, Place::log("a"), n.to_string());
    }
    assert_eq!(log.findings.len(), MAX_KEPT);
    assert!(report(log).to_string().contains("FAILED: 1 log, 5000 findings"));
}

#[test]
fn ages_are_short() {
    let ages: Vec<String> = [0, 59, 61, 3_725, 90_000].map(|s| Ago(s).to_string()).into();
    assert_eq!(ages, ["0s", "59s", "1m01s", "1h02m", "1d01h"]);
}
