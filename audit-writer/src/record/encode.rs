//! From a record's borrowed fields to the bytes that the ring carries.

use serde::Serialize;

use super::cut::{Cuts, LEAST_MAX_RECORD, within};
use super::{ActorId, Ended, Gap, Kind, KindEnded, Received, Rejected};
use crate::ids::Seq;
use crate::segment::Facts;
use crate::time::Timestamp;

/// What every serialised record begins with before its number is known; the writer replaces it.
const UNNUMBERED: &[u8] = br#"{"seq":0"#;
const NUMBERED: &[u8] = br#"{"seq":"#;
/// Most records fit: no second allocation.
const USUAL: usize = 1024;

/// A serialised record on its way to the writer, with the few facts that the index needs.
#[derive(Debug)]
pub struct Entry {
    bytes: Vec<u8>,
    kind: Kind,
    ts: Timestamp,
    actor: Option<ActorId>,
    route: Option<super::RouteName>,
    status: Option<u16>,
    gap: Option<Option<u64>>,
}

impl Entry {
    /// A request that ended, on a line of at most `max_record` bytes: longer values are cut, and `trunc` says so.
    pub fn ended(record: &Ended<'_>, max_record: usize) -> Entry {
        let kind = match record.kind {
            KindEnded::Completed => Kind::Completed,
            KindEnded::Aborted => Kind::Aborted,
        };
        let mut actor = record.actor.as_ref().map(|actor| actor.id.clone());
        let bytes = within(max_record, serialise(record), |room| {
            let cuts =
                Cuts::of(&record.source, Some(&record.request), record.actor.as_ref(), record.tls, room);
            actor = cuts.actor_id();
            serialise(&Ended {
                actor: cuts.actor(record.actor.as_ref()),
                source: cuts.source(&record.source),
                tls: cuts.tls(record.tls),
                request: cuts.request(&record.request),
                trunc: Some(cuts.trunc()),
                ..record.clone()
            })
        });
        let status = record.response.map(|response| response.status);
        Entry { bytes, kind, ts: record.ts, actor, route: record.route.cloned(), status, gap: None }
    }

    /// A request that will be served and lives long.
    pub fn received(record: &Received<'_>, max_record: usize) -> Entry {
        let mut actor = record.actor.as_ref().map(|actor| actor.id.clone());
        let bytes = within(max_record, serialise(record), |room| {
            let cuts =
                Cuts::of(&record.source, Some(&record.request), record.actor.as_ref(), record.tls, room);
            actor = cuts.actor_id();
            serialise(&Received {
                actor: cuts.actor(record.actor.as_ref()),
                source: cuts.source(&record.source),
                tls: cuts.tls(record.tls),
                request: cuts.request(&record.request),
                trunc: Some(cuts.trunc()),
                ..record.clone()
            })
        });
        Entry {
            bytes,
            kind: Kind::Received,
            ts: record.ts,
            actor,
            route: record.route.cloned(),
            status: None,
            gap: None,
        }
    }

    /// An attempt that never became a request, on a line of at most [`LEAST_MAX_RECORD`] bytes.
    pub fn rejected(record: &Rejected<'_>) -> Entry {
        let bytes = within(LEAST_MAX_RECORD, serialise(record), |room| {
            let cuts = Cuts::of(&record.source, None, None, record.tls, room);
            serialise(&Rejected {
                source: cuts.source(&record.source),
                tls: cuts.tls(record.tls),
                trunc: Some(cuts.trunc()),
                ..record.clone()
            })
        });
        let status = record.response.map(|response| response.status);
        Entry { bytes, kind: Kind::Rejected, ts: record.ts, actor: None, route: None, status, gap: None }
    }

    /// Records that could not be kept.
    pub(crate) fn gap(record: &Gap<'_>) -> Entry {
        let gap = Some(record.lost);
        Entry {
            bytes: serialise(record),
            kind: Kind::Gap,
            ts: record.ts,
            actor: None,
            route: None,
            status: None,
            gap,
        }
    }

    /// A record of the log itself.
    pub(crate) fn lifecycle(record: &impl Serialize, ts: Timestamp) -> Entry {
        Entry {
            bytes: serialise(record),
            kind: Kind::Lifecycle,
            ts,
            actor: None,
            route: None,
            status: None,
            gap: None,
        }
    }

    /// What the record tells of.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// When it happened.
    pub(crate) fn ts(&self) -> Timestamp {
        self.ts
    }

    /// The id of its request, where it tells of one.
    pub(crate) fn request_id(&self) -> Option<&str> {
        const BETWEEN: &[u8] = br#"","request_id":""#;
        let before = br#"{"seq":0,"v":1,"kind":""#.len() + self.kind.as_str().len();
        let boot_ends = before + br#"","ts":""#.len() + Timestamp::LEN + br#"","boot":"01234567"#.len();
        let rest = self.bytes.get(boot_ends..)?.strip_prefix(BETWEEN)?;
        std::str::from_utf8(&rest[..rest.iter().position(|byte| *byte == b'"')?]).ok()
    }

    /// The line's bytes with the shortest number, without its newline.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether the entry is empty: never.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The line with its number and a newline, at the end of `out`.
    pub(crate) fn number(&self, seq: Seq, out: &mut Vec<u8>) {
        let mut digits = [0u8; 20];
        let mut at = digits.len();
        let mut rest = seq.0;
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        out.extend_from_slice(NUMBERED);
        out.extend_from_slice(&digits[at..]);
        out.extend_from_slice(&self.bytes[UNNUMBERED.len()..]);
        out.push(b'\n');
    }

    /// What the index takes from the record.
    pub(crate) fn facts(&self) -> Facts<'_> {
        Facts {
            ts: self.ts,
            kind: self.kind,
            actor: self.actor.as_ref().map(ActorId::as_str),
            route: self.route.as_ref().map(super::RouteName::as_str),
            status: self.status,
            gap: self.gap,
        }
    }
}

fn serialise(record: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(USUAL);
    serde_json::to_writer(&mut bytes, record)
        .expect("a record has string keys only, and a Vec takes every write");
    debug_assert!(bytes.starts_with(UNNUMBERED));
    bytes
}
