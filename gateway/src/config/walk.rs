//! Reads typed values out of the tree, and never stops at the first error.
//!
//! A type says how it is read by [`Read`]. What cannot be read is an error that is kept, and reading goes on with the
//! next key; a configuration is only built when no error was kept. The keys that a mapping may have are those that its
//! reader asks for, so there is no second list of them to forget.

use std::collections::HashMap;
use std::path::PathBuf;

use super::error::{ConfigError, ErrorKind, Place};
use super::mapping::Mapping;
use super::node::{Content, Entry, Node, Scalar};
use super::source::SourceFile;
use super::value::Name;
use super::variable::{self, Variables};

/// A value that can be read from a node.
pub(super) trait Read: Sized {
    /// What is expected, for errors: "a duration such as `20ms`".
    const EXPECTED: &'static str;

    /// The same, where it depends on another type.
    fn expected() -> String {
        Self::EXPECTED.to_owned()
    }

    /// The value of the node at `path`; `None` when errors were kept instead.
    fn read(node: &Node, path: &str, walk: &mut Walk<'_>) -> Option<Self>;
}

/// A value that is written as one scalar.
pub(super) trait ReadText: Sized {
    /// What is expected, for errors.
    const EXPECTED: &'static str;

    /// The value of a text; otherwise why it is none.
    fn read_text(text: &str) -> Result<Self, Unreadable>;
}

/// Why a text is not a value of its type.
#[derive(Debug, Default)]
pub(super) struct Unreadable {
    /// The rule that it breaks, where it is not simply what is expected.
    pub(super) rule: Option<String>,
    /// What was probably meant.
    pub(super) suggestion: Option<String>,
}

impl Unreadable {
    /// Breaks this rule.
    pub(super) fn rule(rule: impl Into<String>) -> Self {
        Unreadable { rule: Some(rule.into()), suggestion: None }
    }

    /// Was probably meant to be this.
    pub(super) fn meant(mut self, suggestion: Option<impl Into<String>>) -> Self {
        self.suggestion = suggestion.map(Into::into);
        self
    }
}

impl<T: ReadText> Read for T {
    const EXPECTED: &'static str = <T as ReadText>::EXPECTED;

    fn read(node: &Node, path: &str, walk: &mut Walk<'_>) -> Option<Self> {
        let text = walk.text(node, path, <T as ReadText>::EXPECTED)?;
        match T::read_text(&text) {
            Ok(value) => Some(value),
            Err(why) => {
                let rule = why.rule.unwrap_or_else(|| format!("expected {}", <T as ReadText>::EXPECTED));
                // What a variable holds may be a secret, and a suggestion would tell it.
                let suggestion = why.suggestion.filter(|_| !Walk::has_variable(node));
                walk.bad_value(path, rule, suggestion);
                None
            }
        }
    }
}

/// A list of them; an item that cannot be read is an error, and left out.
impl<T: Read> Read for Vec<T> {
    const EXPECTED: &'static str = "a list";

    fn expected() -> String {
        format!("{}, each item {}", Self::EXPECTED, T::expected())
    }

    fn read(node: &Node, path: &str, walk: &mut Walk<'_>) -> Option<Self> {
        let Slots(slots) = Slots::read(node, path, walk)?;
        Some(slots.into_iter().flatten().collect())
    }
}

/// A list that keeps the place of what could not be read, so that the others are still known by their index.
#[derive(Debug)]
pub(super) struct Slots<T>(Vec<Option<T>>);

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Slots(Vec::new())
    }
}

impl<T> Slots<T> {
    /// Those that were read, with their index.
    pub(super) fn present(&self) -> impl Iterator<Item = (usize, &T)> {
        self.0.iter().enumerate().filter_map(|(index, slot)| Some((index, slot.as_ref()?)))
    }

    /// How many there are, read or not.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// All of them, if all were read.
    pub(super) fn complete(self) -> Option<Vec<T>> {
        self.0.into_iter().collect()
    }
}

impl<T: Read> Read for Slots<T> {
    const EXPECTED: &'static str = "a list";

    fn expected() -> String {
        format!("{}, each item {}", Self::EXPECTED, T::expected())
    }

    fn read(node: &Node, path: &str, walk: &mut Walk<'_>) -> Option<Self> {
        let Content::Sequence(items) = &node.content else {
            walk.bad_value(path, format!("expected {}", Self::expected()), None);
            return None;
        };
        let read = |(index, item)| walk.read(item, &format!("{path}[{index}]"));
        Some(Slots(items.iter().enumerate().map(read).collect()))
    }
}

/// The place of each value, and the value as it is written, by its path.
pub(super) type Seen = HashMap<String, (Place, String)>;

/// The walk over one configuration: what was seen where, and what was wrong.
pub(super) struct Walk<'a> {
    pub(super) errors: Vec<ConfigError>,
    files: &'a [SourceFile],
    variables: &'a Variables<'a>,
    pub(super) seen: Seen,
    /// The texts of scalars with their variables replaced, by their path. Never shown.
    resolved: HashMap<String, String>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        files: &'a [SourceFile],
        variables: &'a Variables<'a>,
        errors: Vec<ConfigError>,
    ) -> Self {
        Walk { errors, files, variables, seen: HashMap::new(), resolved: HashMap::new() }
    }

    /// Reads the node at `path`.
    pub(super) fn read<T: Read>(&mut self, node: &Node, path: &str) -> Option<T> {
        self.seen.insert(path.to_owned(), (node.place, node.describe()));
        if node.is_null() {
            let rule = format!("expected {}, found nothing", T::expected());
            self.bad_value(path, rule, None);
            return None;
        }
        T::read(node, path, self)
    }

    /// The text of a scalar with its variables replaced.
    pub(super) fn text(&mut self, node: &Node, path: &str, expected: &str) -> Option<String> {
        let Content::Scalar(Scalar { text, .. }) = &node.content else {
            self.bad_value(path, format!("expected {expected}"), None);
            return None;
        };
        match variable::replace(text, self.variables) {
            Ok(text) => {
                self.resolved.insert(path.to_owned(), text.clone().into_owned());
                Some(text.into_owned())
            }
            Err(error) => {
                self.bad_value(path, error.to_string(), None);
                None
            }
        }
    }

    /// The text of the scalar at `path`, which may be the value of a variable.
    pub(super) fn resolved(&self, path: &str) -> Option<&str> {
        self.resolved.get(path).map(String::as_str)
    }

    /// Whether the scalar was written without quotes, or has its text from a variable.
    pub(super) fn is_plain(node: &Node) -> bool {
        matches!(&node.content, Content::Scalar(s) if s.plain) || Self::has_variable(node)
    }

    fn has_variable(node: &Node) -> bool {
        matches!(&node.content, Content::Scalar(s) if s.text.contains("${"))
    }

    /// The keys and values of a mapping.
    pub(super) fn mapping<'w, 'n>(
        &'w mut self,
        node: &'n Node,
        path: &str,
        expected: &str,
    ) -> Option<Mapping<'w, 'a, 'n>> {
        let Content::Mapping(entries) = &node.content else {
            self.bad_value(path, format!("expected {expected}"), None);
            return None;
        };
        self.refuse_duplicates(entries, path);
        Some(Mapping::new(self, node, entries, path))
    }

    /// A key may occur once.
    pub(super) fn refuse_duplicates(&mut self, entries: &[Entry], path: &str) {
        let mut first: HashMap<&str, Place> = HashMap::new();
        for entry in entries {
            if let Some(before) = first.get(entry.key.as_str()) {
                let rule = format!("expected once: {} has it already", self.show(*before));
                self.errors.push(ConfigError {
                    key: entry.key.clone(),
                    path: path.to_owned(),
                    value: Some(entry.value.describe()),
                    ..ConfigError::new(entry.place, ErrorKind::DuplicateKey, rule)
                });
            } else {
                first.insert(&entry.key, entry.place);
            }
        }
    }

    /// The directory that relative paths of this node's file begin at.
    pub(super) fn directory(&self, node: &Node) -> PathBuf {
        self.files.get(usize::from(node.place.file)).map(|file| file.directory.clone()).unwrap_or_default()
    }

    /// Where the value at `path` stands, as text.
    pub(super) fn at(&self, path: &str) -> String {
        self.seen.get(path).map(|(place, _)| self.show(*place)).unwrap_or_default()
    }

    /// A place as text: "line 4", or with its file where there are several.
    fn show(&self, place: Place) -> String {
        match self.files {
            [_] => format!("line {}", place.line),
            files => match files.get(usize::from(place.file)) {
                Some(file) => format!("{}:{}", file.name, place.line),
                None => format!("line {}", place.line),
            },
        }
    }

    /// From here on, errors tell the value at `path` as this.
    pub(super) fn hide(&mut self, path: &str, instead: &str) {
        if let Some((_, value)) = self.seen.get_mut(path) {
            instead.clone_into(value);
        }
    }

    /// How many items of the list at `path` were met.
    pub(super) fn items(&self, path: &str) -> usize {
        (0..).take_while(|index| self.seen.contains_key(&format!("{path}[{index}]"))).count()
    }

    /// Keeps the error that a file is no mapping at all.
    pub(super) fn refuse_document(&mut self, place: Place) {
        let kind = ErrorKind::Document("not a configuration".into());
        self.errors.push(ConfigError::new(place, kind, "expected a mapping that begins with `version: 1`"));
    }

    /// Keeps the error that a key is no name.
    pub(super) fn bad_name(&mut self, entry: &Entry, path: &str) {
        let why = Name::read_text(&entry.key).err().unwrap_or_default();
        self.errors.push(ConfigError {
            key: entry.key.clone(),
            path: path.to_owned(),
            suggestion: why.suggestion,
            ..ConfigError::new(
                entry.place,
                ErrorKind::BadName,
                format!("expected {}", <Name as ReadText>::EXPECTED),
            )
        });
    }

    /// Keeps the error that the value at `path` breaks `rule`.
    pub(super) fn bad_value(&mut self, path: &str, rule: impl Into<String>, suggestion: Option<String>) {
        let (place, value) = match self.seen.get(path) {
            Some((place, value)) => (*place, Some(value.clone()).filter(|value| !value.is_empty())),
            None => (Place::new(0, 1, 1), None),
        };
        let (path, key) = split(path);
        self.errors.push(ConfigError {
            key: key.to_owned(),
            path: path.to_owned(),
            value,
            suggestion,
            ..ConfigError::new(place, ErrorKind::BadValue, rule)
        });
    }
}

/// `routes[0]` and `name` make `routes[0].name`.
pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// The mapping and the key of a path: `routes[0]` and `hosts[1]` of `routes[0].hosts[1]`.
pub(super) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('.').unwrap_or(("", path))
}

/// The candidate that `word` was probably meant to be, if there is one.
pub(super) fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    if word.len() > 64 {
        return None;
    }
    let lower = word.to_lowercase();
    let distance = |candidate: &str| strsim::osa_distance(&lower, &candidate.to_lowercase());
    let near = candidates.into_iter().map(|candidate| (distance(candidate), candidate)).min()?;
    (near.0 <= (lower.chars().count() / 3).clamp(1, 3)).then_some(near.1)
}
