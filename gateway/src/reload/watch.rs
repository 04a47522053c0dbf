//! Notices of the file system: that something happened to a file, or to a link on the way to it.
//!
//! Directories are watched, not files: a file that is replaced by another (`mv new.pem api.pem`, or Kubernetes, which
//! swaps a link to a directory) is another file afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};

use super::{Wake, Waker};

/// The most links on the way to a file, as the kernel has it.
const MAX_LINKS: usize = 40;

/// Device, number and birth: what tells a directory from another that has taken its place.
type Inode = (u64, u64, Option<SystemTime>);

/// Wakes when something happens to one of the files that it follows.
pub(super) struct Watch {
    /// None where the system has none to give.
    watcher: Option<RecommendedWatcher>,
    /// What is watched, and which directory it was then.
    watched: BTreeMap<PathBuf, Inode>,
    unwatched: BTreeSet<PathBuf>,
    /// The files, and the links on the way to them.
    paths: Arc<ArcSwap<BTreeSet<PathBuf>>>,
}

impl Watch {
    pub(super) fn new(waker: Waker) -> Watch {
        let paths = Arc::new(ArcSwap::from_pointee(BTreeSet::new()));
        let followed = paths.clone();
        let notice = move |event: notify::Result<Event>| {
            if event.map_or(true, |event| concerns(&event, &followed.load())) {
                waker.wake(Wake::Changed);
            }
        };
        let watcher = notify::recommended_watcher(notice)
            .inspect_err(|error| {
                tracing::warn!(%error, "files cannot be watched: they are looked at once a minute");
            })
            .ok();
        Watch { watcher, watched: BTreeMap::new(), unwatched: BTreeSet::new(), paths }
    }

    /// Follows these files from now on. Links may lead elsewhere than they did, and directories may have been made
    /// anew: to be called again after every change.
    pub(super) fn follow(&mut self, files: impl Iterator<Item = PathBuf>) {
        let Some(watcher) = &mut self.watcher else { return };
        let mut paths = BTreeSet::new();
        for file in files {
            on_the_way(&file, MAX_LINKS, &mut paths);
        }
        let directories: BTreeSet<PathBuf> =
            paths.iter().filter_map(|path| path.parent().map(Path::to_owned)).collect();
        self.paths.store(Arc::new(paths));
        self.watched.retain(|path, inode| {
            let same = directories.contains(path) && inode_of(path) == Some(*inode);
            if !same {
                // It may have been deleted, and its watch with it.
                let _ = watcher.unwatch(path);
            }
            same
        });
        for directory in directories {
            if self.watched.contains_key(&directory) {
                continue;
            }
            let inode = inode_of(&directory);
            match watcher.watch(&directory, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.unwatched.remove(&directory);
                    self.watched.extend(inode.map(|inode| (directory, inode)));
                }
                Err(error) => {
                    if self.unwatched.insert(directory.clone()) {
                        let directory = directory.display();
                        tracing::warn!(%directory, %error, "a directory cannot be watched: its files are looked at once a minute");
                    }
                }
            }
        }
    }
}

fn inode_of(directory: &Path) -> Option<Inode> {
    let metadata = std::fs::metadata(directory).ok()?;
    // Numbers are given again.
    Some((metadata.dev(), metadata.ino(), metadata.created().ok()))
}

/// Whether an event may have changed what one of the paths holds. That a file was read is none.
fn concerns(event: &Event, paths: &BTreeSet<PathBuf>) -> bool {
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => {}
        EventKind::Access(_) => return false,
        _ => {}
    }
    event.need_rescan() || event.paths.iter().any(|path| paths.contains(path))
}

/// The file, and each link that has to be followed to it.
fn on_the_way(file: &Path, links: usize, found: &mut BTreeSet<PathBuf>) {
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let mut components = file.components();
    let mut path = PathBuf::new();
    while let Some(component) = components.next() {
        path.push(component);
        if let Ok(target) = std::fs::read_link(&path) {
            let parent = path.parent().unwrap_or(Path::new("/"));
            let target = parent.join(target).join(components.as_path());
            found.insert(path);
            if let Some(links) = links.checked_sub(1) {
                on_the_way(&target, links, found);
            }
            return;
        }
    }
    found.insert(path);
}
