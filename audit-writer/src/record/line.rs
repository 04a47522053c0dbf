//! Reading a line back: what readers rely on, and what the index takes from it.

use std::borrow::Cow;

use serde::Deserialize;

use super::Kind;
use super::scan::{BadLine, Text, scan};
use crate::ids::{SegmentNo, Seq};
use crate::merkle::Hash;
use crate::segment::Facts;
use crate::time::Timestamp;

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

impl<'a> Brief<'a> {
    /// Reads a line without its newline.
    ///
    /// # Errors
    /// The line is not exactly what the format says, to its last byte.
    pub fn parse(line: &'a [u8]) -> Result<Brief<'a>, BadLine> {
        std::str::from_utf8(line).map_err(|error| BadLine::NotUtf8(error.valid_up_to()))?;
        let found = scan(line)?;
        Ok(Brief {
            seq: found.seq,
            kind: found.kind,
            ts: found.ts,
            boot: std::str::from_utf8(found.boot).expect("hex digits"),
            request_id: found.request_id.map(Text::decode),
            actor: found.actor.map(Text::decode),
            route: found.route.map(Text::decode),
            status: found.status,
            gap: found.lost.filter(|_| found.kind == Kind::Gap),
            event: found.event.map(Text::decode),
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
