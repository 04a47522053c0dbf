//! Folders that come and go with a demo or a benchmark.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

/// A folder that is removed with everything in it when it is dropped.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// An empty folder at `path`; what an earlier run left there is removed first.
    ///
    /// # Errors
    /// It cannot be emptied or made.
    pub fn fresh(path: &Path) -> io::Result<Folder> {
        remove(path)?;
        fs::create_dir_all(path)?;
        Ok(Folder(path.to_owned()))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // It is also removed before it is made anew, and by `make clean`.
        remove(&self.0).ok();
    }
}

/// Removes `path` and everything below it, also where a directory store made its files immutable.
///
/// # Errors
/// Something cannot be removed. That nothing is there is no error.
pub fn remove(path: &Path) -> io::Result<()> {
    if !path.try_exists()? {
        return Ok(());
    }
    make_mutable(path)?;
    fs::remove_dir_all(path)
}

/// Copies `from` and everything below it to `to`, as ordinary files that may be changed.
///
/// # Errors
/// Something cannot be read or written.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
            fs::set_permissions(&target, fs::Permissions::from_mode(0o644))?;
        }
    }
    Ok(())
}

/// Every file below `path`, sorted.
///
/// # Errors
/// A folder cannot be read.
pub fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.extend(files(&entry.path())?);
        } else {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

fn make_mutable(path: &Path) -> io::Result<()> {
    let kind = fs::symlink_metadata(path)?.file_type();
    if kind.is_file() || kind.is_dir() {
        let file = File::open(path)?;
        // A file system without such attributes refuses the question, and has made nothing immutable.
        if let Ok(flags) = ioctl_getflags(&file)
            && flags.intersects(IFlags::IMMUTABLE | IFlags::APPEND)
        {
            ioctl_setflags(&file, flags - (IFlags::IMMUTABLE | IFlags::APPEND))?;
        }
    }
    if kind.is_dir() {
        for entry in fs::read_dir(path)? {
            make_mutable(&entry?.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_goes_even_when_its_files_were_made_immutable() {
        let path = std::env::temp_dir().join(format!("sealgate-folder-{}", std::process::id()));
        let folder = Folder::fresh(&path).expect("a temporary folder");
        let inner = path.join("a/b");
        fs::create_dir_all(&inner).expect("a folder below");
        fs::write(inner.join("file"), "text").expect("a file");
        copy(&path.join("a"), &path.join("copy")).expect("a copy");
        assert_eq!(files(&path).expect("a list"), [path.join("a/b/file"), path.join("copy/b/file")]);
        let file = File::open(inner.join("file")).expect("it is there");
        if let Ok(flags) = ioctl_getflags(&file) {
            // Only root may; for others there is nothing to undo.
            ioctl_setflags(&file, flags | IFlags::IMMUTABLE).ok();
        }
        drop(folder);
        assert!(!path.exists());
    }
}
