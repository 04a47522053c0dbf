//! Opening the STORE argument of `sealaudit`: a directory store, or what a gateway keeps on its own disk.
//!
//! A store is a folder with logs at any depth; a log is a folder that holds `log`, `segments` or `checkpoints`
//! (`docs/format.md`, "Names"). A gateway's data directory has `store` and `spool` side by side. Nothing here is written,
//! nothing is trusted: a name that a file gives itself is only a proposal, see [`LogFolder::name`].

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::checkpoint::{Checkpoint, LogName, MAX_CHECKPOINT};

mod listing;
mod spool;
mod view;

pub use listing::{Date, Listing, SegmentObject};
pub use spool::SpoolContents;
pub use view::LogView;

/// Folders are looked through this deep; a log's name has at most a hundred components.
const MAX_DEPTH: usize = 128;

/// Files in which a log says who it is are not read beyond this.
const MAX_MARKER: u64 = 64 << 10;

/// Why a STORE cannot be opened.
#[derive(Debug, Error)]
pub enum ArchiveError {
    /// This version does not know the scheme.
    #[error("`{0}`: only a directory or a file:// URL of one is supported by this version")]
    Scheme(String),
    /// A `file:` URL that names no path of this machine.
    #[error("`{0}`: a file URL is written file:///path")]
    FileUrl(String),
    /// It is not a directory.
    #[error("`{}` is not a directory", .0.display())]
    NotADirectory(PathBuf),
    /// There is no log in it.
    #[error("`{}` holds no log: a log is a folder that holds `log`, `segments` or `checkpoints`", .0.display())]
    NoLog(PathBuf),
    /// A folder cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Read {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// An opened STORE.
#[derive(Debug, Clone)]
pub struct Archive {
    given: PathBuf,
    store: Option<PathBuf>,
    spool: Option<PathBuf>,
}

impl Archive {
    /// Opens what the user typed.
    ///
    /// # Errors
    /// It is of another scheme, or no directory, or cannot be read.
    pub fn open(store: &str) -> Result<Archive, ArchiveError> {
        let given = path_of(store)?;
        let read = |source| ArchiveError::Read { path: given.clone(), source };
        if !fs::metadata(&given).map_err(read)?.is_dir() {
            return Err(ArchiveError::NotADirectory(given));
        }
        // Permission to list is asked for at once, so that it is an error and not an empty store.
        fs::read_dir(&given).map_err(read)?;
        let (store, spool) = if is_spool(&given) {
            (None, Some(given.clone()))
        } else if is_spool(&given.join("spool")) && !is_log(&given) {
            (Some(given.join("store")).filter(|store| store.is_dir()), Some(given.join("spool")))
        } else {
            (Some(given.clone()), None)
        };
        Ok(Archive { given, store, spool })
    }

    /// What was opened.
    pub fn path(&self) -> &Path {
        &self.given
    }

    /// The spool of the gateway whose directory was opened.
    pub fn spool(&self) -> Option<&Path> {
        self.spool.as_deref()
    }

    /// Whether there is a store at all, or a spool alone.
    pub fn has_store(&self) -> bool {
        self.store.is_some()
    }

    /// The logs of the store, in the order of their folders.
    ///
    /// # Errors
    /// A folder cannot be read.
    pub fn logs(&self) -> Result<Vec<LogFolder>, ArchiveError> {
        let mut found = Vec::new();
        if let Some(store) = &self.store {
            let root = fs::canonicalize(store)
                .map_err(|source| ArchiveError::Read { path: store.clone(), source })?;
            find_logs(&root, &root, 0, &mut found)?;
        }
        Ok(found)
    }
}

fn path_of(store: &str) -> Result<PathBuf, ArchiveError> {
    match store.split_once("://") {
        None => Ok(PathBuf::from(store)),
        Some(("file", path)) if path.starts_with('/') => Ok(PathBuf::from(path)),
        Some(("file", _)) => Err(ArchiveError::FileUrl(store.to_owned())),
        Some(_) => Err(ArchiveError::Scheme(store.to_owned())),
    }
}

/// Whether the folder is a gateway's spool.
fn is_spool(path: &Path) -> bool {
    let is_file = |name: &str| path.join(name).is_file();
    is_file("lock") && !path.join("segments").exists() && !path.join("checkpoints").exists()
}

/// Whether the folder is a log.
fn is_log(path: &Path) -> bool {
    let is = |name: &str, check: fn(&fs::Metadata) -> bool| {
        fs::symlink_metadata(path.join(name)).is_ok_and(|metadata| check(&metadata))
    };
    is("log", fs::Metadata::is_file)
        || is("segments", fs::Metadata::is_dir)
        || is("checkpoints", fs::Metadata::is_dir)
}

/// Logs below `path`, by name. Links are not followed, and no log is looked for inside another.
fn find_logs(root: &Path, path: &Path, depth: usize, found: &mut Vec<LogFolder>) -> Result<(), ArchiveError> {
    if is_log(path) {
        found.push(LogFolder { root: root.to_owned(), path: path.to_owned() });
        return Ok(());
    }
    if depth == MAX_DEPTH {
        return Ok(());
    }
    let read = |source| ArchiveError::Read { path: path.to_owned(), source };
    let mut folders = Vec::new();
    for entry in fs::read_dir(path).map_err(read)? {
        let entry = entry.map_err(read)?;
        if entry.file_type().map_err(read)?.is_dir() {
            folders.push(entry.path());
        }
    }
    folders.sort();
    folders.iter().try_for_each(|folder| find_logs(root, folder, depth + 1, found))
}

/// A folder that holds a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFolder {
    root: PathBuf,
    path: PathBuf,
}

impl LogFolder {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The log's name: always the end of the folder's path. Where several ends could be one, the longest that the caller
    /// knows counts, then the one that the log gives itself, then the path below the store.
    pub fn name(&self, known: impl Fn(&LogName) -> bool) -> Option<LogName> {
        let parts: Vec<&str> = self.path.iter().filter_map(|part| part.to_str()).collect();
        let ends = (1..=parts.len()).map(|count| parts[parts.len() - count..].join("/"));
        let ends: Vec<LogName> = ends.map_while(|end| end.parse().ok()).collect();
        if let Some(name) = ends.iter().rev().find(|name| known(name)) {
            return Some(name.clone());
        }
        if let Some(name) = self.own_name().filter(|name| ends.contains(name)) {
            return Some(name);
        }
        let below = self.path.strip_prefix(&self.root).ok().and_then(Path::to_str);
        below.and_then(|below| below.parse().ok()).or_else(|| ends.first().cloned())
    }

    /// Its objects, by their names.
    ///
    /// # Errors
    /// A folder cannot be read.
    pub fn list(&self) -> Result<Listing, ArchiveError> {
        Listing::read(&self.path)
    }

    /// What its marker says, or else its first checkpoint.
    fn own_name(&self) -> Option<LogName> {
        #[derive(serde::Deserialize)]
        struct Marker {
            log: LogName,
        }
        let marker = read_bounded(&self.path.join("log"), MAX_MARKER).ok();
        let named = marker.and_then(|marker| serde_json::from_slice::<Marker>(&marker).ok());
        named.map(|marker| marker.log).or_else(|| {
            let first =
                read_bounded(&self.path.join("checkpoints/0000000000"), MAX_CHECKPOINT as u64).ok()?;
            Some(Checkpoint::parse_unverified(&first).ok()?.origin)
        })
    }
}

/// Reads a small file; a larger one than `limit` is an error.
pub(crate) fn read_bounded(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    use io::Read as _;
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::other(format!("larger than {limit} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(root: &Path, folder: &str) -> PathBuf {
        let path = root.join(folder);
        fs::create_dir_all(&path).unwrap();
        path
    }

    fn names(archive: &Archive) -> Vec<String> {
        let logs = archive.logs().unwrap();
        logs.iter().map(|log| log.name(|_| false).unwrap().to_string()).collect()
    }

    #[test]
    fn logs_are_found_at_any_depth_and_none_inside_another() {
        let dir = tempfile::tempdir().unwrap();
        for folder in
            ["b.test/gw-1/segments", "b.test/gw-2/checkpoints", "a.test/segments/log/segments", "none/here"]
        {
            make(dir.path(), folder);
        }
        let store = dir.path().to_str().unwrap();
        assert_eq!(names(&Archive::open(store).unwrap()), ["a.test", "b.test/gw-1", "b.test/gw-2"]);
        assert_eq!(names(&Archive::open(&format!("file://{store}")).unwrap()).len(), 3);
    }

    #[test]
    fn a_log_opened_by_itself_keeps_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let log = make(dir.path(), "Prefix/a.test/gw-1");
        make(&log, "segments");
        fs::write(log.join("log"), r#"{"v":1,"log":"a.test/gw-1","keys":[]}"#).unwrap();
        for store in ["", "Prefix", "Prefix/a.test", "Prefix/a.test/gw-1"] {
            let archive = Archive::open(dir.path().join(store).to_str().unwrap()).unwrap();
            assert_eq!(names(&archive), ["a.test/gw-1"], "{store}");
        }
    }

    #[test]
    fn a_log_cannot_give_itself_a_name_that_its_folder_has_not() {
        let dir = tempfile::tempdir().unwrap();
        let log = make(dir.path(), "a.test/gw-1");
        fs::write(log.join("log"), r#"{"v":1,"log":"a.test/gw-2","keys":[]}"#).unwrap();
        let archive = Archive::open(dir.path().to_str().unwrap()).unwrap();
        assert_eq!(names(&archive), ["a.test/gw-1"]);
        // What an auditor has keys for wins over what the log says.
        fs::write(log.join("log"), r#"{"v":1,"log":"gw-1","keys":[]}"#).unwrap();
        assert_eq!(names(&archive), ["gw-1"]);
        let name = archive.logs().unwrap()[0].name(|name| name.as_str() == "a.test/gw-1");
        assert_eq!(name.unwrap().as_str(), "a.test/gw-1");
    }

    #[test]
    fn a_gateways_directory_is_its_store_and_its_spool() {
        let dir = tempfile::tempdir().unwrap();
        let spool = make(dir.path(), "spool");
        fs::write(spool.join("lock"), "").unwrap();
        make(dir.path(), "store/a.test/segments");
        let archive = Archive::open(dir.path().to_str().unwrap()).unwrap();
        assert_eq!(names(&archive), ["a.test"]);
        assert_eq!(archive.spool(), Some(&*spool));
        let archive = Archive::open(spool.to_str().unwrap()).unwrap();
        assert!(!archive.has_store());
        assert_eq!(archive.spool(), Some(&*spool));
    }

    #[test]
    fn what_is_no_directory_is_refused_with_its_reason() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let error = |store: &str| Archive::open(store).unwrap_err().to_string();
        assert!(error(file.to_str().unwrap()).contains("is not a directory"));
        assert!(error("s3://bucket/prefix").contains("only a directory"));
        assert!(error("file://host/path").contains("file:///path"));
        assert!(error(dir.path().join("absent").to_str().unwrap()).contains("cannot read"));
    }
}
