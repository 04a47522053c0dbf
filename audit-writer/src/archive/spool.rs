//! What a gateway's spool holds that its store does not have yet: sealed segments waiting, and whole groups of the WAL.
//!
//! A gateway may be at work in the directory: files vanish when they reach the store, and the last group may be half
//! written. Everything is opened before the store is listed, so that a record that moves meanwhile is seen twice rather
//! than never; readers tell the two apart by `seq`.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{ArchiveError, read_bounded};
use crate::checkpoint::LogName;
use crate::ids::{SegmentNo, Seq};
use crate::segment::{self, read_index};
use crate::wal;

/// A WAL larger than this is none that a gateway wrote.
const MAX_WAL: u64 = 4 << 30;
/// A larger state is none.
const MAX_STATE: u64 = 1 << 20;

/// A spool, as it was when it was read.
#[derive(Debug)]
pub struct SpoolContents {
    /// The log whose gateway it is, where any file tells.
    pub log: Option<LogName>,
    /// What the gateway knows to be committed: a segment, and its checkpoint as it is in the store.
    pub committed: Option<(SegmentNo, String)>,
    /// Sealed segments, by number.
    pub sealed: Vec<(SegmentNo, PathBuf, File)>,
    /// Write-ahead logs, by number.
    pub wals: Vec<(SegmentNo, Vec<u8>)>,
}

impl SpoolContents {
    /// Reads a spool's directory.
    ///
    /// # Errors
    /// It cannot be read. What vanishes meanwhile is passed over.
    pub fn read(path: &Path) -> Result<SpoolContents, ArchiveError> {
        let fail = |source| ArchiveError::Read { path: path.to_owned(), source };
        let mut contents = SpoolContents { log: None, committed: None, sealed: Vec::new(), wals: Vec::new() };
        for entry in fs::read_dir(path).map_err(fail)? {
            let path = entry.map_err(fail)?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            let fail = |source| ArchiveError::Read { path: path.clone(), source };
            if let Some(number) = wal::parse_file_name(name) {
                if let Some(bytes) = if_there(read_bounded(&path, MAX_WAL)).map_err(fail)? {
                    contents.wals.push((number, bytes));
                }
            } else if let Some(number) =
                name.strip_suffix(segment::EXTENSION).and_then(SegmentNo::from_digits)
                && let Some(file) = if_there(File::open(&path)).map_err(fail)?
            {
                contents.sealed.push((number, path, file));
            }
        }
        contents.wals.sort_by_key(|(number, _)| *number);
        contents.sealed.sort_by_key(|(number, ..)| *number);
        let state = read_bounded(&path.join("state"), MAX_STATE).ok();
        if let Some(state) = state.and_then(|state| serde_json::from_slice::<State>(&state).ok()) {
            contents.log = Some(state.log);
            contents.committed = state.committed.map(|committed| (committed.segment, committed.checkpoint));
        } else {
            contents.log = contents.find_log();
        }
        Ok(contents)
    }

    /// The number after the last record, of those that can be read.
    pub fn end_seq(&self) -> Option<Seq> {
        let sealed =
            self.sealed.iter().filter_map(|(_, _, file)| Some(read_index(file).ok()?.index.end_seq()));
        let wals = self.wals.iter().filter_map(|(_, bytes)| {
            let scan = wal::scan(bytes);
            Some(Seq(scan.first_seq?.0 + scan.lines.len() as u64))
        });
        sealed.chain(wals).max()
    }

    /// The log's name, where there is no state yet: from a sealed segment's index, or the first record of a WAL.
    fn find_log(&self) -> Option<LogName> {
        let from_sealed =
            || self.sealed.iter().find_map(|(_, _, file)| read_index(file).ok()?.index.log.parse().ok());
        let from_wals = || {
            let mut first_lines =
                self.wals.iter().filter_map(|(_, bytes)| wal::scan(bytes).lines.first().copied());
            first_lines.find_map(|line| Some(serde_json::from_slice::<Named>(line).ok()?.log))
        };
        from_sealed().or_else(from_wals)
    }
}

/// A file or a record that says whose it is.
#[derive(Deserialize)]
struct Named {
    log: LogName,
}

/// What a reader needs of the spool's state.
#[derive(Deserialize)]
struct State {
    log: LogName,
    committed: Option<Committed>,
}

#[derive(Deserialize)]
struct Committed {
    segment: SegmentNo,
    checkpoint: String,
}

fn if_there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
