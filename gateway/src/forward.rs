//! What a request's head becomes on its way upstream, and a response's on its way back.
//!
//! Pingora has already taken off what belongs to the client's connection alone (RFC 9110, section 7.6.1). This runs
//! after that, in `upstream_request_filter` only: set any earlier, a client's `Connection` header could name and so
//! strip what is set here.

use std::net::IpAddr;

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};
use pingora_core::Result;
use pingora_http::{RequestHeader, ResponseHeader};

use crate::client_address::X_FORWARDED_FOR;
use crate::identity::Principal;
use crate::identity_headers::{IdentityHeaders, begins, is};
use crate::normalise::Scheme;
use crate::problem::X_REQUEST_ID;
use crate::request_id::RequestId;
use crate::trace_context::{TRACEPARENT, TRACESTATE, TraceContext};

const X_FORWARDED: &str = "x-forwarded-";
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// Headers that some servers take for the target or for the method, in place of those that were authorised.
const OVERRIDES: [&str; 5] =
    ["x-original-url", "x-rewrite-url", "x-http-method-override", "x-http-method", "x-method-override"];
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");

/// What the gateway tells an upstream about a request.
pub struct Forward<'a> {
    /// The connection's other end.
    pub peer: IpAddr,
    /// Whether what the peer says about those before it is passed on.
    pub trusted: bool,
    /// How the request came.
    pub scheme: Scheme,
    /// Its id.
    pub request_id: &'a RequestId,
    /// Its trace.
    pub trace: &'a TraceContext,
    /// The target, where it is not the one that was received.
    pub target: Option<&'a str>,
    /// What never goes upstream as a client sent it.
    pub identity_headers: &'a IdentityHeaders,
    /// Who asks, where an identity provider vouches for somebody.
    pub principal: Option<&'a Principal>,
    /// Whether the client takes trailers, and may be told so of an upstream that sends them.
    pub takes_trailers: bool,
}

impl Forward<'_> {
    /// Makes a request's head the one that goes upstream.
    pub fn apply(&self, head: &mut RequestHeader) -> Result<()> {
        if let Some(target) = self.target {
            head.set_raw_path(target.as_bytes())?;
        }
        self.identity_headers.set(head, self.principal)?;
        let chain = self.chain(&head.headers)?;
        self.strip(head);
        head.insert_header(X_FORWARDED_FOR, chain)?;
        if !head.headers.contains_key(X_FORWARDED_PROTO) {
            head.insert_header(X_FORWARDED_PROTO, HeaderValue::from_static(self.scheme.as_str()))?;
        }
        if !head.headers.contains_key(X_FORWARDED_HOST)
            && let Some(host) = head.headers.get(HOST).cloned()
        {
            head.insert_header(X_FORWARDED_HOST, host)?;
        }
        head.insert_header(X_REQUEST_ID, self.request_id.header())?;
        if self.takes_trailers && head.version == Version::HTTP_2 {
            // Of the connection, so it was taken off; gRPC servers ask for it.
            head.insert_header(TE, TRAILERS)?;
        }
        if *self.trace == TraceContext::Invalid {
            head.remove_header(&TRACEPARENT);
        }
        if self.trace.trace_id().is_none() && head.headers.contains_key(TRACESTATE) {
            head.remove_header(&TRACESTATE);
        }
        Ok(())
    }

    /// Takes off what claims to tell where a request came from, but for what a trusted peer says; and whoever it is
    /// from, what would have another request served than the one that was let in, and spellings that some servers take
    /// for the headers that are set here.
    fn strip(&self, head: &mut RequestHeader) {
        let overrides = |name: &str| OVERRIDES.iter().any(|other| is(name, other));
        let told = |name: &str| begins(name, X_FORWARDED) || is(name, "forwarded") || is(name, "x-real-ip");
        let spelled = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let strips = |name: &HeaderName| {
            let name = name.as_str();
            match spelled(name) {
                _ if overrides(name) => true,
                true => !self.trusted && told(name),
                false => told(name) || is(name, X_REQUEST_ID.as_str()),
            }
        };
        let stripped: Vec<HeaderName> = head.headers.keys().filter(|name| strips(name)).cloned().collect();
        for name in &stripped {
            head.remove_header(name);
        }
    }

    /// `X-Forwarded-For`: what a trusted peer had, and the peer itself.
    fn chain(&self, headers: &HeaderMap) -> Result<HeaderValue> {
        let mut chain = Vec::with_capacity(48);
        if self.trusted {
            for line in headers.get_all(X_FORWARDED_FOR) {
                chain.extend_from_slice(line.as_bytes());
                chain.extend_from_slice(b", ");
            }
        }
        use std::io::Write;
        write!(chain, "{}", self.peer).expect("a Vec takes every write");
        // Values joined by commas, and an address, are a value.
        HeaderValue::from_maybe_shared(bytes::Bytes::from(chain)).map_err(|error| {
            pingora_core::Error::because(pingora_core::ErrorType::InternalError, "X-Forwarded-For", error)
        })
    }
}

/// Whether a request's head says that trailers are taken, on a connection that brings them (RFC 9110, section 10.1.4).
pub fn takes_trailers(head: &RequestHeader) -> bool {
    head.version == Version::HTTP_2
        && head.headers.get(TE).is_some_and(|te| te.as_bytes().eq_ignore_ascii_case(TRAILERS.as_bytes()))
}

/// Takes off a response what belongs to the upstream's connection alone (RFC 9110, section 7.6.1). Pingora sets
/// `Connection` itself.
pub fn strip_hop_by_hop(head: &mut ResponseHeader) {
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        return;
    }
    if head.headers.get_all(CONNECTION).iter().any(|options| !is_usual(options)) {
        let named: Vec<HeaderName> = head
            .headers
            .get_all(CONNECTION)
            .iter()
            .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
            .filter_map(|option| HeaderName::from_bytes(option.trim_ascii()).ok())
            .filter(may_be_named)
            .collect();
        for name in named {
            head.remove_header(&name);
        }
    }
    for name in [KEEP_ALIVE, PROXY_CONNECTION] {
        if head.headers.contains_key(&name) {
            head.remove_header(&name);
        }
    }
}

/// How a client learns where a response's body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// By the head: its length, chunks, or that there is none.
    ByHead,
    /// By the end of the connection.
    UntilClose,
}

/// Makes a response's head one of the gateway's own version, whatever the upstream's is (RFC 9110, section 2.5): it
/// is the gateway that speaks to the client. Chunks are not for clients of before (RFC 9112, section 6.1).
pub fn frame_for(client: Version, head: &mut ResponseHeader) -> Framing {
    head.set_version(Version::HTTP_11);
    if client < Version::HTTP_11 && head.headers.contains_key(TRANSFER_ENCODING) {
        head.remove_header(&TRANSFER_ENCODING);
        return Framing::UntilClose;
    }
    Framing::ByHead
}

/// What nearly every upstream says, and what names no header.
fn is_usual(options: &HeaderValue) -> bool {
    [b"keep-alive".as_slice(), b"close"]
        .into_iter()
        .any(|usual| options.as_bytes().eq_ignore_ascii_case(usual))
}

/// The framing of a message is no connection option, whatever its sender says.
fn may_be_named(name: &HeaderName) -> bool {
    *name != CONTENT_LENGTH && *name != TRANSFER_ENCODING
}

#[cfg(test)]
mod tests {
    use super::*;
    use audit_writer::time::Timestamp;

    fn forwarded(trusted: bool, headers: &[(&'static str, &str)]) -> RequestHeader {
        let mut head = RequestHeader::build("GET", b"/", None).expect("a head");
        for (name, value) in headers {
            head.append_header(*name, *value).expect("a header");
        }
        let trace = TraceContext::of(&head.headers);
        let forward = Forward {
            peer: [10, 0, 0, 7].into(),
            trusted,
            scheme: Scheme::Http,
            request_id: &RequestId::generate(Timestamp::from_micros(1_764_000_000_123_456)),
            trace: &trace,
            target: None,
            identity_headers: &IdentityHeaders::default(),
            principal: None,
            takes_trailers: false,
        };
        forward.apply(&mut head).expect("a head for the upstream");
        head
    }

    fn values(head: &RequestHeader, name: &str) -> Vec<String> {
        head.headers.get_all(name).iter().map(|value| value.to_str().expect("text").to_owned()).collect()
    }

    #[test]
    fn an_untrusted_peer_cannot_say_where_a_request_came_from() {
        let head = forwarded(
            false,
            &[
                ("Host", "api.example.com"),
                ("X-Forwarded-For", "127.0.0.1"),
                ("X-Forwarded-For", "::1"),
                ("X-Forwarded-Proto", "https"),
                ("X-Forwarded-Host", "evil.example"),
                ("X-Forwarded-Prefix", "/admin"),
                ("Forwarded", "for=127.0.0.1"),
                ("X-Real-IP", "127.0.0.1"),
                ("X_Forwarded_For", "127.0.0.1"),
                ("X_Request_Id", "forged-by-the-client"),
                ("X-Request-Id", "forged-by-the-client"),
                ("X-Other", "kept"),
            ],
        );
        assert_eq!(values(&head, "x-forwarded-for"), ["10.0.0.7"]);
        assert_eq!(values(&head, "x-forwarded-proto"), ["http"]);
        assert_eq!(values(&head, "x-forwarded-host"), ["api.example.com"]);
        for stripped in ["x-forwarded-prefix", "forwarded", "x-real-ip", "x_forwarded_for", "x_request_id"] {
            assert!(values(&head, stripped).is_empty(), "{stripped}");
        }
        assert_eq!(values(&head, "x-other"), ["kept"]);
        assert_ne!(values(&head, "x-request-id"), ["forged-by-the-client"]);
        assert_eq!(values(&head, "x-request-id").len(), 1);
    }

    #[test]
    fn a_trusted_peer_is_added_to_its_chain() {
        let head = forwarded(
            true,
            &[
                ("Host", "api.example.com"),
                ("X-Forwarded-For", "203.0.113.9"),
                ("X-Forwarded-For", "10.1.2.3"),
                ("X-Forwarded-Proto", "https"),
                ("X-Forwarded-Prefix", "/orders"),
                ("X_Forwarded_Proto", "http"),
            ],
        );
        assert_eq!(values(&head, "x-forwarded-prefix"), ["/orders"]);
        assert!(values(&head, "x_forwarded_proto").is_empty());
        assert_eq!(values(&head, "x-forwarded-for"), ["203.0.113.9, 10.1.2.3, 10.0.0.7"]);
        assert_eq!(values(&head, "x-forwarded-proto"), ["https"]);
    }

    #[test]
    fn no_header_makes_another_request_of_the_one_that_was_let_in() {
        for trusted in [true, false] {
            for name in [
                "X-Original-URL",
                "x_rewrite_url",
                "X-HTTP-Method-Override",
                "X-Http-Method",
                "X.Method.Override",
            ] {
                let head = forwarded(trusted, &[(name, "/admin"), (name, "DELETE")]);
                assert!(values(&head, name).is_empty(), "{name}");
            }
        }
    }

    #[test]
    fn only_a_valid_trace_goes_on() {
        let valid = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let head = forwarded(false, &[("traceparent", valid), ("tracestate", "a=b")]);
        assert_eq!(
            (values(&head, "traceparent"), values(&head, "tracestate")),
            (vec![valid.into()], vec!["a=b".into()])
        );
        let head = forwarded(false, &[("traceparent", "00-broken"), ("tracestate", "a=b")]);
        assert!(values(&head, "traceparent").is_empty() && values(&head, "tracestate").is_empty());
    }

    #[test]
    fn a_client_hears_the_gateways_version_and_no_chunks_that_it_cannot_read() {
        for (client, framing, chunked) in
            [(Version::HTTP_11, Framing::ByHead, true), (Version::HTTP_10, Framing::UntilClose, false)]
        {
            let mut head = ResponseHeader::build(200, None).expect("a head");
            head.set_version(Version::HTTP_10);
            head.insert_header("Transfer-Encoding", "chunked").expect("a header");
            assert_eq!(frame_for(client, &mut head), framing);
            assert_eq!(
                (head.version, head.headers.contains_key(TRANSFER_ENCODING)),
                (Version::HTTP_11, chunked)
            );
        }
    }

    #[test]
    fn a_response_loses_what_its_connection_names_but_not_its_framing() {
        let mut head = ResponseHeader::build(200, None).expect("a head");
        for (name, value) in [
            ("Connection", "close, X-Private, Content-Length"),
            ("X-Private", "1"),
            ("Keep-Alive", "timeout=5"),
            ("Content-Length", "3"),
            ("X-Public", "1"),
        ] {
            head.append_header(name, value).expect("a header");
        }
        strip_hop_by_hop(&mut head);
        let mut left: Vec<_> = head.headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["connection", "content-length", "x-public"]);
    }
}
