//! The real disk, which fails as a script says.

use std::ffi::OsString;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use audit_writer::disk::{Disk, DiskFile, Lock, RealDisk};

use crate::script::Script;

/// The operating system's file systems, with faults. Every operation meets the script before it is done.
#[derive(Debug)]
pub(crate) struct FaultyDisk {
    script: Arc<Script>,
}

impl FaultyDisk {
    pub(crate) fn new(script: Script) -> FaultyDisk {
        FaultyDisk { script: Arc::new(script) }
    }
}

/// A file on it. It keeps the path under which it was made.
#[derive(Debug)]
struct FaultyFile {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    script: Arc<Script>,
}

impl DiskFile for FaultyFile {
    /// One that fails has written half of the bytes, as a full disk does.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.script.meet("append", &self.path) {
            self.file.append(&bytes[..bytes.len() / 2])?;
            return Err(error);
        }
        self.file.append(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.script.meet("sync", &self.path)?;
        self.file.sync()
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.script.meet("truncate", &self.path)?;
        self.file.truncate(len)
    }

    fn overwrite(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.script.meet("overwrite", &self.path)?;
        self.file.overwrite(bytes)
    }

    fn read_back(&mut self) -> io::Result<Vec<u8>> {
        self.script.meet("read_back", &self.path)?;
        self.file.read_back()
    }
}

impl Disk for FaultyDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.script.meet("create", path)?;
        let file = RealDisk.create(path)?;
        Ok(Box::new(FaultyFile { file, path: path.to_owned(), script: self.script.clone() }))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.script.meet("link", to)?;
        RealDisk.link(from, to)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.script.meet("rename", to)?;
        RealDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.script.meet("remove", path)?;
        RealDisk.remove(path)
    }

    fn make_dir(&self, path: &Path) -> io::Result<()> {
        self.script.meet("make_dir", path)?;
        RealDisk.make_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.script.meet("sync_dir", path)?;
        RealDisk.sync_dir(path)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        self.script.meet("open", path)?;
        RealDisk.open(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        self.script.meet("list", path)?;
        RealDisk.list(path)
    }

    fn size(&self, path: &Path) -> io::Result<u64> {
        self.script.meet("size", path)?;
        RealDisk.size(path)
    }

    fn free(&self, path: &Path) -> io::Result<u64> {
        self.script.meet("free", path)?;
        RealDisk.free(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        self.script.meet("lock", path)?;
        RealDisk.lock(path)
    }

    fn machine_boot(&self) -> io::Result<String> {
        RealDisk.machine_boot()
    }

    fn protect(&self, path: &Path) -> io::Result<()> {
        self.script.meet("protect", path)?;
        RealDisk.protect(path)
    }
}
