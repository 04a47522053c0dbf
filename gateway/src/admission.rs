//! Whether a request is served, decided before anything of it goes anywhere.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Method, StatusCode};
use pingora_proxy::Session;

use crate::authorise::authorise;
use crate::capture::{Capture, Exchange};
use crate::identity::{self, AuthOutcome};
use crate::problem::Problem;
use crate::serving::{Gateway, Plan};

/// Checks a request and finds its route.
///
/// # Errors
///
/// The answer to one that is not served.
pub fn admit(session: &Session, capture: &mut Capture) -> Result<(), Problem> {
    let exchange = capture.exchange();
    exchange.understood.map_err(Problem::refused)?;
    let listener = &capture.attempt.connection.listener;
    if exchange.head_bytes() > listener.header_bytes {
        return Err(Problem::head_too_large());
    }
    let headers = &session.req_header().headers;
    let length = body_length(headers, || session.to_h1_raw())?;
    if let Some(port) = listener.redirect_to_https {
        return Err(Problem::redirected_to_https(&exchange.asked, port));
    }
    let gateway = capture.gateway.clone();
    let index = find_route(&gateway, exchange)?;
    if length.is_some_and(|length| length > listener.body_bytes) {
        return Err(Problem::body_too_large());
    }
    let plan = &gateway.plans[index];
    capture.take_route(session, plan);
    let let_in = identity::identify(headers, capture).and_then(|()| authorise(capture));
    count(plan, capture.exchange(), let_in.as_ref().err());
    let_in
}

/// Counts what became of a request at its route's door, where there is one.
fn count(plan: &Plan, exchange: &Exchange, problem: Option<&Problem>) {
    let outcome = match problem.map(|problem| problem.status) {
        Some(StatusCode::UNAUTHORIZED) => AuthOutcome::Unauthenticated,
        Some(StatusCode::SERVICE_UNAVAILABLE) => AuthOutcome::Unavailable,
        Some(_) => AuthOutcome::Denied,
        None if plan.auth.is_none() && exchange.decision.is_none() => return,
        None => AuthOutcome::Allowed,
    };
    plan.auth_counters.count(exchange.principal.as_ref().map(|principal| principal.scheme), outcome);
}

/// The index of the route that takes the request.
fn find_route(gateway: &Arc<Gateway>, exchange: &Exchange) -> Result<usize, Problem> {
    let asked = &exchange.asked;
    let take = gateway.router.take(asked.host_name(), asked.path(), &asked.method);
    if let Some(route) = take.map_err(Problem::refused)? {
        return Ok(route.index);
    }
    let find = |method: &Method| gateway.router.find(asked.host_name(), asked.path(), method);
    let allowed: Vec<&str> =
        gateway.methods.iter().filter(|method| find(method).is_some()).map(Method::as_str).collect();
    if allowed.is_empty() {
        return Err(Problem::no_route());
    }
    Err(Problem::method_not_allowed(&allowed.join(", ")))
}

/// The length that a body declares.
///
/// Where two servers could read the length differently, one of them would take part of the body for the next request
/// (RFC 9112, section 11.2), so what RFC 9112 lets a server repair is refused here. Pingora has repaired it by now:
/// that both headers were there shows in the head as received alone.
fn body_length(headers: &HeaderMap, raw_head: impl FnOnce() -> Bytes) -> Result<Option<u64>, Problem> {
    if headers.contains_key(TRANSFER_ENCODING) {
        if headers.get_all(TRANSFER_ENCODING).iter().count() > 1 {
            return Err(Problem::ambiguous_length(
                "repeated_transfer_encoding",
                "Transfer-Encoding is repeated",
            ));
        }
        if !headers[TRANSFER_ENCODING].as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err(Problem::ambiguous_length(
                "bad_transfer_encoding",
                "Transfer-Encoding is not `chunked`",
            ));
        }
        if headers.contains_key(CONTENT_LENGTH) || names_content_length(&raw_head()) {
            return Err(Problem::ambiguous_length(
                "conflicting_length",
                "Content-Length stands beside Transfer-Encoding",
            ));
        }
        return Ok(None);
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let Some(length) = lengths.next() else { return Ok(None) };
    if lengths.next().is_some() {
        return Err(Problem::ambiguous_length("repeated_length", "Content-Length is repeated"));
    }
    let digits = length.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    match digits.and_then(|digits| digits.parse().ok()) {
        Some(length) => Ok(Some(length)),
        None => Err(Problem::ambiguous_length("bad_length", "Content-Length is not one number")),
    }
}

/// Whether a head, as received, has a Content-Length.
fn names_content_length(head: &[u8]) -> bool {
    head.split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b':').next())
        .any(|name| name.trim_ascii().eq_ignore_ascii_case(CONTENT_LENGTH.as_str().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    fn length(
        headers: &[(HeaderName, &'static str)],
        raw: &'static str,
    ) -> Result<Option<u64>, &'static str> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, HeaderValue::from_static(value));
        }
        body_length(&map, || Bytes::from_static(raw.as_bytes())).map_err(|problem| problem.word)
    }

    #[test]
    fn a_length_is_taken_only_where_there_is_one_reading() {
        assert_eq!(length(&[], ""), Ok(None));
        assert_eq!(length(&[(CONTENT_LENGTH, "42")], ""), Ok(Some(42)));
        assert_eq!(length(&[(TRANSFER_ENCODING, "chunked")], "POST / HTTP/1.1\r\n\r\n"), Ok(None));
        for (headers, raw, word) in [
            (vec![(CONTENT_LENGTH, "1"), (CONTENT_LENGTH, "1")], "", "repeated_length"),
            (vec![(CONTENT_LENGTH, "1, 1")], "", "bad_length"),
            (vec![(CONTENT_LENGTH, "+1")], "", "bad_length"),
            (vec![(CONTENT_LENGTH, "99999999999999999999")], "", "bad_length"),
            (vec![(TRANSFER_ENCODING, "gzip, chunked")], "", "bad_transfer_encoding"),
            (
                vec![(TRANSFER_ENCODING, "chunked"), (TRANSFER_ENCODING, "chunked")],
                "",
                "repeated_transfer_encoding",
            ),
            (
                vec![(TRANSFER_ENCODING, "chunked")],
                "POST / HTTP/1.1\r\ncontent-length : 3\r\n",
                "conflicting_length",
            ),
        ] {
            assert_eq!(length(&headers, raw), Err(word));
        }
    }
}
