//! `sealgate keygen`: a key for the gateway alone, and its public part for everybody.

use std::path::{Path, PathBuf};

use audit_writer::checkpoint::{LogName, VerifierKey};
use audit_writer::key_file::{self, KeyFileError};

/// Why no key was made.
#[derive(Debug, thiserror::Error)]
pub enum KeygenError {
    /// A file of that name is there already.
    #[error("{} is there already, and a key is never overwritten", .0.display())]
    Exists(PathBuf),
    /// The files cannot be written.
    #[error(transparent)]
    File(#[from] KeyFileError),
}

/// Makes a key for the log `name`: `directory/gateway.key` (mode 0600) and `directory/gateway.pub` (0644), both durable
/// when it returns. The directory is made where it does not exist.
///
/// # Errors
///
/// When one of the files is there already, and then nothing is written; or when they cannot be written.
pub fn keygen(name: &LogName, directory: &Path) -> Result<VerifierKey, KeygenError> {
    let private = directory.join("gateway.key");
    let public = key_file::public_path(&private);
    match [&private, &public].into_iter().find(|path| path.symlink_metadata().is_ok()) {
        Some(taken) => Err(KeygenError::Exists(taken.clone())),
        None => Ok(key_file::create(&private, name)?.verifier_key().clone()),
    }
}
