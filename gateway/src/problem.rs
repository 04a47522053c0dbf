//! The answers that the gateway makes itself: problem details (RFC 9457), with the request's id.

use audit_writer::accounting::Reason;
use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{HeaderName, HeaderValue, StatusCode};
use pingora_core::Result;
use pingora_http::ResponseHeader;
use pingora_proxy::Session;
use serde::Serialize;

use crate::asked::Asked;
use crate::identity::Refusal;
use crate::normalise::{self, Scheme};
use crate::request_id::RequestId;

/// The header that carries a request's id, both ways.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// When a request that could not be recorded may find room: a ring empties in milliseconds, and a writer that failed
/// tries again each second.
const RETRY_AFTER_SECONDS: &str = "1";

/// When a provider that has no keys may have some: it is about how often it asks for them.
const IDENTITY_AFTER_SECONDS: &str = "10";

/// Something that the gateway answers by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The status.
    pub status: StatusCode,
    /// A constant word: the record's `error`.
    pub word: &'static str,
    /// What the client may want to know beyond the status.
    detail: Option<String>,
    /// Whether the word is told to the client's programs as well, as `reason`.
    gives_reason: bool,
    /// A header that belongs to the status.
    extra: Option<(HeaderName, HeaderValue)>,
    /// Whether more can be understood on the connection.
    closes: bool,
}

impl Problem {
    fn new(status: StatusCode, word: &'static str) -> Problem {
        Problem { status, word, detail: None, gives_reason: false, extra: None, closes: false }
    }

    /// The target or the host cannot be understood in one way only.
    pub fn refused(refusal: normalise::Refusal) -> Problem {
        let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
        let mut problem = Problem::new(status, refusal.reason());
        problem.detail = Some(refusal.to_string());
        if status == StatusCode::METHOD_NOT_ALLOWED {
            // RFC 9110, section 10.2.1: no method is allowed on such a target.
            problem.extra = Some((ALLOW, HeaderValue::from_static("")));
        }
        problem.closes = true;
        problem
    }

    /// The body's length is given in a way that two servers could read differently.
    pub fn ambiguous_length(word: &'static str, detail: &str) -> Problem {
        Problem {
            detail: Some(detail.to_owned()),
            closes: true,
            ..Problem::new(StatusCode::BAD_REQUEST, word)
        }
    }

    /// The request broke HTTP while it was being forwarded.
    pub fn bad_request(word: &'static str) -> Problem {
        Problem { closes: true, ..Problem::new(StatusCode::BAD_REQUEST, word) }
    }

    /// The listener serves nothing, but says where the same is served with TLS: on this port of the host that was asked.
    pub fn redirected_to_https(asked: &Asked, port: u16) -> Problem {
        let mut location = format!("https://{}", asked.host_name());
        if port != Scheme::Https.default_port() {
            location.push_str(&format!(":{port}"));
        }
        location.push_str(asked.path());
        if let Some(query) = asked.query() {
            location.push('?');
            location.push_str(query);
        }
        let location = HeaderValue::from_bytes(location.as_bytes());
        Problem {
            extra: location.ok().map(|location| (LOCATION, location)),
            ..Problem::new(StatusCode::PERMANENT_REDIRECT, "redirected_to_https")
        }
    }

    /// No route takes the request.
    pub fn no_route() -> Problem {
        Problem::new(StatusCode::NOT_FOUND, "no_route")
    }

    /// Routes take its path, but not its method.
    pub fn method_not_allowed(allow: &str) -> Problem {
        let allow = HeaderValue::from_str(allow).unwrap_or(HeaderValue::from_static(""));
        Problem {
            extra: Some((ALLOW, allow)),
            ..Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed")
        }
    }

    /// No rule of its route lets the request in.
    pub fn denied() -> Problem {
        Problem {
            detail: Some("no rule of the route allows this".to_owned()),
            gives_reason: true,
            ..Problem::new(StatusCode::FORBIDDEN, "denied")
        }
    }

    /// The head is larger than the listener allows.
    pub fn head_too_large() -> Problem {
        Problem {
            closes: true,
            ..Problem::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "header_too_large")
        }
    }

    /// The body is larger than the listener allows.
    pub fn body_too_large() -> Problem {
        Problem { closes: true, ..Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large") }
    }

    /// The body stalled.
    pub fn body_timeout() -> Problem {
        Problem { closes: true, ..Problem::new(StatusCode::REQUEST_TIMEOUT, "body_timeout") }
    }

    /// No evidence could be kept of the request, so it is not served.
    pub fn unrecordable(reason: Reason) -> Problem {
        let detail = match reason {
            Reason::RingFull => "too many requests are waiting for their audit records to be written",
            Reason::SpoolFull => "there is no room for more audit records",
            Reason::WriterFailed => "audit records cannot be written",
            Reason::SplitLog => "the audit log is broken",
            Reason::Stopping => "the audit log was stopped",
        };
        Problem {
            detail: Some(format!("not served: {detail}")),
            gives_reason: true,
            extra: Some((RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS))),
            ..Problem::new(StatusCode::SERVICE_UNAVAILABLE, reason.as_str())
        }
    }

    /// Nobody vouches for its sender; the challenge tells what would be taken (RFC 9110, section 15.5.2).
    pub fn unauthenticated(refusal: Refusal, challenge: HeaderValue) -> Problem {
        Problem {
            detail: Some(refusal.explanation().to_owned()),
            gives_reason: true,
            extra: Some((WWW_AUTHENTICATE, challenge)),
            ..Problem::new(StatusCode::UNAUTHORIZED, refusal.as_str())
        }
    }

    /// Whether somebody vouches for its sender cannot be told now.
    pub fn identity_unavailable() -> Problem {
        let word = "identity_unavailable";
        Problem {
            detail: Some("whether the credentials are good cannot be told now".to_owned()),
            gives_reason: true,
            extra: Some((RETRY_AFTER, HeaderValue::from_static(IDENTITY_AFTER_SECONDS))),
            ..Problem::new(StatusCode::SERVICE_UNAVAILABLE, word)
        }
    }

    /// The upstream could not be reached, or failed.
    pub fn upstream_failed(word: &'static str) -> Problem {
        Problem::new(StatusCode::BAD_GATEWAY, word)
    }

    /// The upstream, or the whole exchange, took too long.
    pub fn timed_out(word: &'static str) -> Problem {
        Problem::new(StatusCode::GATEWAY_TIMEOUT, word)
    }

    /// The gateway failed.
    pub fn internal(word: &'static str) -> Problem {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, word)
    }

    /// Answers with it, and returns the body that went to the client. The connection is kept where it can be.
    pub async fn send(&self, session: &mut Session, request_id: &RequestId) -> Result<Bytes> {
        if self.closes {
            session.set_keepalive(None);
        }
        let body = self.body(request_id);
        let head = self.head(request_id, body.len())?;
        session.write_response_header(Box::new(head), false).await?;
        session.write_response_body(Some(body.clone()), true).await?;
        Ok(body)
    }

    fn head(&self, request_id: &RequestId, length: usize) -> Result<ResponseHeader> {
        let mut head = ResponseHeader::build_no_case(self.status, Some(8))?;
        head.insert_header(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"))?;
        head.insert_header(CONTENT_LENGTH, HeaderValue::from(length))?;
        head.insert_header(CACHE_CONTROL, HeaderValue::from_static("no-store"))?;
        head.insert_header(X_REQUEST_ID, request_id.header())?;
        if let Some((name, value)) = &self.extra {
            head.insert_header(name.clone(), value.clone())?;
        }
        Ok(head)
    }

    fn body(&self, request_id: &RequestId) -> Bytes {
        #[derive(Serialize)]
        struct Details<'a> {
            r#type: &'static str,
            title: &'a str,
            status: u16,
            #[serde(skip_serializing_if = "Option::is_none")]
            detail: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            reason: Option<&'static str>,
            request_id: &'a str,
        }
        let details = Details {
            // RFC 9457, section 4.2.1: nothing beyond what the status says, which is the title as well.
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or_default(),
            status: self.status.as_u16(),
            detail: self.detail.as_deref(),
            reason: self.gives_reason.then_some(self.word),
            request_id: request_id.as_str(),
        };
        serde_json::to_vec(&details).expect("strings and a number are JSON").into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use audit_writer::time::Timestamp;

    #[test]
    fn a_problem_names_its_status_and_the_request() {
        let id = RequestId::generate(Timestamp::from_micros(1_764_000_000_123_456));
        let problem = Problem::method_not_allowed("GET, HEAD");
        let body: serde_json::Value = serde_json::from_slice(&problem.body(&id)).expect("JSON");
        assert_eq!((&body["type"], &body["title"]), (&"about:blank".into(), &"Method Not Allowed".into()));
        assert_eq!(body["status"], 405);
        assert_eq!(body["request_id"], id.as_str());
        let head = problem.head(&id, 2).expect("a head");
        assert_eq!(head.headers[ALLOW], "GET, HEAD");
        assert_eq!(head.headers[CONTENT_TYPE], "application/problem+json");
    }

    #[test]
    fn a_request_that_cannot_be_recorded_is_told_why_and_when_to_come_again() {
        let id = RequestId::generate(Timestamp::from_micros(1_764_000_000_123_456));
        for reason in Reason::ALL {
            let problem = Problem::unrecordable(reason);
            let head = problem.head(&id, 2).expect("a head");
            assert_eq!(
                (head.status.as_u16(), &head.headers[RETRY_AFTER]),
                (503, &HeaderValue::from_static("1"))
            );
            let body: serde_json::Value = serde_json::from_slice(&problem.body(&id)).expect("JSON");
            assert_eq!(
                (&body["type"], &body["title"]),
                (&"about:blank".into(), &"Service Unavailable".into())
            );
            assert_eq!((&body["status"], &body["reason"]), (&503.into(), &reason.as_str().into()));
            assert!(body["detail"].as_str().is_some_and(|detail| detail.starts_with("not served: ")));
            assert_eq!(body["request_id"], id.as_str());
        }
    }
}
