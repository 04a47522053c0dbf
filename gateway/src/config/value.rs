//! The configuration's own scalars: how each is written, and what it is in memory.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

/// Units of size, largest first.
const SIZES: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Units of time in milliseconds, largest first.
const DURATIONS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// The greatest duration that is accepted: a hundred years.
const MAX_DURATION_MS: u64 = 36_525 * 86_400_000;

/// A number of bytes, written `64MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

impl ByteSize {
    /// This many bytes.
    pub const fn bytes(n: u64) -> Self {
        ByteSize(n)
    }

    /// This many times 1,024 bytes.
    pub const fn kib(n: u64) -> Self {
        ByteSize(n << 10)
    }

    /// This many times 1,024² bytes.
    pub const fn mib(n: u64) -> Self {
        ByteSize(n << 20)
    }

    /// This many times 1,024³ bytes.
    pub const fn gib(n: u64) -> Self {
        ByteSize(n << 30)
    }

    /// The number of bytes.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The same as a `usize`; as many as there are where it would not fit.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// Reads `64MiB`: a whole number and one of `B`, `KiB`, `MiB`, `GiB`, `TiB`.
    ///
    /// ```
    /// use gateway::config::ByteSize;
    ///
    /// assert_eq!(ByteSize::parse("64MiB"), Some(ByteSize::mib(64)));
    /// assert_eq!(ByteSize::parse("64 MB"), None);
    /// ```
    pub fn parse(text: &str) -> Option<Self> {
        scaled(text, &SIZES).map(ByteSize)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_scaled(f, self.0, &SIZES)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for ByteSize {
    fn schema_name() -> Cow<'static, str> {
        "ByteSize".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "A size: `64MiB`.", "pattern": r"^([0-9]+(B|KiB|MiB|GiB|TiB)|.*\$\{.*)$" })
    }
}

/// A whole number of percent, written `80%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(u8);

impl Percent {
    /// This many percent; more than a hundred is a hundred.
    pub const fn new(percent: u8) -> Self {
        Percent(if percent > 100 { 100 } else { percent })
    }

    /// The number of percent, 0 to 100.
    pub const fn get(self) -> u8 {
        self.0
    }

    /// Reads `80%`, from `1%` to `100%`.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_suffix('%')?;
        match whole_number(digits)? {
            n @ 1..=100 => Some(Percent(n as u8)),
            _ => None,
        }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Percent {
    fn schema_name() -> Cow<'static, str> {
        "Percent".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "A share: `80%`.", "pattern": r"^([1-9][0-9]?%|100%|.*\$\{.*)$" })
    }
}

/// The name of a listener, upstream or route: `[a-z0-9][a-z0-9._-]*`, at most 64 bytes. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// Reads a name.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = text.bytes();
        let first = bytes.next()?;
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        (text.len() <= 64 && plain(first) && bytes.all(|b| plain(b) || matches!(b, b'.' | b'_' | b'-')))
            .then(|| Name(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl JsonSchema for Name {
    fn schema_name() -> Cow<'static, str> {
        "Name".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "Lower-case letters, digits, `.`, `_`, `-`; at most 64.", "pattern": r"^([a-z0-9][a-z0-9._-]{0,63}|.*\$\{.*)$" })
    }
}

/// A duration as it is written: `20ms`, `60s`, `5m`, `400d`. In memory it is a [`Duration`].
#[derive(Debug)]
pub enum DurationText {}

impl DurationText {
    /// Reads `20ms`: a whole number and one of `ms`, `s`, `m`, `h`, `d`.
    pub fn parse(text: &str) -> Option<Duration> {
        scaled(text, &DURATIONS).filter(|&ms| ms <= MAX_DURATION_MS).map(Duration::from_millis)
    }

    /// The shortest way to write it.
    pub fn write(duration: Duration) -> String {
        struct Shown(u64);
        impl fmt::Display for Shown {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_scaled(f, self.0, &DURATIONS)
            }
        }
        Shown(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)).to_string()
    }

    pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Self::write(*duration))
    }
}

impl JsonSchema for DurationText {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "A duration: `20ms`, `60s`, `5m`, `12h`, `400d`.", "pattern": r"^([0-9]+(ms|s|m|h|d)|.*\$\{.*)$" })
    }
}

/// Decimal digits alone: no sign, no space, no separator.
pub(super) fn whole_number(text: &str) -> Option<u64> {
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

/// A whole number and a unit, without space between.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, scale) = units.iter().find(|(name, _)| *name == unit)?;
    whole_number(number)?.checked_mul(*scale)
}

/// The greatest unit that leaves a whole number.
fn write_scaled(f: &mut fmt::Formatter<'_>, value: u64, units: &[(&str, u64)]) -> fmt::Result {
    let fits = |(_, scale): &&(&str, u64)| value >= *scale && value.is_multiple_of(*scale);
    match units.iter().find(fits).or(units.iter().find(|(_, scale)| *scale == 1)) {
        Some((unit, scale)) => write!(f, "{}{unit}", value / scale),
        None => write!(f, "{value}"),
    }
}
