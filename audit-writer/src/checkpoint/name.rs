//! The name of a log: its C2SP origin, its key's name and its folder in the store, all in one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

/// The name of a log, as in `audit.example.com/gw-1`: `[a-z0-9.-]+(/[a-z0-9._-]+)*`, at most 200 bytes, and no component
/// that means something in a store.
///
/// ```
/// use audit_writer::checkpoint::LogName;
/// assert!("audit.example.com/gw-1".parse::<LogName>().is_ok());
/// assert!("audit.example.com/segments".parse::<LogName>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogName(String);

/// The greatest length of a log's name, in bytes.
pub const MAX_LOG_NAME: usize = 200;

/// Components that no log's name may have: they would be taken for a folder, or for a part of another log.
const RESERVED: [&str; 8] =
    [".", "..", "log", "segments", "checkpoints", "cosignatures", "rollups", "configs"];

/// What is wrong with a log's name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LogNameError {
    /// There is none.
    #[error("a log's name cannot be empty")]
    Empty,
    /// It is too long.
    #[error("a log's name has at most {MAX_LOG_NAME} bytes, found {found}")]
    TooLong {
        /// Its length in bytes.
        found: usize,
    },
    /// A component has no character.
    #[error("log name `{name}` has an empty component: no `/` at its begin or end, and no `//`")]
    EmptyComponent {
        /// The name.
        name: String,
    },
    /// A character that is not allowed where it stands.
    #[error(
        "log name `{name}` has {found:?} at byte {at}: allowed are a-z, 0-9, `.`, `-`, `/` and, after the first `/`, `_`"
    )]
    Character {
        /// The name.
        name: String,
        /// The character.
        found: char,
        /// Where it begins, in bytes.
        at: usize,
    },
    /// A component that has a meaning of its own in a store.
    #[error("log name `{name}` has the component `{component}`, which has its own meaning in a store")]
    Reserved {
        /// The name.
        name: String,
        /// The component.
        component: String,
    },
}

impl LogName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the folder of one of the two lies inside that of the other, or is the same.
    pub fn nests_with(&self, other: &LogName) -> bool {
        let (short, long) = if self.0.len() <= other.0.len() { (self, other) } else { (other, self) };
        long.0.strip_prefix(&short.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl FromStr for LogName {
    type Err = LogNameError;

    fn from_str(text: &str) -> Result<LogName, LogNameError> {
        if text.is_empty() {
            return Err(LogNameError::Empty);
        }
        if text.len() > MAX_LOG_NAME {
            return Err(LogNameError::TooLong { found: text.len() });
        }
        let name = || text.to_owned();
        let mut slashes = 0;
        for (at, found) in text.char_indices() {
            match found {
                'a'..='z' | '0'..='9' | '.' | '-' => {}
                '/' => slashes += 1,
                '_' if slashes > 0 => {}
                _ => return Err(LogNameError::Character { name: name(), found, at }),
            }
        }
        for component in text.split('/') {
            if component.is_empty() {
                return Err(LogNameError::EmptyComponent { name: name() });
            }
            if RESERVED.contains(&component) {
                return Err(LogNameError::Reserved { name: name(), component: component.to_owned() });
            }
        }
        Ok(LogName(name()))
    }
}

impl fmt::Display for LogName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for LogName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Serialize for LogName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for LogName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<LogName, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> LogName {
        text.parse().unwrap()
    }

    #[test]
    fn names_of_the_format_are_taken() {
        let longest = format!("a/{}", "b".repeat(198));
        for text in
            ["audit.example.com/gw-1", "a", "sealgate.localhost/gw_1", "a/b/c/.hidden", "a/logs", &longest]
        {
            assert_eq!(name(text).to_string(), text);
        }
    }

    #[test]
    fn every_other_name_is_refused_and_the_error_says_why() {
        let too_long = "a".repeat(201);
        for (text, why) in [
            ("", "cannot be empty"),
            (too_long.as_str(), "at most 200 bytes, found 201"),
            ("/a", "empty component"),
            ("a/", "empty component"),
            ("a//b", "empty component"),
            ("A", "'A' at byte 0"),
            ("a_b/c", "'_' at byte 1"),
            ("a+b", "'+' at byte 1"),
            ("a b", "' ' at byte 1"),
            ("a\n", "'\\n' at byte 1"),
            ("a/é", "'é' at byte 2"),
            ("a/..", "component `..`"),
            ("./a", "component `.`"),
            ("a/segments/b", "component `segments`"),
            ("log", "component `log`"),
            ("a/rollups", "component `rollups`"),
        ] {
            let error = text.parse::<LogName>().unwrap_err().to_string();
            assert!(error.contains(why), "{text:?}: {error}");
        }
    }

    #[test]
    fn one_log_inside_another_is_seen() {
        assert!(name("a/b").nests_with(&name("a")));
        assert!(name("a").nests_with(&name("a/b")));
        assert!(name("a").nests_with(&name("a")));
        assert!(!name("a/b").nests_with(&name("a/bc")));
        assert!(!name("a/b").nests_with(&name("a/c")));
    }
}
