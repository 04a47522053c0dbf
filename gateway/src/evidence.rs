//! What must be certain of a request's evidence before anything of it goes anywhere.
//!
//! | durability | before the upstream sees it | where there is no room |
//! |---|---|---|
//! | `strict` | a `received` record is synced | waits as long as `admit_timeout`, then 503 |
//! | `buffered` | room for its record is reserved | the same |
//! | `best_effort` | nothing | it is served; a record that finds no room at its end is declared lost |
//!
//! What may live long (an upgraded connection, server-sent events, gRPC) writes `received` whatever the durability, so
//! that the log tells of it while it lives. It takes room for both records at once or none. That a response is a stream
//! may only show when the upstream answers: then the client gets nothing of it before the log tells of it.
//!
//! The gateway's own answers need room for a record as well: whatever is answered, is on the log.

use audit_writer::ring::{Need, Refused};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

use crate::capture::{Capture, Standing};
use crate::config::Durability;

/// What a request is to get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// It goes to its upstream.
    Forward,
    /// An answer of the gateway's own.
    Answer,
}

/// Makes certain what has to be, before a request gets `service`.
///
/// # Errors
///
/// It could not be made certain: the request is not served. The refusal is counted.
pub async fn secure(session: &Session, capture: &mut Capture, service: Service) -> Result<(), Refused> {
    let durability = capture.durability();
    let need = match service {
        Service::Answer => Need::Record,
        Service::Forward if is_stream(session) => Need::Stream,
        Service::Forward if durability == Durability::Strict => Need::BeginAndEnd,
        Service::Forward => Need::Record,
    };
    let reserved = match durability {
        // It is served in any case.
        Durability::BestEffort => Ok(capture.ticket().try_reserve(need)),
        Durability::Buffered | Durability::Strict => {
            let timeout = capture.gateway.admit_timeout;
            capture.ticket().reserve(need, timeout).await.map(|()| true)
        }
    };
    capture.decide(if reserved.is_ok() { Standing::Served } else { Standing::Refused });
    if reserved? && need != Need::Record {
        begin(capture, durability).await?;
    }
    Ok(())
}

/// Writes `received`; in `strict`, waits until it is durable.
async fn begin(capture: &mut Capture, durability: Durability) -> Result<(), Refused> {
    let record = capture.received_record();
    if durability != Durability::Strict {
        capture.ticket().begin(record);
        return Ok(());
    }
    let durable = capture.ticket().begin_durably(record).wait().await;
    if durable.is_err() {
        // The room for the record of its end is still held, and will say so.
        capture.decide(Standing::Refused);
    }
    durable
}

/// Makes certain what has to be, before a response's head goes to the client.
///
/// # Errors
///
/// It is a stream that nobody announced, and there is no room for a second record: it is not passed on. The room for
/// the record of its end is kept all the while, since the upstream has seen the request.
pub async fn secure_response(head: &ResponseHeader, capture: &mut Capture) -> Result<(), Refused> {
    if !is_event_stream(head.headers.get(CONTENT_TYPE)) || head.status.is_informational() {
        return Ok(());
    }
    let durability = capture.durability();
    let reserved = match durability {
        // Without the second record it goes on as a request that has none yet: what becomes of it is recorded at its
        // end, or declared.
        Durability::BestEffort => capture.ticket().try_reserve(Need::Stream),
        Durability::Buffered | Durability::Strict => {
            let timeout = capture.gateway.admit_timeout;
            capture.ticket().reserve_more(Need::Stream, timeout).await?;
            true
        }
    };
    if reserved && !capture.ticket().is_begun() {
        let record = capture.received_record();
        capture.ticket().begin(record);
    }
    Ok(())
}

/// Whether a request says that it may live long.
fn is_stream(session: &Session) -> bool {
    session.is_upgrade_req() || announces_stream(&session.req_header().headers)
}

fn announces_stream(headers: &HeaderMap) -> bool {
    let accepts = |line: &HeaderValue| {
        line.as_bytes().split(|byte| *byte == b',').any(|range| is_media_type(range, EVENT_STREAM))
    };
    headers.get_all(ACCEPT).iter().any(accepts) || headers.get(CONTENT_TYPE).is_some_and(is_grpc)
}

const EVENT_STREAM: &[u8] = b"text/event-stream";
const GRPC: &[u8] = b"application/grpc";

fn is_event_stream(content_type: Option<&HeaderValue>) -> bool {
    content_type.is_some_and(|value| is_media_type(value.as_bytes(), EVENT_STREAM))
}

/// `application/grpc`, `application/grpc+proto`, `application/grpc-web`, …
fn is_grpc(content_type: &HeaderValue) -> bool {
    content_type.as_bytes().get(..GRPC.len()).is_some_and(|start| start.eq_ignore_ascii_case(GRPC))
}

/// Whether a media range names this type, whatever its parameters are (RFC 9110, section 8.3.1).
fn is_media_type(range: &[u8], expected: &[u8]) -> bool {
    let name = range.split(|byte| *byte == b';').next().unwrap_or_default();
    name.trim_ascii().eq_ignore_ascii_case(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_may_live_long_is_known_by_its_head() {
        let announces = |name: &'static str, value: &'static str| {
            announces_stream(&HeaderMap::from_iter([(
                name.parse().expect("a name"),
                HeaderValue::from_static(value),
            )]))
        };
        for (name, value) in [
            ("accept", "text/event-stream"),
            ("accept", "Text/Event-Stream; charset=utf-8"),
            ("accept", "application/json,text/event-stream ;q=0.5"),
            ("content-type", "application/grpc"),
            ("content-type", "Application/gRPC+proto"),
            ("content-type", "application/grpc-web-text"),
        ] {
            assert!(announces(name, value), "{name}: {value}");
        }
        for (name, value) in [
            ("accept", "*/*"),
            ("accept", "text/event-streams"),
            ("accept", "text/html, application/json;q=0.9"),
            ("content-type", "application/json"),
            ("content-type", "text/event-stream"),
            ("content-type", "x-application/grpc"),
        ] {
            assert!(!announces(name, value), "{name}: {value}");
        }
        assert!(!announces_stream(&HeaderMap::new()));
        let several =
            [("text/html"), ("text/event-stream")].map(|value| (ACCEPT, HeaderValue::from_static(value)));
        assert!(announces_stream(&several.into_iter().collect()), "in any of the lines");
    }

    #[test]
    fn a_response_that_is_a_stream_is_known_by_its_type() {
        let is = |value: &'static str| is_event_stream(Some(&HeaderValue::from_static(value)));
        assert!(is("text/event-stream") && is("text/event-stream;charset=utf-8"));
        assert!(!is("text/plain") && !is("text/event-stream-2") && !is_event_stream(None));
    }
}
