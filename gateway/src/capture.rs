//! A request on its way to becoming evidence.
//!
//! A [`Capture`] is the context of one request: it holds the ticket that its record is handed over with, and what the
//! record tells. `logging` uses the ticket; if that never runs, because a hook panicked or the task was dropped, the
//! capture's `Drop` does, and the record says `aborted`.
//!
//! Invariant: a request that was claimed leaves exactly one record of its end, or, where there is no room for it, one
//! declared loss; a request that was refused and served nothing leaves a record where there is room, and is counted as
//! refused in any case. The ticket is there for as long as none of these has happened.

mod records;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use audit_writer::accounting;
use audit_writer::record::{End, KindEnded, Response};
use audit_writer::redact::{HmacKey, Redacted};
use audit_writer::ring::{Need, Ticket};
use audit_writer::time::Timestamp;
use http::HeaderValue;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use pingora_core::Error;
use pingora_core::protocols::Digest;
use pingora_proxy::Session;
use tokio::time::Instant;

use crate::asked::Asked;
use crate::authorise::Decided;
use crate::body_digest::BodyDigests;
use crate::client_address::X_FORWARDED_FOR;
use crate::config::{BodyDigest, Durability};
use crate::edge::{Attempt, Reason, Rejection};
use crate::failure::Failure;
use crate::identity::Principal;
use crate::normalise::Refusal;
use crate::problem::{Problem, X_REQUEST_ID};
use crate::request_id::RequestId;
use crate::serving::{Gateway, Plan};
use crate::trace_context::TraceContext;
use records::Outcome;

/// The context of one request.
pub struct Capture {
    /// The gateway that serves it.
    pub gateway: Arc<Gateway>,
    /// What the edge knows of it.
    pub attempt: Arc<Attempt>,
    /// Its way to its record, until that is handed over.
    ticket: Option<Ticket>,
    standing: Standing,
    received: Timestamp,
    started: Instant,
    exchange: Option<Exchange>,
    outcome: Option<(End, &'static str)>,
}

/// Whether a request is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is not decided yet.
    Undecided,
    /// It is, be it with an answer of the gateway's own: it is owed a record, or the declaration that none could be kept.
    Served,
    /// It is not, for want of room for its record: it was counted as refused.
    Refused,
}

/// What is known once a request's head was read.
pub struct Exchange {
    /// What it asks for.
    pub asked: Asked,
    /// Whether that could be understood.
    pub understood: Result<(), Refusal>,
    /// Its id.
    pub request_id: RequestId,
    /// Its trace.
    pub trace: TraceContext,
    /// Whether its peer is a proxy whose word is taken.
    pub trusted: bool,
    /// Its path and target as records have them, where something in them is hidden.
    redacted: Option<Redacted>,
    client: IpAddr,
    claims: Vec<HeaderValue>,
    head_bytes: u64,
    route: Option<usize>,
    /// Who asked, where an identity provider vouched for somebody.
    pub principal: Option<Arc<Principal>>,
    /// What was decided, where there was something to decide.
    pub decision: Option<Decided>,
    /// The headers that its route keeps: the place of the name, and a value.
    kept: Vec<(usize, HeaderValue)>,
    /// The digests of its bodies, where its route asks for them.
    digests: Option<Box<BodyDigests>>,
    contact: Option<Contact>,
}

/// The upstream that a request went to.
struct Contact {
    endpoint: usize,
    attempts: u32,
    chosen: Instant,
    reused: bool,
    connect: Duration,
    first_byte: Option<Instant>,
    status: Option<u16>,
}

impl Exchange {
    /// Bytes of the head, as received.
    pub fn head_bytes(&self) -> u64 {
        self.head_bytes
    }

    /// The client's address.
    pub fn client(&self) -> IpAddr {
        self.client
    }
}

impl Capture {
    /// Takes over the attempt that Pingora has read a head for.
    pub fn new(gateway: Arc<Gateway>) -> Capture {
        // First: this is the moment of the request, and from here the log accounts for it.
        let ticket = gateway.recorder.enter();
        gateway.in_flight.inc();
        Capture {
            gateway,
            attempt: Attempt::claim(),
            received: ticket.since(),
            ticket: Some(ticket),
            standing: Standing::Undecided,
            started: Instant::now(),
            exchange: None,
            outcome: None,
        }
    }

    /// Takes from the head what routing, forwarding and the record need.
    pub fn begin(&mut self, session: &Session) {
        let head = session.req_header();
        let connection = &self.attempt.connection;
        let peer = connection.peer.ip();
        let trusted = connection.listener.client_addresses.trusts(peer);
        let inbound = if trusted { head.headers.get(X_REQUEST_ID) } else { None };
        let inbound = inbound.and_then(RequestId::inbound);
        let (asked, understood) = Asked::read(head, connection.scheme());
        self.exchange = Some(Exchange {
            redacted: self.gateway.templates.redact(asked.path(), asked.raw()),
            asked,
            understood,
            request_id: inbound.unwrap_or_else(|| RequestId::generate(self.received)),
            trace: TraceContext::of(&head.headers),
            trusted,
            client: connection.listener.client_addresses.client(peer, &head.headers),
            claims: head.headers.get_all(X_FORWARDED_FOR).iter().cloned().collect(),
            head_bytes: session.to_h1_raw().len() as u64,
            route: None,
            principal: None,
            decision: None,
            kept: Vec::new(),
            digests: None,
            contact: None,
        });
    }

    /// What is known of the request.
    ///
    /// # Panics
    ///
    /// Before [`Capture::begin`], which Pingora's first hook calls.
    pub fn exchange(&self) -> &Exchange {
        self.exchange.as_ref().expect("the first hook has read the head")
    }

    fn exchange_mut(&mut self) -> &mut Exchange {
        self.exchange.as_mut().expect("the first hook has read the head")
    }

    /// The request takes this route: its timeout begins, and what it keeps of the headers is kept.
    pub fn take_route(&mut self, session: &Session, plan: &Plan) {
        let exchange = self.exchange_mut();
        exchange.route = Some(plan.route.index);
        let headers = &session.req_header().headers;
        for (place, name) in plan.route.headers.iter().enumerate() {
            let values = headers.get_all(name).iter();
            match &plan.hmac[place] {
                None => exchange.kept.extend(values.map(|value| (place, value.clone()))),
                Some(key) => exchange.kept.extend(values.map(|value| (place, hashed(key, value)))),
            }
        }
        if plan.body_digest == BodyDigest::Sha256 {
            exchange.digests = Some(Box::new(BodyDigests::new(headers)));
        }
        if let Some(timeout) = plan.route.timeout {
            self.attempt.set_deadline(self.started + timeout);
        }
    }

    /// Somebody vouches for the request's sender.
    pub fn set_principal(&mut self, principal: Arc<Principal>) {
        self.exchange_mut().principal = Some(principal);
    }

    /// This was decided about the request.
    pub fn set_decision(&mut self, decided: Decided) {
        self.exchange_mut().decision = Some(decided);
    }

    /// The digests of its bodies, where its route asks for them and it is not upgraded.
    pub fn body_digests(&mut self) -> Option<&mut BodyDigests> {
        self.exchange_mut().digests.as_deref_mut()
    }

    /// The connection is upgraded: what it carries from now on is no request's body.
    pub fn upgrade(&mut self) {
        self.exchange_mut().digests = None;
    }

    /// What must be certain of the request's evidence before it is served.
    pub fn durability(&self) -> Durability {
        self.plan().map_or(self.gateway.durability, |plan| plan.durability)
    }

    /// Its way to its record.
    ///
    /// # Panics
    ///
    /// After [`Capture::finish`], which is the last hook.
    pub fn ticket(&mut self) -> &mut Ticket {
        self.ticket.as_mut().expect("it is taken at the end, and no hook runs after that")
    }

    /// Decides whether it is served.
    pub fn decide(&mut self, standing: Standing) {
        self.standing = standing;
    }

    /// The plan of the request's route.
    pub fn plan(&self) -> Option<&Plan> {
        self.exchange().route.map(|index| &self.gateway.plans[index])
    }

    /// An endpoint was chosen, at `now`.
    pub fn choose(&mut self, endpoint: usize, now: Instant) {
        let contact = &mut self.exchange_mut().contact;
        let attempts = contact.as_ref().map_or(1, |contact| contact.attempts + 1);
        *contact = Some(Contact {
            endpoint,
            attempts,
            chosen: now,
            reused: false,
            connect: Duration::ZERO,
            first_byte: None,
            status: None,
        });
    }

    /// The endpoint is connected to.
    pub fn connected(&mut self, reused: bool, digest: Option<&Digest>) {
        let Some(contact) = &mut self.exchange_mut().contact else { return };
        contact.reused = reused;
        if !reused {
            // One for TCP, and one for TLS on top of it.
            let layers = digest.into_iter().flat_map(|digest| digest.timing_digest.iter().flatten());
            contact.connect = layers.filter_map(|layer| layer.establishment_duration).sum();
        }
    }

    /// The endpoint has answered with a final status.
    pub fn upstream_answered(&mut self, status: u16) {
        let Some(contact) = &mut self.exchange_mut().contact else { return };
        contact.status = Some(status);
        contact.first_byte.get_or_insert_with(Instant::now);
    }

    /// What the exchange may still take at `now`, if that is limited.
    pub fn time_left(&self, now: Instant) -> Option<Duration> {
        let timeout = self.plan()?.route.timeout?;
        Some(timeout.saturating_sub(now - self.started))
    }

    /// Answers with a problem of the gateway's own.
    pub async fn answer(&mut self, session: &mut Session, problem: &Problem, end: End) {
        self.outcome = Some((end, problem.word));
        if !session.is_body_done() {
            self.attempt.linger();
        }
        match problem.send(session, &self.exchange().request_id).await {
            Ok(body) => {
                if let Some(digests) = self.body_digests() {
                    digests.answered(&body);
                }
            }
            Err(error) => {
                self.outcome = Some((Failure::of(&error.into_down(), self.attempt.cut()).end, problem.word));
            }
        }
    }

    /// The exchange failed, with nobody left to be answered or with an answer under way.
    pub fn fail(&mut self, end: End, word: &'static str) {
        self.outcome.get_or_insert((end, word));
    }

    /// Writes the record. The last thing that happens to a request.
    pub fn finish(&mut self, session: &mut Session, error: Option<&Error>) {
        let took = self.started.elapsed();
        let response = session
            .response_written()
            .filter(|head| {
                !head.status.is_informational() || head.status == http::StatusCode::SWITCHING_PROTOCOLS
            })
            .map(|head| head.status.as_u16());
        let (end, word) = match (self.outcome, error) {
            (Some((end, word)), _) => (end, Some(word)),
            (None, Some(error)) => (Failure::of(error, self.attempt.cut()).end, Some(error.etype().as_str())),
            (None, None) => (End::Ok, None),
        };
        let (kind, end, word) = if end != End::Ok && self.gateway.drain.is_over() {
            // It broke because the gateway cut it: whichever side went first is not to blame.
            (KindEnded::Aborted, End::Shutdown, None)
        } else {
            (KindEnded::Completed, end, word)
        };
        let exchange = self.exchange();
        let digests = exchange.digests.as_deref();
        let response = response.map(|status| Response {
            status,
            bytes: session.body_bytes_sent() as u64,
            body_sha256: digests.and_then(|digests| digests.response(&exchange.asked.method, status, end)),
        });
        let body_bytes = session.body_bytes_read() as u64;
        self.settle(session, body_bytes);
        self.measure(response.map(|response| response.status), took);
        // Last, so that a panic above still leaves a record.
        self.close(&Outcome { kind, end, word, response, body_bytes, took });
    }

    /// Hands over the record of the end, or accounts for that there is none.
    fn close(&mut self, outcome: &Outcome<'_>) {
        let Some(ticket) = &mut self.ticket else { return };
        // A request that was refused for want of a slot, or served without one, may find one by now.
        if ticket.try_reserve(Need::Record) {
            let record = self.ended_record(outcome);
            if let Some(ticket) = self.ticket.take() {
                ticket.end(record);
            }
            return;
        }
        let Some(ticket) = self.ticket.take() else { return };
        match self.standing {
            Standing::Served => ticket.lost(),
            Standing::Refused => {}
            // It was cut while it waited for room.
            Standing::Undecided => {
                let recorder = &self.gateway.recorder;
                recorder.refused(recorder.refusing().unwrap_or(accounting::Reason::Stopping));
            }
        }
    }

    /// Tells the edge which of the bytes it has read were this request's; the rest begins the next one.
    fn settle(&self, session: &Session, body_bytes: u64) {
        let headers = &session.req_header().headers;
        if session.was_upgraded() || headers.contains_key(TRANSFER_ENCODING) {
            return;
        }
        let declared = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        self.attempt.settle(self.exchange().head_bytes + body_bytes.max(declared.unwrap_or(0)));
    }

    fn measure(&self, status: Option<u16>, took: Duration) {
        let exchange = self.exchange();
        let metrics = self.plan().map_or(&self.gateway.unrouted, |plan| &plan.metrics);
        metrics.observe(&exchange.asked.method, status, took.as_secs_f64());
        if let (Some(plan), Some(contact)) = (self.plan(), &exchange.contact) {
            plan.pool.metrics.count(contact.status);
            if let Some(first_byte) = contact.first_byte {
                plan.pool.metrics.observe((first_byte - contact.chosen).as_secs_f64());
            }
        }
    }
}

/// What a record has in place of a header's value.
fn hashed(key: &HmacKey, value: &HeaderValue) -> HeaderValue {
    HeaderValue::try_from(key.hash(value.as_bytes())).expect("letters, digits, `-` and `:`")
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.gateway.in_flight.dec();
        if self.ticket.is_none() {
            return;
        }
        let panicking = std::thread::panicking();
        let took = self.started.elapsed();
        match &self.exchange {
            Some(exchange) => {
                let end = match (panicking, self.gateway.is_stopping()) {
                    (true, _) => End::Panic,
                    (false, true) => End::Shutdown,
                    (false, false) => End::Cancelled,
                };
                // The session is gone; what the edge has read beyond the head was body.
                let body_bytes = self.attempt.received().saturating_sub(exchange.head_bytes);
                let kind = KindEnded::Aborted;
                self.close(&Outcome { kind, end, word: None, response: None, body_bytes, took });
            }
            // Not even the head was looked at.
            None => {
                let rejection = Rejection {
                    reason: if panicking { Reason::Internal } else { Reason::Shutdown },
                    peer: self.attempt.connection.peer,
                    bytes: self.attempt.received(),
                    answered: None,
                    took,
                    tls: self.attempt.connection.tls(),
                };
                if let Some(ticket) = self.ticket.take() {
                    self.attempt.connection.listener.rejections.record_with(ticket, &rejection);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
