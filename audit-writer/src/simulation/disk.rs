//! A disk in memory that can lose power.
//!
//! Every file has bytes that readers see and bytes that are durable, and so has every directory its names. A sync makes
//! what is seen durable; nothing else does, in particular not the sync of a file its name. When power goes, of what was
//! not synced any part may survive that a journaling POSIX file system could show. A process that is killed takes
//! nothing with it but its locks.
//!
//! Operations are counted, and each can be made to fail, to panic, to be the last one, or to be passed over (a
//! *mutation*: it says that it was done, and was not).

mod content;
mod folder;
mod step;
mod tests;
mod trouble;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

pub(super) use step::{Class, Operation, Part, Step};
pub(super) use trouble::{Armed, Condition, Fault};

use self::content::{Content, Survival};
use self::folder::{Folder, Id};
use super::chance::Chance;
use crate::disk::{Disk, DiskFile, Lock};

/// Where the spool lies.
pub(super) const SPOOL: &str = "/gateway/spool";
/// Where the store lies.
pub(super) const STORE: &str = "/mount/store";

/// When within its last operation a process, or the power, goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// Nothing of it happens.
    Before,
    /// An append writes a part.
    During,
    /// It happens, and nobody learns of it.
    After,
}

/// The disk. Clones are the same disk.
#[derive(Clone, Debug)]
pub(super) struct SimDisk(Arc<Mutex<State>>);

#[derive(Debug)]
enum Node {
    File { content: Content, protected: bool },
    Folder(Folder),
}

#[derive(Debug)]
struct State {
    /// By [`Id`]; the first is the root.
    nodes: Vec<Node>,
    /// Paths that the process holds locked.
    locks: Vec<PathBuf>,
    process: u64,
    machine_boot: u64,
    spool: Condition,
    store: Condition,
    armed: Vec<Armed>,
    /// How many operations are left, and when within the last the end comes.
    doom: Option<(usize, Moment)>,
    /// The process is gone: nothing that it still tries has an effect.
    dead: bool,
    part: Part,
    steps: BTreeMap<Step, u64>,
    mutation: Option<Step>,
    /// So many operations after the mutation power goes.
    strike: Option<usize>,
    /// What no program should do to a store.
    violations: Vec<String>,
    chance: Chance,
}

/// How much of an operation happens.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    Whole,
    Part,
}

impl SimDisk {
    /// An empty disk, whose chance is `seed`'s, and which passes over one kind of step.
    pub(super) fn new(seed: u64, mutation: Option<Step>) -> SimDisk {
        SimDisk(Arc::new(Mutex::new(State {
            nodes: vec![Node::Folder(Folder::default())],
            locks: Vec::new(),
            process: 0,
            machine_boot: 0,
            spool: Condition::Healthy,
            store: Condition::Healthy,
            armed: Vec::new(),
            doom: None,
            dead: false,
            part: Part::Recovery,
            steps: BTreeMap::new(),
            mutation,
            // One run in two is left to itself.
            strike: (seed % 2 == 1).then_some((seed / 2 % 8) as usize),
            violations: Vec::new(),
            chance: Chance::new(seed),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says which part of the program the next operations are of.
    pub(super) fn set_part(&self, part: Part) {
        self.state().part = part;
    }

    /// A fault for operations to come.
    pub(super) fn arm(&self, armed: Armed) {
        self.state().armed.push(armed);
    }

    /// Sets what is wrong with the spool's file system.
    pub(super) fn set_spool(&self, condition: Condition) {
        self.state().spool = condition;
    }

    /// Sets what is wrong with the store's file system.
    pub(super) fn set_store(&self, condition: Condition) {
        self.state().store = condition;
    }

    /// Nothing is wrong any more.
    pub(super) fn heal(&self) {
        let mut state = self.state();
        (state.spool, state.store) = (Condition::Healthy, Condition::Healthy);
        state.armed.clear();
    }

    /// Whether anything is wrong, or about to be.
    pub(super) fn is_troubled(&self) -> bool {
        let state = self.state();
        let is_armed = state.armed.iter().any(|armed| armed.times > 0);
        is_armed || [state.spool, state.store].iter().any(|condition| *condition != Condition::Healthy)
    }

    /// A process that is doomed is so no longer.
    pub(super) fn pardon(&self) {
        let mut state = self.state();
        (state.doom, state.strike) = (None, None);
    }

    /// The process ends at the `operations`th operation from now.
    pub(super) fn doom(&self, operations: usize, moment: Moment) {
        self.state().doom = Some((operations, moment));
    }

    /// Whether the process has ended.
    pub(super) fn is_dead(&self) -> bool {
        self.state().dead
    }

    /// The process is killed: what it wrote is there, what it locked is free.
    pub(super) fn kill(&self) {
        let state = &mut *self.state();
        state.end_process();
        for node in &mut state.nodes {
            if let Node::File { content, .. } = node {
                content.evict(&mut state.chance);
            }
        }
    }

    /// Power goes: what was not synced is there, in part there, or not. What was wrong with the disk is not any more.
    pub(super) fn lose_power(&self) {
        self.heal();
        let state = &mut *self.state();
        state.end_process();
        state.machine_boot += 1;
        // The extremes show most: nothing unsynced survives, or all of it. Between them each file fares in its own way.
        let of_all = match state.chance.below(4) {
            0 => Some(Survival::Nothing),
            1 => Some(Survival::Everything),
            _ => None,
        };
        for node in &mut state.nodes {
            let survival = of_all.unwrap_or_else(|| Survival::pick(&mut state.chance));
            match node {
                Node::File { content, .. } => content.lose_power(survival, &mut state.chance),
                Node::Folder(folder) => folder.lose_power(survival, &mut state.chance),
            }
        }
    }

    /// Somebody removes all that is in a directory, for good.
    pub(super) fn empty(&self, path: &Path) {
        let mut state = self.state();
        if let Ok(id) = state.find(path) {
            state.clear(id);
        }
    }

    /// The steps that were seen, and how often.
    pub(super) fn steps(&self) -> BTreeMap<Step, u64> {
        self.state().steps.clone()
    }

    /// What was done to protected objects.
    pub(super) fn violations(&self) -> Vec<String> {
        self.state().violations.clone()
    }

    /// All files below a directory as a reader sees them, whatever is wrong with the disk; and whether each is protected.
    pub(super) fn files(&self, below: &Path) -> BTreeMap<PathBuf, (Vec<u8>, bool)> {
        let state = self.state();
        let mut files = BTreeMap::new();
        if let Ok(id) = state.find(below) {
            state.collect(below, id, &mut files);
        }
        files
    }

    /// Does an operation, as far as the disk lets it. `skipped` is what a mutation gives in its place.
    fn act<T>(
        &self,
        operation: Operation,
        path: &Path,
        act: impl FnOnce(&mut State, Extent) -> io::Result<T>,
        skipped: impl FnOnce(&mut State) -> T,
    ) -> io::Result<T> {
        let mut state = self.state();
        match state.judge(operation, path) {
            Verdict::Go => act(&mut state, Extent::Whole),
            Verdict::Skip => Ok(skipped(&mut state)),
            Verdict::Refuse(error) => Err(error),
            Verdict::Fail(Fault::Panic) => {
                drop(state);
                // Not `panic!`: its message would fill the test's output.
                std::panic::resume_unwind(Box::new("injected by the simulation"));
            }
            Verdict::Fail(fault) => {
                let extent = if fault == Fault::AnswerLost { Extent::Whole } else { Extent::Part };
                act(&mut state, extent)?;
                Err(fault.error())
            }
            Verdict::Die(moment) => {
                let _ = match moment {
                    Moment::Before => Ok(()),
                    Moment::During => act(&mut state, Extent::Part).map(drop),
                    Moment::After => act(&mut state, Extent::Whole).map(drop),
                };
                state.dead = true;
                Err(gone())
            }
        }
    }

    fn read_at_path<T>(&self, path: &Path, read: impl FnOnce(&State, Id) -> io::Result<T>) -> io::Result<T> {
        let state = self.state();
        if state.dead {
            return Err(gone());
        }
        match state.condition(path).refuses_reading() {
            Some(error) => Err(error),
            None => read(&state, state.find(path)?),
        }
    }
}

/// What happens to an operation.
enum Verdict {
    Go,
    Skip,
    Refuse(io::Error),
    Fail(Fault),
    Die(Moment),
}

/// What a process that was killed would learn, if it still could.
fn gone() -> io::Error {
    io::Error::other("the process is gone")
}

impl State {
    fn condition(&self, path: &Path) -> Condition {
        if path.starts_with(STORE) { self.store } else { self.spool }
    }

    fn judge(&mut self, operation: Operation, path: &Path) -> Verdict {
        if self.dead {
            return Verdict::Refuse(gone());
        }
        if let Some((left, moment)) = &mut self.doom {
            match left.checked_sub(1) {
                Some(less) => *left = less,
                None => return Verdict::Die(*moment),
            }
        }
        if let Some(error) = self.condition(path).refuses(operation) {
            return Verdict::Refuse(error);
        }
        if let Some(armed) = self.armed.iter_mut().find_map(|armed| armed.meets(operation).then_some(*armed))
        {
            // What panics in a request's own thread is not the writer's.
            let is_elsewhere = armed.fault == Fault::Panic && self.part == Part::Request;
            return Verdict::Fail(if is_elsewhere { Fault::Io } else { armed.fault });
        }
        let after = match operation {
            Operation::SyncDir => self.find(path).ok().and_then(|id| self.folder(id).ok()?.newest()),
            _ => None,
        };
        if operation == Operation::SyncDir && after.is_none() {
            return Verdict::Go;
        }
        let step = Step { part: self.part, operation, class: Class::of(path), after };
        *self.steps.entry(step).or_default() += 1;
        if self.mutation != Some(step) {
            return Verdict::Go;
        }
        if let Some(operations) = self.strike.filter(|_| self.doom.is_none()) {
            self.doom = Some((operations, Moment::Before));
        }
        Verdict::Skip
    }

    fn end_process(&mut self) {
        self.process += 1;
        self.locks.clear();
        self.doom = None;
        self.dead = false;
    }

    fn folder(&self, id: Id) -> io::Result<&Folder> {
        match &self.nodes[id] {
            Node::Folder(folder) => Ok(folder),
            Node::File { .. } => Err(Errno::NOTDIR.into()),
        }
    }

    fn folder_mut(&mut self, id: Id) -> io::Result<&mut Folder> {
        match &mut self.nodes[id] {
            Node::Folder(folder) => Ok(folder),
            Node::File { .. } => Err(Errno::NOTDIR.into()),
        }
    }

    fn content(&mut self, id: Id) -> io::Result<&mut Content> {
        match &mut self.nodes[id] {
            Node::File { content, .. } => Ok(content),
            Node::Folder(_) => Err(Errno::ISDIR.into()),
        }
    }

    fn find(&self, path: &Path) -> io::Result<Id> {
        let mut id = 0;
        for name in path.iter().skip(1) {
            id = self.folder(id)?.get(name).ok_or(Errno::NOENT)?;
        }
        Ok(id)
    }

    /// The directory above a path, and the name in it.
    fn above(&self, path: &Path) -> io::Result<(Id, OsString)> {
        let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Errno::INVAL.into());
        };
        Ok((self.find(above)?, name.to_owned()))
    }

    fn make(&mut self, node: Node) -> Id {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn empty_file(&mut self) -> Id {
        self.make(Node::File { content: Content::default(), protected: false })
    }

    fn add(&mut self, path: &Path, by: &'static str, node: impl FnOnce(&mut State) -> Id) -> io::Result<Id> {
        let (above, name) = self.above(path)?;
        if self.folder(above)?.get(&name).is_some() {
            return Err(Errno::EXIST.into());
        }
        let id = node(self);
        self.folder_mut(above)?.set(&name, id, (by, Class::of(path)));
        Ok(id)
    }

    fn has_a_name(&self, id: Id) -> bool {
        self.nodes.iter().any(|node| match node {
            Node::Folder(folder) => folder.seen().values().any(|named| *named == id),
            Node::File { .. } => false,
        })
    }

    fn clear(&mut self, id: Id) {
        let Ok(folder) = self.folder_mut(id) else { return };
        let below: Vec<Id> = folder.seen().values().copied().collect();
        folder.clear();
        below.into_iter().for_each(|id| self.clear(id));
    }

    fn collect(&self, path: &Path, id: Id, files: &mut BTreeMap<PathBuf, (Vec<u8>, bool)>) {
        match &self.nodes[id] {
            Node::File { content, protected } => {
                files.insert(path.to_owned(), (content.seen().to_vec(), *protected));
            }
            Node::Folder(folder) => {
                folder.seen().iter().for_each(|(name, id)| self.collect(&path.join(name), *id, files));
            }
        }
    }

    /// Notes that something was done to a file that nobody should change.
    fn guard(&mut self, id: Id, doing: &str, path: &Path) {
        if matches!(self.nodes[id], Node::File { protected: true, .. }) {
            self.violations.push(format!("{doing} the protected {}", path.display()));
        }
    }
}

/// An open file.
#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    path: PathBuf,
    id: Id,
    process: u64,
}

impl SimFile {
    fn act(
        &self,
        operation: Operation,
        act: impl FnOnce(&mut Content, &mut Chance, Extent),
    ) -> io::Result<()> {
        let done = |state: &mut State, extent: Extent| {
            if state.process != self.process {
                return Err(gone());
            }
            if operation != Operation::Sync {
                state.guard(self.id, "changed", &self.path);
            }
            let mut chance = Chance::new(state.chance.next());
            act(state.content(self.id)?, &mut chance, extent);
            Ok(())
        };
        self.disk.act(operation, &self.path, done, |_| ())
    }
}

impl DiskFile for SimFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.act(Operation::Append, |content, chance, extent| {
            let written = match extent {
                Extent::Whole => bytes.len(),
                Extent::Part => chance.below(bytes.len() + 1),
            };
            content.append(&bytes[..written]);
        })
    }

    fn sync(&mut self) -> io::Result<()> {
        let has_a_name = self.disk.state().has_a_name(self.id);
        self.act(Operation::Sync, |content, chance, extent| match extent {
            Extent::Whole => content.sync(),
            Extent::Part => content.fail_sync(chance),
        })?;
        if has_a_name { Ok(()) } else { Err(Errno::NOENT.into()) }
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.act(Operation::Truncate, |content, _, extent| {
            if extent == Extent::Whole {
                content.truncate(length as usize);
            }
        })
    }

    fn overwrite(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.act(Operation::Overwrite, |content, _, extent| {
            // So short a write is done or not.
            if extent == Extent::Whole {
                content.write(0, bytes);
            }
        })
    }

    fn read_back(&mut self) -> io::Result<Vec<u8>> {
        let mut state = self.disk.state();
        if state.dead {
            return Err(gone());
        }
        match state.condition(&self.path).refuses_reading() {
            Some(error) => Err(error),
            None => Ok(state.content(self.id)?.seen().to_vec()),
        }
    }
}

/// A lock that the process holds.
#[derive(Debug)]
struct SimLock {
    disk: SimDisk,
    path: PathBuf,
    process: u64,
}

impl Lock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.process == self.process {
            state.locks.retain(|path| *path != self.path);
        }
    }
}

impl Disk for SimDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let add = |state: &mut State, extent: Extent| match extent {
            Extent::Whole => state.add(path, "create", State::empty_file),
            Extent::Part => Ok(0),
        };
        let id = self.act(Operation::Create, path, add, State::empty_file)?;
        let process = self.state().process;
        Ok(Box::new(SimFile { disk: self.clone(), path: path.to_owned(), id, process }))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let link = |state: &mut State, extent: Extent| {
            if extent == Extent::Whole {
                let id = state.find(from)?;
                state.add(to, "link", |_| id)?;
            }
            Ok(())
        };
        self.act(Operation::Link, to, link, |_| ())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let rename = |state: &mut State, extent: Extent| {
            if extent == Extent::Part {
                return Ok(());
            }
            let ((above, name), (above_to, name_to)) = (state.above(from)?, state.above(to)?);
            assert_eq!(above, above_to, "files are renamed within one directory only");
            let id = state.folder(above)?.get(&name).ok_or(Errno::NOENT)?;
            if let Some(replaced) = state.folder(above)?.get(&name_to) {
                state.guard(replaced, "replaced", to);
            }
            state.folder_mut(above)?.rename(&name, &name_to, id, ("rename", Class::of(to)));
            Ok(())
        };
        self.act(Operation::Rename, to, rename, |_| ())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        // To look whether something is there is no step.
        self.read_at_path(path, |_, _| Ok(()))?;
        let remove = |state: &mut State, extent: Extent| {
            if extent == Extent::Whole {
                let (above, name) = state.above(path)?;
                let id = state.find(path)?;
                if matches!(state.nodes[id], Node::File { protected: true, .. }) {
                    // So it is with the immutable attribute.
                    return Err(Errno::PERM.into());
                }
                state.folder_mut(above)?.remove(&name, Class::of(path));
            }
            Ok(())
        };
        self.act(Operation::Remove, path, remove, |_| ())
    }

    fn make_dir(&self, path: &Path) -> io::Result<()> {
        let make = |state: &mut State, extent: Extent| {
            if extent == Extent::Whole {
                state.add(path, "make", |state| state.make(Node::Folder(Folder::default())))?;
            }
            Ok(())
        };
        // One that is there is none to make: the answer is no step.
        if self.read_at_path(path, |_, _| Ok(())).is_ok() {
            return Err(Errno::EXIST.into());
        }
        self.act(Operation::MakeDir, path, make, |_| ())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let sync = |state: &mut State, extent: Extent| {
            let id = state.find(path)?;
            if extent == Extent::Whole {
                state.folder_mut(id)?.sync();
            }
            Ok(())
        };
        self.act(Operation::SyncDir, path, sync, |_| ())
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        let bytes = self.read_at_path(path, |state, id| match &state.nodes[id] {
            Node::File { content, .. } => Ok(content.seen().to_vec()),
            Node::Folder(_) => Err(Errno::ISDIR.into()),
        })?;
        Ok(Box::new(Cursor::new(bytes)))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        self.read_at_path(path, |state, id| Ok(state.folder(id)?.seen().keys().cloned().collect()))
    }

    fn size(&self, path: &Path) -> io::Result<u64> {
        self.read_at_path(path, |state, id| match &state.nodes[id] {
            Node::File { content, .. } => Ok(content.seen().len() as u64),
            Node::Folder(_) => Ok(0),
        })
    }

    fn free(&self, path: &Path) -> io::Result<u64> {
        self.read_at_path(path, |state, _| match state.condition(path) {
            Condition::Full => Ok(0),
            _ => Ok(1 << 40),
        })
    }

    fn protect(&self, path: &Path) -> io::Result<()> {
        let protect = |state: &mut State, extent: Extent| {
            let id = state.find(path)?;
            if let (Extent::Whole, Node::File { protected, .. }) = (extent, &mut state.nodes[id]) {
                *protected = true;
            }
            Ok(())
        };
        self.act(Operation::Protect, path, protect, |_| ())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        let lock = |state: &mut State, extent: Extent| {
            if extent == Extent::Part {
                return Ok(false);
            }
            if state.find(path).is_err() {
                state.add(path, "create", State::empty_file)?;
            }
            let held = state.locks.iter().any(|locked| locked == path);
            if !held {
                state.locks.push(path.to_owned());
            }
            Ok(!held)
        };
        let got = self.act(Operation::Lock, path, lock, |_| true)?;
        let process = self.state().process;
        Ok(got.then(|| {
            Box::new(SimLock { disk: self.clone(), path: path.to_owned(), process }) as Box<dyn Lock>
        }))
    }

    fn machine_boot(&self) -> io::Result<String> {
        Ok(format!("00000000-0000-4000-8000-{:012}", self.state().machine_boot))
    }
}

/// The name that `path` ends in.
pub(super) fn name_of(path: &Path) -> &str {
    path.file_name().and_then(OsStr::to_str).unwrap_or_default()
}
