//! Requests in flight, one step after the other. Side by side they are tried in `tests/loom_ring.rs`.

use super::BUCKETS;
use super::in_flight::{BUCKET_SHIFT, InFlight};
use crate::time::Timestamp;

/// The longest time that the watermark is older than the oldest request for the sake of buckets.
const GRAIN: std::time::Duration = std::time::Duration::from_micros(1 << BUCKET_SHIFT);

fn at(millis: u64) -> Timestamp {
    Timestamp::from_micros(1_800_000_000_000_000 + millis * 1000)
}

#[test]
fn the_watermark_is_that_of_the_oldest_request_and_now_where_there_is_none() {
    let in_flight = InFlight::new();
    assert_eq!(in_flight.watermark(at(0)), at(0));
    let old = in_flight.enter(at(100));
    let young = in_flight.enter(at(900));
    let low = in_flight.watermark(at(1000));
    assert!(low <= at(100) && at(100).since(low) < GRAIN, "{low}");
    in_flight.leave(old.bucket);
    assert!(at(900).since(in_flight.watermark(at(1000))) < GRAIN);
    in_flight.leave(young.bucket);
    assert_eq!(in_flight.watermark(at(1001)), at(1001));
}

#[test]
fn a_request_is_never_received_before_the_watermark() {
    let in_flight = InFlight::new();
    in_flight.watermark(at(50));
    assert_eq!(in_flight.enter(at(49)).since, at(50), "its clock was read before, or stepped back");
    assert_eq!(in_flight.enter(at(51)).since, at(51));
}

#[test]
fn a_bucket_that_comes_round_keeps_the_older_time() {
    let in_flight = InFlight::new();
    let round = (BUCKETS as u64) << BUCKET_SHIFT;
    let rounds = |count: u64| Timestamp::from_micros(at(0).as_micros() + count * round);
    let long = in_flight.enter(rounds(0));
    let later = in_flight.enter(rounds(1));
    assert_eq!(long.bucket, later.bucket);
    assert!(in_flight.watermark(rounds(2)) <= rounds(0));
    in_flight.leave(long.bucket);
    assert!(in_flight.watermark(rounds(2)) <= rounds(0), "older than it need be, never younger");
    in_flight.leave(later.bucket);
    assert_eq!(in_flight.watermark(rounds(2)), rounds(2));
}

#[test]
fn quiet_is_said_only_where_nothing_is_in_flight_and_seen_by_the_next_request() {
    let in_flight = InFlight::new();
    assert!(in_flight.is_quiet());
    let request = in_flight.enter(at(1));
    assert!(request.in_quiet);
    in_flight.rouse();
    assert!(!in_flight.settle());
    assert!(!in_flight.enter(at(2)).in_quiet);
}

#[test]
fn those_that_leave_together_leave_each_from_its_own_bucket() {
    let in_flight = InFlight::new();
    let buckets: Vec<_> = [1, 1, 1, 500, 500, 1, 900].map(|millis| in_flight.enter(at(millis)).bucket).into();
    let stays = in_flight.enter(at(900));
    in_flight.leave_all(buckets.into_iter());
    assert!(!in_flight.settle());
    assert!(in_flight.watermark(at(1000)) > at(800), "of the older none is left");
    in_flight.leave_all([stays.bucket].into_iter());
    assert!(in_flight.settle());
}
