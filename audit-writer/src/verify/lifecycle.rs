//! What verify reads in full: the few records of the log itself, and gaps.

use std::borrow::Cow;

use serde::Deserialize;

use crate::ids::SegmentNo;
use crate::merkle::Hash;
use crate::time::Timestamp;

/// A `lifecycle` record. Fields that only some events have are optional; [`Event`] asks for those of each.
#[derive(Debug, Deserialize)]
struct Raw<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow)]
    log: Option<Cow<'a, str>>,
    segment: Option<SegmentNo>,
    prev_sha256: Option<Hash>,
    sha256: Option<Hash>,
    counters: Option<Counters>,
    #[serde(borrow)]
    config: Option<Cow<'a, str>>,
    heartbeat_interval_ms: Option<u64>,
}

/// What a boot counted of the records that pass its ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) struct Counters {
    pub(super) captured: u64,
    pub(super) durable: u64,
    pub(super) queued: u64,
    pub(super) lost: u64,
    /// Logs of before 0.2 lack it.
    pub(super) refused: Option<u64>,
}

impl Counters {
    /// Whether nothing slipped away between the counters.
    pub(super) fn add_up(&self) -> bool {
        let sum = self.durable.checked_add(self.queued).and_then(|sum| sum.checked_add(self.lost));
        sum == Some(self.captured)
    }
}

/// What verify makes of a `lifecycle` record.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event<'a> {
    /// The first record of a segment.
    Segment { log: Cow<'a, str>, segment: SegmentNo, prev_sha256: Hash },
    /// A boot began.
    Start { config: Option<Hash>, heartbeat_interval_ms: Option<u64> },
    /// A boot is alive.
    Heartbeat(Counters),
    /// A segment and its checkpoint reached the store.
    Stored { segment: SegmentNo, sha256: Hash },
    /// A boot ended cleanly.
    Stop(Counters),
    /// Another event: nothing is derived from it.
    Other,
}

impl<'a> Event<'a> {
    /// Reads a `lifecycle` record.
    ///
    /// # Errors
    /// What is missing or wrong.
    pub(super) fn parse(line: &'a [u8]) -> Result<Event<'a>, String> {
        let raw: Raw<'a> = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        let lacks = |name: &str| format!("a `{}` record lacks `{name}`", raw.event);
        Ok(match &*raw.event {
            "segment" => Event::Segment {
                segment: raw.segment.ok_or_else(|| lacks("segment"))?,
                prev_sha256: raw.prev_sha256.ok_or_else(|| lacks("prev_sha256"))?,
                log: raw.log.clone().ok_or_else(|| lacks("log"))?,
            },
            // The configuration's whole hash names an object of the store; anything shorter does not.
            "start" => Event::Start {
                config: raw.config.as_deref().and_then(|config| config.parse().ok()),
                heartbeat_interval_ms: raw.heartbeat_interval_ms,
            },
            "heartbeat" => Event::Heartbeat(raw.counters.ok_or_else(|| lacks("counters"))?),
            "stop" => Event::Stop(raw.counters.ok_or_else(|| lacks("counters"))?),
            "stored" => Event::Stored {
                segment: raw.segment.ok_or_else(|| lacks("segment"))?,
                sha256: raw.sha256.ok_or_else(|| lacks("sha256"))?,
            },
            _ => Event::Other,
        })
    }
}

/// A `gap` record.
#[derive(Debug, Deserialize)]
pub(super) struct Gap<'a> {
    pub(super) lost: Option<u64>,
    #[serde(borrow)]
    pub(super) reason: Cow<'a, str>,
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
}

impl<'a> Gap<'a> {
    /// Reads a `gap` record.
    ///
    /// # Errors
    /// What is missing or wrong.
    pub(super) fn parse(line: &'a [u8]) -> Result<Gap<'a>, String> {
        serde_json::from_slice(line).map_err(|error| error.to_string())
    }

    /// Whether it declares losses that the boot's own counters hold, not those of a boot before.
    pub(super) fn is_of_this_boot(&self) -> bool {
        !matches!(&*self.reason, "crash" | "spool_lost" | "unfinished")
    }

    /// What it says, for a notice.
    pub(super) fn describe(&self) -> String {
        let Gap { lost, reason, from, to } = self;
        match lost {
            Some(1) if reason == "unfinished" => {
                format!("1 request was received and has no end (unfinished), from {from} to {to}")
            }
            Some(n) if reason == "unfinished" => {
                format!("{n} requests were received and have no end (unfinished), from {from} to {to}")
            }
            Some(n) => format!("{n} records lost ({reason}), from {from} to {to}"),
            None => format!("an unknown number of records lost ({reason}), from {from} to {to}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_must_have_its_fields() {
        let zero = Hash::ZERO;
        let segment = format!(r#"{{"event":"segment","log":"a/b","segment":3,"prev_sha256":"{zero}"}}"#);
        assert_eq!(
            Event::parse(segment.as_bytes()),
            Ok(Event::Segment { log: "a/b".into(), segment: SegmentNo(3), prev_sha256: zero })
        );
        assert_eq!(Event::parse(br#"{"event":"key"}"#), Ok(Event::Other));
        for event in ["segment", "heartbeat", "stop", "stored"] {
            let error = Event::parse(format!(r#"{{"event":"{event}"}}"#).as_bytes()).unwrap_err();
            assert!(error.contains(&format!("`{event}` record lacks")), "{error}");
        }
        assert!(Event::parse(b"{}").is_err());
    }

    #[test]
    fn counters_add_up_or_do_not_and_never_overflow() {
        let counters =
            |captured, durable, queued, lost| Counters { captured, durable, queued, lost, refused: None };
        assert!(counters(6, 1, 2, 3).add_up());
        assert!(!counters(7, 1, 2, 3).add_up());
        assert!(!counters(0, u64::MAX, 1, 0).add_up());
    }
}
