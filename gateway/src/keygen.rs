//! Key files: the private key for the gateway alone, the public one for everybody.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use audit_writer::checkpoint::{LogName, SigningKey, VerifierKey};

/// Why no key was made.
#[derive(Debug, thiserror::Error)]
pub enum KeygenError {
    /// A file of that name is there already.
    #[error("{} is there already, and a key is never overwritten", .0.display())]
    Exists(PathBuf),
    /// The operating system gives no randomness.
    #[error("no randomness for a key: {0}")]
    Randomness(#[source] io::Error),
    /// The file or directory cannot be written.
    #[error("{}: {source}", path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Makes a key for the log `name`: `directory/gateway.key` (mode 0600) and `directory/gateway.pub` (0644), both durable
/// when it returns. The directory is made where it does not exist.
///
/// # Errors
///
/// When one of the files is there already, and then nothing is written; or when they cannot be written.
pub fn keygen(name: LogName, directory: &Path) -> Result<VerifierKey, KeygenError> {
    let (private, public) = (directory.join("gateway.key"), directory.join("gateway.pub"));
    if let Some(taken) = [&private, &public].into_iter().find(|path| path.symlink_metadata().is_ok()) {
        return Err(KeygenError::Exists(taken.clone()));
    }
    let key = SigningKey::generate(name).map_err(KeygenError::Randomness)?;
    fs::create_dir_all(directory).map_err(|source| failed(directory, source))?;
    write_new(&private, 0o600, &key.private_text())?;
    write_new(&public, 0o644, &key.verifier_key().to_string())?;
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|source| failed(directory, source))?;
    Ok(key.verifier_key().clone())
}

/// Writes one line into a file that was not there before.
fn write_new(path: &Path, mode: u32, line: &str) -> Result<(), KeygenError> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let written = opened.and_then(|mut file| {
        // Whatever the umask is: nobody but the owner reads a private key, everybody may read a public one.
        file.set_permissions(Permissions::from_mode(mode))?;
        file.write_all(line.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()
    });
    written.map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => KeygenError::Exists(path.to_owned()),
        _ => failed(path, source),
    })
}

fn failed(path: &Path, source: io::Error) -> KeygenError {
    KeygenError::Write { path: path.to_owned(), source }
}
