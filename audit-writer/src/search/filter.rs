//! Filters: the same one repeated means any of them, different ones mean all of them.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use globset::{GlobBuilder, GlobMatcher};
use ipnet::IpNet;
use memchr::memmem::Finder;

use super::record::Record;
use crate::ids::Seq;
use crate::segment::{Frame, Index};
use crate::time::Timestamp;

/// A status (`404`) or a class of them (`4xx`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statuses(RangeInclusive<u16>);

impl FromStr for Statuses {
    type Err = String;

    fn from_str(text: &str) -> Result<Statuses, String> {
        let wrong = || format!("`{text}`: expected a status like 404, or a class like 4xx");
        if let Some(class) = text.strip_suffix("xx").filter(|class| class.len() == 1) {
            let class: u16 = class.parse().ok().filter(|class| (1..=9).contains(class)).ok_or_else(wrong)?;
            return Ok(Statuses(class * 100..=class * 100 + 99));
        }
        let status = text.parse().ok().filter(|status| (100..=999).contains(status) && text.len() == 3);
        status.map(|status| Statuses(status..=status)).ok_or_else(wrong)
    }
}

/// An address or a network (`203.0.113.9`, `203.0.113.0/24`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(IpNet);

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Network, String> {
        let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        net.map(Network)
            .map_err(|_| format!("`{text}`: expected an address or a network like 203.0.113.0/24"))
    }
}

/// A pattern with `*` (anything, slashes too), `?`, `[…]` and `{a,b}`.
#[derive(Debug, Clone)]
pub struct Pattern(GlobMatcher);

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Pattern, String> {
        let glob = GlobBuilder::new(text).literal_separator(false).backslash_escape(true).build();
        glob.map(|glob| Pattern(glob.compile_matcher()))
            .map_err(|error| format!("`{text}`: {}", error.kind()))
    }
}

impl Pattern {
    /// Whether the whole of `text` fits.
    pub fn fits(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

/// What a record must be to be found. Empty lists ask for nothing.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// The least number, of each log.
    pub from_seq: Seq,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Not after.
    pub until: Option<Timestamp>,
    /// `actor.id`.
    pub actor: Vec<String>,
    /// One of `actor.groups`.
    pub groups: Vec<String>,
    /// `action`.
    pub action: Vec<String>,
    /// `route`.
    pub route: Vec<String>,
    /// `request.method`, in any case.
    pub method: Vec<String>,
    /// `response.status`.
    pub status: Vec<Statuses>,
    /// `request.path`.
    pub path: Vec<Pattern>,
    /// `source.ip`.
    pub source: Vec<Network>,
    /// `request_id`.
    pub request_id: Vec<String>,
    /// `trace_id`.
    pub trace_id: Vec<String>,
    /// `kind`.
    pub kind: Vec<String>,
    /// `decision.rule`.
    pub rule: Vec<String>,
    /// `decision.outcome`.
    pub outcome: Vec<String>,
}

impl Filter {
    /// Whether a record fits.
    pub fn fits(&self, record: &Record<'_>) -> bool {
        let request = record.request.as_ref();
        let decision = record.decision.as_ref();
        record.seq >= self.from_seq
            && self.fits_time(record.ts, record.ts)
            && is_any(&self.kind, Some(&record.kind))
            && is_any(&self.request_id, record.request_id.as_deref())
            && is_any(&self.trace_id, record.trace_id.as_deref())
            && is_any(&self.route, record.route.as_deref())
            && is_any(&self.action, record.action.as_deref())
            && is_any(&self.actor, record.actor.as_ref().and_then(|actor| actor.id.as_deref()))
            && is_any(&self.rule, decision.and_then(|decision| decision.rule.as_deref()))
            && is_any(&self.outcome, decision.and_then(|decision| decision.outcome.as_deref()))
            && any(&self.groups, record.actor.as_ref(), |group, actor| {
                actor.groups.iter().any(|of| of == group)
            })
            && any(&self.method, request.and_then(|r| r.method.as_deref()), |m, found| {
                m.eq_ignore_ascii_case(found)
            })
            && any(&self.path, request.and_then(|r| r.path.as_deref()), |pattern, path| pattern.fits(path))
            && any(&self.status, record.response.and_then(|r| r.status), |s, status| s.0.contains(&status))
            && any(&self.source, record.source.as_ref().and_then(|s| s.address()), |net, ip| {
                net.0.contains(&ip)
            })
    }

    /// Whether a segment may hold a record that fits, by what its index says.
    pub(super) fn may_be_in(&self, index: &Index) -> bool {
        let sets = &index.sets;
        self.fits_time(index.min_ts, index.max_ts)
            && shares(&self.actor, sets.actor.as_deref(), |wanted, found| wanted == found)
            && shares(&self.route, sets.route.as_deref(), |wanted, found| wanted == found)
            && shares(&self.kind, sets.kind.as_deref(), |wanted, found| wanted == found)
            && shares(&self.status, sets.status.as_deref(), |wanted, found| wanted.0.contains(found))
    }

    /// Whether a frame may hold a record that fits.
    pub(super) fn may_be_in_frame(&self, frame: &Frame) -> bool {
        frame.first_seq.0.saturating_add(frame.count) > self.from_seq.0
            && self.fits_time(frame.min_ts, frame.max_ts)
    }

    fn fits_time(&self, min: Timestamp, max: Timestamp) -> bool {
        self.since.is_none_or(|since| max >= since) && self.until.is_none_or(|until| min <= until)
    }

    /// What must stand in a line for it to fit, before it is parsed at all.
    pub(super) fn needles(&self) -> Needles {
        let exact = |key: &str, values: &[String]| {
            let quoted =
                values.iter().map(|value| format!("\"{key}\":{}", serde_json::Value::from(value.as_str())));
            quoted.map(|needle| Finder::new(needle.as_bytes()).into_owned()).collect()
        };
        Needles([exact("request_id", &self.request_id), exact("trace_id", &self.trace_id)])
    }
}

fn any<F, T: Clone>(filters: &[F], value: Option<T>, fits: impl Fn(&F, T) -> bool) -> bool {
    filters.is_empty() || value.is_some_and(|value| filters.iter().any(|filter| fits(filter, value.clone())))
}

fn is_any(filters: &[String], value: Option<&str>) -> bool {
    any(filters, value, |filter, value| filter == value)
}

/// Whether a set of an index has a value that is asked for; a set that was too large to list may have any.
fn shares<F, T>(filters: &[F], set: Option<&[T]>, fits: impl Fn(&F, &T) -> bool) -> bool {
    filters.is_empty()
        || set.is_none_or(|set| filters.iter().any(|filter| set.iter().any(|value| fits(filter, value))))
}

/// Texts of which one of each group must stand in a line.
#[derive(Debug)]
pub(super) struct Needles([Vec<Finder<'static>>; 2]);

impl Needles {
    /// Whether `bytes`, a line or many, may hold what is looked for.
    pub(super) fn may_be_in(&self, bytes: &[u8]) -> bool {
        self.0.iter().all(|group| group.is_empty() || group.iter().any(|needle| needle.find(bytes).is_some()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"seq":7,"v":1,"kind":"completed","ts":"2026-11-24T09:12:03.123456Z","boot":"9f3c01aa","request_id":"r-1","trace_id":"t-1","actor":{"id":"alice","groups":["ops","dev"]},"source":{"ip":"203.0.113.9","port":1},"request":{"method":"GET","path":"/orders/42/items"},"route":"orders","action":"orders.access","decision":{"outcome":"allow","rule":"ops-read"},"response":{"status":404}}"#;

    fn found(set: impl FnOnce(&mut Filter)) -> bool {
        let mut filter = Filter::default();
        set(&mut filter);
        let needles = filter.needles();
        needles.may_be_in(LINE.as_bytes()) && filter.fits(&Record::parse(LINE.as_bytes()).unwrap())
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    fn parsed<T: FromStr<Err: std::fmt::Debug>>(texts: &[&str]) -> Vec<T> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn each_filter_finds_its_field_and_nothing_else() {
        assert!(found(|_| ()));
        assert!(found(|f| f.actor = texts(&["bob", "alice"])));
        assert!(!found(|f| f.actor = texts(&["bob"])));
        assert!(found(|f| f.groups = texts(&["dev"])));
        assert!(!found(|f| f.groups = texts(&["de"])));
        assert!(found(|f| f.route = texts(&["orders"])));
        assert!(found(|f| f.action = texts(&["orders.access"])));
        assert!(found(|f| f.method = texts(&["get"])));
        assert!(!found(|f| f.method = texts(&["POST"])));
        assert!(found(|f| f.status = parsed(&["4xx"])));
        assert!(!found(|f| f.status = parsed(&["200", "5xx"])));
        assert!(found(|f| f.path = parsed(&["/orders/*/items"])));
        assert!(found(|f| f.path = parsed(&["/orders/*"])));
        assert!(!found(|f| f.path = parsed(&["/orders"])));
        assert!(found(|f| f.source = parsed(&["10.0.0.0/8", "203.0.113.0/24"])));
        assert!(!found(|f| f.source = parsed(&["::/0"])));
        assert!(found(|f| f.request_id = texts(&["r-1"])));
        assert!(!found(|f| f.request_id = texts(&["r-"])));
        assert!(found(|f| f.trace_id = texts(&["t-1"])));
        assert!(found(|f| f.kind = texts(&["completed"])));
        assert!(found(|f| f.rule = texts(&["ops-read"])));
        assert!(!found(|f| f.outcome = texts(&["deny"])));
    }

    #[test]
    fn different_filters_must_all_fit() {
        assert!(found(|f| (f.route, f.status) = (texts(&["orders"]), parsed(&["404"]))));
        assert!(!found(|f| (f.route, f.status) = (texts(&["orders"]), parsed(&["200"]))));
    }

    #[test]
    fn a_record_without_the_field_is_not_found() {
        let line =
            r#"{"seq":0,"v":1,"kind":"lifecycle","ts":"2026-11-24T09:12:03.123456Z","boot":"9f3c01aa"}"#;
        let record = Record::parse(line.as_bytes()).unwrap();
        assert!(!Filter { status: parsed(&["2xx"]), ..Filter::default() }.fits(&record));
        assert!(!Filter { source: parsed(&["0.0.0.0/0"]), ..Filter::default() }.fits(&record));
        assert!(Filter::default().fits(&record));
    }

    #[test]
    fn times_bound_inclusively() {
        let ts: Timestamp = "2026-11-24T09:12:03.123456Z".parse().unwrap();
        let later = Timestamp::from_micros(ts.as_micros() + 1);
        assert!(found(|f| (f.since, f.until) = (Some(ts), Some(ts))));
        assert!(!found(|f| f.since = Some(later)));
        assert!(found(|f| f.until = Some(later)));
    }

    #[test]
    fn filters_that_make_no_sense_are_refused() {
        for bad in ["", "abc", "4x", "xx", "0xx", "4xxx", "40", "4044", "-04", "+44"] {
            assert!(bad.parse::<Statuses>().is_err(), "{bad}");
        }
        for bad in ["", "300.1.1.1", "10.0.0.0/33", "host"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
        assert!("/a[".parse::<Pattern>().is_err());
    }
}
