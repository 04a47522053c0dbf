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
use crate::ids::SegmentNo;
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
        let mut contents = SpoolContents { log: None, sealed: Vec::new(), wals: Vec::new() };
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
        contents.log = contents.find_log(path);
        Ok(contents)
    }

    /// The log's name: from the state, or a sealed segment's index, or the first record of a WAL.
    fn find_log(&self, path: &Path) -> Option<LogName> {
        #[derive(Deserialize)]
        struct Named {
            log: LogName,
        }
        let named = |bytes: &[u8]| serde_json::from_slice::<Named>(bytes).ok().map(|named| named.log);
        let state = read_bounded(&path.join("state"), MAX_STATE).ok().and_then(|state| named(&state));
        let from_sealed =
            || self.sealed.iter().find_map(|(_, _, file)| read_index(file).ok()?.index.log.parse().ok());
        let from_wals = || {
            self.wals.iter().find_map(|(_, bytes)| wal::scan(bytes).lines.first().copied().and_then(named))
        };
        state.or_else(from_sealed).or_else(from_wals)
    }
}

fn if_there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
