//! A request by its UUIDv7: the id names its own millisecond, so that a few frames are enough.
//!
//! Frames are tried in the order of how far their times are from the id's, and among frames that contain it, earliest
//! first: a record is written when its request ends, so that only slow requests are in a later frame. The search of a log
//! is over when it has found the record that ends the request. Where no log has it within [`CLOSE`] of its time, what
//! lies within [`FAR`] is tried as well; and where that fails too, the caller reads everything: an id that a client chose
//! may follow another clock.

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use uuid::Uuid;

use super::Hit;
use super::reader::Reader;
use super::record::Record;
use crate::archive::{Date, LogView};
use crate::ids::{SegmentNo, Seq};
use crate::segment::Frame;
use crate::time::Timestamp;
use crate::wal;

/// So far apart a gateway's clock may be from the id's when both are of one machine.
const CLOSE: Duration = Duration::from_secs(2);
/// So far apart they may be when the id came from elsewhere.
const FAR: Duration = Duration::from_secs(600);
/// Segments are opened of folders this far from the id's day: a long request is written late.
const DAY: Duration = Duration::from_secs(86_400);

/// A request id and the time that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IdTime {
    id: String,
    ts: Timestamp,
}

impl IdTime {
    /// The times of all ids; `None` where there is no id, or one that names no time.
    pub(super) fn of_all(ids: &[String]) -> Option<Vec<IdTime>> {
        if ids.is_empty() {
            return None;
        }
        ids.iter().map(|id| IdTime::of(id)).collect()
    }

    fn of(id: &str) -> Option<IdTime> {
        let uuid = Uuid::try_parse(id).ok().filter(|uuid| uuid.get_version_num() == 7)?;
        let (seconds, nanoseconds) = uuid.get_timestamp()?.to_unix();
        let micros = seconds.checked_mul(1_000_000)?.checked_add(u64::from(nanoseconds / 1_000))?;
        Some(IdTime { id: id.to_owned(), ts: Timestamp::from_micros(micros) })
    }
}

/// A frame that may hold the record.
struct Candidate {
    distance: Duration,
    number: SegmentNo,
    segment: usize,
    frame: Frame,
}

/// Finds the ids in all logs, newest first; `None` where one of them is not near its time.
pub(super) fn search(views: &[LogView], ids: &[IdTime], reader: &mut Reader) -> Option<Vec<Hit>> {
    let mut hits = Vec::new();
    for id in ids {
        let mut of_id: Vec<Hit> = views.iter().flat_map(|view| unsealed(view, id, reader)).collect();
        for (nearer, within) in [(None, CLOSE), (Some(CLOSE), FAR)] {
            if of_id.is_empty() || nearer.is_none() {
                let done: Vec<bool> =
                    views.iter().map(|view| of_id.iter().any(|hit| ends(hit, view))).collect();
                let views = views.iter().zip(done).filter(|(_, done)| !done);
                of_id.extend(
                    views.flat_map(|(view, _)| sealed(view, id, nearer, within, reader)).collect::<Vec<_>>(),
                );
            }
        }
        if of_id.is_empty() {
            return None;
        }
        hits.append(&mut of_id);
    }
    hits.sort_by_key(|hit| std::cmp::Reverse((hit.ts, hit.seq)));
    Some(hits)
}

fn ends(hit: &Hit, view: &LogView) -> bool {
    hit.log == view.name && Record::parse(&hit.line).is_ok_and(|record| record.ends_its_request())
}

fn is_of(hit: &Hit, id: &IdTime) -> bool {
    Record::parse(&hit.line).is_ok_and(|record| record.request_id.as_deref() == Some(&*id.id))
}

/// What the spool has, and the store has not.
fn unsealed(view: &LogView, id: &IdTime, reader: &mut Reader) -> Vec<Hit> {
    let Some(spool) = &view.spool else { return Vec::new() };
    let from = view.end_of_store();
    let mut hits = Vec::new();
    for (_, bytes) in &spool.wals {
        let scan = wal::scan(bytes);
        let first = scan.first_seq.unwrap_or_default();
        let skip = from.0.saturating_sub(first.0).min(scan.lines.len() as u64) as usize;
        reader.stats.unsealed_records += (scan.lines.len() - skip) as u64;
        hits.extend(reader.lines(&scan.lines[skip..], from, &view.name));
    }
    for (_, path, file) in &spool.sealed {
        let Some(index) = reader.index(path, file) else { continue };
        for frame in index.index.frames.iter().filter(|frame| distance(frame, id) <= FAR) {
            for hit in reader.frame(path, file, frame, from, &view.name) {
                // A WAL that was sealed a moment ago may still be there.
                if hits.iter().all(|seen: &Hit| seen.seq != hit.seq) {
                    hits.push(Hit { unsealed: true, ..hit });
                }
            }
        }
    }
    hits.retain(|hit| is_of(hit, id));
    hits
}

/// What the store has in frames whose times are within `within` of the id's, and further than `nearer`.
fn sealed(
    view: &LogView,
    id: &IdTime,
    nearer: Option<Duration>,
    within: Duration,
    reader: &mut Reader,
) -> Vec<Hit> {
    let Some(listing) = &view.store else { return Vec::new() };
    let day = |micros: u64| Date::of(Timestamp::from_micros(micros));
    let micros = id.ts.as_micros();
    let days = day(micros.saturating_sub(DAY.as_micros() as u64))..=day(micros + DAY.as_micros() as u64);
    let mut opened: Vec<(PathBuf, File)> = Vec::new();
    let mut candidates = Vec::new();
    for (&number, object) in listing.segments.iter().filter(|(_, object)| days.contains(&object.date)) {
        let path = listing.segment_path(number, object.date);
        let Some((file, index)) = reader.open(&path) else { continue };
        let frames = index.index.frames.into_iter().map(|frame| (distance(&frame, id), frame));
        let wanted = |distance: Duration| distance <= within && nearer.is_none_or(|nearer| distance > nearer);
        let before = candidates.len();
        candidates.extend(
            frames.filter(|(distance, _)| wanted(*distance)).map(|(distance, frame)| Candidate {
                distance,
                number,
                segment: opened.len(),
                frame,
            }),
        );
        if candidates.len() > before {
            opened.push((path, file));
        } else {
            reader.stats.segments_skipped += 1;
        }
    }
    candidates.sort_by_key(|candidate| (candidate.distance, candidate.number, candidate.frame.offset));
    let mut hits = Vec::new();
    for candidate in candidates {
        let (path, file) = &opened[candidate.segment];
        let found = reader.frame(path, file, &candidate.frame, Seq(0), &view.name);
        hits.extend(found.into_iter().filter(|hit| is_of(hit, id)));
        if hits.iter().any(|hit| ends(hit, view)) {
            break;
        }
    }
    hits
}

/// How far the id's time is from the times of a frame's records.
fn distance(frame: &Frame, id: &IdTime) -> Duration {
    // The id has only milliseconds: it may name a time just before the record's.
    let least = Timestamp::from_micros(frame.min_ts.as_micros().saturating_sub(1_000));
    least.since(id.ts).max(id.ts.since(frame.max_ts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_version_7_names_a_time() {
        let v7 = "0199c3f2-7b1e-7cc0-8000-00000000000a".to_owned();
        let times = IdTime::of_all(std::slice::from_ref(&v7)).unwrap();
        assert_eq!(times[0].ts.as_micros(), 0x0199_c3f2_7b1e * 1000);
        assert_eq!(IdTime::of_all(&[]), None);
        assert_eq!(IdTime::of_all(&[v7, "0199c3f2-7b1e-4cc0-8000-00000000000a".to_owned()]), None);
        assert_eq!(IdTime::of_all(&["req-1".to_owned()]), None);
    }
}
