//! One log, from its newest record to its oldest: first what is unsealed, then segment by segment and frame by frame.

use std::collections::btree_map;
use std::fs::File;
use std::iter::Rev;
use std::path::PathBuf;

use super::Hit;
use super::reader::Reader;
use crate::archive::{Listing, LogView, SegmentObject};
use crate::checkpoint::LogName;
use crate::ids::{SegmentNo, Seq};
use crate::segment::Frame;
use crate::wal;

/// Walks one log backwards. It holds the hits of one frame.
pub(super) struct Cursor<'a> {
    log: &'a LogName,
    store: Option<&'a Listing>,
    /// Hits that were not given yet, the newest last.
    pending: Vec<Hit>,
    /// Frames of the segment at hand, the newest last.
    open: Option<Open>,
    wals: Vec<&'a [u8]>,
    waiting: Vec<(PathBuf, &'a File)>,
    segments: Option<Rev<btree_map::Iter<'a, SegmentNo, SegmentObject>>>,
    /// Records of the spool before this are in the store.
    unsealed_from: Seq,
    /// No more hits than these are wanted of this log.
    limit: usize,
}

struct Open {
    path: PathBuf,
    file: File,
    frames: Vec<Frame>,
    from: Seq,
    unsealed: bool,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(view: &'a LogView, limit: usize) -> Cursor<'a> {
        let spool = view.spool.as_ref();
        let segments = view.store.as_ref().map(|listing| listing.segments.iter().rev());
        Cursor {
            log: &view.name,
            store: view.store.as_ref(),
            pending: Vec::new(),
            open: None,
            wals: spool.map_or_else(Vec::new, |spool| spool.wals.iter().map(|(_, bytes)| &**bytes).collect()),
            waiting: spool.map_or_else(Vec::new, |spool| {
                spool.sealed.iter().map(|(_, path, file)| (path.clone(), file)).collect()
            }),
            segments,
            unsealed_from: if spool.is_some() { view.end_of_store() } else { Seq(0) },
            limit,
        }
    }

    /// The next hit, without taking it.
    pub(super) fn peek(&mut self, reader: &mut Reader) -> Option<&Hit> {
        while self.pending.is_empty() && self.advance(reader) {}
        self.pending.last()
    }

    /// Takes the hit that was peeked at.
    pub(super) fn take(&mut self) -> Option<Hit> {
        self.pending.pop()
    }

    /// Reads one thing more; `false` where there is nothing more.
    fn advance(&mut self, reader: &mut Reader) -> bool {
        if let Some(frame) = self.open.as_mut().and_then(|open| open.frames.pop()) {
            if let Some(open) = self.open.as_ref().filter(|_| reader.filter.may_be_in_frame(&frame)) {
                let mut hits = reader.frame(&open.path, &open.file, &frame, open.from, self.log);
                hits.iter_mut().for_each(|hit| hit.unsealed = open.unsealed);
                self.keep(hits);
            }
        } else if let Some(bytes) = self.wals.pop() {
            let scan = wal::scan(bytes);
            let first = scan.first_seq.unwrap_or_default();
            let skip = self.unsealed_from.0.saturating_sub(first.0).min(scan.lines.len() as u64) as usize;
            reader.stats.unsealed_records += (scan.lines.len() - skip) as u64;
            let hits = reader.lines(&scan.lines[skip..], self.unsealed_from, self.log);
            self.keep(hits);
            // A segment that was sealed a moment ago may still have its WAL: what the WAL gave is not given again.
            if let Some(first) = scan.first_seq.filter(|_| !scan.lines.is_empty()) {
                self.drop_waiting_from(first, reader);
            }
        } else if let Some((path, file)) = self.waiting.pop() {
            self.open_waiting(path, file, reader);
        } else if let Some((&number, object)) = self.segments.as_mut().and_then(Iterator::next) {
            self.open_stored(number, *object, reader);
        } else {
            return false;
        }
        true
    }

    fn keep(&mut self, mut hits: Vec<Hit>) {
        let surplus = hits.len().saturating_sub(self.limit);
        hits.drain(..surplus);
        self.pending = hits;
    }

    fn drop_waiting_from(&mut self, first: Seq, reader: &mut Reader) {
        while let Some((path, file)) = self.waiting.last()
            && let Some(index) = reader.index(path, file)
            && index.index.first_seq >= first
        {
            self.waiting.pop();
        }
    }

    fn open_waiting(&mut self, path: PathBuf, file: &File, reader: &mut Reader) {
        let Some(index) = reader.index(&path, file) else { return };
        if index.index.end_seq() <= self.unsealed_from {
            return;
        }
        reader.stats.unsealed_records +=
            index.index.end_seq().0 - index.index.first_seq.max(self.unsealed_from).0;
        if !reader.filter.may_be_in(&index.index) {
            reader.stats.segments_skipped += 1;
            return;
        }
        match file.try_clone() {
            Ok(file) => {
                let (frames, from) = (index.index.frames, self.unsealed_from);
                self.open = Some(Open { path, file, frames, from, unsealed: true });
            }
            Err(error) => reader.trouble(&path, error),
        }
    }

    fn open_stored(&mut self, number: SegmentNo, object: SegmentObject, reader: &mut Reader) {
        let Some(listing) = self.store else { return };
        let path = listing.segment_path(number, object.date);
        let Some((file, index)) = reader.open(&path) else { return };
        if index.index.end_seq() <= reader.filter.from_seq {
            // All that follows is older still.
            self.segments = None;
        } else if reader.filter.may_be_in(&index.index) {
            self.open = Some(Open { path, file, frames: index.index.frames, from: Seq(0), unsealed: false });
        } else {
            reader.stats.segments_skipped += 1;
        }
    }
}
