//! Reading a line back: what readers rely on, and what the index takes from it.

use std::borrow::Cow;

use serde::Deserialize;

use super::{Kind, MAX_LINE};
use crate::ids::{SegmentNo, Seq};
use crate::merkle::Hash;
use crate::segment::Facts;
use crate::time::Timestamp;

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadLine {
    /// It does not begin as the format says.
    #[error("does not begin with the prefix of the format, at byte {at}: expected {expected}")]
    Prefix {
        /// Where the prefix ends to be one.
        at: usize,
        /// What should stand there.
        expected: &'static str,
    },
    /// Longer than the format allows.
    #[error("has {bytes} bytes, more than {MAX_LINE}")]
    TooLong {
        /// Its bytes.
        bytes: usize,
    },
    /// The rest is not the JSON that it should be.
    #[error("is not a record: {0}")]
    Json(String),
}

/// The fixed prefix of a line, and the few facts that an index takes from the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brief<'a> {
    /// The record's number.
    pub seq: Seq,
    /// Its kind.
    pub kind: Kind,
    /// Its time.
    pub ts: Timestamp,
    /// The boot that wrote it: 8 hex digits.
    pub boot: &'a str,
    /// The request's id.
    pub request_id: Option<Cow<'a, str>>,
    /// `actor.id`.
    pub actor: Option<Cow<'a, str>>,
    /// `route`.
    pub route: Option<Cow<'a, str>>,
    /// `response.status`.
    pub status: Option<u16>,
    /// `lost` of a gap.
    pub gap: Option<Option<u64>>,
    /// `event` of a lifecycle record.
    pub event: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Rest<'a> {
    #[serde(borrow)]
    request_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    actor: Option<Actor<'a>>,
    #[serde(borrow)]
    route: Option<Cow<'a, str>>,
    response: Option<Status>,
    lost: Option<u64>,
    #[serde(borrow)]
    event: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Actor<'a> {
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Status {
    status: Option<u16>,
}

impl<'a> Brief<'a> {
    /// Reads a line without its newline.
    ///
    /// # Errors
    /// The line is too long, does not begin with the prefix of the format, or is not a JSON object.
    pub fn parse(line: &'a [u8]) -> Result<Brief<'a>, BadLine> {
        if line.len() > MAX_LINE {
            return Err(BadLine::TooLong { bytes: line.len() });
        }
        let mut at = Cursor { line, at: 0 };
        at.literal(br#"{"seq":"#, r#"{"seq":"#)?;
        let seq = at.number()?;
        at.literal(br#","v":1,"kind":""#, r#","v":1,"kind":"#)?;
        let kind = at.until_quote().and_then(Kind::parse).ok_or(at.expected("a kind"))?;
        at.literal(br#","ts":""#, r#","ts":"#)?;
        let ts = at.until_quote().and_then(Timestamp::parse).ok_or(at.expected("a time of 27 bytes"))?;
        at.literal(br#","boot":""#, r#","boot":"#)?;
        let boot = at
            .until_quote()
            .filter(|boot| boot.len() == 8 && boot.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
            .and_then(|boot| std::str::from_utf8(boot).ok())
            .ok_or(at.expected("8 hex digits"))?;
        let rest: Rest<'a> =
            serde_json::from_slice(line).map_err(|error| BadLine::Json(error.to_string()))?;
        Ok(Brief {
            seq: Seq(seq),
            kind,
            ts,
            boot,
            request_id: rest.request_id,
            actor: rest.actor.and_then(|actor| actor.id),
            route: rest.route,
            status: rest.response.and_then(|response| response.status),
            gap: (kind == Kind::Gap).then_some(rest.lost),
            event: rest.event,
        })
    }

    /// What the index takes from the record.
    pub fn facts(&self) -> Facts<'_> {
        Facts {
            ts: self.ts,
            kind: self.kind,
            actor: self.actor.as_deref(),
            route: self.route.as_deref(),
            status: self.status,
            gap: self.gap,
        }
    }
}

/// The record that begins a segment, read back.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SegmentLine {
    /// Its time.
    pub ts: Timestamp,
    /// The boot that wrote it: 8 hex digits.
    pub boot: String,
    /// The log's name.
    pub log: String,
    /// The segment's number.
    pub segment: SegmentNo,
    /// SHA-256 of the file before.
    pub prev_sha256: Hash,
}

impl SegmentLine {
    /// Reads a line without its newline; `None` where it is no `segment` record.
    pub fn parse(line: &[u8]) -> Option<SegmentLine> {
        let brief = Brief::parse(line).ok()?;
        let begins = brief.kind == Kind::Lifecycle && brief.event.as_deref() == Some("segment");
        begins.then(|| serde_json::from_slice(line).ok()).flatten()
    }
}

struct Cursor<'a> {
    line: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn expected(&self, expected: &'static str) -> BadLine {
        BadLine::Prefix { at: self.at, expected }
    }

    fn literal(&mut self, literal: &[u8], name: &'static str) -> Result<(), BadLine> {
        if !self.line[self.at..].starts_with(literal) {
            return Err(self.expected(name));
        }
        self.at += literal.len();
        Ok(())
    }

    /// A number as JSON writes it: no sign, no leading zero.
    fn number(&mut self) -> Result<u64, BadLine> {
        let digits = self.line[self.at..].iter().take_while(|b| b.is_ascii_digit()).count();
        let text = &self.line[self.at..self.at + digits];
        let number = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
        let number =
            number.filter(|_| text.len() == 1 || text[0] != b'0').ok_or(self.expected("a number"))?;
        self.at += digits;
        Ok(number)
    }

    /// What stands before the next quote, which is passed; none of the prefix's values holds an escape.
    fn until_quote(&mut self) -> Option<&'a [u8]> {
        let rest = &self.line[self.at..];
        let end = memchr::memchr(b'"', rest)?;
        self.at += end + 1;
        Some(&rest[..end])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PREFIX: &str =
        r#"{"seq":7,"v":1,"kind":"completed","ts":"2026-11-24T09:12:03.123456Z","boot":"9f3c01aa""#;

    #[test]
    fn a_brief_holds_what_the_index_needs() {
        let line = format!(
            r#"{PREFIX},"request_id":"x","actor":{{"id":"al\"ice"}},"route":"orders","response":{{"status":404,"bytes":1}}}}"#
        );
        let brief = Brief::parse(line.as_bytes()).expect("a record");
        assert_eq!((brief.seq.0, brief.kind, brief.status), (7, Kind::Completed, Some(404)));
        assert_eq!((brief.actor.as_deref(), brief.route.as_deref()), (Some("al\"ice"), Some("orders")));
        assert_eq!(brief.ts.to_string(), "2026-11-24T09:12:03.123456Z");
    }

    #[test]
    fn a_line_that_is_not_exactly_a_record_is_refused() {
        let good = format!("{PREFIX}}}");
        assert!(Brief::parse(good.as_bytes()).is_ok());
        for line in [
            String::new(),
            "{}".into(),
            good.replace("\"seq\":7", "\"seq\": 7"),
            good.replace("\"seq\":7", "\"seq\":07"),
            good.replace("\"seq\":7", "\"seq\":-7"),
            good.replace("\"seq\":7", "\"seq\":99999999999999999999"),
            good.replace("\"v\":1", "\"v\":2"),
            good.replace("completed", "finished"),
            good.replace("9f3c01aa", "9F3C01AA"),
            good.replace("2026-11-24T", "2026-11-24 "),
            format!("{good} x"),
            PREFIX.to_owned(),
            format!(r#"{PREFIX},"route":1}}"#),
            format!(r#"{PREFIX},"response":{{"status":70000}}}}"#),
            format!(r#"{PREFIX},"pad":"{}"}}"#, "x".repeat(70_000)),
        ] {
            assert!(Brief::parse(line.as_bytes()).is_err(), "{line}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(line in proptest::collection::vec(any::<u8>(), 0..200), cut in 0usize..90) {
            let _ = Brief::parse(&line);
            let mut mixed = PREFIX.as_bytes()[..cut.min(PREFIX.len())].to_vec();
            mixed.extend(line);
            let _ = Brief::parse(&mixed);
        }
    }
}
