use proptest::prelude::*;

use super::*;

/// One side's frames.
#[derive(Default)]
struct Wire(Vec<u8>);

impl Wire {
    fn client() -> Wire {
        Wire(PREFACE.to_vec()).frame(4, 0, 0, &[])
    }

    fn frame(mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Wire {
        let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
        self.0.extend_from_slice(&length[1..]);
        self.0.extend_from_slice(&[kind, flags]);
        self.0.extend_from_slice(&stream.to_be_bytes());
        self.0.extend_from_slice(payload);
        self
    }

    /// A whole header block, in one frame.
    fn headers(self, stream: u32) -> Wire {
        self.frame(1, 5, stream, b"block")
    }

    fn reset(self, stream: u32, code: u32) -> Wire {
        self.frame(3, 0, stream, &code.to_be_bytes())
    }
}

fn ledger(client: &Wire) -> Ledger {
    let mut ledger = Ledger::default();
    ledger.read(&client.0);
    ledger
}

fn told(left: &[(Reason, Unheard)]) -> Vec<(Reason, u32, u64)> {
    left.iter().map(|(reason, unheard)| (*reason, unheard.stream, unheard.bytes)).collect()
}

fn close(ledger: &mut Ledger, end: End) -> Vec<(Reason, u32, u64)> {
    let left = told(&ledger.close(end, Instant::now()));
    assert_eq!(ledger.close(end, Instant::now()), [], "a second time nothing is left");
    left
}

#[test]
fn a_stream_that_was_handed_out_is_no_business_of_the_ledger() {
    let mut ledger = ledger(&Wire::client().headers(1).headers(3).headers(1).reset(3, 8));
    ledger.hand_out(1);
    ledger.hand_out(3);
    ledger.wrote(&Wire::default().headers(1).reset(3, 1).0);
    assert_eq!(ledger.take_answered(), []);
    assert_eq!(close(&mut ledger, End::Closed), []);
}

#[test]
fn what_the_library_answers_by_itself_has_its_reason() {
    let mut ledger = ledger(&Wire::client().headers(1).headers(3).headers(5).headers(7));
    ledger.hand_out(1);
    ledger.wrote(&Wire::default().headers(1).reset(3, 1).frame(1, 5, 5, b"431").reset(5, 0).reset(7, 7).0);
    let answered = ledger.take_answered();
    assert_eq!(
        told(&answered),
        [
            (Reason::H2MalformedStream, 3, 14),
            (Reason::HeaderTooLarge, 5, 14),
            (Reason::H2StreamRefused, 7, 14)
        ]
    );
    let statuses: Vec<_> = answered.iter().map(|(_, unheard)| unheard.answered()).collect();
    assert_eq!(statuses, [None, Some((431, 0)), None]);
    assert_eq!(close(&mut ledger, End::Closed), []);
}

#[test]
fn a_stream_that_is_reset_and_handed_out_all_the_same_is_told_once() {
    let mut ledger = ledger(&Wire::client().headers(1));
    ledger.wrote(&Wire::default().reset(1, 1).0);
    ledger.hand_out(1);
    assert_eq!(ledger.take_answered(), []);
    assert_eq!(close(&mut ledger, End::Closed), []);
}

#[test]
fn what_waits_when_the_connection_ends_is_told_by_how_it_ends() {
    for (end, reasons) in [
        (End::Closed, [Reason::H2StreamDropped, Reason::H2StreamDropped]),
        (End::Shutdown, [Reason::Shutdown, Reason::Shutdown]),
        (End::Panic, [Reason::Internal, Reason::Internal]),
        // The last one came with what broke the connection.
        (End::Protocol, [Reason::H2StreamDropped, Reason::H2ProtocolError]),
        (End::Flood, [Reason::H2StreamDropped, Reason::H2Flood]),
    ] {
        let mut ledger = ledger(&Wire::client().headers(1).headers(3).headers(5));
        ledger.hand_out(1);
        assert_eq!(close(&mut ledger, end), [(reasons[0], 3, 14), (reasons[1], 5, 14)], "{end:?}");
    }
}

#[test]
fn a_connection_that_breaks_without_a_stream_to_blame_is_told_by_itself() {
    let mut broken = ledger(&Wire::client().headers(1));
    broken.hand_out(1);
    assert_eq!(close(&mut broken, End::Protocol), [(Reason::H2ProtocolError, 0, 0)]);
    let mut refused = ledger(&Wire::client().headers(1));
    refused.wrote(&Wire::default().reset(1, 1).0);
    let left = close(&mut refused, End::Flood);
    assert_eq!(left, [(Reason::H2MalformedStream, 1, 14), (Reason::H2Flood, 0, 0)]);
}

#[test]
fn a_header_block_that_does_not_end_is_one_attempt() {
    let cut = |wire: &Wire, end, timed_out| {
        let mut ledger = ledger(wire);
        assert!(ledger.waits_since(Instant::now()).is_some());
        if timed_out {
            ledger.time_out();
        }
        close(&mut ledger, end)
    };
    let open = Wire::client().frame(1, 1, 1, b"block");
    assert_eq!(cut(&open, End::Closed, false), [(Reason::ClosedInHeader, 1, 14)]);
    assert_eq!(cut(&open, End::Closed, true), [(Reason::HeaderTimeout, 1, 14)]);
    assert_eq!(cut(&open, End::Protocol, false), [(Reason::H2ProtocolError, 1, 14)]);
    assert_eq!(cut(&open, End::Shutdown, false), [(Reason::Shutdown, 1, 14)]);
    let more = Wire(open.0.clone()).frame(9, 0, 1, b"more");
    assert_eq!(cut(&more, End::Closed, false), [(Reason::ClosedInHeader, 1, 27)]);
    let mut frame = Wire::client().headers(1).0;
    frame.truncate(frame.len() - 3);
    assert_eq!(cut(&Wire(frame.clone()), End::Closed, false), [(Reason::ClosedInHeader, 1, 11)]);
    frame.truncate(frame.len() - 5);
    assert_eq!(cut(&Wire(frame), End::Closed, false), [(Reason::ClosedInHeader, 0, 6)]);
}

#[test]
fn a_block_that_was_waited_for_is_still_one_stream() {
    let (start, rest) = (Wire::client().0, Wire::default().headers(1).headers(3).0);
    for cut in 0..=rest.len() {
        let mut ledger = ledger(&Wire(start.clone()));
        ledger.read(&rest[..cut]);
        ledger.waits_since(Instant::now());
        ledger.read(&rest[cut..]);
        assert_eq!(ledger.waits_since(Instant::now()), None);
        let left = close(&mut ledger, End::Closed);
        assert_eq!(left, [(Reason::H2StreamDropped, 1, 14), (Reason::H2StreamDropped, 3, 14)], "{cut}");
    }
}

#[test]
fn trailers_are_of_a_stream_that_has_its_own_record() {
    let mut ledger = ledger(&Wire::client().headers(1).frame(1, 1, 1, b"trailers"));
    ledger.hand_out(1);
    assert!(ledger.waits_since(Instant::now()).is_some());
    assert_eq!(close(&mut ledger, End::Closed), []);
}

#[tokio::test(start_paused = true)]
async fn streams_that_are_taken_back_are_counted_by_the_second() {
    let mut ledger = ledger(&Wire::client().headers(1).headers(3).headers(5));
    ledger.read(&Wire::default().reset(5, 8).0);
    assert_eq!(ledger.resets(), 0, "it was not handed out yet");
    ledger.hand_out(1);
    ledger.hand_out(3);
    ledger.read(&Wire::default().reset(1, 8).reset(3, 8).0);
    assert_eq!(ledger.resets(), 2);
    tokio::time::advance(Duration::from_secs(2)).await;
    ledger.read(&Wire::default().reset(1, 8).0);
    assert_eq!(ledger.resets(), 1);
}

#[test]
fn a_connection_without_a_stream_is_an_attempt() {
    for (end, reason) in [
        (End::Closed, Reason::NoRequest),
        (End::Shutdown, Reason::Shutdown),
        (End::Panic, Reason::Internal),
        (End::Protocol, Reason::H2ProtocolError),
    ] {
        let left = close(&mut ledger(&Wire::client()), end);
        assert_eq!(left.iter().map(|(reason, ..)| *reason).collect::<Vec<_>>(), [reason], "{end:?}");
    }
}

#[test]
fn a_handshake_that_fails_is_told_by_how_far_it_came() {
    let failed = |bytes: &[u8], timed_out: bool, ended: bool| {
        let mut ledger = Ledger::default();
        ledger.read(bytes);
        if timed_out {
            ledger.time_out();
        }
        if ended {
            ledger.end();
        }
        let (reason, whole) = ledger.handshake_failed(Instant::now());
        assert_eq!(ledger.close(End::Closed, Instant::now()), []);
        (reason, whole.bytes)
    };
    assert_eq!(failed(b"", true, false), (Reason::NoRequest, 0));
    assert_eq!(failed(b"", false, true), (Reason::NoRequest, 0));
    assert_eq!(failed(b"PRI * HT", true, false), (Reason::HeaderTimeout, 8));
    assert_eq!(failed(b"PRI * HT", false, true), (Reason::ClosedInHeader, 8));
    assert_eq!(failed(b"GET / HTTP/1.1\r\n\r\n", false, false), (Reason::H2Handshake, 18));
}

#[test]
fn the_clock_runs_while_a_block_is_open() {
    let connected = Instant::now() - Duration::from_secs(5);
    let mut ledger = Ledger::default();
    assert_eq!(ledger.waits_since(connected), Some(connected), "for the preface");
    ledger.read(&Wire::client().0);
    assert_eq!(ledger.waits_since(connected), None);
    ledger.read(&Wire::default().frame(1, 0, 1, b"a").0);
    let since = ledger.waits_since(connected).expect("a block is open");
    ledger.read(&Wire::default().frame(9, 0, 1, b"b").0);
    assert_eq!(ledger.waits_since(connected), Some(since), "one clock for all of it");
    ledger.read(&Wire::default().frame(9, 4, 1, b"c").0);
    assert_eq!(ledger.waits_since(connected), None);
}

proptest! {
    /// Any frames, in any pieces, leave one entry for each stream that was opened.
    #[test]
    fn no_frames_in_no_pieces_lose_a_stream(
        frames in proptest::collection::vec((0u8..11, any::<u8>(), 0u32..20, 0usize..20), 0..40),
        cuts in proptest::collection::vec(0usize..800, 0..20),
        look in any::<bool>(),
    ) {
        let wire = frames.iter().fold(Wire::client(), |wire, (kind, flags, stream, length)| {
            wire.frame(*kind, *flags, *stream, &vec![7; *length])
        });
        let whole = told(&ledger(&wire).close(End::Closed, Instant::now()));
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(wire.0.len())).collect();
        cuts.extend([0, wire.0.len()]);
        cuts.sort_unstable();
        let mut pieces = Ledger::default();
        for cut in cuts.windows(2) {
            pieces.read(&wire.0[cut[0]..cut[1]]);
            if look {
                pieces.waits_since(Instant::now());
            }
        }
        prop_assert_eq!(told(&pieces.close(End::Closed, Instant::now())), whole);
    }

    #[test]
    fn any_bytes_are_survived(
        inbound in proptest::collection::vec(any::<u8>(), 0..400),
        outbound in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        let mut ledger = ledger(&Wire([PREFACE.to_vec(), inbound].concat()));
        ledger.wrote(&outbound);
        ledger.take_answered();
        prop_assert!(!ledger.close(End::Protocol, Instant::now()).is_empty());
    }
}
