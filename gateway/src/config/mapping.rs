//! A mapping while its keys are read: which it must have, which it may, and that it has no others.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::error::{ConfigError, ErrorKind};
use super::node::{Content, Entry, Node};
use super::walk::{Read, Walk, join, nearest};

/// A mapping while its keys are read.
pub(super) struct Mapping<'w, 'a, 'n> {
    pub(super) walk: &'w mut Walk<'a>,
    node: &'n Node,
    entries: &'n [Entry],
    path: String,
    known: Vec<&'static str>,
}

impl<'w, 'a, 'n> Mapping<'w, 'a, 'n> {
    pub(super) fn new(walk: &'w mut Walk<'a>, node: &'n Node, entries: &'n [Entry], path: &str) -> Self {
        Mapping { walk, node, entries, path: path.to_owned(), known: Vec::new() }
    }

    /// The value of a key that may be left out.
    pub(super) fn optional<T: Read>(&mut self, key: &'static str) -> Option<T> {
        self.known.push(key);
        let entries = self.entries;
        let entry = entries.iter().find(|entry| entry.key == key)?;
        let path = self.path_of(key);
        self.walk.read(&entry.value, &path)
    }

    /// The value of a key, or its default.
    pub(super) fn or<T: Read>(&mut self, key: &'static str, default: T) -> T {
        self.optional(key).unwrap_or(default)
    }

    /// The list of a key, which is not empty where it is given.
    pub(super) fn filled<T: Read>(&mut self, key: &'static str) -> Vec<T> {
        let values = self.optional(key);
        if self.is_empty_list(key) {
            self.bad_value(key, "expected at least one; leave the key out for any");
        }
        values.unwrap_or_default()
    }

    /// The value of a key, or its default; it must lie in `range`.
    pub(super) fn within<T: Read + PartialOrd + Shown>(
        &mut self,
        key: &'static str,
        default: T,
        range: RangeInclusive<T>,
    ) -> T {
        let value = self.or(key, default);
        if !range.contains(&value) {
            let rule = format!("expected {} to {}", range.start().shown(), range.end().shown());
            self.bad_value(key, rule);
        }
        value
    }

    /// The duration of a key, or its default; it must be more than nothing.
    pub(super) fn positive(&mut self, key: &'static str, default: Duration) -> Duration {
        let value = self.or(key, default);
        if value.is_zero() {
            self.bad_value(key, "expected more than nothing");
        }
        value
    }

    /// Keeps an error for each of the key's values that was already among those before it.
    pub(super) fn distinct<T: PartialEq>(&mut self, key: &'static str, values: &[T]) {
        // Where one could not be read, places are not known, and there is an error already.
        if self.walk.items(&self.path_of(key)) != values.len() {
            return;
        }
        for (index, value) in values.iter().enumerate() {
            if values.iter().take(index).any(|before| before == value) {
                self.bad_value(&format!("{key}[{index}]"), "expected once, and it is already in this list");
            }
        }
    }

    /// Whether the key has a list without anything in it.
    pub(super) fn is_empty_list(&self, key: &str) -> bool {
        let empty = |node: &Node| matches!(&node.content, Content::Sequence(items) if items.is_empty());
        self.entries.iter().any(|entry| entry.key == key && empty(&entry.value))
    }

    /// The value of a key that must be there.
    pub(super) fn required<T: Read>(&mut self, key: &'static str) -> Option<T> {
        if !self.has(key) {
            self.missing(key, format!("expected {}", T::expected()));
        }
        self.optional(key)
    }

    /// Whether the key is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    /// The path of one of this mapping's keys.
    pub(super) fn path_of(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// Keeps the error that a key must be there.
    pub(super) fn missing(&mut self, key: &'static str, rule: impl Into<String>) {
        self.walk.errors.push(ConfigError {
            key: key.to_owned(),
            path: self.path.clone(),
            ..ConfigError::new(self.node.place, ErrorKind::MissingKey, rule)
        });
    }

    /// Keeps the error that the value of this key breaks `rule`.
    pub(super) fn bad_value(&mut self, key: &str, rule: impl Into<String>) {
        let path = self.path_of(key);
        self.walk.bad_value(&path, rule, None);
    }

    /// Keeps an error for each key that nobody asked for.
    pub(super) fn finish(self) {
        for entry in self.entries.iter().filter(|entry| !self.known.contains(&entry.key.as_str())) {
            let known: Vec<String> = self.known.iter().map(|key| format!("`{key}`")).collect();
            self.walk.errors.push(ConfigError {
                key: entry.key.clone(),
                path: self.path.clone(),
                value: Some(entry.value.describe()),
                suggestion: nearest(&entry.key, self.known.iter().copied()).map(str::to_owned),
                ..ConfigError::new(
                    entry.place,
                    ErrorKind::UnknownKey,
                    format!("expected one of {}", known.join(", ")),
                )
            });
        }
    }
}

/// A value as it is written in a configuration.
pub(super) trait Shown {
    fn shown(&self) -> String;
}
