//! `traceparent`: what is valid is carried on and recorded, what is not is dropped (W3C Trace Context, section 4.3).
//!
//! The gateway is no span of its own: it starts no trace and changes none.

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header that names the trace.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// What vendors add to it; without a valid `traceparent` it means nothing.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// `00-<32>-<16>-<2>`.
const LENGTH: usize = 55;
const TRACE_ID: std::ops::Range<usize> = 3..35;
const PARENT_ID: std::ops::Range<usize> = 36..52;

/// The trace that a request belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TraceContext {
    /// It says nothing about one.
    Absent,
    /// It says so validly; the header as received.
    Valid(HeaderValue),
    /// It says so in a way that must not be passed on.
    Invalid,
}

impl TraceContext {
    /// Reads a request's headers.
    pub fn of(headers: &HeaderMap) -> TraceContext {
        let mut values = headers.get_all(TRACEPARENT).iter();
        match (values.next(), values.next()) {
            (None, _) => TraceContext::Absent,
            (Some(value), None) if is_valid(value.as_bytes()) => TraceContext::Valid(value.clone()),
            _ => TraceContext::Invalid,
        }
    }

    /// The trace's id: 32 lower-case hex digits.
    pub fn trace_id(&self) -> Option<&str> {
        match self {
            TraceContext::Valid(value) => value.to_str().ok()?.get(TRACE_ID),
            _ => None,
        }
    }
}

/// Version 0 exactly, or a later one that begins like it.
fn is_valid(value: &[u8]) -> bool {
    let hex = |bytes: &[u8]| bytes.iter().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(b));
    let zero = |bytes: &[u8]| bytes.iter().all(|b| *b == b'0');
    let Some((head, rest)) = value.split_at_checked(LENGTH) else { return false };
    let (version, flags) = (&head[..2], &head[53..]);
    head[2] == b'-'
        && head[35] == b'-'
        && head[52] == b'-'
        && [version, &head[TRACE_ID], &head[PARENT_ID], flags].into_iter().all(hex)
        && version != b"ff"
        && !zero(&head[TRACE_ID])
        && !zero(&head[PARENT_ID])
        && (rest.is_empty() || (version != b"00" && rest[0] == b'-'))
        && value.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&str]) -> TraceContext {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(TRACEPARENT, HeaderValue::from_str(value).expect("a value"));
        }
        TraceContext::of(&headers)
    }

    #[test]
    fn a_valid_one_gives_its_trace_id() {
        let context = read(&["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"]);
        assert_eq!(context.trace_id(), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
        // A later version may say more at its end.
        let later = read(&["cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-the-future"]);
        assert_eq!(later.trace_id(), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
        assert_eq!(read(&[]), TraceContext::Absent);
    }

    #[test]
    fn what_is_invalid_is_not_passed_on() {
        let valid = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(read(&[valid, valid]), TraceContext::Invalid);
        for invalid in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.what",
            "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
        ] {
            assert_eq!(read(&[invalid]), TraceContext::Invalid, "{invalid:?}");
        }
    }
}
