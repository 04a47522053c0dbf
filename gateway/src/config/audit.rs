//! `audit`: the audit log of this gateway.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use audit_writer::checkpoint::{LogName, LogNameError, MAX_LOG_NAME};
use audit_writer::record::LEAST_MAX_RECORD;
use schemars::JsonSchema;
use serde::Serialize;

use super::durability::Durability;
use super::mapping::Mapping;
use super::node::Node;
use super::redact::Redact;
use super::value::{ByteSize, DurationText, Percent};
use super::walk::{Read, ReadText, Unreadable, Walk};
use super::written::{Count, LogText, Switch};

/// The audit log of this gateway.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Audit {
    /// The log's name (its C2SP origin), such as `audit.example.com/gw-1`: unique a gateway, for ever.
    #[schemars(with = "LogText")]
    pub log: LogName,
    /// The key that signs its checkpoints.
    pub key: Key,
    /// Whether this log may begin here. Where it is `false` and the log is not in the store, the gateway refuses to
    /// start: a lost disk must not look like a new log.
    #[schemars(default, with = "Switch")]
    pub create_log: bool,
    /// What must be durable before the upstream sees a request; `buffered` where neither this nor the route says
    /// anything. A route can be stricter than this, never laxer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub durability: Option<Durability>,
    /// How long a request waits for a slot before it is refused with 503.
    #[serde(with = "DurationText")]
    #[schemars(default = "default_admit_timeout")]
    pub admit_timeout: Duration,
    /// How often records are written and synced.
    #[serde(with = "DurationText")]
    #[schemars(default = "default_sync_interval")]
    pub sync_interval: Duration,
    /// How often the log says that it is alive.
    #[serde(with = "DurationText")]
    #[schemars(default = "default_heartbeat_interval")]
    pub heartbeat_interval: Duration,
    /// The longest record; longer values are cut, and say so.
    #[schemars(default = "default_max_record")]
    pub max_record: ByteSize,
    /// The queue between the requests and the writer.
    #[schemars(default)]
    pub ring: Ring,
    /// The local directory that survives a crash and a store outage.
    pub spool: Spool,
    /// When a segment is sealed.
    #[schemars(default)]
    pub segment: Segment,
    /// Where sealed segments go.
    pub store: Store,
    /// What no record tells as it was.
    #[schemars(default)]
    pub redact: Redact,
}

/// `admit_timeout` where none is given.
pub(super) fn default_admit_timeout() -> Duration {
    Duration::from_millis(50)
}

/// `sync_interval` where none is given.
pub(super) fn default_sync_interval() -> Duration {
    Duration::from_millis(20)
}

/// `heartbeat_interval` where none is given.
pub(super) fn default_heartbeat_interval() -> Duration {
    Duration::from_secs(300)
}

/// `max_record` where none is given.
pub(super) fn default_max_record() -> ByteSize {
    ByteSize::kib(8)
}

/// What every record fits into, whatever anybody sets.
fn least_max_record() -> ByteSize {
    ByteSize::bytes(LEAST_MAX_RECORD as u64)
}

/// The key that signs the log's checkpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Key {
    /// The key file; its name must equal `audit.log`.
    pub file: PathBuf,
    /// Whether to make the key where the file does not exist.
    #[schemars(default, with = "Switch")]
    pub create: bool,
}

/// The queue between the requests and the writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, default)]
pub struct Ring {
    /// Records that may wait or be reserved at once.
    #[schemars(with = "Count")]
    pub slots: u32,
    /// The memory that they may take: requests in flight are at most `min(slots, max_bytes / max_record)`.
    pub max_bytes: ByteSize,
}

impl Default for Ring {
    fn default() -> Self {
        Ring { slots: 65_536, max_bytes: ByteSize::mib(256) }
    }
}

/// The local directory that survives a crash and a store outage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Spool {
    /// The directory.
    pub path: PathBuf,
    /// What it may hold; service is refused beyond.
    #[schemars(default = "default_spool_max_bytes")]
    pub max_bytes: ByteSize,
    /// What must stay free on its file system; service is refused below.
    #[schemars(default = "default_spool_min_free")]
    pub min_free: ByteSize,
    /// How full it may be before the gateway warns.
    #[schemars(default = "default_spool_warn_at")]
    pub warn_at: Percent,
}

/// `spool.max_bytes` where none is given.
pub(super) fn default_spool_max_bytes() -> ByteSize {
    ByteSize::gib(10)
}

/// `spool.min_free` where none is given.
pub(super) fn default_spool_min_free() -> ByteSize {
    ByteSize::gib(1)
}

/// `spool.warn_at` where none is given.
pub(super) fn default_spool_warn_at() -> Percent {
    Percent::new(80)
}

/// When a segment is sealed, and how it is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, default)]
pub struct Segment {
    /// Uncompressed records in one segment.
    pub max_bytes: ByteSize,
    /// Its age: what has not left the machine by then is sealed and shipped.
    #[serde(with = "DurationText")]
    pub max_age: Duration,
    /// The level of zstd.
    #[schemars(with = "Count")]
    pub compression_level: u8,
}

impl Default for Segment {
    fn default() -> Self {
        Segment { max_bytes: ByteSize::mib(64), max_age: Duration::from_secs(60), compression_level: 1 }
    }
}

/// Where sealed segments go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Store {
    /// A directory: tamper-evident, but not write-once.
    pub directory: PathBuf,
}

impl Read for Audit {
    const EXPECTED: &'static str = "a mapping (`log`, `key`, `spool`, `store`, …)";

    fn read(node: &Node, path: &str, walk: &mut Walk<'_>) -> Option<Self> {
        let mut audit = walk.mapping(node, path, Self::EXPECTED)?;
        let log = audit.required("log");
        let key: Option<Key> = audit.required("key");
        let create_log = audit.or("create_log", false);
        let durability = audit.optional("durability");
        let admit_timeout = audit.or("admit_timeout", default_admit_timeout());
        let sync_interval = audit.within(
            "sync_interval",
            default_sync_interval(),
            Duration::from_millis(1)..=Duration::from_secs(10),
        );
        let heartbeat_interval = audit.within(
            "heartbeat_interval",
            default_heartbeat_interval(),
            Duration::from_secs(1)..=Duration::from_secs(86_400),
        );
        let max_record =
            audit.within("max_record", default_max_record(), least_max_record()..=ByteSize::bytes(65_535));
        let ring = audit.or("ring", Ring::default());
        let spool: Option<Spool> = audit.required("spool");
        let segment = audit.or("segment", Segment::default());
        let store: Option<Store> = audit.required("store");
        let redact = audit.or("redact", Redact::default());
        let keys = [
            ("key.file", key.as_ref().map(|key| key.file.as_path())),
            ("redact.hmac_key", redact.hmac_key.as_deref()),
        ];
        refuse_nesting(&mut audit, keys, spool.as_ref(), store.as_ref());
        audit.finish();
        Some(Audit {
            log: log?,
            key: key?,
            create_log,
            durability,
            admit_timeout,
            sync_interval,
            heartbeat_interval,
            max_record,
            ring,
            spool: spool?,
            segment,
            store: store?,
            redact,
        })
    }
}

/// The spool is emptied and the store never is: neither may lie in the other, nor a key in either of them.
fn refuse_nesting(
    audit: &mut Mapping<'_, '_, '_>,
    keys: [(&str, Option<&Path>); 2],
    spool: Option<&Spool>,
    store: Option<&Store>,
) {
    let (Some(spool), Some(store)) = (spool, store) else { return };
    let (spool, store) = (lexical(&spool.path), lexical(&store.directory));
    if spool == store {
        audit.bad_value("store.directory", "expected another directory than `audit.spool.path`");
    } else if store.starts_with(&spool) || spool.starts_with(&store) {
        let rule = "expected a directory apart from `audit.spool.path`: neither may lie in the other";
        audit.bad_value("store.directory", rule);
    }
    for (directory, name) in [(&spool, "audit.spool.path"), (&store, "audit.store.directory")] {
        for (key, file) in keys {
            if file.is_some_and(|file| lexical(file).starts_with(directory)) {
                audit.bad_value(key, format!("expected a file outside of `{name}`"));
            }
        }
    }
}

/// The path without `.` and `..`, as far as can be told without looking.
fn lexical(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}

impl ReadText for LogName {
    const EXPECTED: &'static str = "a log's name such as `audit.example.com/gw-1`";

    /// The messages of [`LogNameError`] repeat the name; here it may come from a variable, which is never shown.
    fn read_text(text: &str) -> Result<Self, Unreadable> {
        text.parse().map_err(|error| match error {
            LogNameError::TooLong { .. } => Unreadable::rule(format!("expected at most {MAX_LOG_NAME} bytes")),
            LogNameError::Reserved { component, .. } => {
                Unreadable::rule(format!("expected no part `{component}`: the store uses that name itself"))
            }
            _ => {
                let rule = "expected a name such as `audit.example.com/gw-1`: lower-case letters, digits, `.`, `-`, and `_` after the first `/`";
                let lower = text.to_lowercase().replace(' ', "-");
                let meant = lower.parse::<LogName>().ok().map(|name| name.to_string());
                Unreadable::rule(rule).meant(meant.filter(|_| text.len() == lower.len()))
            }
        })
    }
}

impl Read for Key {
    const EXPECTED: &'static str = "a mapping with `file`";

    fn read(node: &Node, path: &str, walk: &mut Walk<'_>) -> Option<Self> {
        let mut key = walk.mapping(node, path, Self::EXPECTED)?;
        let file = key.required("file");
        let create = key.or("create", false);
        key.finish();
        Some(Key { file: file?, create })
    }
}

impl Read for Ring {
    const EXPECTED: &'static str = "a mapping with `slots`, `max_bytes`";

    fn read(node: &Node, path: &str, walk: &mut Walk<'_>) -> Option<Self> {
        let mut ring = walk.mapping(node, path, Self::EXPECTED)?;
        let default = Ring::default();
        let read = Ring {
            slots: ring.within("slots", default.slots, 16..=4_194_304),
            max_bytes: ring.within("max_bytes", default.max_bytes, ByteSize::mib(1)..=ByteSize::gib(64)),
        };
        ring.finish();
        Some(read)
    }
}

impl Read for Spool {
    const EXPECTED: &'static str = "a mapping with `path`";

    fn read(node: &Node, path: &str, walk: &mut Walk<'_>) -> Option<Self> {
        let mut spool = walk.mapping(node, path, Self::EXPECTED)?;
        let directory = spool.required("path");
        let max_bytes = spool.within(
            "max_bytes",
            default_spool_max_bytes(),
            ByteSize::mib(1)..=ByteSize::bytes(u64::MAX),
        );
        let min_free = spool.or("min_free", default_spool_min_free());
        let warn_at = spool.or("warn_at", default_spool_warn_at());
        spool.finish();
        Some(Spool { path: directory?, max_bytes, min_free, warn_at })
    }
}

impl Read for Segment {
    const EXPECTED: &'static str = "a mapping with `max_bytes`, `max_age`, `compression_level`";

    fn read(node: &Node, path: &str, walk: &mut Walk<'_>) -> Option<Self> {
        let mut segment = walk.mapping(node, path, Self::EXPECTED)?;
        let default = Segment::default();
        let read = Segment {
            max_bytes: segment.within("max_bytes", default.max_bytes, ByteSize::kib(64)..=ByteSize::gib(1)),
            max_age: segment.within(
                "max_age",
                default.max_age,
                Duration::from_millis(100)..=Duration::from_secs(86_400),
            ),
            compression_level: segment.within("compression_level", default.compression_level, 1..=19),
        };
        segment.finish();
        Some(read)
    }
}

impl Read for Store {
    const EXPECTED: &'static str = "a mapping with `directory`";

    fn read(node: &Node, path: &str, walk: &mut Walk<'_>) -> Option<Self> {
        let mut store = walk.mapping(node, path, Self::EXPECTED)?;
        let directory = store.required("directory");
        store.finish();
        Some(Store { directory: directory? })
    }
}
