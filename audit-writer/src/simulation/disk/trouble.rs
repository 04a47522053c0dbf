//! What can be wrong with a disk while it runs.

use std::io;

use rustix::io::Errno;

use super::step::Operation;

/// What happens to one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Fault {
    /// Input/output error. An append writes a part; a failed sync loses the pages.
    Io,
    /// No space left. An append writes a part.
    NoSpace,
    /// The operation is done, and its answer is an error.
    AnswerLost,
    /// The thread panics instead.
    Panic,
}

impl Fault {
    pub(super) fn error(self) -> io::Error {
        match self {
            Fault::NoSpace => Errno::NOSPC.into(),
            Fault::Io | Fault::AnswerLost | Fault::Panic => Errno::IO.into(),
        }
    }
}

/// A fault that waits for its operation.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Armed {
    pub(in super::super) fault: Fault,
    /// The operation, or any.
    pub(in super::super) on: Option<Operation>,
    /// How many of them pass before.
    pub(in super::super) skip: usize,
    /// How many of them fail.
    pub(in super::super) times: usize,
}

impl Armed {
    /// Whether it meets this operation.
    pub(super) fn meets(&mut self, operation: Operation) -> bool {
        if self.times == 0 || self.on.is_some_and(|on| on != operation) {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        self.times -= 1;
        true
    }
}

/// A state of one directory tree that lasts until it is mended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Condition {
    Healthy,
    /// Nothing can be changed.
    ReadOnly,
    /// Nothing can grow; what is there can be removed, renamed, and overwritten.
    Full,
    /// Every operation fails.
    Broken,
    /// Nothing is there: the file system is not mounted.
    Away,
}

impl Condition {
    /// The error that an operation meets.
    pub(super) fn refuses(self, operation: Operation) -> Option<io::Error> {
        use Operation::{Append, Create, Link, MakeDir};
        match self {
            Condition::Healthy => None,
            Condition::ReadOnly if operation == Operation::Sync || operation == Operation::SyncDir => None,
            Condition::ReadOnly => Some(Errno::ROFS.into()),
            Condition::Full if matches!(operation, Append | Create | Link | MakeDir) => {
                Some(Errno::NOSPC.into())
            }
            Condition::Full => None,
            Condition::Broken => Some(Errno::IO.into()),
            Condition::Away => Some(Errno::NOENT.into()),
        }
    }

    /// The error that a reader meets.
    pub(super) fn refuses_reading(self) -> Option<io::Error> {
        match self {
            Condition::Healthy | Condition::ReadOnly | Condition::Full => None,
            Condition::Broken => Some(Errno::IO.into()),
            Condition::Away => Some(Errno::NOENT.into()),
        }
    }
}
