//! What became of every stream of a connection that nobody was told of.
//!
//! The h2 library hands out streams whose head it accepts. A malformed one it resets, one too many it refuses, one
//! whose head is too large it answers with 431, and what is still waiting when the connection ends it forgets: none of
//! them reaches a hook. So the ledger reads the frames of both directions, knows which streams were opened, is told
//! which of them were handed out, and gives each of the others one reason.
//!
//! Belongs to a connection's task; a stream that was handed out is none of its business any more.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::frames::{Frame, Frames, Kind};
use crate::edge::Reason;

/// `REFUSED_STREAM` (RFC 9113, section 7).
const REFUSED_STREAM: u32 = 0x7;
const SECOND: Duration = Duration::from_secs(1);
/// The bytes that every client's side begins with (RFC 9113, section 3.4).
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The streams of one connection.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Bytes that were read, up to the preface's length.
    preface: usize,
    inbound: Frames,
    outbound: Frames,
    /// The highest stream that was opened.
    highest: u32,
    /// A header block that has begun, whose last frame has not come.
    block: Option<Unheard>,
    /// Streams whose header block was whole, and that were not handed out, in their order.
    waiting: VecDeque<Unheard>,
    /// Streams that the client has taken back in a second, after they were handed out; and since when it is counted.
    resets: u32,
    resets_since: Option<Instant>,
    /// Whether waiting for the end of a header block ended the connection.
    timed_out: bool,
    /// Whether the client did not read for too long.
    stalled: bool,
    /// Whether the end of what the client sends was seen.
    ended: bool,
    closed: bool,
}

/// A stream that no hook has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unheard {
    stream: u32,
    /// Whether the stream begins with this header block; otherwise they are trailers.
    opens: bool,
    /// Since when.
    pub(super) began: Instant,
    /// Bytes of its header block.
    pub(super) bytes: u64,
    answer: Option<Answer>,
}

/// What the h2 library said to a stream that it did not hand out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Reset(u32),
    /// It has only one response of its own: 431.
    Response,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The client closed it, or it broke, or both had said all.
    Closed,
    /// The client broke the protocol.
    Protocol,
    /// The client asked for more work than can be honest.
    Flood,
    /// The gateway left it, since it stops.
    Shutdown,
    /// The gateway failed.
    Panic,
}

impl Unheard {
    /// The reason, where the library has answered.
    fn answered_reason(&self) -> Option<Reason> {
        self.answer.map(|answer| match answer {
            Answer::Response => Reason::HeaderTooLarge,
            Answer::Reset(REFUSED_STREAM) => Reason::H2StreamRefused,
            Answer::Reset(_) => Reason::H2MalformedStream,
        })
    }

    /// The status that it was answered, and the bytes of that answer's body.
    pub(super) fn answered(&self) -> Option<(u16, u64)> {
        (self.answer == Some(Answer::Response)).then_some((431, 0))
    }
}

impl Ledger {
    /// Looks at what the client sent.
    pub(super) fn read(&mut self, mut bytes: &[u8]) {
        let preface = bytes.len().min(PREFACE.len() - self.preface);
        self.preface += preface;
        bytes = &bytes[preface..];
        while !bytes.is_empty() {
            let (used, frame) = self.inbound.read(bytes);
            bytes = &bytes[used..];
            match frame {
                Some(frame) => self.take_in(&frame),
                None => break,
            }
        }
    }

    fn take_in(&mut self, frame: &Frame) {
        match frame.kind {
            Kind::Headers | Kind::Continuation => {
                let block = match &mut self.block {
                    Some(block) if block.bytes > 0 => block,
                    // Its beginning was seen already, or all of it comes at once.
                    cut => {
                        let began = cut.map_or_else(Instant::now, |cut| cut.began);
                        let opens = frame.stream > self.highest;
                        cut.insert(Unheard { stream: frame.stream, opens, began, bytes: 0, answer: None })
                    }
                };
                block.bytes += frame.bytes;
                let block = *block;
                if frame.ends_headers() {
                    self.block = None;
                    if block.opens {
                        self.highest = block.stream;
                        self.waiting.push_back(block);
                    }
                }
            }
            Kind::Reset => {
                if !self.waiting.iter().any(|waiting| waiting.stream == frame.stream) {
                    self.count_reset();
                }
            }
            Kind::Other => {}
        }
    }

    fn count_reset(&mut self) {
        let now = Instant::now();
        if self.resets_since.is_none_or(|since| now - since > SECOND) {
            (self.resets, self.resets_since) = (0, Some(now));
        }
        self.resets = self.resets.saturating_add(1);
    }

    /// Looks at what the library sent.
    pub(super) fn wrote(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (used, frame) = self.outbound.read(bytes);
            bytes = &bytes[used..];
            let Some(frame) = frame else { break };
            let answer = match frame.kind {
                Kind::Headers => Answer::Response,
                Kind::Reset => Answer::Reset(frame.code()),
                Kind::Continuation | Kind::Other => continue,
            };
            if let Some(waiting) = self.waiting.iter_mut().find(|waiting| waiting.stream == frame.stream) {
                waiting.answer.get_or_insert(answer);
            }
        }
    }

    /// A stream was handed out: what becomes of it is its own.
    pub(super) fn hand_out(&mut self, stream: u32) {
        self.waiting.retain(|waiting| waiting.stream != stream);
    }

    /// The streams that the library has answered, once it has none left to hand out: it never will.
    ///
    /// Not before: it also resets streams that it hands out all the same.
    pub(super) fn take_answered(&mut self) -> Vec<(Reason, Unheard)> {
        if self.waiting.is_empty() {
            return Vec::new();
        }
        let mut answered = Vec::new();
        self.waiting.retain(|waiting| match waiting.answered_reason() {
            Some(reason) => {
                answered.push((reason, *waiting));
                false
            }
            None => true,
        });
        answered
    }

    /// Since when a header block, or the preface, has been waited for; `connected` is since when the connection is.
    pub(super) fn waits_since(&mut self, connected: Instant) -> Option<Instant> {
        if self.preface < PREFACE.len() {
            return Some(connected);
        }
        if self.block.is_none()
            && let Some((Kind::Headers | Kind::Continuation, stream, _)) = self.inbound.begun()
        {
            // From now on it is a block; its frame is counted when it is whole.
            let opens = stream == 0 || stream > self.highest;
            self.block = Some(Unheard { stream, opens, began: Instant::now(), bytes: 0, answer: None });
        }
        self.block.map(|block| block.began)
    }

    /// The client took too long for what was waited for.
    pub(super) fn time_out(&mut self) {
        self.timed_out = true;
    }

    /// The client reads nothing any more: the connection is given up.
    pub(super) fn stall(&mut self) {
        self.stalled = true;
    }

    /// Whether the connection was given up since the client reads nothing.
    pub(super) fn is_stalled(&self) -> bool {
        self.stalled
    }

    /// The client sends no more.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    /// How many streams wait to be handed out, or to be answered by the library.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether no stream was opened yet.
    pub(super) fn is_unused(&self) -> bool {
        self.highest == 0 && self.block.is_none()
    }

    /// Streams that the client has taken back within a second, after they were handed out.
    pub(super) fn resets(&self) -> u32 {
        self.resets
    }

    /// Why no connection came about.
    pub(super) fn handshake_failed(&mut self, connected: Instant) -> (Reason, Unheard) {
        self.closed = true;
        let reason = match (self.preface, self.timed_out, self.ended) {
            (0, ..) => Reason::NoRequest,
            (_, true, _) => Reason::HeaderTimeout,
            (_, _, true) => Reason::ClosedInHeader,
            _ => Reason::H2Handshake,
        };
        (reason, whole_connection(connected, self.preface as u64))
    }

    /// The connection is over: what is left, each with its reason. A second time nothing is.
    pub(super) fn close(&mut self, end: End, connected: Instant) -> Vec<(Reason, Unheard)> {
        if std::mem::replace(&mut self.closed, true) {
            return Vec::new();
        }
        // A frame that was cut counts as what it began.
        self.waits_since(connected);
        let partial = self.inbound.begun().map_or(0, |(.., bytes)| bytes);
        let mut left = Vec::new();
        let fault = match end {
            End::Protocol => Some(Reason::H2ProtocolError),
            End::Flood => Some(Reason::H2Flood),
            _ => None,
        };
        let cut = self.block.take().filter(|block| block.opens);
        let unused = self.highest == 0 && cut.is_none();
        let mut to_blame = cut.is_none().then(|| self.waiting.back().map(|last| last.stream)).flatten();
        for waiting in self.waiting.drain(..) {
            let blamed = fault.filter(|_| to_blame == Some(waiting.stream));
            let reason = match (waiting.answered_reason(), blamed, end) {
                (Some(reason), ..) => {
                    to_blame = to_blame.filter(|stream| *stream != waiting.stream);
                    reason
                }
                (None, Some(fault), _) => fault,
                (None, None, End::Shutdown) => Reason::Shutdown,
                (None, None, End::Panic) => Reason::Internal,
                (None, None, _) => Reason::H2StreamDropped,
            };
            left.push((reason, waiting));
        }
        if let Some(mut cut) = cut {
            cut.bytes += partial;
            let reason = match (end, fault) {
                (_, Some(fault)) => fault,
                _ if self.timed_out => Reason::HeaderTimeout,
                (End::Shutdown, _) => Reason::Shutdown,
                (End::Panic, _) => Reason::Internal,
                _ => Reason::ClosedInHeader,
            };
            left.push((reason, cut));
        } else if let Some(fault) = fault.filter(|_| to_blame.is_none()) {
            // No stream of its own broke it.
            left.push((fault, whole_connection(connected, partial)));
        } else if unused {
            let reason = match end {
                End::Shutdown if self.preface > 0 => Reason::Shutdown,
                End::Panic => Reason::Internal,
                _ => Reason::NoRequest,
            };
            left.push((reason, whole_connection(connected, self.preface as u64)));
        }
        left
    }
}

/// A connection as such, where none of its streams is meant.
fn whole_connection(connected: Instant, bytes: u64) -> Unheard {
    Unheard { stream: 0, opens: false, began: connected, bytes, answer: None }
}

#[cfg(test)]
mod tests;
