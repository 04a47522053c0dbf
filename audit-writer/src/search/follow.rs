//! Following logs as they grow: `sealaudit tail -f`.
//!
//! A gateway's spool is followed in its WAL, of which each look reads only what is new. What moved on before it was seen,
//! and every log without a spool, is read from sealed segments. Records come in the order of their numbers, each once.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _};
use std::ops::ControlFlow;
use std::path::Path;

use super::reader::Reader;
use super::{Filter, Hit, Pattern, SearchError, search};
use crate::archive::{Archive, ArchiveError, LogView, SpoolContents};
use crate::checkpoint::LogName;
use crate::ids::{SegmentNo, Seq};
use crate::wal;

/// Why a log cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The archive cannot be listed.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// It cannot be searched.
    #[error(transparent)]
    Search(#[from] SearchError),
}

/// Remembers, for each log, which records were seen.
pub struct Follower {
    archive: Archive,
    filter: Filter,
    logs: Vec<Pattern>,
    next: BTreeMap<LogName, Seq>,
    /// The log of the spool, and how far each of its WALs was read.
    spool: Option<(LogName, BTreeMap<SegmentNo, u64>)>,
}

impl Follower {
    /// Follows the logs of an archive whose names fit one of `logs`, or all. What is there by now counts as seen.
    ///
    /// # Errors
    /// See [`FollowError`].
    pub fn new(archive: Archive, filter: Filter, logs: Vec<Pattern>) -> Result<Follower, FollowError> {
        let mut follower = Follower { archive, filter, logs, next: BTreeMap::new(), spool: None };
        for view in follower.views()? {
            follower.next.insert(view.name.clone(), end_of(&view)?);
        }
        Ok(follower)
    }

    /// Whether a record that was found otherwise will also come from a look.
    pub fn will_give(&self, hit: &Hit) -> bool {
        self.next.get(&hit.log).is_none_or(|next| hit.seq >= *next)
    }

    /// Hands over what came since the last look, oldest first within each log.
    ///
    /// # Errors
    /// See [`FollowError`].
    pub fn look(&mut self, mut found: impl FnMut(Hit)) -> Result<(), FollowError> {
        if let Some(path) = self.archive.spool().map(Path::to_owned)
            && self.look_into_spool(&path, &mut found)?
        {
            return Ok(());
        }
        for view in self.views()? {
            let next = self.next.get(&view.name).copied().unwrap_or_default();
            let end = end_of(&view)?;
            self.sealed(&view, next, end, &mut found)?;
            self.next.insert(view.name, end.max(next));
        }
        Ok(())
    }

    /// Reads what the WALs have beyond what was read; `false` where records are missing between that and what was seen,
    /// which must be looked for in segments.
    fn look_into_spool(&mut self, path: &Path, found: &mut impl FnMut(Hit)) -> Result<bool, FollowError> {
        let Some((log, read)) = self.spool.as_mut() else {
            // The first look finds out whose spool it is, and reads its WALs once from their beginning.
            self.spool = SpoolContents::read(path)?
                .log
                .filter(|log| fits(&self.logs, log))
                .map(|log| (log, BTreeMap::new()));
            return Ok(false);
        };
        let fail = |source| ArchiveError::Read { path: path.to_owned(), source };
        let names = fs::read_dir(path).map_err(fail)?.map(|entry| Ok(entry?.file_name()));
        let names = names.collect::<io::Result<Vec<_>>>().map_err(fail)?;
        let mut wals: Vec<SegmentNo> =
            names.iter().filter_map(|name| wal::parse_file_name(name.to_str()?)).collect();
        wals.sort();
        let nothing_vanished = read.keys().all(|number| wals.contains(number));
        read.retain(|number, _| wals.contains(number));
        let next = self.next.entry(log.clone()).or_default();
        let mut reader = Reader::new(self.filter.clone()).map_err(SearchError::Reader)?;
        for number in wals {
            let offset = read.entry(number).or_default();
            let bytes = read_from(&path.join(wal::file_name(number)), *offset).map_err(fail)?;
            let scan = wal::scan(&bytes);
            let Some(first) = scan.first_seq.filter(|_| !scan.lines.is_empty()) else { continue };
            if first > *next {
                return Ok(false);
            }
            *offset += scan.good_bytes as u64;
            reader.lines(&scan.lines, *next, log).into_iter().for_each(&mut *found);
            *next = (*next).max(Seq(first.0 + scan.lines.len() as u64));
        }
        Ok(nothing_vanished)
    }

    /// Records from `next` up to `end` that fit, oldest first.
    fn sealed(
        &self,
        view: &LogView,
        next: Seq,
        end: Seq,
        found: &mut impl FnMut(Hit),
    ) -> Result<(), SearchError> {
        if end <= next {
            return Ok(());
        }
        let filter = Filter { from_seq: next, ..self.filter.clone() };
        let mut hits = Vec::new();
        search(std::slice::from_ref(view), &filter, None, |hit| {
            if hit.seq < end {
                hits.push(hit);
            }
            ControlFlow::Continue(())
        })?;
        hits.into_iter().rev().for_each(found);
        Ok(())
    }

    fn views(&self) -> Result<Vec<LogView>, ArchiveError> {
        let mut views = self.archive.views()?;
        views.retain(|view| fits(&self.logs, &view.name));
        Ok(views)
    }
}

fn fits(logs: &[Pattern], name: &LogName) -> bool {
    logs.is_empty() || logs.iter().any(|log| log.fits(name.as_str()))
}

/// The number after the newest record.
fn end_of(view: &LogView) -> Result<Seq, SearchError> {
    let mut end = view.end_of_store();
    let filter = Filter { from_seq: end, ..Filter::default() };
    search(std::slice::from_ref(view), &filter, Some(1), |hit| {
        end = end.max(hit.seq.next());
        ControlFlow::Break(())
    })?;
    Ok(end)
}

/// The bytes of a file from `offset` on; none where it is gone.
fn read_from(path: &Path, offset: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(mut file) => {
            file.seek(io::SeekFrom::Start(offset))?;
            file.read_to_end(&mut bytes)?;
            Ok(bytes)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(bytes),
        Err(error) => Err(error),
    }
}
