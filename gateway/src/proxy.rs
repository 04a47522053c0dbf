//! The gateway as Pingora sees it. Each hook delegates; what it does is told where it is done.
//!
//! | hook | what happens |
//! |---|---|
//! | `new_ctx` | the attempt is claimed: from here a record is certain ([`Capture`]) |
//! | `early_request_filter` | a slot is tried for, without waiting; the head is taken in |
//! | `request_filter` | [`admission`]; then [`evidence`] is made certain; what is not served is answered |
//! | `upstream_peer` … `upstream_response_filter` | [`crate::upstream`], [`forward`] |
//! | `response_filter` | [`evidence`] of a stream that was not announced; the head for the client |
//! | `request_body_filter`, `response_body_filter` | the limit of bodies; [`crate::body_digest`] |
//! | `fail_to_proxy` | [`crate::failure`] |
//! | `logging` | the record |

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use audit_writer::accounting::Reason;
use audit_writer::record::End;
use audit_writer::ring::Need;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{StatusCode, Version};
use pingora_core::modules::http::HttpModules;
use pingora_core::protocols::Digest;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use tokio::time::Instant;

use crate::admission;
use crate::capture::Capture;
use crate::config::Protocol;
use crate::evidence::{self, Service};
use crate::failure::Failure;
use crate::forward::{self, Forward, Framing};
use crate::problem::{Problem, X_REQUEST_ID};
use crate::serving::{Gateway, Plan};
use crate::upstream::{Connection, fault};

/// The error type of a body that turned out too large while it was forwarded.
const BODY_TOO_LARGE: ErrorType = ErrorType::Custom("body_too_large");

/// The error type of a response that is a stream, and for whose record there is no room.
const fn unrecordable(reason: Reason) -> ErrorType {
    ErrorType::Custom(reason.as_str())
}

/// Whether a request has a body, be it empty: HTTP/1.1 says so in its head (RFC 9112, section 6), HTTP/2 may also say
/// nothing and send one.
fn has_body(session: &mut Session) -> bool {
    let headers = &session.req_header().headers;
    headers.contains_key(CONTENT_LENGTH)
        || headers.contains_key(TRANSFER_ENCODING)
        || !session.as_mut().is_body_empty()
}

/// Pingora's hooks over a [`Gateway`].
pub struct Proxy(pub Arc<Gateway>);

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Capture;

    fn new_ctx(&self) -> Capture {
        Capture::new(self.0.clone())
    }

    // Pingora's own would add a compression module to each request.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn early_request_filter(&self, session: &mut Session, capture: &mut Capture) -> Result<()> {
        capture.ticket().try_reserve(Need::Record);
        capture.begin(session);
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, capture: &mut Capture) -> Result<bool> {
        let mut admitted = admission::admit(session, capture);
        let service = if admitted.is_ok() { Service::Forward } else { Service::Answer };
        if let Err(refused) = evidence::secure(session, capture, service).await {
            admitted = Err(Problem::unrecordable(refused.reason()));
        }
        let Err(problem) = admitted else {
            let patience = capture.attempt.connection.listener.patience;
            session.set_read_timeout(Some(patience.body_idle));
            return Ok(false);
        };
        capture.answer(session, &problem, End::Refused).await;
        Ok(true)
    }

    async fn upstream_peer(&self, session: &mut Session, capture: &mut Capture) -> Result<Box<HttpPeer>> {
        let now = Instant::now();
        let left = capture.time_left(now);
        let pool = &capture.plan().ok_or_else(|| Error::new_in(ErrorType::InternalError))?.pool;
        let endpoint = pool.next().ok_or_else(|| Error::new_up(ErrorType::ConnectNoRoute))?;
        let connection = if session.is_upgrade_req() { Connection::Anew } else { Connection::Any };
        let peer = pool.endpoint(endpoint).peer(left, connection);
        capture.choose(endpoint, now);
        Ok(peer)
    }

    async fn connected_to_upstream(
        &self,
        _session: &mut Session,
        reused: bool,
        _peer: &HttpPeer,
        _fd: std::os::fd::RawFd,
        digest: Option<&Digest>,
        capture: &mut Capture,
    ) -> Result<()> {
        capture.connected(reused, digest);
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        head: &mut RequestHeader,
        capture: &mut Capture,
    ) -> Result<()> {
        let needs_h2 = |plan: &Plan| plan.pool.protocol == Protocol::H2;
        if capture.plan().is_some_and(needs_h2) && head.version != Version::HTTP_2 {
            return Err(Error::new_up(fault::NOT_H2));
        }
        if let Some(digests) = capture.body_digests() {
            digests.begin_request(has_body(session));
        }
        let exchange = capture.exchange();
        let path = exchange.asked.path();
        let path = capture.plan().map_or(path, |plan| plan.route.upstream_path(path));
        let target = exchange.asked.rewritten(path);
        let forward = Forward {
            peer: capture.attempt.connection.peer.ip(),
            trusted: exchange.trusted,
            scheme: capture.attempt.connection.scheme(),
            request_id: &exchange.request_id,
            trace: &exchange.trace,
            target: target.as_deref(),
            identity_headers: &capture.gateway.identity_headers,
            principal: exchange.principal.as_deref(),
            takes_trailers: forward::takes_trailers(session.req_header()),
        };
        forward.apply(head)
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        capture: &mut Capture,
    ) -> Result<()> {
        // What an upgraded connection carries is no request's body.
        let most = capture.attempt.connection.listener.body_bytes;
        if session.body_bytes_read() as u64 > most && !session.was_upgraded() {
            return Err(Error::new_down(BODY_TOO_LARGE));
        }
        if let Some(digests) = capture.body_digests() {
            digests.request_bytes(body.as_deref().unwrap_or_default());
            if end_of_stream {
                digests.end_request();
            }
        }
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        _session: &mut Session,
        head: &mut ResponseHeader,
        capture: &mut Capture,
    ) -> Result<()> {
        if !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS {
            capture.upstream_answered(head.status.as_u16());
        }
        forward::strip_hop_by_hop(head);
        Ok(())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        head: &mut ResponseHeader,
        capture: &mut Capture,
    ) -> Result<()> {
        if let Err(refused) = evidence::secure_response(head, capture).await {
            return Err(Error::new_in(unrecordable(refused.reason())));
        }
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            capture.upgrade();
        }
        if session.is_process_shutting_down() {
            session.set_keepalive(None);
        }
        if forward::frame_for(session.req_header().version, head) == Framing::UntilClose {
            session.set_keepalive(None);
        }
        head.insert_header(X_REQUEST_ID, capture.exchange().request_id.header())
    }

    fn response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        _end_of_stream: bool,
        capture: &mut Capture,
    ) -> Result<Option<Duration>> {
        if let (Some(digests), Some(bytes)) = (capture.body_digests(), body) {
            digests.response_bytes(bytes);
        }
        Ok(None)
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        capture: &mut Capture,
    ) -> FailToProxy {
        let failure = match error.etype() {
            etype if *etype == BODY_TOO_LARGE => {
                Failure { end: End::Refused, problem: Some(Problem::body_too_large()) }
            }
            etype => match Reason::ALL.into_iter().find(|reason| unrecordable(*reason) == *etype) {
                Some(reason) => Failure { end: End::Refused, problem: Some(Problem::unrecordable(reason)) },
                None => Failure::of(error, capture.attempt.cut()),
            },
        };
        let started = session.response_written().is_some_and(|head| !head.status.is_informational());
        session.set_keepalive(None);
        let error_code = match &failure.problem {
            Some(problem) if !started && !session.was_upgraded() => {
                capture.answer(session, problem, failure.end).await;
                problem.status.as_u16()
            }
            problem => {
                let word = problem.as_ref().map_or(error.etype().as_str(), |problem| problem.word);
                capture.fail(failure.end, word);
                0
            }
        };
        FailToProxy { error_code, can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, capture: &mut Capture) {
        capture.finish(session, error);
    }

    // Each has its record and its metric; a line each would let clients fill the log.
    fn suppress_error_log(&self, _session: &Session, _capture: &Capture, _error: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _session: &Session,
        _capture: &Capture,
        _error: &Error,
        _context: ProxyWarnLogContext,
    ) -> bool {
        true
    }
}
