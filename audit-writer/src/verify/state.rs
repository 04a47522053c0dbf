//! What an auditor keeps between two runs, so that the next one reads only what is new and sees a log that was rolled back.
//!
//! The file is JSON. It holds, for each log, the last signed checkpoint as it was found, and where the log stood after
//! it. It is the auditor's own: whoever can change it can make the next run blind.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::chain::Standing;
use crate::checkpoint::{Checkpoint, CheckpointError, Keyring, LogName};
use crate::merkle::CompactRange;

/// A larger file is no state.
const MAX_STATE: u64 = 1 << 30;

/// Why a state cannot be used.
#[derive(Debug, Error)]
pub enum StateError {
    /// It cannot be read or written.
    #[error("state file {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is not a state.
    #[error("state file {}: {source}", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// It is of another version.
    #[error("state file {}: version {found}, this program reads version 1", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// A checkpoint in it is not one of the auditor's keys.
    #[error("state file {}: the checkpoint of `{log}`: {source}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// The log.
        log: LogName,
        /// What is wrong with it.
        source: CheckpointError,
    },
    /// What stands beside a checkpoint does not belong to it.
    #[error("state file {}: the tree of `{log}` is not that of its checkpoint", path.display())]
    Tree {
        /// The file.
        path: PathBuf,
        /// The log.
        log: LogName,
    },
}

/// One log's part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LogState {
    /// The last checkpoint, as it was found.
    pub(super) note: String,
    /// Where the log stood after it.
    pub(super) standing: Standing,
}

/// All logs that were verified before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    v: u32,
    logs: BTreeMap<LogName, LogState>,
}

impl Default for State {
    fn default() -> State {
        State { v: 1, logs: BTreeMap::new() }
    }
}

impl State {
    /// Reads a state file; the empty state where there is none.
    ///
    /// # Errors
    /// It cannot be read, or does not belong to `keys`.
    pub fn read(path: &Path, keys: &Keyring) -> Result<State, StateError> {
        let file = || path.to_owned();
        let bytes = match crate::archive::read_bounded(path, MAX_STATE) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::default()),
            Err(source) => return Err(StateError::File { path: file(), source }),
        };
        let state: State =
            serde_json::from_slice(&bytes).map_err(|source| StateError::Form { path: file(), source })?;
        if state.v != 1 {
            return Err(StateError::Version { path: file(), found: state.v });
        }
        for (log, of_log) in &state.logs {
            let checkpoint = of_log.checkpoint(log, keys).map_err(|source| StateError::Checkpoint {
                path: file(),
                log: log.clone(),
                source,
            })?;
            let tree = of_log
                .standing
                .tree
                .clone()
                .and_then(|hashes| CompactRange::from_hashes(0, of_log.standing.size.0, hashes).ok());
            let fits =
                tree.is_some_and(|tree| tree.size() == checkpoint.size && tree.root() == Ok(checkpoint.root));
            if !fits || of_log.standing.next.0 == 0 {
                return Err(StateError::Tree { path: file(), log: log.clone() });
            }
        }
        Ok(state)
    }

    /// Replaces a state file: written beside it, synced, renamed.
    ///
    /// # Errors
    /// It cannot be written; the file is then as before.
    pub fn write(&self, path: &Path) -> Result<(), StateError> {
        let file = |source| StateError::File { path: path.to_owned(), source };
        let bytes = serde_json::to_vec(self).expect("a state has string keys only");
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        let mut new = fs::File::create(&beside).map_err(file)?;
        new.write_all(&bytes).and_then(|()| new.sync_all()).map_err(file)?;
        fs::rename(&beside, path).map_err(file)?;
        fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(file)
    }

    /// The logs that it knows.
    pub fn logs(&self) -> impl Iterator<Item = &LogName> {
        self.logs.keys()
    }

    pub(super) fn of(&self, log: &LogName) -> Option<&LogState> {
        self.logs.get(log)
    }

    pub(super) fn put(&mut self, log: LogName, of_log: LogState) {
        self.logs.insert(log, of_log);
    }
}

impl LogState {
    pub(super) fn checkpoint(&self, log: &LogName, keys: &Keyring) -> Result<Checkpoint, CheckpointError> {
        Checkpoint::parse_and_verify(self.note.as_bytes(), log, keys.of(log))
    }
}
