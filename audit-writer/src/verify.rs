//! Verification: everything that a store says is derived again from its records and held against the auditor's keys
//! (`docs/format.md`, "What verify reports").
//!
//! ```text
//! listing ─► one task a number ─► workers: frames, lines, leaves, index ─► in order: tree, chain, clock, counters
//! ```
//!
//! Nothing is trusted because it is written in a file. Memory is bounded by the number of threads and by the number of
//! segments (some tens of bytes each), not by what is in them: a worker holds one frame at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::time::Duration;

use thiserror::Error;

use crate::archive::{Archive, ArchiveError, SpoolContents};
use crate::checkpoint::{Keyring, LogName};
use crate::time::Timestamp;

mod chain;
mod lifecycle;
mod log;
mod objects;
mod pool;
mod report;
mod segment;
mod state;
mod tally;

pub use report::{
    Ago, FindingKind, LogReport, NoticeKind, Outcome, Place, Remark, Report, Segments, Seqs, Tally,
    Unreadable,
};
pub use state::{State, StateError};

/// What the auditor asks for.
#[derive(Debug, Clone)]
pub struct Options {
    /// Logs that must be there, beside those of the keys.
    pub expect: Vec<LogName>,
    /// The newest record of a log may be this old.
    pub max_age: Option<Duration>,
    /// Segments whose records all came before are not read.
    pub since: Option<Timestamp>,
    /// Notices that count as findings.
    pub fail_on: Vec<NoticeKind>,
    /// How many segments are read at a time.
    pub threads: NonZeroUsize,
    /// The time against which ages are held.
    pub now: Timestamp,
}

impl Options {
    /// Everything is read, on all cores, and nothing more is asked for.
    pub fn new() -> Options {
        Options {
            expect: Vec::new(),
            max_age: None,
            since: None,
            fail_on: Vec::new(),
            threads: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            now: Timestamp::now(),
        }
    }
}

impl Default for Options {
    fn default() -> Options {
        Options::new()
    }
}

/// What a verification says while it runs.
#[derive(Debug, Clone, Copy)]
pub enum Progress<'a> {
    /// A log begins; so many bytes of it will be read.
    Log {
        /// Its name.
        name: &'a str,
        /// Bytes of its segments.
        bytes: u64,
    },
    /// So many bytes were read.
    Read(u64),
}

/// Why nothing could be verified.
#[derive(Debug, Error)]
pub enum VerifyError {
    /// The store cannot be opened or listed.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// Only a spool was given.
    #[error("a spool holds no checkpoints to verify: name the store, or the gateway's data directory")]
    SpoolAlone,
    /// A worker could not begin.
    #[error("no worker could begin: {0}")]
    Worker(std::io::Error),
}

/// Verifies all logs of a store. `state` is what was verified before; the new state, which is to be kept only if the
/// report is good, comes with the report.
///
/// # Errors
/// The store as a whole cannot be read. What cannot be read of a log is part of its report.
pub fn verify(
    archive: &Archive,
    keys: &Keyring,
    options: &Options,
    state: &State,
    progress: &(dyn Fn(Progress<'_>) + Sync),
) -> Result<(Report, State), VerifyError> {
    if !archive.has_store() && archive.spool().is_some() {
        return Err(VerifyError::SpoolAlone);
    }
    // Before the store: what moves meanwhile is then seen in both, and counted where it is.
    let spool = archive.spool().map(SpoolContents::read).transpose()?;
    let folders = archive.logs()?;
    if folders.is_empty() {
        return Err(ArchiveError::NoLog(archive.path().to_owned()).into());
    }
    let mut next_state = state.clone();
    let mut reports = BTreeMap::new();
    let mut present = 0;
    for folder in &folders {
        let Some(name) = folder.name(|name| !keys.of(name).is_empty()) else {
            let mut report = LogReport::new(&folder.path().display().to_string());
            let message = "the folder has no name that a log could have";
            report.finding(FindingKind::Inserted, Place::log(&report.log), message);
            reports.insert(report.log.clone(), report);
            continue;
        };
        present += 1;
        let of_log = spool.as_ref().filter(|spool| spool.log.as_ref() == Some(&name));
        let (mut report, of_log) =
            log::verify(folder, &name, keys, options, state.of(&name), of_log, progress)?;
        if let Some(of_log) = of_log {
            next_state.put(name.clone(), of_log);
        }
        if reports.contains_key(name.as_str()) {
            report.log = format!("{name} in {}", folder.path().display());
            let message = "the store holds a log of this name twice";
            report.finding(FindingKind::Inserted, Place::log(&report.log), message);
        }
        reports.insert(report.log.clone(), report);
    }
    let expected: BTreeSet<(&LogName, &str)> = (options.expect.iter().map(|log| (log, "expected")))
        .chain(keys.logs().map(|log| (log, "in the keys")))
        .chain(state.logs().map(|log| (log, "in the state")))
        .collect();
    for (log, why) in expected {
        if !reports.contains_key(log.as_str()) {
            let mut report = LogReport::new(log.as_str());
            report.finding(
                FindingKind::AbsentLog,
                Place::log(&report.log),
                format!("it is {why}, and not in the store"),
            );
            reports.insert(report.log.clone(), report);
        }
    }
    let logs = reports.into_values().collect();
    let report = Report { now: options.now, logs, present, fail_on: options.fail_on.clone() };
    Ok((report, next_state))
}
