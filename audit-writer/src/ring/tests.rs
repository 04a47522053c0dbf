use super::*;
use crate::disk::RealDisk;
use crate::record::{KindRejected, Rejected, Source, Unnumbered, V1};
use crate::watermark;

/// A ring whose watermark lies in a directory of its own.
struct Fixture {
    ring: Arc<Ring>,
    recorder: Recorder,
    spool: tempfile::TempDir,
}

impl Fixture {
    fn new(limit: usize) -> Fixture {
        let spool = tempfile::tempdir().expect("a directory");
        let watermark = Watermark::new(Arc::new(RealDisk), spool.path(), "00000000").expect("a machine");
        let wait = Histogram::with_opts(prometheus::HistogramOpts::new("wait", "wait")).expect("a metric");
        let ring = Ring::new(limit, "00000000".into(), watermark, wait);
        ring.renew_watermark().expect("written");
        Fixture { recorder: Recorder::new(ring.clone()), ring, spool }
    }

    fn held(&self, need: Need) -> Option<Ticket> {
        let mut ticket = self.recorder.enter();
        ticket.try_reserve(need).then_some(ticket)
    }

    /// What the writer does, without a disk.
    fn write(&self) -> usize {
        let mut out = Vec::new();
        self.ring.drain(&mut out, usize::MAX, usize::MAX);
        out.iter_mut().for_each(Queued::acknowledge);
        self.ring.accounting().durable(out.len() as u64, 0);
        self.ring.appended(&out);
        out.len()
    }

    fn mark(&self) -> watermark::Mark {
        watermark::read(&RealDisk, self.spool.path()).expect("read").expect("there")
    }
}

fn entry() -> Entry {
    Entry::rejected(&Rejected {
        seq: Unnumbered,
        v: V1,
        kind: KindRejected,
        ts: Timestamp::from_micros(1),
        boot: "00000000",
        listener: "edge",
        source: Source { ip: [127, 0, 0, 1].into(), port: 1, peer: None, claimed: &[] },
        tls: None,
        reason: "malformed_request",
        bytes: 1,
        response: None,
        duration_us: 1,
        trunc: None,
    })
}

#[test]
fn a_slot_is_given_back_when_its_ticket_is_dropped_or_its_record_appended() {
    let fixture = Fixture::new(2);
    let (first, second) =
        (fixture.held(Need::Record).expect("free"), fixture.held(Need::Record).expect("free"));
    assert!(fixture.held(Need::Record).is_none());
    drop(first);
    let third = fixture.held(Need::Record).expect("given back");
    second.end(entry());
    third.end(entry());
    assert!(fixture.held(Need::Record).is_none());
    assert_eq!(fixture.ring.accounting().queued(), 2);
    assert_eq!(fixture.write(), 2);
    assert!(fixture.held(Need::Record).is_some());
    let counters = fixture.ring.accounting().snapshot();
    assert_eq!((counters.captured, counters.durable, counters.queued, counters.lost), (2, 2, 0, 0));
}

#[test]
fn two_slots_are_had_at_once_or_not_at_all() {
    let fixture = Fixture::new(3);
    let mut both = fixture.held(Need::BeginAndEnd).expect("free");
    assert!(fixture.held(Need::BeginAndEnd).is_none());
    let mut one = fixture.held(Need::Record).expect("the third");
    assert!(!one.try_reserve(Need::BeginAndEnd) && one.has_slot(), "what it holds it keeps");
    both.begin(entry());
    assert!(both.is_begun() && both.has_slot());
    fixture.write();
    assert!(one.try_reserve(Need::BeginAndEnd), "that of `received` is free again");
    both.end(entry());
    drop(one);
    fixture.write();
    assert_eq!(fixture.ring.in_use(), 0);
}

#[test]
fn streams_hold_at_most_half_of_the_slots() {
    let fixture = Fixture::new(8);
    let mut streams: Vec<_> = (0..3).map(|_| fixture.held(Need::Stream).expect("free")).collect();
    streams.iter_mut().for_each(|stream| stream.begin(entry()));
    fixture.write();
    let mut fourth = fixture.held(Need::Record).expect("free");
    assert!(fourth.try_reserve(Need::Stream), "a request that turns out to be a stream");
    assert!(fixture.held(Need::Stream).is_none());
    assert!(fixture.held(Need::BeginAndEnd).is_some(), "there are slots for others");
    drop(streams.pop());
    assert!(fixture.held(Need::Stream).is_some());
}

#[tokio::test]
async fn a_waiter_gets_the_slot_that_is_freed_and_is_refused_where_none_is() {
    let fixture = Fixture::new(1);
    let ticket = fixture.held(Need::Record).expect("free");
    let mut late = fixture.recorder.enter();
    let refused = late.reserve(Need::Record, Duration::from_millis(1)).await.expect_err("full");
    let counted = fixture.ring.accounting().refused_for(Reason::RingFull);
    assert_eq!((refused.reason(), counted), (Reason::RingFull, 1));
    let waiter =
        tokio::spawn(async move { late.reserve(Need::Record, Duration::from_secs(60)).await.is_ok() });
    while !fixture.ring.reservation.is_awaited() {
        tokio::task::yield_now().await;
    }
    drop(ticket);
    assert!(waiter.await.expect("no panic"));
}

#[tokio::test]
async fn those_that_wait_for_a_second_slot_do_not_wait_for_each_other() {
    let fixture = Fixture::new(2);
    let mut one = fixture.held(Need::Record).expect("free");
    let mut other = fixture.held(Need::Record).expect("free");
    let first = tokio::spawn(async move {
        one.reserve(Need::BeginAndEnd, Duration::from_secs(60)).await.map(|()| drop(one))
    });
    let second = tokio::spawn(async move {
        other.reserve(Need::BeginAndEnd, Duration::from_secs(60)).await.map(|()| drop(other))
    });
    first.await.expect("no panic").expect("both slots");
    second.await.expect("no panic").expect("both slots");
    assert_eq!(fixture.ring.in_use(), 0);
}

#[tokio::test]
async fn what_was_forwarded_keeps_its_slot_while_it_waits_for_another() {
    let fixture = Fixture::new(2);
    let (mut first, second) =
        (fixture.held(Need::Record).expect("free"), fixture.held(Need::Record).expect("free"));
    first.reserve_more(Need::Stream, Duration::from_millis(1)).await.expect_err("full");
    assert!(first.has_slot(), "its end has its room");
    assert_eq!(fixture.ring.accounting().refused_for(Reason::RingFull), 1);
    drop(second);
    first.reserve_more(Need::Stream, Duration::ZERO).await.expect("room for two");
    first.begin(entry());
    first.end(entry());
    assert_eq!(fixture.write(), 2);
    assert_eq!(fixture.ring.slots().free, 2);
}

#[test]
fn what_turns_out_a_stream_after_its_received_takes_no_further_slot() {
    let fixture = Fixture::new(4);
    let begun = || {
        let mut ticket = fixture.held(Need::BeginAndEnd).expect("room for two");
        ticket.begin(entry());
        fixture.write();
        ticket
    };
    let (mut first, mut second, mut third) = (begun(), begun(), begun());
    assert!(first.try_reserve(Need::Stream) && second.try_reserve(Need::Stream));
    assert!(!third.try_reserve(Need::Stream), "half of the slots are streams'");
    assert!(first.try_reserve(Need::Stream) && first.try_reserve(Need::Record), "it is one already");
    assert_eq!(fixture.ring.slots().free, 1);
    first.end(entry());
    assert!(third.try_reserve(Need::Stream), "a stream has ended");
    second.end(entry());
    third.end(entry());
    assert_eq!(fixture.write(), 3);
    assert_eq!(fixture.ring.slots().free, 4);
}

#[tokio::test]
async fn while_service_is_refused_free_slots_are_not_given() {
    let fixture = Fixture::new(8);
    fixture.ring.refuse(Reason::SpoolFull);
    let mut ticket = fixture.recorder.enter();
    assert!(!ticket.try_reserve(Need::Record));
    let refused = ticket.reserve(Need::Record, Duration::ZERO).await.expect_err("refusing");
    assert_eq!(refused.reason(), Reason::SpoolFull);
    fixture.ring.relent(Reason::SpoolFull);
    assert!(ticket.try_reserve(Need::Record));
}

#[test]
fn every_reason_that_holds_is_told_and_the_gravest_first_of_all() {
    let fixture = Fixture::new(8);
    assert_eq!((fixture.recorder.refusing(), fixture.recorder.refusals().count()), (None, 0));
    fixture.ring.refuse(Reason::SpoolFull);
    fixture.ring.refuse(Reason::WriterFailed);
    let all: Vec<_> = fixture.recorder.refusals().collect();
    assert_eq!(all, [Reason::SpoolFull, Reason::WriterFailed]);
    assert_eq!(fixture.recorder.refusing(), Some(Reason::WriterFailed));
    fixture.ring.relent(Reason::WriterFailed);
    assert_eq!(fixture.recorder.refusing(), Some(Reason::SpoolFull));
}

#[tokio::test]
async fn who_waits_for_durability_is_told_and_let_go_where_the_writer_fails() {
    let fixture = Fixture::new(8);
    let mut ticket = fixture.held(Need::BeginAndEnd).expect("free");
    let durable = ticket.begin_durably(entry());
    assert!(fixture.ring.is_pressing());
    fixture.write();
    assert!(!fixture.ring.is_pressing());
    durable.wait().await.expect("durable");

    let mut ticket = fixture.held(Need::BeginAndEnd).expect("free");
    let durable = ticket.begin_durably(entry());
    let mut out = Vec::new();
    fixture.ring.drain(&mut out, usize::MAX, usize::MAX);
    out.iter_mut().for_each(Queued::disappoint);
    assert_eq!(durable.wait().await.expect_err("let go").reason(), Reason::WriterFailed);
    assert_eq!(fixture.ring.accounting().refused_for(Reason::WriterFailed), 1);
    assert_eq!(fixture.ring.strict_wait.get_sample_count(), 2);
}

#[test]
fn losses_are_counted_and_declared_once_since_their_requests_were_received() {
    let fixture = Fixture::new(1);
    let _held = fixture.held(Need::Record).expect("free");
    let since = fixture.recorder.enter();
    let begin = since.since();
    since.end(entry());
    (0..2).for_each(|_| fixture.recorder.enter().lost());
    let lost: Vec<_> = fixture.ring.take_losses().collect();
    assert_eq!(
        lost.iter().map(|lost| (lost.reason, lost.count)).collect::<Vec<_>>(),
        [(Reason::RingFull, 3)]
    );
    assert!(lost[0].from == begin && lost[0].from <= lost[0].to);
    assert_eq!(fixture.ring.take_losses().count(), 0);
    let counters = fixture.ring.accounting().snapshot();
    assert_eq!((counters.captured, counters.lost), (3, 3));
}

#[test]
fn the_watermark_does_not_pass_what_is_in_flight_queued_or_lost() {
    let fixture = Fixture::new(8);
    assert!(fixture.mark().quiet);
    let ticket = fixture.held(Need::Record).expect("free");
    let since = ticket.since();
    assert!(!fixture.mark().quiet, "said before it is served");
    let stays = || {
        fixture.ring.move_watermark().expect("written");
        let mark = fixture.mark();
        assert!(!mark.quiet && mark.since <= since, "{mark:?} {since}");
    };
    stays();
    ticket.end(entry());
    stays();
    let lost = fixture.recorder.enter();
    fixture.write();
    let since = lost.since();
    lost.lost();
    fixture.ring.move_watermark().expect("written");
    assert!(!fixture.mark().quiet && fixture.mark().since <= since);
    assert_eq!(fixture.ring.take_losses().count(), 1);
    fixture.ring.move_watermark().expect("written");
    assert!(fixture.mark().quiet && fixture.mark().since >= since);
}

#[test]
fn many_threads_never_hold_more_slots_than_there_are() {
    let fixture = Fixture::new(16);
    let running = AtomicUsize::new(8);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for round in 0..2000 {
                    let need = if round % 3 == 0 { Need::BeginAndEnd } else { Need::Record };
                    if let Some(mut ticket) = fixture.held(need) {
                        assert!(fixture.ring.in_use() <= 16);
                        if need == Need::BeginAndEnd {
                            ticket.begin(entry());
                        }
                        if round % 2 == 0 { ticket.end(entry()) } else { drop(ticket) }
                    }
                }
                running.fetch_sub(1, Ordering::SeqCst);
            });
        }
        while running.load(Ordering::SeqCst) > 0 {
            fixture.write();
            fixture.ring.move_watermark().expect("written");
        }
    });
    fixture.write();
    fixture.ring.move_watermark().expect("written");
    assert_eq!((fixture.ring.in_use(), fixture.ring.accounting().queued()), (0, 0));
    assert!(fixture.mark().quiet);
}
