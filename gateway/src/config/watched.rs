//! The configuration's own text: that it has changed is noticed, and said.

use std::path::PathBuf;

use sha2::{Digest, Sha256};

use super::load::joined;
use super::{Config, source};
use crate::reload::Reloadable;

/// The text that a configuration was loaded from, and may differ from by now.
pub struct Watched {
    origin: Option<PathBuf>,
    sha256: [u8; 32],
}

impl Config {
    /// Its own text, to be watched.
    pub fn watched(&self) -> Watched {
        Watched { origin: self.loaded.origin.clone(), sha256: self.sha256() }
    }
}

impl Reloadable for Watched {
    fn what(&self) -> String {
        "the configuration's text".to_owned()
    }

    fn files(&self) -> Vec<PathBuf> {
        let Some(origin) = &self.origin else { return Vec::new() };
        // Of a directory, the files that are there now.
        let files = source::read(origin, &mut Vec::new());
        files.into_iter().map(|file| file.name.into()).collect()
    }

    /// What needs a restart is said, not ignored.
    fn reload(&self) -> Result<(), String> {
        let Some(origin) = &self.origin else { return Ok(()) };
        let mut errors = Vec::new();
        let files = source::read(origin, &mut errors);
        if let Some(error) = errors.first() {
            return Err(format!("{}: {}", origin.display(), error.rule));
        }
        if <[u8; 32]>::from(Sha256::digest(joined(&files))) != self.sha256 {
            tracing::warn!(file = %origin.display(), "the configuration has changed: it needs a restart");
        }
        Ok(())
    }
}
