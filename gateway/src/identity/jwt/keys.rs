//! The keys that serve: read by requests without a lock, replaced as a whole by a file or by the thread that fetches.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;

use arc_swap::{ArcSwapOption, Guard};

use super::{KeySet, KeySetError};
use crate::config::Algorithm;
use crate::pem::{Fault, read_file};

/// The keys of one provider.
#[derive(Default)]
pub(in crate::identity) struct Keys {
    current: ArcSwapOption<KeySet>,
    /// Whether a token named a key that is not among them.
    wanted: AtomicBool,
    /// Who fetches them, where they are fetched.
    fetching: OnceLock<Thread>,
}

impl Keys {
    /// Those that serve; none where there never were any.
    pub(super) fn load(&self) -> Guard<Option<Arc<KeySet>>> {
        self.current.load()
    }

    /// Whether there are any.
    pub(super) fn are_known(&self) -> bool {
        self.current.load().is_some()
    }

    /// Serves with these. Where nothing has changed, what was verified with them goes on being remembered.
    pub(super) fn replace(&self, keys: KeySet) {
        if !self.current.load().as_ref().is_some_and(|current| current.is_same(&keys)) {
            self.current.store(Some(Arc::new(keys)));
        }
    }

    /// Asks whoever fetches to do so soon. Asking again before that changes nothing, and never waits.
    pub(super) fn ask(&self) {
        if let Some(thread) = self.fetching.get()
            && !self.wanted.swap(true, Ordering::Relaxed)
        {
            thread.unpark();
        }
    }

    /// Whether somebody has asked.
    pub(super) fn is_asked(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }

    /// What was asked for begins now.
    pub(super) fn begin(&self) {
        self.wanted.store(false, Ordering::Relaxed);
    }

    /// This thread fetches them.
    pub(super) fn fetched_by(&self, thread: Thread) {
        self.fetching.get_or_init(|| thread);
    }
}

// The thread ends once it finds nobody to fetch for.
impl Drop for Keys {
    fn drop(&mut self) {
        if let Some(thread) = self.fetching.get() {
            thread.unpark();
        }
    }
}

/// Why the keys of a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read.
    #[error("{0}")]
    Read(Fault),
    /// What it holds is no set of keys that could be used.
    #[error(transparent)]
    KeySet(#[from] KeySetError),
}

/// Reads the keys of a file.
///
/// # Errors
///
/// When it cannot be read, or none of its keys can be used.
pub fn read_key_file(file: &Path, algorithms: &[Algorithm]) -> Result<KeySet, KeyFileError> {
    Ok(KeySet::parse(&read_file(file).map_err(KeyFileError::Read)?, algorithms)?)
}
