//! The ring's lock-free protocols, in every order that the memory model allows (loom; at most three preemptions where
//! there are three threads).
//!
//! The files are the ring's own, compiled here with loom's atomics in place of the standard library's. Above each model
//! stand changes of the protocol with which it was seen to fail; without such a change none of them says anything.

#![allow(dead_code, unreachable_pub, reason = "the files are whole, and public where the crate is")]

use std::sync::atomic::{AtomicUsize as Uncounted, Ordering::SeqCst};

use accounting::{Accounting, Reason, Stage};
use audit_writer::time::Timestamp;
use in_flight::{BUCKET_SHIFT, InFlight};
use loom::sync::{Arc, Mutex};
use loom::thread::{self, JoinHandle};
use reservation::Reservation;

#[path = "../src/accounting.rs"]
mod accounting;
#[path = "../src/ring/in_flight.rs"]
mod in_flight;
#[path = "../src/ring/reservation.rs"]
mod reservation;

mod sync {
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
}

mod record {
    pub(crate) use audit_writer::record::Counters;
}

mod time {
    pub(crate) use audit_writer::time::Timestamp;
}

/// As many as a model needs: one comes round after two.
const BUCKETS: usize = 2;

/// Two threads are tried in every order. Of three, those orders in which a thread is interrupted three times at most:
/// what a protocol does wrong shows with fewer.
fn every_order(check: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(check);
}

fn join<const N: usize, T>(threads: [JoinHandle<T>; N]) -> [T; N] {
    threads.map(|thread| thread.join().expect("no panic"))
}

/// The time of bucket `number`, with two buckets to go round in.
fn at(number: u64) -> Timestamp {
    Timestamp::from_micros(number << BUCKET_SHIFT)
}

/// Serves a request that needs `count` slots, where it gets them; never more than `limit` are in use.
fn serve(slots: &Reservation, in_use: &Uncounted, count: usize, limit: usize) {
    if slots.take(count) {
        assert!(in_use.fetch_add(count, SeqCst) + count <= limit);
        thread::yield_now();
        in_use.fetch_sub(count, SeqCst);
        let _ = slots.give_back(count);
    }
}

/// Fails with: a store in place of the exchange in `add_below` · a check and then `fetch_add` · two slots taken one by one.
#[test]
fn no_more_slots_are_held_than_there_are() {
    every_order(|| {
        let slots = Arc::new(Reservation::new(2));
        let in_use = Arc::new(Uncounted::new(0));
        let request = |count| {
            let (slots, in_use) = (slots.clone(), in_use.clone());
            thread::spawn(move || serve(&slots, &in_use, count, 2))
        };
        let others = [request(1), request(1)];
        serve(&slots, &in_use, 2, 2);
        join(others);
        assert_eq!(slots.held(), 0);
    });
}

/// Fails with: two slots taken one by one, and the first given back where there is no second.
#[test]
fn two_slots_are_taken_at_once_or_none() {
    every_order(|| {
        let slots = Arc::new(Reservation::new(2));
        let request = || {
            let slots = slots.clone();
            thread::spawn(move || slots.take(2))
        };
        let others = [request(), request()];
        assert!(matches!(slots.held(), 0 | 2), "one of two is never seen");
        assert_eq!(
            join(others).iter().filter(|taken| **taken).count(),
            1,
            "where both want the last two, one gets them"
        );
        assert_eq!(slots.held(), 2);
    });
}

/// Fails with: the limit of all slots for streams · a store in place of the exchange.
#[test]
fn streams_hold_at_most_half_of_the_slots() {
    every_order(|| {
        let slots = Arc::new(Reservation::new(4));
        let live = Arc::new(Uncounted::new(0));
        let open = |slots: &Reservation, live: &Uncounted| {
            let opened = slots.take_for_stream(2);
            if opened {
                assert!(live.fetch_add(1, SeqCst) < 2);
                // Its `received` was appended: it lives on with the slot of its end.
                let _ = slots.give_back(1);
            }
            opened
        };
        let stream = || {
            let (slots, live) = (slots.clone(), live.clone());
            thread::spawn(move || open(&slots, &live))
        };
        let others = [stream(), stream()];
        let third = open(&slots, &live);
        let opened = join(others).into_iter().chain([third]).filter(|opened| *opened).count();
        assert!((1..=2).contains(&opened), "{opened}");
        assert_eq!(slots.held(), opened);
    });
}

/// Fails without: `end_stream` where the slots are not to be had.
#[test]
fn a_stream_that_is_refused_takes_no_stream_s_place() {
    every_order(|| {
        let slots = Arc::new(Reservation::new(2));
        assert!(slots.take(1));
        let stream = {
            let slots = slots.clone();
            thread::spawn(move || slots.take_for_stream(2))
        };
        let _ = slots.give_back(1);
        let [opened] = join([stream]);
        assert!(opened || slots.take_for_stream(2), "there is room for one");
        assert!(!slots.take_for_stream(2), "and for no other");
        slots.end_stream();
        let _ = slots.give_back(2);
        assert!(slots.take_for_stream(2));
    });
}

/// Fails without: the fence in `give_back` · the fence in `begin_wait`.
#[test]
fn a_slot_that_is_given_back_reaches_who_waits() {
    every_order(|| {
        let slots = Arc::new(Reservation::new(1));
        // What `Notify` is to the ring: whoever registered before a call is woken by it.
        let calls = Arc::new(Mutex::new(0));
        assert!(slots.take(1));
        let waiter = {
            let (slots, calls) = (slots.clone(), calls.clone());
            thread::spawn(move || {
                slots.begin_wait();
                let registered = *calls.lock().expect("no panic");
                (slots.take(1), registered)
            })
        };
        if slots.give_back(1) {
            *calls.lock().expect("no panic") += 1;
        }
        let [(taken, registered)] = join([waiter]);
        assert!(taken || *calls.lock().expect("no panic") > registered, "it would sleep beside a free slot");
    });
}

/// Fails without: the fence in `enter` · the fence in `watermark` · the floor in `enter`. Fails with: an acquire-release
/// fence in `enter` · `floor` written after the buckets were read.
#[test]
fn the_watermark_never_passes_a_request_in_flight() {
    every_order(|| {
        let in_flight = Arc::new(InFlight::new());
        let request = {
            let in_flight = in_flight.clone();
            // Its clock was read before the writer's, or stepped back.
            thread::spawn(move || in_flight.enter(at(10)))
        };
        let low = [in_flight.watermark(at(11)), in_flight.watermark(at(12))];
        let [entered] = join([request]);
        assert!(low.iter().all(|low| *low <= entered.since), "{low:?} {entered:?}");
        in_flight.leave(entered.bucket);
        assert_eq!(in_flight.watermark(at(13)), at(13));
    });
}

/// Fails with: the younger time kept in a bucket that came round.
#[test]
fn nor_one_whose_bucket_has_come_round() {
    every_order(|| {
        let in_flight = Arc::new(InFlight::new());
        let request = |number| {
            let in_flight = in_flight.clone();
            thread::spawn(move || in_flight.enter(at(number)))
        };
        let others = [request(10), request(12)];
        let low = in_flight.watermark(at(13));
        let [old, young] = join(others);
        assert_eq!(old.bucket, young.bucket);
        assert!(low <= old.since && low <= young.since);
        in_flight.leave(young.bucket);
        assert!(in_flight.watermark(at(14)) <= old.since);
        in_flight.leave(old.bucket);
        assert_eq!(in_flight.watermark(at(15)), at(15));
    });
}

/// The low watermark as `ring.rs` keeps it in the spool, with a value in place of the file.
struct Spooled {
    in_flight: InFlight,
    mark: Mutex<Mark>,
}

struct Mark {
    since: Timestamp,
    quiet: bool,
}

impl Spooled {
    fn new(quiet: bool) -> Arc<Spooled> {
        let in_flight = InFlight::new();
        if !quiet {
            in_flight.rouse();
        }
        Arc::new(Spooled { in_flight, mark: Mutex::new(Mark { since: at(1), quiet }) })
    }

    /// `Ring::move_watermark`.
    fn move_watermark(&self, now: Timestamp) {
        if self.in_flight.is_quiet() {
            return;
        }
        let mut mark = self.mark.lock().expect("no panic");
        let since = self.in_flight.watermark(now);
        let quiet = since == now && self.in_flight.settle();
        *mark = Mark { since, quiet };
    }

    /// `Ring::rouse`.
    fn rouse(&self, now: Timestamp) {
        let mut mark = self.mark.lock().expect("no panic");
        if !self.in_flight.is_quiet() {
            return;
        }
        let since = self.in_flight.watermark(now);
        *mark = Mark { since, quiet: false };
        self.in_flight.rouse();
    }

    fn is_quiet(&self) -> bool {
        self.mark.lock().expect("no panic").quiet
    }
}

/// A request, from its receipt to its end. The process may be killed wherever it is served: what lies in the spool must
/// then say that it is missing.
fn request(spooled: &Arc<Spooled>, number: u64) -> JoinHandle<()> {
    let spooled = spooled.clone();
    thread::spawn(move || {
        let entered = spooled.in_flight.enter(at(number));
        if entered.in_quiet {
            spooled.rouse(at(number));
        }
        let mark = spooled.mark.lock().expect("no panic");
        assert!(!mark.quiet, "a served request is denied");
        assert!(mark.since <= entered.since);
        drop(mark);
        spooled.in_flight.leave(entered.bucket);
    })
}

/// Fails with: `rouse` before the file is written · a request that is served before it roused.
#[test]
fn who_comes_into_a_quiet_time_says_so_before_it_is_served() {
    every_order(|| {
        let spooled = Spooled::new(true);
        let requests = [request(&spooled, 10), request(&spooled, 11)];
        spooled.move_watermark(at(12));
        join(requests);
        spooled.move_watermark(at(14));
        assert!(spooled.is_quiet());
    });
}

/// Fails without: the fence in `settle` · taking `quiet` back where a request is in flight. Fails with: the buckets read
/// before `quiet` is written · `settle` that does not look.
#[test]
fn quiet_is_never_said_of_a_request_in_flight() {
    loom::model(|| {
        let spooled = Spooled::new(false);
        let requests = [request(&spooled, 10)];
        spooled.move_watermark(at(12));
        spooled.move_watermark(at(13));
        join(requests);
        spooled.move_watermark(at(14));
        assert!(spooled.is_quiet());
    });
}

/// Fails with: a load and a store in place of an addition, in `captured`, `lost` or `taken` · a record that is taken and
/// not counted as durable.
#[test]
fn what_was_captured_is_durable_queued_or_lost() {
    every_order(|| {
        let accounting = Arc::new(Accounting::default());
        let request = |lost| {
            let accounting = accounting.clone();
            thread::spawn(move || {
                if lost {
                    accounting.lost(Reason::RingFull);
                } else {
                    accounting.captured();
                }
            })
        };
        let requests = [request(false), request(true)];
        accounting.captured();
        // The writer's thread.
        let taken = accounting.in_queue();
        accounting.taken(taken);
        accounting.durable(taken, 0);
        join(requests);
        let now = accounting.snapshot();
        assert_eq!((now.captured, now.lost), (3, 1));
        assert_eq!(now.captured, now.durable + now.queued + now.lost);
        assert_eq!(now.durable, accounting.at(Stage::Durable));
        assert!(now.durable >= 1, "what the writer took");
    });
}
