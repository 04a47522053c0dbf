//! A directory as a store: objects are files of mode 0444, linked into place and never replaced.
//!
//! It is tamper-evident, but not write-once: whoever is root there can remove files, and `sealaudit` says so.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Content, Store, StoreError, digest};
use crate::disk::{self, Disk};

/// A directory.
#[derive(Debug)]
pub struct DirectoryStore {
    root: PathBuf,
    disk: Arc<dyn Disk>,
}

impl DirectoryStore {
    /// The store in `root`. Nothing is touched yet.
    pub fn new(root: PathBuf, disk: Arc<dyn Disk>) -> DirectoryStore {
        DirectoryStore { root, disk }
    }

    fn unavailable(&self, doing: &'static str, name: &str) -> impl FnOnce(io::Error) -> StoreError {
        let (location, name) = (self.location(), name.to_owned());
        move |source| StoreError::Unavailable { location, doing, name, source }
    }

    /// Where an object lies. A root that is not there is a mount that is away, and is not made.
    fn path(&self, name: &str) -> io::Result<PathBuf> {
        // Lists the root: the one operation that fails where it is no directory, or cannot be read.
        self.disk.list(&self.root)?;
        Ok(self.root.join(name))
    }

    /// Where an object is written before it gets its name: beside the logs, so that nothing but objects ever lies
    /// below a log.
    fn temporary(&self, name: &str) -> PathBuf {
        self.root.join(format!(".incoming-{}", name.replace('/', "-")))
    }

    fn open(&self, content: Content<'_>) -> io::Result<Box<dyn Read + Send>> {
        match content {
            Content::Bytes(bytes) => Ok(Box::new(io::Cursor::new(bytes.to_vec()))),
            Content::File(path) => self.disk.open(path),
        }
    }

    fn put(&self, name: &str, path: &Path, content: Content<'_>) -> io::Result<Put> {
        let directory = path.parent().unwrap_or(&self.root);
        // The marker makes the log's folder, and nothing else does: below a store whose mount vanished meanwhile lies a
        // bare directory, which must not be taken for it.
        match log_folder(name) {
            Some(log) => disk::create_dir_below(&*self.disk, &self.root.join(log), directory)?,
            None => disk::create_dir_below(&*self.disk, &self.root, directory)?,
        }
        let temporary = self.temporary(name);
        // Asked first: what an earlier try has put may be protected by now, and its temporary be back after a power
        // failure as a second name of it, which then nobody can remove.
        let put = match self.disk.size(path) {
            Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                disk::put_new(&*self.disk, &temporary, path, &mut *self.open(content)?)
            }
            Err(error) => Err(error),
        };
        match put {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let (ours, found) = (digest(self.open(content)?)?, digest(self.disk.open(path)?)?);
                if ours != found {
                    return Ok(Put::Other { ours, found });
                }
                // The earlier try may have ended before any of this was done, or was durable.
                match self.disk.remove(&temporary) {
                    Err(error)
                        if !matches!(
                            error.kind(),
                            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
                        ) =>
                    {
                        return Err(error);
                    }
                    _ => self.disk.sync_dir(directory)?,
                }
            }
            Err(error) => return Err(error),
        }
        // Before it is protected: the removed temporary must not come back as a name that cannot be removed.
        self.disk.sync_dir(&self.root)?;
        self.disk.protect(path)?;
        Ok(Put::Done)
    }
}

/// The folder of the log that an object belongs to; `None` for the marker, which lies in it.
fn log_folder(name: &str) -> Option<&str> {
    let folders = ["/segments/", "/checkpoints/", "/configs/"];
    folders.iter().filter_map(|folder| name.find(folder)).min().map(|end| &name[..end])
}

enum Put {
    Done,
    Other { ours: crate::merkle::Hash, found: crate::merkle::Hash },
}

impl Store for DirectoryStore {
    fn put_new(&self, name: &str, content: Content<'_>) -> Result<(), StoreError> {
        let put = self.path(name).and_then(|path| self.put(name, &path, content));
        match put.map_err(self.unavailable("put", name))? {
            Put::Done => Ok(()),
            Put::Other { ours, found } => {
                Err(StoreError::Conflict { location: self.location(), name: name.to_owned(), ours, found })
            }
        }
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let read = self.path(name).and_then(|path| match disk::read(&*self.disk, &path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        });
        read.map_err(self.unavailable("get", name))
    }

    fn list(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        let list = self.path(folder).and_then(|path| match self.disk.list(&path) {
            Ok(names) => Ok(names.into_iter().filter_map(|name| name.into_string().ok()).collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        });
        list.map_err(self.unavailable("list", folder))
    }

    fn prepare(&self) -> Result<(), StoreError> {
        disk::create_dir(&*self.disk, &self.root).map_err(self.unavailable("make", "."))
    }

    fn location(&self) -> String {
        self.root.display().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;
    use std::os::unix::fs::PermissionsExt;

    /// A store whose files can be removed again, also where they were made immutable.
    struct Fixture(tempfile::TempDir, DirectoryStore);

    impl Fixture {
        fn new() -> Fixture {
            let dir = tempfile::tempdir().expect("a directory");
            let store = DirectoryStore::new(dir.path().join("store"), Arc::new(RealDisk));
            Fixture(dir, store)
        }
    }

    impl Drop for Fixture {
        fn drop(&mut self) {
            crate::test_support::make_mutable(self.0.path());
        }
    }

    #[test]
    fn an_object_is_created_once_and_the_same_bytes_again_are_a_retry() {
        let fixture = Fixture::new();
        let store = &fixture.1;
        store.prepare().expect("made");
        store.put_new("a/b/c", Content::Bytes(b"one")).expect("put");
        store.put_new("a/b/c", Content::Bytes(b"one")).expect("a retry");
        let conflict = store.put_new("a/b/c", Content::Bytes(b"two")).expect_err("other bytes");
        assert!(matches!(conflict, StoreError::Conflict { .. }), "{conflict}");
        assert_eq!(store.get("a/b/c").expect("get").as_deref(), Some(&b"one"[..]));
        assert_eq!(store.get("a/b/d").expect("get"), None);
        assert_eq!(store.list("a/b").expect("list"), ["c"]);
        let mode =
            std::fs::metadata(fixture.0.path().join("store/a/b/c")).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o444);
    }

    #[test]
    fn only_the_marker_makes_the_folder_of_its_log() {
        let fixture = Fixture::new();
        let store = &fixture.1;
        store.prepare().expect("made");
        for name in ["a/b/checkpoints/0000000000", "a/b/segments/date=2026-11-24/0", "a/b/configs/c.yaml"] {
            let error = store.put_new(name, Content::Bytes(b"x")).expect_err("a bare directory");
            assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
        }
        assert!(!fixture.0.path().join("store/a").exists());
        store.put_new("a/b/log", Content::Bytes(b"x")).expect("the marker");
        for name in ["a/b/checkpoints/0000000000", "a/b/segments/date=2026-11-24/0", "a/b/configs/c.yaml"] {
            store.put_new(name, Content::Bytes(b"x")).expect("put");
        }
    }

    #[test]
    fn a_root_that_is_not_there_is_unavailable_and_is_not_made() {
        let fixture = Fixture::new();
        let store = &fixture.1;
        for result in
            [store.put_new("x", Content::Bytes(b"")), store.get("x").map(drop), store.list("").map(drop)]
        {
            assert!(matches!(result, Err(StoreError::Unavailable { .. })));
        }
        assert!(!fixture.0.path().join("store").exists());
    }
}
