//! The key on disk: `NAME.key` (mode 0600) holds the private key, `NAME.pub` beside it the verifier key.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::checkpoint::{KeyError, LogName, SigningKey};

/// The largest key file that is read, in bytes.
const MAX_KEY: u64 = 4096;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file cannot be read.
    #[error("cannot read the key `{path}`", path = .path.display())]
    Read {
        /// The key file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// There is none, and it may not be made.
    #[error("there is no key `{path}`: make one with `sealgate keygen`, or set `audit.key.create: true`", path = .path.display())]
    Absent {
        /// The key file.
        path: PathBuf,
    },
    /// Others than its owner may read it.
    #[error("the key `{path}` must be for its owner's eyes only (mode 0600), found mode {mode:04o}", path = .path.display())]
    Exposed {
        /// The key file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The file is too long for a key, or is no file.
    #[error("`{path}` is no key file", path = .path.display())]
    NoFile {
        /// The key file.
        path: PathBuf,
    },
    /// The file holds no key.
    #[error("`{path}` holds no private key", path = .path.display())]
    Form {
        /// The key file.
        path: PathBuf,
        /// What is wrong with it.
        source: KeyError,
    },
    /// It is the key of another log.
    #[error("the key `{path}` is of the log `{found}`, not of `{expected}`", path = .path.display())]
    OtherLog {
        /// The key file.
        path: PathBuf,
        /// The log that it should be of.
        expected: LogName,
        /// The log that it is of.
        found: LogName,
    },
    /// It cannot be written.
    #[error("cannot write the key `{path}`", path = .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
}

/// The public file of a key file: the same name with the ending `.pub`.
pub fn public_path(private: &Path) -> PathBuf {
    private.with_extension("pub")
}

/// Reads a private key.
///
/// # Errors
/// See [`KeyFileError`].
pub fn read(path: &Path) -> Result<SigningKey, KeyFileError> {
    let text = read_private(path)?;
    let text = std::str::from_utf8(&text)
        .map_err(|_| KeyFileError::Form { path: path.into(), source: KeyError::PrivateForm })?;
    text.trim_end().parse().map_err(|source| KeyFileError::Form { path: path.into(), source })
}

/// The bytes of a file that holds a key: a small one, for its owner's eyes only.
///
/// # Errors
/// [`KeyFileError::Absent`], [`KeyFileError::Read`], [`KeyFileError::NoFile`], [`KeyFileError::Exposed`].
pub(crate) fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => KeyFileError::Absent { path: path.into() },
        _ => KeyFileError::Read { path: path.into(), source },
    };
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() || metadata.len() > MAX_KEY {
        return Err(KeyFileError::NoFile { path: path.into() });
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Exposed { path: path.into(), mode });
    }
    // With room for all of it, so that no copy is left behind where the buffer grew.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_KEY as usize + 1));
    file.take(MAX_KEY + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_KEY {
        return Err(KeyFileError::NoFile { path: path.into() });
    }
    Ok(bytes)
}

/// Makes a key for `log` in `path`, and its public file; neither may exist.
///
/// # Errors
/// See [`KeyFileError`].
pub fn create(path: &Path, log: &LogName) -> Result<SigningKey, KeyFileError> {
    let public = public_path(path);
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| KeyFileError::Write { path, source }
    };
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).map_err(failed(directory))?;
    }
    let key = SigningKey::generate(log.clone()).map_err(failed(path))?;
    write_new(&public, 0o644, &key.verifier_key().to_string()).map_err(failed(&public))?;
    write_new(path, 0o600, &key.private_text()).map_err(failed(path))?;
    Ok(key)
}

/// Reads the key of `log`, or makes it where there is none and `create` allows it.
///
/// # Errors
/// See [`KeyFileError`]; among them that the key is of another log.
pub fn open(path: &Path, log: &LogName, create_absent: bool) -> Result<SigningKey, KeyFileError> {
    let key = match read(path) {
        Err(KeyFileError::Absent { .. }) if create_absent => create(path, log)?,
        read => read?,
    };
    if key.name() != log {
        return Err(KeyFileError::OtherLog {
            path: path.into(),
            expected: log.clone(),
            found: key.name().clone(),
        });
    }
    Ok(key)
}

fn write_new(path: &Path, mode: u32, line: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(line.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => std::fs::File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_for_its_owner_only_and_read_back() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("keys/gateway.key");
        let log: LogName = "audit.example.com/gw-1".parse().expect("a name");
        assert!(matches!(open(&path, &log, false), Err(KeyFileError::Absent { .. })));
        let made = open(&path, &log, true).expect("made");
        assert_eq!(open(&path, &log, true).expect("read").key_id(), made.key_id());
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        let public = std::fs::read_to_string(public_path(&path)).expect("there");
        assert_eq!(public.trim_end(), made.verifier_key().to_string());
        assert!(matches!(create(&path, &log), Err(KeyFileError::Write { .. })), "never replaced");
    }

    #[test]
    fn the_key_of_another_log_and_a_file_that_is_no_key_are_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("gateway.key");
        let (one, other): (LogName, LogName) =
            ("a.test/1".parse().expect("a name"), "a.test/2".parse().expect("a name"));
        create(&path, &one).expect("made");
        assert!(matches!(open(&path, &other, true), Err(KeyFileError::OtherLog { .. })));
        for text in ["", "PRIVATE+KEY+", "\u{0}\u{1}"] {
            std::fs::write(&path, text).expect("written");
            assert!(matches!(read(&path), Err(KeyFileError::Form { .. })), "{text:?}");
        }
        std::fs::write(&path, "x".repeat(5000)).expect("written");
        assert!(matches!(read(&path), Err(KeyFileError::NoFile { .. })));
        assert!(matches!(read(dir.path()), Err(KeyFileError::NoFile { .. })));
    }

    #[test]
    fn a_key_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("gateway.key");
        create(&path, &"a.test/1".parse().expect("a name")).expect("made");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("set");
        assert!(matches!(read(&path), Err(KeyFileError::Exposed { mode: 0o640, .. })));
    }
}
