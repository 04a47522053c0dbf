//! For tests only.

use std::fs::File;
use std::path::Path;

use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

/// Takes the immutable attribute from everything below `path`, so that it can be removed.
pub(crate) fn make_mutable(path: &Path) {
    if let Ok(file) = File::open(path)
        && let Ok(flags) = ioctl_getflags(&file)
        && flags.contains(IFlags::IMMUTABLE)
    {
        let _ = ioctl_setflags(&file, flags & !IFlags::IMMUTABLE);
    }
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        make_mutable(&entry.path());
    }
}
