//! Who owns an attempt at a request, and what is recorded when nobody came to.
//!
//! An attempt begins when a connection may bring a request, and is owned by the connection's task. When Pingora has
//! read a head, `ProxyHttp::new_ctx` claims the attempt, and from there on its record is the context's business
//! ([`Capture`](crate::capture::Capture)). What is never claimed becomes one `rejected` record when the attempt
//! closes. So nothing is recorded twice, and nothing not at all.
//!
//! An attempt is touched by its connection's task alone; the atomics only make it shareable with Pingora's hooks.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use audit_writer::record::Tls;
use tokio::time::Instant;

use super::limit::Permit;
use super::listener::Listener;
use super::rejection::{Reason, Rejection};
use super::secured::Secured;
use crate::normalise::Scheme;

tokio::task_local! {
    /// The attempt that the current task works on.
    static CURRENT: Arc<Attempt>;
}

/// Where an attempt stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// Nothing was read yet.
    Idle,
    /// Part of a head was read.
    Head,
    /// A context owns it.
    Claimed,
}

/// Why the edge itself broke off reading or writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Cut {
    /// It did not.
    None,
    /// The head was not complete in time.
    HeaderTimeout,
    /// The head was too large.
    HeaderTooLarge,
    /// The request line was none.
    Malformed,
    /// The client did not read for too long.
    WriteIdle,
    /// The exchange took longer than its route allows.
    Deadline,
}

/// The facts of one connection.
pub struct Connection {
    /// The listener that accepted it.
    pub listener: Arc<Listener>,
    /// Its other end.
    pub peer: SocketAddr,
    /// When it was accepted.
    pub accepted: Instant,
    /// What its TLS handshake settled, once that is over; never set on a plain connection.
    pub secured: OnceLock<Secured>,
    /// Its place under the listener's limits.
    _permit: Permit,
}

impl Connection {
    /// A connection from `peer` that has just been accepted.
    pub(crate) fn new(listener: Arc<Listener>, peer: SocketAddr, permit: Permit) -> Arc<Connection> {
        let accepted = Instant::now();
        Arc::new(Connection { listener, peer, accepted, secured: OnceLock::new(), _permit: permit })
    }

    /// How it is secured, as records tell it.
    pub fn tls(&self) -> Option<Tls<'_>> {
        self.secured.get().map(Secured::told)
    }

    /// Records an attempt that nobody was told of, which had begun at `began` and had `bytes`.
    pub(super) fn reject(&self, reason: Reason, bytes: u64, answered: Option<(u16, u64)>, began: Instant) {
        let took = Instant::now().saturating_duration_since(began);
        let (peer, tls) = (self.peer, self.tls());
        self.listener.rejections.record(&Rejection { reason, peer, bytes, answered, took, tls });
    }

    /// The TLS handshake failed after so many bytes: there will be no request. What was settled until then is not told,
    /// but the name that the client asked for.
    pub(super) fn reject_handshake(&self, reason: Reason, bytes: u64, sni: Option<&str>) {
        self.listener.rejections.record(&Rejection {
            reason,
            peer: self.peer,
            bytes,
            answered: None,
            took: self.accepted.elapsed(),
            tls: sni.map(|sni| Tls { sni: Some(sni), ..Tls::default() }),
        });
    }

    /// How its requests came: `https` where it is secured.
    pub fn scheme(&self) -> Scheme {
        if self.secured.get().is_some() { Scheme::Https } else { Scheme::Http }
    }
}

/// One request, or one try at one. HTTP/1.1 has one at a time on a connection, and uses the same again; HTTP/2 has one for
/// each stream.
pub struct Attempt {
    /// The connection that brought it.
    pub connection: Arc<Connection>,
    number: AtomicU32,
    phase: AtomicU8,
    received: AtomicU64,
    surplus: AtomicU64,
    began_us: AtomicU64,
    deadline_us: AtomicU64,
    cut: AtomicU8,
    answered: AtomicU16,
    answered_bytes: AtomicU64,
    linger: AtomicBool,
}

impl Attempt {
    /// The first attempt of a connection.
    pub(crate) fn new(connection: Arc<Connection>) -> Arc<Attempt> {
        Arc::new(Attempt {
            connection,
            number: AtomicU32::new(0),
            phase: AtomicU8::new(Phase::Idle as u8),
            received: AtomicU64::new(0),
            surplus: AtomicU64::new(0),
            began_us: AtomicU64::new(0),
            deadline_us: AtomicU64::new(0),
            cut: AtomicU8::new(Cut::None as u8),
            answered: AtomicU16::new(0),
            answered_bytes: AtomicU64::new(0),
            linger: AtomicBool::new(false),
        })
    }

    /// Runs a connection's task with this attempt as the one that [`Attempt::claim`] finds.
    pub(crate) fn scope<F: Future>(self: &Arc<Self>, task: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self.clone(), task)
    }

    /// Takes over the current attempt: its record is the caller's from here on.
    ///
    /// # Panics
    ///
    /// Outside of a connection's task: requests come to the proxy through the edge alone.
    pub fn claim() -> Arc<Attempt> {
        let attempt = CURRENT.with(Arc::clone);
        attempt.set_phase(Phase::Claimed);
        attempt
    }

    /// A new attempt on the same connection, which may have begun within the bytes of the one before.
    pub(super) fn begin(&self) {
        self.number.fetch_add(1, Relaxed);
        let carried = self.surplus.swap(0, Relaxed);
        self.received.store(carried, Relaxed);
        self.began_us.store(0, Relaxed);
        self.deadline_us.store(0, Relaxed);
        self.cut.store(Cut::None as u8, Relaxed);
        self.set_phase(if carried > 0 { Phase::Head } else { Phase::Idle });
    }

    /// Whether it is the first of its connection.
    pub(super) fn is_first(&self) -> bool {
        self.number.load(Relaxed) == 0
    }

    #[inline]
    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Relaxed) {
            0 => Phase::Idle,
            1 => Phase::Head,
            _ => Phase::Claimed,
        }
    }

    pub(super) fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
    }

    /// Counts bytes that were read.
    #[inline]
    pub(super) fn receive(&self, bytes: u64) {
        self.received.store(self.received.load(Relaxed) + bytes, Relaxed);
    }

    /// Bytes that were read since it began, with those that had come with the attempt before.
    #[inline]
    pub fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    /// The request took `bytes` of what was read; the rest belongs to the next attempt.
    pub fn settle(&self, bytes: u64) {
        self.surplus.store(self.received().saturating_sub(bytes), Relaxed);
    }

    /// The moment at which waiting for this attempt's head began, if it was waited for.
    pub(super) fn set_began(&self, began: Instant) {
        self.began_us.store(self.since_accepted(began), Relaxed);
    }

    /// The whole exchange must be over by then.
    pub fn set_deadline(&self, deadline: Instant) {
        self.deadline_us.store(self.since_accepted(deadline).max(1), Relaxed);
    }

    #[inline]
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.deadline_us.load(Relaxed) {
            0 => None,
            micros => Some(self.connection.accepted + Duration::from_micros(micros)),
        }
    }

    fn since_accepted(&self, moment: Instant) -> u64 {
        let micros = moment.saturating_duration_since(self.connection.accepted).as_micros();
        u64::try_from(micros).unwrap_or(u64::MAX)
    }

    /// Why the edge broke it off, if it did.
    pub fn cut(&self) -> Cut {
        match self.cut.load(Relaxed) {
            0 => Cut::None,
            1 => Cut::HeaderTimeout,
            2 => Cut::HeaderTooLarge,
            3 => Cut::Malformed,
            4 => Cut::WriteIdle,
            _ => Cut::Deadline,
        }
    }

    pub(super) fn set_cut(&self, cut: Cut) {
        self.cut.store(cut as u8, Relaxed);
    }

    pub(super) fn set_answered(&self, status: u16, bytes: u64) {
        self.answered.store(status, Relaxed);
        self.answered_bytes.store(bytes, Relaxed);
    }

    fn answered(&self) -> Option<(u16, u64)> {
        match self.answered.load(Relaxed) {
            0 => None,
            status => Some((status, self.answered_bytes.load(Relaxed))),
        }
    }

    /// The client may still be sending what nobody will read: when the connection closes, give it a moment, so that
    /// a reset does not overtake the answer.
    pub fn linger(&self) {
        self.linger.store(true, Relaxed);
    }

    pub(super) fn lingers(&self) -> bool {
        self.linger.load(Relaxed)
    }

    /// Pingora has let go of the request: records it, if nobody claimed it and it was one.
    pub(super) fn close(&self, stopping: bool) {
        if let Some(reason) = self.unclaimed(stopping) {
            self.reject(reason);
        }
        // What was closed is not recorded again.
        self.set_phase(Phase::Claimed);
    }

    fn unclaimed(&self, stopping: bool) -> Option<Reason> {
        let began = self.received() > 0;
        match (self.phase(), self.answered(), self.cut()) {
            (Phase::Claimed, ..) => None,
            (_, Some((400, _)), _) => Some(Reason::MalformedRequest),
            (_, _, Cut::HeaderTooLarge) => Some(Reason::HeaderTooLarge),
            (_, _, Cut::HeaderTimeout) if began => Some(Reason::HeaderTimeout),
            (_, Some(_), _) => Some(Reason::Internal),
            _ if began && stopping => Some(Reason::Shutdown),
            _ if began => Some(Reason::ClosedInHeader),
            _ if self.is_first() => Some(Reason::NoRequest),
            // A kept connection ended between two requests.
            _ => None,
        }
    }

    /// The connection's task is being dropped with the attempt open: a panic, or a shutdown that does not wait.
    fn abandon(&self) {
        if self.phase() == Phase::Claimed || (self.received() == 0 && !self.is_first()) {
            return;
        }
        self.reject(if std::thread::panicking() { Reason::Internal } else { Reason::Shutdown });
        self.set_phase(Phase::Claimed);
    }

    /// The TLS handshake failed, and there will be no request.
    pub(super) fn fail_handshake(&self, reason: Reason, sni: Option<&str>) {
        self.connection.reject_handshake(reason, self.received(), sni);
        self.set_phase(Phase::Claimed);
    }

    /// The TLS handshake is over: what was read for it was no request.
    pub(super) fn secured(&self) {
        self.received.store(0, Relaxed);
    }

    fn reject(&self, reason: Reason) {
        let began = match (self.began_us.load(Relaxed), self.is_first()) {
            (0, true) => self.connection.accepted,
            (0, false) => Instant::now(),
            (micros, _) => self.connection.accepted + Duration::from_micros(micros),
        };
        self.connection.reject(reason, self.received(), self.answered(), began);
    }

    /// It is no attempt after all: others on its connection are, and are recorded.
    pub(super) fn close_unrecorded(&self) {
        self.set_phase(Phase::Claimed);
    }
}

/// Sees to it that an attempt is recorded when its task panics or is dropped.
pub(super) struct Guard<'a>(pub(super) &'a Arc<Attempt>);

impl Guard<'_> {
    /// Somebody else sees to it from here on.
    pub(super) fn disarm(self) {
        std::mem::forget(self);
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}
