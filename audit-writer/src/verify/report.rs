//! What verify says: findings, notices, and one line a log; as text and as JSON (`docs/format.md`, "What verify reports").

use std::fmt;

use serde::{Serialize, Serializer};

use crate::ids::{SegmentNo, Seq};
use crate::merkle::Hash;
use crate::time::Timestamp;

/// So many findings of one log are kept; what is more is counted. A store that was wrecked must not fill the memory.
const MAX_KEPT: usize = 1_000;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// All of them, in the order of the format.
            pub const ALL: &[$name] = &[$($name::$variant,)*];

            /// Its word.
            pub fn as_str(self) -> &'static str {
                match self {
                    $($name::$variant => $word,)*
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

words! {
    /// What is wrong with a log.
    FindingKind {
        /// Bytes are not those that were written or signed.
        Changed = "changed",
        /// Something that must be there is not.
        Missing = "missing",
        /// Records or segments are not in their order.
        Reordered = "reordered",
        /// Something is there that must not be.
        Inserted = "inserted",
        /// Two signed roots for one size.
        Split = "split",
        /// A trusted key's signature does not verify.
        BadSignature = "bad_signature",
        /// A key that the auditor does not trust for this log.
        UnknownKey = "unknown_key",
        /// An expected log is not in the store.
        AbsentLog = "absent_log",
        /// The newest checkpoint is too old.
        Stale = "stale",
        /// The log ends without a stop, and has been silent for too long.
        OpenEnd = "open_end",
        /// The log is not a continuation of what was verified before.
        Rollback = "rollback",
        /// Counters on the log differ from what is counted.
        Accounting = "accounting",
        /// The clock of the log went backwards.
        Clock = "clock",
    }
}

words! {
    /// What an auditor should know, and what is wrong only if the auditor says so.
    NoticeKind {
        /// Records were lost, and declared.
        Gap = "gap",
        /// Requests were received whose end is not on the log.
        Open = "open",
        /// The store is a directory.
        NotWriteOnce = "not_write_once",
    }
}

/// Segments, first and last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Segments {
    /// The first.
    pub first: SegmentNo,
    /// The last.
    pub last: SegmentNo,
}

/// Records, first and last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Seqs {
    /// The first.
    pub first: Seq,
    /// The last.
    pub last: Seq,
}

/// Where in a store: as exactly as can be known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The log's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// The segment, or several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segment: Option<Segments>,
    /// The frame within the segment, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frame: Option<u64>,
    /// The records, where the segment lets it be known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<Seqs>,
}

impl Place {
    /// Somewhere in the log `name`.
    pub fn log(name: &str) -> Place {
        Place { log: Some(name.to_owned()), ..Place::default() }
    }

    /// In one segment of it.
    pub fn segment(self, segment: SegmentNo) -> Place {
        self.segments(segment, segment)
    }

    /// In several segments of it.
    pub fn segments(self, first: SegmentNo, last: SegmentNo) -> Place {
        Place { segment: Some(Segments { first, last }), ..self }
    }

    /// In one frame of the segment.
    pub fn frame(self, frame: u64) -> Place {
        Place { frame: Some(frame), ..self }
    }

    /// In `count` records from `first` on.
    pub fn records(self, first: Seq, count: u64) -> Place {
        let last = Seq(first.0.saturating_add(count.saturating_sub(1)));
        Place { seq: (count > 0).then_some(Seqs { first, last }), ..self }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(log) = &self.log {
            write!(f, " log {log}")?;
        }
        match self.segment {
            Some(Segments { first, last }) if first == last => write!(f, " segment {first}")?,
            Some(Segments { first, last }) => write!(f, " segment {first}..{last}")?,
            None => {}
        }
        if let Some(frame) = self.frame {
            write!(f, " frame {frame}")?;
        }
        match self.seq {
            Some(Seqs { first, last }) if first == last => write!(f, " seq {first}"),
            Some(Seqs { first, last }) => write!(f, " seq {first}..{last}"),
            None => Ok(()),
        }
    }
}

/// One finding (`K` is [`FindingKind`]) or notice ([`NoticeKind`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Remark<K> {
    /// Its word.
    pub kind: K,
    /// Where.
    #[serde(flatten)]
    pub place: Place,
    /// What was expected and what was found.
    pub message: String,
}

/// Something that could not be read, so that nothing can be said of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unreadable {
    /// What: a path.
    pub path: String,
    /// Why.
    pub message: String,
}

/// What there is to say of one log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LogReport {
    /// Its name.
    pub log: String,
    /// Segments that were found good or bad, of those that should be there.
    pub segments: Tally,
    /// Checkpoints that verify, of those that should be there.
    pub checkpoints: Tally,
    /// Records in the verified part and in what was verified before.
    pub records: u64,
    /// Losses that the log declares, where it knows how many.
    pub declared_lost: u64,
    /// Losses that the log declares without knowing how many.
    pub declared_lost_unknown: u64,
    /// Requests received and never completed.
    pub open: u64,
    /// The time of the newest record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newest: Option<Timestamp>,
    /// The size of the tree at the last checkpoint that verifies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The root of the tree at that checkpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<Hash>,
    /// Whether the records derive every root that was checked.
    pub root_ok: bool,
    /// Records of a gateway's spool that are not in the store yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spool: Option<u64>,
    /// What is wrong.
    pub findings: Vec<Remark<FindingKind>>,
    /// What should be known.
    pub notices: Vec<Remark<NoticeKind>>,
    /// What could not be read.
    pub unreadable: Vec<Unreadable>,
    /// Findings beyond those that are kept.
    #[serde(skip_serializing_if = "is_zero")]
    pub findings_left_out: u64,
    /// Notices beyond those that are kept.
    #[serde(skip_serializing_if = "is_zero")]
    pub notices_left_out: u64,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// So many of so many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Those that were checked and are good.
    pub good: u64,
    /// Those that should be there.
    pub of: u64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.good, self.of)
    }
}

impl LogReport {
    /// Nothing to say yet of the log `name`.
    pub fn new(name: &str) -> LogReport {
        LogReport { log: name.to_owned(), root_ok: true, ..LogReport::default() }
    }

    /// Adds a finding.
    pub fn finding(&mut self, kind: FindingKind, place: Place, message: impl Into<String>) {
        if self.findings.len() < MAX_KEPT {
            self.findings.push(Remark { kind, place, message: message.into() });
        } else {
            self.findings_left_out += 1;
        }
    }

    /// Adds a notice.
    pub fn notice(&mut self, kind: NoticeKind, place: Place, message: impl Into<String>) {
        if self.notices.len() < MAX_KEPT {
            self.notices.push(Remark { kind, place, message: message.into() });
        } else {
            self.notices_left_out += 1;
        }
    }

    /// Adds something that could not be read.
    pub fn unreadable(&mut self, path: &std::path::Path, why: impl fmt::Display) {
        if self.unreadable.len() < MAX_KEPT {
            self.unreadable.push(Unreadable { path: path.display().to_string(), message: why.to_string() });
        }
    }

    /// Takes over what another report of the same log remarks.
    pub(super) fn absorb(&mut self, other: LogReport) {
        other
            .findings
            .into_iter()
            .for_each(|finding| self.finding(finding.kind, finding.place, finding.message));
        other.notices.into_iter().for_each(|notice| self.notice(notice.kind, notice.place, notice.message));
        self.findings_left_out += other.findings_left_out;
        self.notices_left_out += other.notices_left_out;
        let room = MAX_KEPT.saturating_sub(self.unreadable.len());
        self.unreadable.extend(other.unreadable.into_iter().take(room));
    }

    /// How many findings there are, kept or not.
    pub(super) fn findings_in_all(&self) -> u64 {
        self.findings.len() as u64 + self.findings_left_out
    }

    /// The log's line.
    fn line(&self, now: Timestamp) -> String {
        let mut line = format!(
            "log {}: segments {}  records {}  checkpoints {}  declared lost {}",
            self.log, self.segments, self.records, self.checkpoints, self.declared_lost
        );
        if self.declared_lost_unknown > 0 {
            line += &format!(" and {} of unknown size", self.declared_lost_unknown);
        }
        line += &format!("  open {}", self.open);
        if let Some(newest) = self.newest {
            line += &format!("  newest {} ({} ago)", to_seconds(newest), Ago(now.since(newest).as_secs()));
        }
        if self.notices.iter().any(|notice| notice.kind == NoticeKind::NotWriteOnce) {
            line += "  store directory (not write-once)";
        }
        line += match (self.root_ok, self.checkpoints.of) {
            (true, 0) => "  nothing committed yet",
            (true, _) => "  root ok",
            (false, _) => "  root NOT ok",
        };
        line
    }
}

fn to_seconds(ts: Timestamp) -> String {
    format!("{}Z", &ts.to_string()[..19])
}

/// Seconds, in the two largest units that they fill.
pub struct Ago(pub u64);

impl fmt::Display for Ago {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, hours, minutes, seconds) =
            (self.0 / 86_400, self.0 / 3_600 % 24, self.0 / 60 % 60, self.0 % 60);
        match (days, hours, minutes) {
            (0, 0, 0) => write!(f, "{seconds}s"),
            (0, 0, _) => write!(f, "{minutes}m{seconds:02}s"),
            (0, _, _) => write!(f, "{hours}h{minutes:02}m"),
            _ => write!(f, "{days}d{hours:02}h"),
        }
    }
}

/// What there is to say of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// When it was verified.
    pub now: Timestamp,
    /// Its logs, by name; also those that were expected and are absent.
    pub logs: Vec<LogReport>,
    /// How many of them are in the store.
    pub present: usize,
    /// Notices of these kinds count as findings.
    pub fail_on: Vec<NoticeKind>,
}

/// How a verification ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// All was read, and nothing is wrong.
    Ok,
    /// There are findings, or notices that the auditor does not accept.
    Failed,
    /// Nothing wrong was seen, but not everything could be read.
    Incomplete,
}

impl Report {
    /// How it ended.
    pub fn outcome(&self) -> Outcome {
        let refused = |log: &LogReport| log.notices.iter().any(|notice| self.fail_on.contains(&notice.kind));
        if self.logs.iter().any(|log| !log.findings.is_empty() || refused(log)) {
            Outcome::Failed
        } else if self.logs.iter().any(|log| !log.unreadable.is_empty()) {
            Outcome::Incomplete
        } else {
            Outcome::Ok
        }
    }

    fn counts(&self) -> (u64, u64, u64) {
        self.logs.iter().fold((0, 0, 0), |(findings, notices, unreadable), log| {
            (
                findings + log.findings.len() as u64 + log.findings_left_out,
                notices + log.notices.len() as u64 + log.notices_left_out,
                unreadable + log.unreadable.len() as u64,
            )
        })
    }

    /// The report as JSON: one object.
    pub fn to_json(&self) -> serde_json::Value {
        let (findings, notices, unreadable) = self.counts();
        serde_json::json!({
            "outcome": self.outcome(), "verified_at": self.now, "logs_present": self.present,
            "findings": findings, "notices": notices, "unreadable": unreadable, "logs": self.logs,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for log in &self.logs {
            for finding in &log.findings {
                writeln!(f, "FINDING {}{}: {}", finding.kind, finding.place, finding.message)?;
            }
            if log.findings_left_out > 0 {
                writeln!(f, "… and {} more findings in log {}", log.findings_left_out, log.log)?;
            }
            // That a directory is not write-once stands on the log's line.
            for notice in log.notices.iter().filter(|notice| notice.kind != NoticeKind::NotWriteOnce) {
                writeln!(f, "NOTICE {}{}: {}", notice.kind, notice.place, notice.message)?;
            }
            if log.notices_left_out > 0 {
                writeln!(f, "… and {} more notices in log {}", log.notices_left_out, log.log)?;
            }
            for unreadable in &log.unreadable {
                writeln!(f, "UNREADABLE {}: {}", unreadable.path, unreadable.message)?;
            }
        }
        for log in &self.logs {
            if !log.findings.iter().any(|finding| finding.kind == FindingKind::AbsentLog) {
                writeln!(f, "{}", log.line(self.now))?;
            }
            if let Some(records) = log.spool {
                writeln!(
                    f,
                    "log {}: spool holds {} that the store does not have yet",
                    log.log,
                    Plural(records, "record")
                )?;
            }
        }
        let (findings, notices, unreadable) = self.counts();
        let verdict = match self.outcome() {
            Outcome::Ok => "OK",
            Outcome::Failed => "FAILED",
            Outcome::Incomplete => "INCOMPLETE",
        };
        let (logs, findings) = (Plural(self.present as u64, "log"), Plural(findings, "finding"));
        write!(f, "{verdict}: {logs}, {findings}, {}", Plural(notices, "notice"))?;
        if unreadable > 0 { writeln!(f, ", {unreadable} unreadable") } else { writeln!(f) }
    }
}

/// A number of things.
struct Plural(u64, &'static str);

impl fmt::Display for Plural {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.0, self.1, if self.0 == 1 { "" } else { "s" })
    }
}

#[cfg(test)]
mod tests;
