//! What the records of a request tell: serialised once, from fields that are borrowed from its capture.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;

use audit_writer::record::{
    Actor, Decision, End, Ended, Entry, Headers, KindEnded, KindReceived, QueryKeys, QueryPairs, Received,
    Request, Response, Source, Tls, Unnumbered, Upstream, V1,
};
use http::HeaderValue;

use super::{Capture, Exchange};
use crate::authorise::Rule;
use crate::body_digest::BodyDigests;
use crate::client_address::claimed;
use crate::config::Query;
use crate::credentials;
use crate::identity::Principal;
use crate::normalise::Scheme;
use crate::serving::Plan;

/// How a request ended.
pub(super) struct Outcome<'a> {
    /// Whether its end was seen.
    pub(super) kind: KindEnded,
    /// How.
    pub(super) end: End,
    /// A constant word about what went wrong.
    pub(super) word: Option<&'a str>,
    /// What the client was answered.
    pub(super) response: Option<Response>,
    /// Bytes of the request's body.
    pub(super) body_bytes: u64,
    /// How long it took.
    pub(super) took: Duration,
}

impl Capture {
    /// The record that the request was received.
    pub fn received_record(&self) -> Entry {
        let exchange = self.exchange();
        let told = self.told();
        Entry::received(
            &Received {
                seq: Unnumbered,
                v: V1,
                kind: KindReceived,
                ts: self.received,
                boot: self.gateway.recorder.boot(),
                request_id: exchange.request_id.as_str(),
                trace_id: exchange.trace.trace_id(),
                listener: &self.attempt.connection.listener.name,
                actor: told.actor(),
                source: told.source(),
                tls: told.tls,
                request: told.request(0, None),
                route: self.plan().map(|plan| &plan.name),
                action: told.action,
                decision: told.decision(),
                config: &self.gateway.config_hash,
                trunc: None,
            },
            self.gateway.max_record,
        )
    }

    /// The record of the request's end.
    pub(super) fn ended_record(&self, outcome: &Outcome<'_>) -> Entry {
        let exchange = self.exchange();
        let plan = self.plan();
        let told = self.told();
        Entry::ended(
            &Ended {
                seq: Unnumbered,
                v: V1,
                kind: outcome.kind,
                ts: self.received,
                boot: self.gateway.recorder.boot(),
                request_id: exchange.request_id.as_str(),
                trace_id: exchange.trace.trace_id(),
                listener: &self.attempt.connection.listener.name,
                actor: told.actor(),
                source: told.source(),
                tls: told.tls,
                request: told.request(outcome.body_bytes, exchange.digests.as_deref()),
                route: plan.map(|plan| &plan.name),
                action: told.action,
                decision: told.decision(),
                upstream: plan.zip(exchange.contact.as_ref()).map(|(plan, contact)| Upstream {
                    name: &plan.pool.name,
                    addr: &plan.pool.endpoint(contact.endpoint).text,
                    attempts: contact.attempts,
                    reused: contact.reused,
                    connect_us: micros(contact.connect),
                    ttfb_us: contact.first_byte.map(|at| micros(at - self.started)),
                }),
                response: outcome.response,
                end: outcome.end,
                error: outcome.word,
                duration_us: micros(outcome.took),
                config: &self.gateway.config_hash,
                trunc: None,
            },
            self.gateway.max_record,
        )
    }

    /// Who asked for what, as records tell it.
    fn told(&self) -> Told<'_> {
        let exchange = self.exchange();
        let plan = self.plan();
        let kept = plan.map_or_else(Query::default, |plan| plan.route.query);
        Told {
            exchange,
            peer: self.attempt.connection.peer,
            scheme: self.attempt.connection.scheme(),
            tls: self.attempt.connection.tls(),
            action: plan.and_then(|plan| plan.action.as_deref()),
            rules: plan.map(|plan| &*plan.rules).unwrap_or_default(),
            claims: claimed(&exchange.claims).map(credentials::header_value).collect(),
            headers: plan.map(|plan| kept_headers(plan, &exchange.kept)).unwrap_or_default(),
            kept,
            query: match kept {
                Query::None => Cow::Borrowed(""),
                Query::Keys | Query::Values => credentials::query(exchange.asked.query().unwrap_or_default()),
            },
            path: exchange.told_path(),
            pattern: plan.and_then(|plan| plan.pattern.as_deref()),
        }
    }
}

/// The parts that the records of a request's begin and of its end have in common.
struct Told<'a> {
    exchange: &'a Exchange,
    peer: SocketAddr,
    scheme: Scheme,
    tls: Option<Tls<'a>>,
    action: Option<&'a str>,
    rules: &'a [Rule],
    claims: Vec<Cow<'a, str>>,
    headers: Vec<(&'a str, Cow<'a, str>)>,
    /// What is kept of the query.
    kept: Query,
    /// The query without credentials.
    query: Cow<'a, str>,
    /// The path, and the target as received, without what is hidden in them.
    path: (Cow<'a, str>, Option<Cow<'a, str>>),
    /// What stands in place of the path.
    pattern: Option<&'a str>,
}

impl Told<'_> {
    fn actor(&self) -> Option<Actor<'_>> {
        self.exchange.principal.as_deref().map(Principal::told)
    }

    fn decision(&self) -> Option<Decision<'_>> {
        self.exchange.decision.map(|decided| decided.told(self.rules))
    }

    fn source(&self) -> Source<'_> {
        let peer = self.peer.ip();
        Source {
            ip: self.exchange.client,
            port: self.peer.port(),
            peer: (peer != self.exchange.client).then_some(peer),
            claimed: &self.claims,
        }
    }

    fn request(&self, body_bytes: u64, digests: Option<&BodyDigests>) -> Request<'_> {
        let asked = &self.exchange.asked;
        let (path, raw) = match self.pattern {
            Some(pattern) => (pattern, None),
            None => (&*self.path.0, self.path.1.as_deref()),
        };
        Request {
            method: asked.method.as_str(),
            scheme: self.scheme.as_str(),
            host: asked.host(),
            path,
            raw,
            query: QueryKeys(&self.query),
            query_values: QueryPairs(if self.kept == Query::Values { &self.query } else { "" }),
            http: asked.http(),
            bytes: body_bytes,
            body_sha256: digests.and_then(BodyDigests::request),
            content_digest: digests.and_then(BodyDigests::content_digest),
            headers: Headers(&self.headers),
        }
    }
}

impl Exchange {
    /// Its path, and its target as received where that differs, without what is hidden in them.
    fn told_path(&self) -> (Cow<'_, str>, Option<Cow<'_, str>>) {
        let (path, raw) = match &self.redacted {
            Some(redacted) => (&*redacted.path, redacted.raw.as_deref()),
            None => (self.asked.path(), self.asked.raw()),
        };
        (credentials::path(path), raw.map(credentials::path))
    }
}

/// The headers that a route keeps, values of the same name joined.
fn kept_headers<'a>(plan: &'a Plan, kept: &'a [(usize, HeaderValue)]) -> Vec<(&'a str, Cow<'a, str>)> {
    kept.chunk_by(|(one, _), (other, _)| one == other)
        .map(|values| {
            let name = plan.route.headers[values[0].0].as_str();
            let mut texts = values
                .iter()
                .map(|(_, value)| credentials::header_value(String::from_utf8_lossy(value.as_bytes())));
            let first = texts.next().unwrap_or_default();
            (name, texts.fold(first, |joined, text| Cow::Owned(format!("{joined}, {text}"))))
        })
        .collect()
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
