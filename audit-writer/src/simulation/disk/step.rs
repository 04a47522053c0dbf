//! The names of durable steps: an operation on a kind of file, in a part of the program. The list of mutations is made
//! of those that a run shows.

use std::fmt;
use std::path::Path;

/// What is done to a file, a name or a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) enum Operation {
    Create,
    Append,
    Truncate,
    Overwrite,
    Sync,
    Link,
    Rename,
    Remove,
    MakeDir,
    SyncDir,
    Protect,
    Lock,
}

/// Who does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) enum Part {
    Recovery,
    Request,
    Writer,
    Shipper,
}

/// A kind of file or directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct Class(&'static str);

impl Class {
    pub(in super::super) const fn name(self) -> &'static str {
        self.0
    }

    /// Whether it matters that a new name of such a file outlives a power failure. What is written beside, and what is
    /// made again, is looked for by nobody.
    pub(in super::super) fn keeps_its_name(self) -> bool {
        !self.0.ends_with("temporary") && !matches!(self.0, "building" | "lock")
    }

    /// The kind of what lies at `path`, by the names of `docs/format.md`.
    pub(in super::super) fn of(path: &Path) -> Class {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let above =
            path.parent().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or_default();
        let is_digits = |text: &str| text.len() == 10 && text.bytes().all(|b| b.is_ascii_digit());
        Class(match (above, name) {
            (_, "") => "/",
            (_, "gateway") => "gateway/",
            (_, "mount") => "mount/",
            (_, "spool") => "spool/",
            (_, "store") => "store/",
            (_, "a.test") => "store/…",
            (_, "1") => "store/log/",
            (_, "segments") => "store/log/segments/",
            (_, "checkpoints") => "store/log/checkpoints/",
            (_, "configs") => "store/log/configs/",
            ("segments", _) => "store/log/segments/date=…/",
            ("checkpoints", _) => "store checkpoint",
            ("configs", _) => "store config",
            ("1", "log") => "store marker",
            ("store", name) if name.contains("-checkpoints-") => "store checkpoint temporary",
            ("store", name) if name.contains("-segments-") => "store segment temporary",
            ("store", name) if name.contains("-configs-") => "store config temporary",
            ("store", name) if name.starts_with(".incoming") => "store marker temporary",
            ("spool", "lock") => "lock",
            ("spool", "state") => "state",
            ("spool", "watermark") => "watermark",
            ("spool", ".state.tmp") => "state temporary",
            ("spool", ".watermark.tmp") => "watermark temporary",
            ("spool", name) if name.starts_with("wal-") => "wal",
            ("spool", name) if name.starts_with(".wal-") => "wal temporary",
            ("spool", name) if name.starts_with("config-") => "config",
            ("spool", name) if name.starts_with(".config-") => "config temporary",
            ("spool", name) if name.ends_with(".building") => "building",
            ("spool", name) if name.ends_with(".ndjson.zst.tmp") => "sealed temporary",
            ("spool", name) if name.ends_with(".ndjson.zst") => "sealed",
            (above, _) if above.starts_with("date=") => "store segment",
            (_, name) if is_digits(name) => "store checkpoint",
            _ => "other",
        })
    }
}

/// One durable step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct Step {
    pub(in super::super) part: Part,
    pub(in super::super) operation: Operation,
    pub(in super::super) class: Class,
    /// Of a directory's sync: the newest name that it makes durable.
    pub(in super::super) after: Option<(&'static str, Class)>,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = format!("{:?}", self.part).to_lowercase();
        write!(f, "{part}: {:?} {}", self.operation, self.class.name())?;
        match self.after {
            Some((operation, class)) => write!(f, " after {operation} {}", class.name()),
            None => Ok(()),
        }
    }
}
