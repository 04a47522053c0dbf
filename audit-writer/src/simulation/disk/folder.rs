//! One directory's names: those that a reader sees, those that survive, and the changes in between.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use super::super::chance::Chance;
use super::content::Survival;
use super::step::Class;

/// The number of a file or directory.
pub(super) type Id = usize;

/// A change of names that no sync of the directory has made durable yet.
#[derive(Clone, Debug)]
enum Change {
    Set(OsString, Id),
    Remove(OsString),
    Rename(OsString, OsString, Id),
}

/// The names of one directory.
#[derive(Clone, Debug, Default)]
pub(super) struct Folder {
    seen: BTreeMap<OsString, Id>,
    durable: BTreeMap<OsString, Id>,
    unsynced: Vec<Change>,
    /// What the last unsynced name was given to, for the list of steps.
    newest: Option<(&'static str, Class)>,
}

impl Folder {
    /// The names that a reader sees.
    pub(super) fn seen(&self) -> &BTreeMap<OsString, Id> {
        &self.seen
    }

    pub(super) fn get(&self, name: &OsStr) -> Option<Id> {
        self.seen.get(name).copied()
    }

    pub(super) fn set(&mut self, name: &OsStr, id: Id, by: (&'static str, Class)) {
        self.change(Change::Set(name.to_owned(), id));
        if by.1.keeps_its_name() {
            self.newest = Some(by);
        }
    }

    pub(super) fn remove(&mut self, name: &OsStr, class: Class) {
        self.change(Change::Remove(name.to_owned()));
        // Of the removals those that must last: such a name may come back as one of an object that nobody can change.
        if class.name().starts_with("store") {
            self.newest = Some(("remove", class));
        }
    }

    pub(super) fn rename(&mut self, from: &OsStr, to: &OsStr, id: Id, by: (&'static str, Class)) {
        self.change(Change::Rename(from.to_owned(), to.to_owned(), id));
        self.newest = Some(by);
    }

    /// What the last name was given to that is not durable yet.
    pub(super) fn newest(&self) -> Option<(&'static str, Class)> {
        self.newest
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.seen, &change);
        self.unsynced.push(change);
    }

    pub(super) fn sync(&mut self) {
        for change in std::mem::take(&mut self.unsynced) {
            apply(&mut self.durable, &change);
        }
        self.newest = None;
    }

    /// Forgets all names, for good.
    pub(super) fn clear(&mut self) {
        *self = Folder::default();
    }

    /// Power goes. File systems that keep one journal lose the end of the changes; others, which log a file when it
    /// is synced, may keep a later change without an earlier one. A rename is there or not, never half.
    pub(super) fn lose_power(&mut self, survival: Survival, chance: &mut Chance) {
        let changes = std::mem::take(&mut self.unsynced);
        let kept = match survival {
            Survival::Nothing => 0,
            Survival::Everything | Survival::Sectors => changes.len(),
            Survival::Prefix => chance.below(changes.len() + 1),
        };
        for change in &changes[..kept] {
            if survival != Survival::Sectors || chance.one_in(2) {
                apply(&mut self.durable, change);
            }
        }
        self.seen = self.durable.clone();
        self.newest = None;
    }
}

fn apply(to: &mut BTreeMap<OsString, Id>, change: &Change) {
    match change {
        Change::Set(name, id) => {
            to.insert(name.clone(), *id);
        }
        Change::Remove(name) => {
            to.remove(name);
        }
        Change::Rename(from, name, id) => {
            to.remove(from);
            to.insert(name.clone(), *id);
        }
    }
}
