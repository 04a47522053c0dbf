//! What stands behind the last whole group of a write-ahead log.
//!
//! A crash leaves one group that is not whole, at the end. Whole groups behind a bad one cannot come from a crash: the
//! writer appends a group only after the one before was synced. Then records that were durable, and perhaps
//! acknowledged, were damaged on the disk. They cannot be kept, because their numbers must be dense; the file is kept
//! aside for the operator, and a gap declares the loss.

use std::io;

use super::{RecoverError, Recovery, io as failed};
use crate::disk;
use crate::ids::{SegmentNo, Seq};
use crate::record::{Brief, Kind};
use crate::time::Timestamp;
use crate::wal;

/// How many times one write-ahead log can be kept aside with other bytes each time.
const KEPT_MAX: u32 = 100;

/// What was seen behind the last whole group that was taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Behind {
    /// Whole groups.
    pub(super) whole_groups: usize,
    /// The number after the last record that they hold.
    pub(super) end: Seq,
    /// The earliest time of a record that can still be read.
    pub(super) earliest: Option<Timestamp>,
    /// Whether it holds nothing but records of the log itself, as far as can be seen.
    pub(super) lifecycle_only: bool,
}

/// Looks through what stands behind the whole groups, which end before record `next`.
pub(super) fn look_behind(bytes: &[u8], next: Seq) -> Behind {
    let mut behind = Behind { whole_groups: 0, end: next, earliest: None, lifecycle_only: false };
    let mut at = 1;
    while at < bytes.len() {
        match wal::group_at(&bytes[at..], behind.end) {
            Some((end, length)) => {
                behind.whole_groups += 1;
                behind.end = end;
                at += length;
            }
            None => at += 1,
        }
    }
    let mut lines = Lines::default();
    for piece in bytes.split(|byte| *byte == b'\n') {
        lines.look(piece);
    }
    behind.earliest = lines.earliest;
    behind.lifecycle_only = lines.lifecycle > 0 && lines.others == 0;
    behind
}

/// Lines, whole or not, that were seen among bytes.
#[derive(Default)]
struct Lines {
    earliest: Option<Timestamp>,
    lifecycle: usize,
    others: usize,
}

impl Lines {
    /// Looks at what stands between two newlines: a line, whole or not, perhaps after a group's header.
    fn look(&mut self, piece: &[u8]) {
        if piece.is_empty() {
            return;
        }
        let Some(begin) = memchr::memmem::find(piece, br#"{"seq":"#) else {
            // A header is cut off from its lines only where the file ends in it.
            self.others += 1;
            return;
        };
        let line = &piece[begin..];
        let (kind, ts) = match Brief::parse(line) {
            Ok(brief) => (Some(brief.kind), Some(brief.ts)),
            Err(_) => {
                (word_after(line, br#","kind":""#).and_then(Kind::parse), time_after(line, br#","ts":""#))
            }
        };
        self.earliest = self.earliest.min(ts).or(ts).or(self.earliest);
        if kind == Some(Kind::Lifecycle) { self.lifecycle += 1 } else { self.others += 1 }
    }
}

fn after<'a>(line: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    memchr::memmem::find(line, key).map(|at| &line[at + key.len()..])
}

fn word_after<'a>(line: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let rest = after(line, key)?;
    memchr::memchr(b'"', rest).map(|end| &rest[..end])
}

fn time_after(line: &[u8], key: &[u8]) -> Option<Timestamp> {
    Timestamp::parse(after(line, key)?.get(..Timestamp::LEN)?)
}

impl Recovery<'_> {
    /// Gives a damaged write-ahead log a second name, under which no boot looks for it; returns that name.
    pub(super) fn keep_aside(&self, segment: SegmentNo, bytes: &[u8]) -> Result<String, RecoverError> {
        let (disk, folder) = (self.spool.disk(), self.spool.path());
        let wal = folder.join(wal::file_name(segment));
        let keep = || -> io::Result<String> {
            for n in 0..KEPT_MAX {
                let name = match n {
                    0 => format!("damaged-{}", wal::file_name(segment)),
                    n => format!("damaged-{}-{n}", wal::file_name(segment)),
                };
                let path = folder.join(&name);
                match disk.link(&wal, &path) {
                    Ok(()) => {}
                    // A boot that died here has kept it already, or it is of an earlier damage.
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                        if disk::read(disk, &path)? != bytes {
                            continue;
                        }
                    }
                    Err(error) => return Err(error),
                }
                disk.sync_dir(folder)?;
                return Ok(name);
            }
            Err(io::Error::other(format!("there are {KEPT_MAX} of them already")))
        };
        keep().map_err(failed("keep a damaged write-ahead log aside"))
    }
}
