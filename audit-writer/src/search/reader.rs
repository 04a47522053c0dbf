//! Reading frames for searches: what was read is counted, what could not be read is told and does not end the search.

use std::fs::File;
use std::io;
use std::path::Path;

use serde::Serialize;

use super::Hit;
use super::filter::{Filter, Needles};
use super::record::Record;
use crate::checkpoint::LogName;
use crate::ids::Seq;
use crate::segment::{BadSegment, Frame, FrameReader, IndexFrame, ReadAt, read_index};

/// So many troubles are told one by one; what is more is counted.
const MAX_TROUBLES: usize = 20;

/// What a search read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Segments of the logs that were searched.
    pub segments: u64,
    /// Indexes that were read.
    pub indexes_read: u64,
    /// Segments that their index ruled out.
    pub segments_skipped: u64,
    /// Frames of the segments whose indexes were read.
    pub frames: u64,
    /// Frames that were read.
    pub frames_read: u64,
    /// Bytes of files that were read for indexes.
    pub index_bytes: u64,
    /// Bytes of files that were read for frames.
    pub frame_bytes: u64,
    /// Records that a spool holds and its store does not.
    pub unsealed_records: u64,
}

/// Reads frames and keeps what fits.
pub(super) struct Reader {
    frames: FrameReader,
    pub(super) filter: Filter,
    needles: Needles,
    pub(super) stats: Stats,
    troubles: Vec<String>,
    troubles_left_out: u64,
}

impl Reader {
    pub(super) fn new(filter: Filter) -> io::Result<Reader> {
        let needles = filter.needles();
        let (stats, troubles) = (Stats::default(), Vec::new());
        Ok(Reader { frames: FrameReader::new()?, filter, needles, stats, troubles, troubles_left_out: 0 })
    }

    /// What could not be read.
    pub(super) fn into_troubles(mut self) -> Vec<String> {
        if self.troubles_left_out > 0 {
            self.troubles.push(format!("… and {} more", self.troubles_left_out));
        }
        self.troubles
    }

    pub(super) fn trouble(&mut self, path: &Path, what: impl std::fmt::Display) {
        if self.troubles.len() < MAX_TROUBLES {
            self.troubles.push(format!("{}: {what}", path.display()));
        } else {
            self.troubles_left_out += 1;
        }
    }

    /// Opens a segment and reads its index, from the end of the file alone.
    pub(super) fn open(&mut self, path: &Path) -> Option<(File, IndexFrame)> {
        match File::open(path) {
            Ok(file) => self.index(path, &file).map(|index| (file, index)),
            Err(error) => {
                self.trouble(path, error);
                None
            }
        }
    }

    /// Reads the index of an opened segment.
    pub(super) fn index(&mut self, path: &Path, file: &File) -> Option<IndexFrame> {
        let counted = Counted { file, bytes: std::cell::Cell::new(0) };
        let index = read_index(&counted);
        self.stats.indexes_read += 1;
        self.stats.index_bytes += counted.bytes.get();
        match index {
            Ok(index) => {
                self.stats.frames += index.index.frames.len() as u64;
                Some(index)
            }
            Err(error) => {
                self.trouble(path, describe(&error));
                None
            }
        }
    }

    /// The records of one frame that fit, in their order. Records before `from` are passed over.
    pub(super) fn frame(
        &mut self,
        path: &Path,
        file: &File,
        frame: &Frame,
        from: Seq,
        log: &LogName,
    ) -> Vec<Hit> {
        self.stats.frames_read += 1;
        self.stats.frame_bytes += frame.len;
        let mut hits = Vec::new();
        let mut bad_lines = 0u64;
        match self.frames.read(file, frame) {
            Ok((_, raw)) if self.needles.may_be_in(raw) => {
                let lines = raw.strip_suffix(b"\n").unwrap_or(raw);
                for line in lines.split(|&b| b == b'\n') {
                    match take(&self.filter, &self.needles, line, from, log) {
                        Ok(hit) => hits.extend(hit),
                        Err(_) => bad_lines += 1,
                    }
                }
            }
            Ok(_) => {}
            Err(error) => self.trouble(path, describe(&error)),
        }
        if bad_lines > 0 {
            self.trouble(
                path,
                format!("{bad_lines} lines of the frame at byte {} are no records", frame.offset),
            );
        }
        hits
    }

    /// The records of a WAL's lines that fit, in their order, marked as unsealed.
    pub(super) fn lines(&mut self, lines: &[&[u8]], from: Seq, log: &LogName) -> Vec<Hit> {
        let mut hits = Vec::new();
        for line in lines {
            // A WAL's scan has read each line already.
            if let Ok(Some(hit)) = take(&self.filter, &self.needles, line, from, log) {
                hits.push(Hit { unsealed: true, ..hit });
            }
        }
        hits
    }
}

fn take(
    filter: &Filter,
    needles: &Needles,
    line: &[u8],
    from: Seq,
    log: &LogName,
) -> Result<Option<Hit>, serde_json::Error> {
    if !needles.may_be_in(line) {
        return Ok(None);
    }
    let record = Record::parse(line)?;
    if record.seq < from || !filter.fits(&record) {
        return Ok(None);
    }
    let (seq, ts) = (record.seq, record.ts);
    Ok(Some(Hit { log: log.clone(), seq, ts, line: line.to_vec(), unsealed: false }))
}

fn describe(error: &BadSegment) -> String {
    let source = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    format!("the segment {error}{source}")
}

/// A file that counts what is read of it.
struct Counted<'a> {
    file: &'a File,
    bytes: std::cell::Cell<u64>,
}

impl ReadAt for Counted<'_> {
    fn size(&self) -> io::Result<u64> {
        ReadAt::size(self.file)
    }

    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        self.bytes.set(self.bytes.get() + out.len() as u64);
        ReadAt::read_exact_at(self.file, out, offset)
    }
}
