//! The seam to the file system: everything that must survive a crash goes through a [`Disk`].
//!
//! Durable means: write, sync the file, rename or link, sync the directory. In that order; [`put_new`] and
//! [`replace`] are the one place where it is done.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, IFlags, flock, ioctl_getflags, ioctl_setflags};

/// A file of ours: written from its begin to its end, or small and overwritten in place.
pub trait DiskFile: Send + fmt::Debug {
    /// Appends all of `bytes`.
    ///
    /// # Errors
    /// What the file system says; an unknown part of the bytes may then be there.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes what was written durable (`fdatasync`). A file that has no name any more is durable nowhere: an error.
    ///
    /// # Errors
    /// What the file system says. The file must not be trusted after that: the kernel may have dropped the pages.
    fn sync(&mut self) -> io::Result<()>;

    /// Cuts the file to its first `len` bytes, and appends from there: what a failed append has left goes.
    ///
    /// # Errors
    /// What the file system says.
    fn truncate(&mut self, len: u64) -> io::Result<()>;

    /// Writes `bytes` over the first ones of the file. They outlive the process at once, and a power failure only when
    /// they were synced.
    ///
    /// # Errors
    /// What the file system says.
    fn overwrite(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// All that the file holds, also where its name is gone.
    ///
    /// # Errors
    /// What the file system says.
    fn read_back(&mut self) -> io::Result<Vec<u8>>;
}

/// A lock that is held for as long as this lives, and no longer than the process.
pub trait Lock: Send + Sync + fmt::Debug {}

/// The operations that the spool and the directory store are built of.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Makes a new, empty file; an existing one is an error.
    ///
    /// # Errors
    /// What the file system says.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Gives a file a second name; an existing one is an error (`AlreadyExists`), never replaced.
    ///
    /// # Errors
    /// What the file system says.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file another name, replacing what is there.
    ///
    /// # Errors
    /// What the file system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file's name.
    ///
    /// # Errors
    /// What the file system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes a directory in one that is there; an existing one is an error (`AlreadyExists`).
    ///
    /// # Errors
    /// What the file system says.
    fn make_dir(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// What the file system says.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Opens a file to read it from its begin.
    ///
    /// # Errors
    /// What the file system says.
    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>>;

    /// The names in a directory.
    ///
    /// # Errors
    /// What the file system says.
    fn list(&self, path: &Path) -> io::Result<Vec<OsString>>;

    /// A file's bytes.
    ///
    /// # Errors
    /// What the file system says.
    fn size(&self, path: &Path) -> io::Result<u64>;

    /// Bytes that are free for us in the file system that holds `path`.
    ///
    /// # Errors
    /// What the file system says.
    fn free(&self, path: &Path) -> io::Result<u64>;

    /// Locks the file at `path`, which is made where it is not there. `None` where another process holds it.
    ///
    /// # Errors
    /// What the file system says.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>>;

    /// Names the present run of the machine's kernel: another one has none of the writes that were not synced.
    ///
    /// # Errors
    /// It cannot be told.
    fn machine_boot(&self) -> io::Result<String>;

    /// Takes from everybody what can be taken of the right to change a file: mode 0444, and the immutable
    /// attribute where privileges and file system allow it.
    ///
    /// # Errors
    /// The mode cannot be set. Without the attribute it still succeeds.
    fn protect(&self, path: &Path) -> io::Result<()>;
}

/// Bytes that are copied at a time.
const COPY_CHUNK: usize = 256 << 10;

/// The operating system's file systems.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

#[derive(Debug)]
struct RealFile(File);

impl DiskFile for RealFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()?;
        match self.0.metadata()?.nlink() {
            0 => Err(io::Error::new(io::ErrorKind::NotFound, "the file was deleted")),
            _ => Ok(()),
        }
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.0.set_len(len)?;
        self.0.seek(SeekFrom::Start(len)).map(drop)
    }

    fn overwrite(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, 0)
    }

    fn read_back(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(self.0.metadata()?.len()).map_err(io::Error::other)?];
        self.0.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }
}

/// A file under `flock(2)`, which the kernel lets go of when the process ends, however it ends.
#[derive(Debug)]
struct FileLock(#[expect(dead_code, reason = "held, never read")] File);

impl Lock for FileLock {}

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        // Not `append(true)`: with O_APPEND an overwrite in place would append.
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o640).open(path)?;
        Ok(Box::new(RealFile(file)))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn make_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(File::open(path)?))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.file_name())).collect()
    }

    fn size(&self, path: &Path) -> io::Result<u64> {
        Ok(fs::metadata(path)?.len())
    }

    fn free(&self, path: &Path) -> io::Result<u64> {
        let of = rustix::fs::statvfs(path)?;
        Ok(of.f_bavail.saturating_mul(of.f_frsize))
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        let mut file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o640).open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        // For a person who looks: who holds it.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Some(Box::new(FileLock(file))))
    }

    fn machine_boot(&self) -> io::Result<String> {
        Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim_end().to_owned())
    }

    fn protect(&self, path: &Path) -> io::Result<()> {
        let file = File::open(path)?;
        let flags = ioctl_getflags(&file).ok();
        if flags.is_some_and(|flags| flags.contains(IFlags::IMMUTABLE)) {
            return Ok(());
        }
        file.set_permissions(fs::Permissions::from_mode(0o444))?;
        // Only root may, and not on every file system; readers say in any case that the store is not write-once.
        if let Some(flags) = flags {
            let _ = ioctl_setflags(&file, flags | IFlags::IMMUTABLE);
        }
        Ok(())
    }
}

/// Writes a new file so that it is there whole, durably, or not at all; an existing `path` is never replaced. It is
/// first written as `temporary`, on the same file system; what a crash left there is overwritten.
///
/// # Errors
/// `AlreadyExists` where `path` is there; else what the file system says.
pub fn put_new(disk: &dyn Disk, temporary: &Path, path: &Path, content: &mut dyn Read) -> io::Result<()> {
    let (_, directory) = beside(path)?;
    write_synced(disk, temporary, content)?;
    let linked = disk.link(temporary, path);
    let removed = disk.remove(temporary);
    linked?;
    removed?;
    disk.sync_dir(directory)
}

/// Writes a file so that after a crash it holds, whole, what it held before or `bytes`; the file can be written on.
///
/// # Errors
/// What the file system says.
pub fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<Box<dyn DiskFile>> {
    let (temporary, directory) = beside(path)?;
    let file = write_synced(disk, &temporary, &mut &bytes[..])?;
    disk.rename(&temporary, path)?;
    disk.sync_dir(directory)?;
    Ok(file)
}

/// Makes a directory and those above it; each name is durable when this returns.
///
/// # Errors
/// What the file system says.
pub fn create_dir(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    let Some(above) = path.parent() else { return Ok(()) };
    let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
    let is_new = match disk.list(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // Those above first, also where they are there: nothing stands in a directory whose own name may go.
            if above != Path::new(".") {
                create_dir(disk, above)?;
            }
            match disk.make_dir(path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                made => made.is_ok(),
            }
        }
        listed => listed.map(|_| false)?,
    };
    // Also of one that is there: whoever made it may have died, or failed, before its name was durable.
    match disk.sync_dir(above) {
        // Where we may not look above, it is not ours.
        Err(error) if !is_new && error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        synced => synced,
    }
}

/// Makes the directories of `path` that lie below `base`; each name is durable when this returns. `base` itself is not
/// made: where it is not there, that is an error.
///
/// # Errors
/// What the file system says.
pub fn create_dir_below(disk: &dyn Disk, base: &Path, path: &Path) -> io::Result<()> {
    let mut above = base.to_owned();
    for name in path.strip_prefix(base).map_err(io::Error::other)? {
        let made = above.join(name);
        match disk.make_dir(&made) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => disk.sync_dir(&above)?,
        }
        above = made;
    }
    Ok(())
}

/// All of a file.
///
/// # Errors
/// What the file system says.
pub fn read(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    disk.open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn write_synced(disk: &dyn Disk, path: &Path, content: &mut dyn Read) -> io::Result<Box<dyn DiskFile>> {
    // Left behind by a crash.
    match disk.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = disk.create(path)?;
    let mut chunk = vec![0; COPY_CHUNK];
    loop {
        match content.read(&mut chunk) {
            Ok(0) => {
                file.sync()?;
                return Ok(file);
            }
            Ok(len) => file.append(&chunk[..len])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Where a file is written before it gets its name: in the same directory, under a name that begins with a dot.
fn beside(path: &Path) -> io::Result<(PathBuf, &Path)> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a file must have a name and a directory"));
    };
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(".tmp");
    Ok((directory.join(temporary), directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_is_put_once_and_never_replaced() {
        let dir = tempfile::tempdir().expect("a directory");
        let (temporary, path) = (dir.path().join("incoming"), dir.path().join("object"));
        put_new(&RealDisk, &temporary, &path, &mut &b"first"[..]).expect("put");
        let again = put_new(&RealDisk, &temporary, &path, &mut &b"second"[..]).expect_err("exists");
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).expect("read"), b"first");
        assert_eq!(RealDisk.list(dir.path()).expect("list"), ["object"], "no temporary is left");
    }

    #[test]
    fn a_directory_is_made_with_those_above_it_and_again_without_complaint() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a/b/c");
        create_dir(&RealDisk, &path).expect("made");
        create_dir(&RealDisk, &path).expect("there");
        assert!(path.is_dir());
        fs::write(dir.path().join("file"), b"").expect("write");
        create_dir(&RealDisk, &dir.path().join("file/d")).expect_err("a file is no directory");
    }

    #[test]
    fn a_replaced_file_holds_the_new_bytes_also_where_a_crash_left_a_temporary() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("state");
        fs::write(dir.path().join(".state.tmp"), b"torn").expect("write");
        replace(&RealDisk, &path, b"one").expect("replace");
        replace(&RealDisk, &path, b"two").expect("replace");
        assert_eq!(fs::read(&path).expect("read"), b"two");
    }

    #[test]
    fn what_a_failed_append_left_is_cut_off_and_appends_go_on_from_there() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut file = RealDisk.create(&dir.path().join("wal")).expect("made");
        file.append(b"whole").expect("appended");
        file.append(b"to").expect("appended");
        file.truncate(5).expect("cut");
        file.append(b" again").expect("appended");
        file.overwrite(b"W").expect("overwritten");
        assert_eq!(file.read_back().expect("read"), b"Whole again");
    }

    #[test]
    fn a_file_without_a_name_is_not_durable_but_can_be_read_back() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("wal");
        let mut file = RealDisk.create(&path).expect("made");
        file.append(b"one").expect("appended");
        file.sync().expect("durable");
        fs::remove_file(&path).expect("removed");
        assert_eq!(file.sync().expect_err("gone").kind(), io::ErrorKind::NotFound);
        assert_eq!(file.read_back().expect("read"), b"one");
    }

    #[test]
    fn a_lock_is_held_once_and_free_again_when_it_is_dropped() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("lock");
        let held = RealDisk.lock(&path).expect("asked").expect("free");
        assert!(RealDisk.lock(&path).expect("asked").is_none());
        drop(held);
        assert!(RealDisk.lock(&path).expect("asked").is_some());
    }

    #[test]
    fn directories_are_made_below_a_base_and_never_the_base_itself() {
        let dir = tempfile::tempdir().expect("a directory");
        let base = dir.path().join("log");
        let path = base.join("segments/date=2026-11-24");
        let error = create_dir_below(&RealDisk, &base, &path).expect_err("no base");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(RealDisk.list(dir.path()).expect("list").is_empty());
        fs::create_dir(&base).expect("made");
        create_dir_below(&RealDisk, &base, &path).expect("made");
        create_dir_below(&RealDisk, &base, &path).expect("there");
        assert!(path.is_dir());
    }
}
