//! The spool: the local directory that survives a crash of the gateway and an outage of the store.
//!
//! ```text
//! lock                   held by the one writer
//! state                  the last committed checkpoint and its segment; replaced by rename
//! wal-NNNNNNNNNN         groups of the open segment
//! NNNNNNNNNN.building    the segment under compression: never trusted, rebuilt from the WAL after a crash
//! NNNNNNNNNN.ndjson.zst  sealed, waiting to be shipped
//! config-<sha256>.yaml   a configuration that a `start` record names, waiting to be shipped
//! ```
//!
//! The writer's thread makes and seals segments, the shipper's removes what is in the store and replaces `state`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use crate::checkpoint::LogName;
use crate::disk::{self, Disk, DiskFile, Lock};
use crate::ids::{SegmentNo, Seq};
use crate::merkle::Hash;
use crate::open_requests::OpenAfter;
use crate::time::Timestamp;
use crate::{segment, wal};

/// The spool's directory, locked.
#[derive(Debug)]
pub struct Spool {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    state: Mutex<State>,
    /// Held; made again where the spool was deleted under us.
    lock: Mutex<Box<dyn Lock>>,
}

/// Why the spool cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// Another process holds it.
    #[error("the spool `{path}` is locked by another gateway", path = .path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The file system failed.
    #[error("cannot {doing} `{path}`", path = .path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The state is another log's.
    #[error(
        "the spool's `{path}` is of the log {found}, not of {expected}: each log has a spool of its own",
        path = .path.display()
    )]
    OtherLog {
        /// The file.
        path: PathBuf,
        /// Its log.
        found: LogName,
        /// The log that is to be opened.
        expected: LogName,
    },
    /// The state is not one.
    #[error(
        "`{path}` is not a spool's state ({problem}): restore it from a copy, or move the whole spool aside: the log then \
         goes on from the store's head, and declares what was not shipped",
        path = .path.display()
    )]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// What the spool remembers of its log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// The version of this file: 1.
    pub v: u32,
    /// The log.
    pub log: LogName,
    /// Whether the last boot ended with a `stop`.
    pub stopped: bool,
    /// The newest segment whose checkpoint is in the store.
    pub committed: Option<Committed>,
    /// The requests that were open at the end of the newest sealed segment.
    #[serde(default)]
    pub open: Option<OpenAfter>,
}

/// A segment whose checkpoint is in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Committed {
    /// Its number.
    pub segment: SegmentNo,
    /// SHA-256 of its file.
    pub sha256: Hash,
    /// `ts` of its first record.
    pub first_ts: Timestamp,
    /// The boot that wrote it; a state of before 0.2 does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<String>,
    /// The checkpoint, as it is in the store.
    pub checkpoint: String,
    /// The compact range of all records up to its last: hashes to the checkpoint's root.
    pub range: Vec<Hash>,
}

/// What lies in the spool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Numbers of write-ahead logs, ascending.
    pub wals: Vec<SegmentNo>,
    /// Numbers of segments under compression.
    pub building: Vec<SegmentNo>,
    /// Numbers of sealed segments, ascending.
    pub sealed: Vec<SegmentNo>,
    /// Configurations, by their SHA-256.
    pub configs: Vec<Hash>,
}

const LOCK: &str = "lock";
const STATE: &str = "state";
const BUILDING: &str = ".building";
const CONFIG: (&str, &str) = ("config-", ".yaml");

impl Spool {
    /// Makes the directory where there is none, locks it, and reads its state.
    ///
    /// # Errors
    /// See [`SpoolError`].
    pub fn open(
        path: &Path,
        log: &LogName,
        disk: Arc<dyn Disk>,
    ) -> Result<(Spool, Option<State>), SpoolError> {
        let io = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| SpoolError::Io { doing, path, source }
        };
        disk::create_dir(&*disk, path).map_err(io("make", path))?;
        let lock_path = path.join(LOCK);
        let lock = disk.lock(&lock_path).map_err(io("lock", &lock_path))?;
        let lock = lock.ok_or_else(|| SpoolError::Locked { path: path.into() })?;
        let state_path = path.join(STATE);
        let found = match disk::read(&*disk, &state_path) {
            Ok(bytes) => Some(parse_state(&state_path, &bytes, log)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(io("read", &state_path)(error)),
        };
        let state = found.clone().unwrap_or(State {
            v: 1,
            log: log.clone(),
            stopped: false,
            committed: None,
            open: None,
        });
        Ok((Spool { path: path.into(), disk, state: Mutex::new(state), lock: Mutex::new(lock) }, found))
    }

    /// Changes the state, durably.
    ///
    /// # Errors
    /// It cannot be written; the state in memory is then the old one.
    pub(crate) fn update_state(&self, change: impl FnOnce(&mut State)) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut changed = state.clone();
        change(&mut changed);
        let mut bytes = serde_json::to_vec_pretty(&changed).expect("a state has string keys only");
        bytes.push(b'\n');
        disk::replace(&*self.disk, &self.path.join(STATE), &bytes)?;
        *state = changed;
        Ok(())
    }

    /// The newest segment that is known to be committed.
    pub(crate) fn committed(&self) -> Option<Committed> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner).committed.clone()
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file system that it lies on.
    pub(crate) fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    /// What lies in it. Names of no file of a spool's are passed over.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn contents(&self) -> io::Result<Contents> {
        contents(&*self.disk, &self.path)
    }

    /// Where a sealed segment lies.
    pub fn sealed_path(&self, segment: SegmentNo) -> PathBuf {
        self.path.join(segment::file_name(segment))
    }

    /// Bytes of all its files.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn bytes(&self) -> io::Result<u64> {
        let mut bytes = 0;
        for name in self.disk.list(&self.path)? {
            match self.disk.size(&self.path.join(name)) {
                Ok(size) => bytes += size,
                // Shipped and removed in between.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(bytes)
    }

    /// Bytes that its file system has free.
    pub(crate) fn free(&self) -> io::Result<u64> {
        self.disk.free(&self.path)
    }

    /// A new file for a segment under compression; one that is there is of a boot that died, and is removed.
    pub(crate) fn create_building(&self, segment: SegmentNo) -> io::Result<Box<dyn DiskFile>> {
        let path = self.building_path(segment);
        self.remove_if_there(&path)?;
        self.disk.create(&path)
    }

    /// A new write-ahead log, whose first record will have the number `first_seq`. One that is there has no record: an
    /// earlier try.
    pub(crate) fn create_wal(&self, segment: SegmentNo, first_seq: Seq) -> io::Result<wal::Wal> {
        self.remove_wal(segment)?;
        wal::Wal::create(&*self.disk, &self.path, segment, first_seq)
    }

    /// Puts a new write-ahead log in the place of one that is not trusted any more.
    pub(crate) fn replace_wal(&self, wal: &mut wal::Wal, segment: SegmentNo) -> io::Result<()> {
        wal.replace(&*self.disk, &self.path, segment)
    }

    /// All bytes of a write-ahead log.
    pub(crate) fn read_wal(&self, segment: SegmentNo) -> io::Result<Vec<u8>> {
        disk::read(&*self.disk, &self.path.join(wal::file_name(segment)))
    }

    /// Gives a finished and synced segment its sealed name. It can be called again where it failed.
    pub(crate) fn seal(&self, segment: SegmentNo) -> io::Result<()> {
        let (building, sealed) = (self.building_path(segment), self.sealed_path(segment));
        match self.disk.link(&building, &sealed) {
            // An earlier try, whose name may not be durable.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.disk.remove(&sealed)?;
                self.disk.link(&building, &sealed)?;
            }
            other => other?,
        }
        self.disk.sync_dir(&self.path)
    }

    /// Removes what a sealed segment was made from. What cannot be removed now is removed by the next boot.
    pub(crate) fn clear_sealed(&self, segment: SegmentNo) {
        if let Err(error) = self.remove_building(segment).and_then(|()| self.remove_wal(segment)) {
            tracing::warn!(segment = segment.0, %error, "what a sealed segment was made from cannot be removed");
        }
    }

    /// Makes again what another hand took from the spool, once its directory is there. Whether anything was missing.
    /// `renew` makes the watermark again: before the state, without which a spool is an empty one, so that a boot which
    /// dies in between does not look like one that lost nothing.
    ///
    /// # Errors
    /// The directory is not there, cannot be written, or another gateway holds it by now.
    pub(crate) fn restore(&self, config: &[u8], renew: impl FnOnce() -> io::Result<()>) -> io::Result<bool> {
        let names = self.disk.list(&self.path)?;
        let is_there = |name: &str| names.iter().any(|there| there == name);
        if is_there(LOCK) && is_there(STATE) {
            return Ok(false);
        }
        if !is_there(LOCK) {
            let lock = self.disk.lock(&self.path.join(LOCK))?;
            let lock = lock.ok_or_else(|| io::Error::other("another gateway holds the spool by now"))?;
            *self.lock.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = lock;
        }
        self.keep_config(config)?;
        renew()?;
        self.update_state(|_| {})?;
        Ok(true)
    }

    /// Whether a sealed segment lies here.
    ///
    /// # Errors
    /// It cannot be told.
    pub(crate) fn has_sealed(&self, segment: SegmentNo) -> io::Result<bool> {
        match self.disk.size(&self.sealed_path(segment)) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes a write-ahead log, if it is there.
    pub(crate) fn remove_wal(&self, segment: SegmentNo) -> io::Result<()> {
        self.remove_if_there(&self.path.join(wal::file_name(segment)))
    }

    /// Removes what was under compression when a boot died.
    pub(crate) fn remove_building(&self, segment: SegmentNo) -> io::Result<()> {
        self.remove_if_there(&self.building_path(segment))
    }

    /// Removes a segment that is in the store.
    pub(crate) fn forget(&self, segment: SegmentNo) -> io::Result<()> {
        self.remove_if_there(&self.sealed_path(segment))
    }

    /// Takes a sealed segment over from the store.
    pub(crate) fn adopt(&self, segment: SegmentNo, bytes: &[u8]) -> io::Result<()> {
        disk::replace(&*self.disk, &self.sealed_path(segment), bytes).map(drop)
    }

    /// Keeps a configuration until it is in the store: durable before the `start` record that names it.
    pub(crate) fn keep_config(&self, config: &[u8]) -> io::Result<()> {
        disk::replace(&*self.disk, &self.config_path(Hash::of(config)), config).map(drop)
    }

    /// Removes a configuration that is in the store.
    pub(crate) fn forget_config(&self, sha256: Hash) -> io::Result<()> {
        self.remove_if_there(&self.config_path(sha256))
    }

    /// Where a configuration lies.
    pub(crate) fn config_path(&self, sha256: Hash) -> PathBuf {
        self.path.join(format!("{}{sha256}{}", CONFIG.0, CONFIG.1))
    }

    fn building_path(&self, segment: SegmentNo) -> PathBuf {
        self.path.join(format!("{}{BUILDING}", segment.digits()))
    }

    fn remove_if_there(&self, path: &Path) -> io::Result<()> {
        match self.disk.remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// What lies in the spool at `path`, which need not be locked.
///
/// # Errors
/// It cannot be read.
pub fn contents(disk: &dyn Disk, path: &Path) -> io::Result<Contents> {
    let mut contents = Contents::default();
    for name in disk.list(path)? {
        let Some(name) = name.to_str() else { continue };
        if let Some(segment) = wal::parse_file_name(name) {
            contents.wals.push(segment);
        } else if let Some(segment) = name.strip_suffix(BUILDING).and_then(SegmentNo::from_digits) {
            contents.building.push(segment);
        } else if let Some(segment) = name.strip_suffix(segment::EXTENSION).and_then(SegmentNo::from_digits) {
            contents.sealed.push(segment);
        } else if let Some(sha256) = name.strip_prefix(CONFIG.0).and_then(|name| name.strip_suffix(CONFIG.1))
        {
            contents.configs.extend(sha256.parse::<Hash>());
        }
    }
    contents.wals.sort_unstable();
    contents.building.sort_unstable();
    contents.sealed.sort_unstable();
    Ok(contents)
}

fn parse_state(path: &Path, bytes: &[u8], log: &LogName) -> Result<State, SpoolError> {
    let problem = |problem: String| SpoolError::State { path: path.into(), problem };
    let state: State = serde_json::from_slice(bytes).map_err(|error| problem(error.to_string()))?;
    if state.v != 1 {
        return Err(problem(format!("its version is {}, this gateway knows 1", state.v)));
    }
    if state.log != *log {
        return Err(SpoolError::OtherLog { path: path.into(), found: state.log, expected: log.clone() });
    }
    Ok(state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    fn open(path: &Path, log: &str) -> Result<(Spool, Option<State>), SpoolError> {
        Spool::open(path, &log.parse().expect("a name"), Arc::new(RealDisk))
    }

    #[test]
    fn one_gateway_at_a_time_holds_a_spool() {
        let dir = tempfile::tempdir().expect("a directory");
        let held = open(dir.path(), "a.test/1").expect("free");
        assert!(matches!(open(dir.path(), "a.test/1"), Err(SpoolError::Locked { .. })));
        drop(held);
        assert!(open(dir.path(), "a.test/1").is_ok());
    }

    #[test]
    fn a_state_is_remembered_and_one_of_another_log_or_none_at_all_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let (spool, found) = open(dir.path(), "a.test/1").expect("free");
        assert_eq!(found, None);
        spool.update_state(|state| state.stopped = true).expect("written");
        drop(spool);
        let (_, found) = open(dir.path(), "a.test/1").expect("free");
        assert!(found.is_some_and(|state| state.stopped));
        assert!(matches!(open(dir.path(), "a.test/2"), Err(SpoolError::OtherLog { .. })));
        for text in ["", "{}", "{\"v\":1", "\u{0}"] {
            std::fs::write(dir.path().join(STATE), text).expect("written");
            assert!(matches!(open(dir.path(), "a.test/1"), Err(SpoolError::State { .. })), "{text:?}");
        }
    }
}
