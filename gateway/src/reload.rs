//! What is read from files and may change while the gateway serves: certificates, keys, key sets.
//!
//! Each such part is a [`Reloadable`]. A reload reads all of them again, each as a whole or not at all: what cannot
//! be read leaves what serves in place. No connection is dropped, and no request waits: parts put what they read
//! behind an `ArcSwap`.

use std::path::PathBuf;
use std::sync::Arc;

/// A part that is read from files, and can be read again.
pub trait Reloadable: Send + Sync {
    /// What it is, for people: "certificates of listener `edge`".
    fn what(&self) -> String;

    /// The files that it was read from, or would be.
    fn files(&self) -> Vec<PathBuf>;

    /// Reads the files again, and serves from then on with what they hold.
    ///
    /// # Errors
    ///
    /// Why they cannot be used, without anything that stands in them; what served before goes on serving.
    fn reload(&self) -> Result<(), String>;
}

/// Reads all parts again when it is asked to.
pub struct Reloader {
    parts: Vec<Arc<dyn Reloadable>>,
}

impl Reloader {
    /// Reloads these parts.
    pub fn new(parts: Vec<Arc<dyn Reloadable>>) -> Reloader {
        Reloader { parts }
    }

    /// Reads every part again; says whether all of them could be.
    pub fn reload(&self) -> bool {
        let mut all = true;
        for part in &self.parts {
            let what = part.what();
            match part.reload() {
                Ok(()) => tracing::info!(what, "read again"),
                Err(error) => {
                    all = false;
                    tracing::error!(
                        what,
                        error,
                        "cannot be read again: what was read before goes on serving"
                    );
                }
            }
        }
        all
    }
}
