//! One segment and its checkpoint, by themselves: everything that can be derived from their bytes alone.
//!
//! A worker thread owns a [`SegmentCheck`] and its buffers, and never holds more than one frame. What depends on the
//! segments before (the tree, the chain of hashes, the counters of a boot) is summed up in [`Derived`] and [`Tally`], and
//! checked in order by the [`chain`](super::chain).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::lifecycle::{Event, Gap};
use super::report::{FindingKind, LogReport, NoticeKind, Place};
use super::tally::Tally;
use crate::archive::{Date, Listing, SegmentObject, read_bounded};
use crate::checkpoint::{Checkpoint, CheckpointError, LogName, MAX_CHECKPOINT, VerifierKey};
use crate::ids::{SegmentNo, Seq};
use crate::merkle::{Hash, leaf_hash};
use crate::record::Kind;
use crate::record::scan::{Line, scan};
use crate::segment::{BadSegment, FrameReader, IndexBuilder, IndexFrame, read_index};
use crate::time::Timestamp;

/// What a checkpoint's object says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Commitment {
    /// Signed by the auditor's keys.
    Signed(Checkpoint),
    /// Nothing that can be believed.
    Unproven,
    /// There is no such object.
    Absent,
}

/// What the records of a segment derive.
#[derive(Debug)]
pub(super) struct Derived {
    /// `ts` of the first record.
    pub(super) first_ts: Timestamp,
    /// What the first record says came before.
    pub(super) prev_sha256: Hash,
    /// The boot of all its records.
    pub(super) boot: [u8; 8],
    /// The index built again; it lacks only the tree before.
    pub(super) index: IndexBuilder,
    /// The greatest `ts`.
    pub(super) max_ts: Timestamp,
    /// What was counted.
    pub(super) tally: Tally,
}

/// What a worker found out of one number.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) number: SegmentNo,
    pub(super) commitment: Commitment,
    /// SHA-256 of the whole file, where it could be read.
    pub(super) sha256: Option<Hash>,
    /// The index as it stands in the file, where there is one.
    pub(super) stored: Option<IndexFrame>,
    /// What the records derive, where they are all good.
    pub(super) derived: Option<Derived>,
    /// What is wrong in itself.
    pub(super) remarks: LogReport,
}

/// What is to be checked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Task {
    pub(super) number: SegmentNo,
    /// The segment's object, where there is one and it is to be read.
    pub(super) object: Option<SegmentObject>,
    /// Whether the checkpoint's object is there.
    pub(super) checkpoint: bool,
}

/// Checks segments of one log, one after the other.
pub(super) struct SegmentCheck<'a> {
    log: &'a LogName,
    keys: &'a [VerifierKey],
    listing: &'a Listing,
    /// Is told how many bytes of a file were read.
    progress: &'a (dyn Fn(u64) + Sync),
    reader: FrameReader,
}

impl<'a> SegmentCheck<'a> {
    pub(super) fn new(
        log: &'a LogName,
        keys: &'a [VerifierKey],
        listing: &'a Listing,
        progress: &'a (dyn Fn(u64) + Sync),
    ) -> io::Result<SegmentCheck<'a>> {
        Ok(SegmentCheck { log, keys, listing, progress, reader: FrameReader::new()? })
    }

    /// Checks one number: its checkpoint and its segment.
    pub(super) fn check(&mut self, task: Task) -> Checked {
        let mut checked = Checked {
            number: task.number,
            commitment: Commitment::Absent,
            sha256: None,
            stored: None,
            derived: None,
            remarks: LogReport::new(self.log.as_str()),
        };
        if task.checkpoint {
            checked.commitment = self.checkpoint(task.number, &mut checked.remarks);
        }
        if let Some(object) = task.object {
            self.segment(object, &mut checked);
        }
        checked
    }

    fn place(&self, number: SegmentNo) -> Place {
        Place::log(self.log.as_str()).segment(number)
    }

    fn checkpoint(&self, number: SegmentNo, remarks: &mut LogReport) -> Commitment {
        let path = self.listing.checkpoint_path(number);
        let bytes = match read_bounded(&path, MAX_CHECKPOINT as u64) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::Other => {
                remarks.finding(
                    FindingKind::Changed,
                    self.place(number),
                    CheckpointError::TooLong.to_string(),
                );
                return Commitment::Unproven;
            }
            Err(error) => {
                remarks.unreadable(&path, error);
                return Commitment::Unproven;
            }
        };
        match Checkpoint::parse_and_verify(&bytes, self.log, self.keys) {
            Ok(checkpoint) => Commitment::Signed(checkpoint),
            // That the auditor has no key at all for a log is said once, not for each checkpoint.
            Err(CheckpointError::UnknownKey { .. }) if self.keys.is_empty() => Commitment::Unproven,
            Err(error) => {
                let kind = match error {
                    CheckpointError::UnknownKey { .. } => FindingKind::UnknownKey,
                    CheckpointError::BadSignature { .. } => FindingKind::BadSignature,
                    _ => FindingKind::Changed,
                };
                remarks.finding(kind, self.place(number), format!("checkpoint {number}: {error}"));
                Commitment::Unproven
            }
        }
    }

    fn segment(&mut self, object: SegmentObject, checked: &mut Checked) {
        let path = self.listing.segment_path(checked.number, object.date);
        let place = self.place(checked.number);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) => return checked.remarks.unreadable(&path, error),
        };
        match read_index(&file) {
            Ok(index) => checked.stored = Some(index),
            Err(error) => bad_segment(error, &path, place, &mut checked.remarks),
        }
        let sha256 = match checked.stored.take() {
            Some(index) => {
                let sha256 = self.frames(&file, &path, &index, object.date, checked);
                checked.stored = Some(index);
                sha256
            }
            None => None,
        };
        // Where the frames do not tile the file, its hash still links it to the next.
        checked.sha256 = sha256.or_else(|| {
            hash_from(&file, 0).inspect_err(|error| checked.remarks.unreadable(&path, error)).ok()
        });
    }

    /// Reads all frames that the index names; gives the file's hash where they tile it.
    fn frames(
        &mut self,
        file: &File,
        path: &Path,
        stored: &IndexFrame,
        date: Date,
        checked: &mut Checked,
    ) -> Option<Hash> {
        let place = self.place(checked.number);
        let mut whole = Sha256::new();
        let mut tiled = true;
        let mut at = 0;
        let mut records: Option<Records<'_>> = None;
        let mut good = !stored.index.frames.is_empty();
        for (number, frame) in (0..).zip(&stored.index.frames) {
            let place = place.clone().frame(number).records(frame.first_seq, frame.count);
            if frame.offset != at {
                let message =
                    format!("the index says that the frame begins at byte {}, not at {at}", frame.offset);
                checked.remarks.finding(FindingKind::Changed, place.clone(), message);
                (tiled, good) = (false, false);
            }
            at = frame.offset.saturating_add(frame.len);
            let (compressed, raw) = match self.reader.read(file, frame) {
                Ok(read) => read,
                Err(error) => {
                    bad_segment(error, path, place, &mut checked.remarks);
                    (tiled, good) = (false, false);
                    continue;
                }
            };
            whole.update(compressed);
            (self.progress)(frame.len);
            let sha256 = Hash::of(compressed);
            if sha256 != frame.sha256 {
                let message = format!("the frame hashes to {sha256}, the index says {}", frame.sha256);
                checked.remarks.finding(FindingKind::Changed, place.clone(), message);
            }
            if !good {
                continue;
            }
            let log = self.log;
            let records = records.get_or_insert_with(|| Records::new(log, checked.number, date));
            match records.frame(raw, &mut checked.remarks) {
                Ok(()) => records.index.end_frame(frame.offset, frame.len, sha256),
                Err((seq, message)) => {
                    let place = Place { seq: None, ..place }.records(seq, 1);
                    checked.remarks.finding(FindingKind::Changed, place, message);
                    good = false;
                }
            }
        }
        if at != stored.offset {
            let message = format!("its frames end at byte {at}, its index begins at byte {}", stored.offset);
            checked.remarks.finding(FindingKind::Changed, place, message);
            (tiled, good) = (false, false);
        }
        checked.derived = records.filter(|_| good).and_then(|records| records.finish(&mut checked.remarks));
        let rest = tiled.then(|| update_from(file, stored.offset, &mut whole));
        rest.and_then(Result::ok).map(|()| Hash(whole.finalize().into()))
    }
}

/// Says what is wrong with a segment's file, or that it could not be read.
fn bad_segment(error: BadSegment, path: &Path, place: Place, remarks: &mut LogReport) {
    match error {
        BadSegment::Io(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
            remarks.unreadable(path, error)
        }
        error => {
            let source =
                std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
            remarks.finding(FindingKind::Changed, place, format!("the segment {error}{source}"));
        }
    }
}

/// SHA-256 of a file from `offset` to its end.
pub(super) fn hash_from(file: &File, offset: u64) -> io::Result<Hash> {
    let mut hash = Sha256::new();
    update_from(file, offset, &mut hash)?;
    Ok(Hash(hash.finalize().into()))
}

fn update_from(file: &File, offset: u64, hash: &mut Sha256) -> io::Result<()> {
    let mut buffer = vec![0; 256 << 10];
    let mut at = offset;
    loop {
        match file.read_at(&mut buffer, at)? {
            0 => return Ok(()),
            read => {
                hash.update(&buffer[..read]);
                at += read as u64;
            }
        }
    }
}

/// The records of one segment, line by line.
struct Records<'a> {
    log: &'a LogName,
    number: SegmentNo,
    date: Date,
    begin: Option<(Timestamp, Hash, [u8; 8])>,
    index: IndexBuilder,
    next: Seq,
    max_ts: Timestamp,
    tally: Tally,
    /// The first record that is not where its number says, and whether any number went back.
    out_of_order: Option<(Seq, Seq)>,
    goes_back: bool,
}

impl<'a> Records<'a> {
    fn new(log: &'a LogName, number: SegmentNo, date: Date) -> Records<'a> {
        Records {
            log,
            number,
            date,
            begin: None,
            index: IndexBuilder::new(Seq(0)),
            next: Seq(0),
            max_ts: Timestamp::default(),
            tally: Tally::default(),
            out_of_order: None,
            goes_back: false,
        }
    }

    /// Takes the lines of one frame.
    ///
    /// # Errors
    /// The first line that is no record, and why: nothing can be derived from the segment then.
    fn frame(&mut self, raw: &[u8], remarks: &mut LogReport) -> Result<(), (Seq, String)> {
        if let Err(error) = std::str::from_utf8(raw) {
            return Err((self.next, format!("byte {} of the frame is not UTF-8", error.valid_up_to())));
        }
        let Some(lines) = raw.strip_suffix(b"\n") else {
            return Err((self.next, "the frame does not end in a newline".to_owned()));
        };
        let mut begin = 0;
        for end in memchr::memchr_iter(b'\n', lines).chain([lines.len()]) {
            let bytes = &lines[begin..end];
            begin = end + 1;
            let line = scan(bytes).map_err(|error| (self.next, format!("not a record: {error}")))?;
            self.line(&line, bytes, remarks)?;
        }
        Ok(())
    }

    fn line(&mut self, line: &Line<'_>, bytes: &[u8], remarks: &mut LogReport) -> Result<(), (Seq, String)> {
        let refuse = |message: String| Err((line.seq, message));
        let Some((_, _, boot)) = self.begin else { return self.first_line(line, bytes, remarks) };
        if line.seq != self.next {
            self.goes_back |= line.seq < self.next;
            self.out_of_order.get_or_insert((self.next, line.seq));
        }
        if *line.boot != boot {
            return refuse("a segment belongs to one boot, this record is of another".to_owned());
        }
        match line.kind {
            Kind::Lifecycle => match Event::parse(bytes) {
                Ok(Event::Segment { .. }) => return refuse("a segment begins within the segment".to_owned()),
                Ok(event) => self.tally.event(line.seq, line.ts, event, self.place(line.seq), remarks),
                Err(message) => return refuse(message),
            },
            Kind::Gap => match Gap::parse(bytes) {
                Ok(gap) => {
                    let place = self.place(line.seq);
                    remarks.notice(NoticeKind::Gap, place.clone(), gap.describe());
                    self.tally.gap(line.seq, &gap, place, remarks);
                }
                Err(message) => return refuse(message),
            },
            kind => self.tally.passed_the_ring(kind, line.request_id.map(|id| id.raw()), line.seq),
        }
        self.add(line, bytes);
        Ok(())
    }

    fn first_line(
        &mut self,
        line: &Line<'_>,
        bytes: &[u8],
        remarks: &mut LogReport,
    ) -> Result<(), (Seq, String)> {
        let event = if line.kind == Kind::Lifecycle { Event::parse(bytes) } else { Ok(Event::Other) };
        let (log, segment, prev_sha256) = match event {
            Ok(Event::Segment { log, segment, prev_sha256 }) => (log, segment, prev_sha256),
            Ok(_) => return Err((line.seq, "the first record is not that of a segment".to_owned())),
            Err(message) => return Err((line.seq, message)),
        };
        let place = || Place::log(self.log.as_str()).segment(self.number);
        if log != self.log.as_str() {
            let message =
                format!("the file holds records of the log `{}`", log.chars().take(256).collect::<String>());
            remarks.finding(FindingKind::Inserted, place(), message);
        }
        if segment != self.number {
            remarks.finding(FindingKind::Reordered, place(), format!("the file holds segment {segment}"));
        }
        let date = Date::of(line.ts);
        if date != self.date {
            let message = format!("it lies under {}, its first record is of {date}", self.date.folder());
            remarks.finding(FindingKind::Inserted, place(), message);
        }
        self.begin = Some((line.ts, prev_sha256, *line.boot));
        self.index = IndexBuilder::new(line.seq);
        self.next = line.seq;
        self.add(line, bytes);
        Ok(())
    }

    fn place(&self, seq: Seq) -> Place {
        Place::log(self.log.as_str()).segment(self.number).records(seq, 1)
    }

    fn add(&mut self, line: &Line<'_>, bytes: &[u8]) {
        let leaf = leaf_hash(bytes);
        line.with_facts(|facts| self.index.add(facts, leaf, bytes.len() + 1));
        self.max_ts = self.max_ts.max(line.ts);
        self.next = Seq(line.seq.0 + 1);
    }

    fn finish(self, remarks: &mut LogReport) -> Option<Derived> {
        let (first_ts, prev_sha256, boot) = self.begin?;
        if let Some((expected, found)) = self.out_of_order {
            let kind = if self.goes_back { FindingKind::Reordered } else { FindingKind::Missing };
            remarks.finding(kind, self.place(expected), format!("the next record says seq {found}"));
        }
        let (index, max_ts, tally) = (self.index, self.max_ts, self.tally);
        Some(Derived { first_ts, prev_sha256, boot, index, max_ts, tally })
    }
}
