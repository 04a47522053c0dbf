//! What is wrong with a configuration: all of it at once, each with its place.

use std::fmt;

use serde::Serialize;

/// Longest value that an error repeats, in characters.
const SHOWN: usize = 80;

/// Where something stands: file (an index into the files that were read), line and column, both from 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) file: u16,
    pub(super) line: u32,
    pub(super) column: u32,
}

impl Place {
    pub(super) fn new(file: u16, line: usize, column: usize) -> Self {
        let narrow = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Place { file, line: narrow(line), column: narrow(column) }
    }
}

/// What kind of error it is, and its words before the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ErrorKind {
    /// A key that no such mapping has.
    UnknownKey,
    /// A key that occurs twice.
    DuplicateKey,
    /// A key that must be there.
    MissingKey,
    /// A value that breaks the rule of its key.
    BadValue,
    /// A key that is to be a name, and is none.
    BadName,
    /// A value that changes nothing: no error, a warning.
    NoEffect,
    /// A value that is good, but will soon not be: no error, a warning.
    Doubtful,
    /// The file cannot be read as a configuration at all; these words say how.
    Document(String),
}

impl ErrorKind {
    fn words(&self) -> &str {
        match self {
            ErrorKind::UnknownKey => "unknown key",
            ErrorKind::DuplicateKey => "duplicate key",
            ErrorKind::MissingKey => "missing key",
            ErrorKind::BadValue => "bad value for",
            ErrorKind::BadName => "bad name",
            ErrorKind::NoEffect => "no effect of",
            ErrorKind::Doubtful => "doubtful value for",
            ErrorKind::Document(words) => words,
        }
    }
}

/// One error while it is being collected: its file is still an index.
#[derive(Debug, Clone)]
pub(super) struct ConfigError {
    pub(super) place: Place,
    pub(super) kind: ErrorKind,
    pub(super) key: String,
    pub(super) path: String,
    pub(super) value: Option<String>,
    pub(super) rule: String,
    pub(super) suggestion: Option<String>,
}

impl ConfigError {
    pub(super) fn new(place: Place, kind: ErrorKind, rule: impl Into<String>) -> Self {
        let (key, path) = (String::new(), String::new());
        ConfigError { place, kind, key, path, value: None, rule: rule.into(), suggestion: None }
    }
}

/// Whether a configuration can be used in spite of a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It cannot.
    Error,
    /// It can, but it may not mean what its author thinks.
    Warning,
}

/// One thing that is wrong with a configuration.
///
/// Shown as ``sealgate.yaml:31:7: unknown key `upstreem` in routes[0] (value: orders): did you mean `upstream`?``
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Problem {
    /// The file as it was named; `-` for standard input.
    pub file: String,
    /// Its line, from 1.
    pub line: u32,
    /// Its column in characters, from 1.
    pub column: u32,
    /// Whether the configuration can be used nevertheless.
    pub severity: Severity,
    /// What kind of problem it is: `unknown key`, `bad value for`, …
    pub problem: String,
    /// The key, where one is concerned.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// The mapping that the key is in, such as `routes[0].match`; left out at the top level.
    #[serde(rename = "in", skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// The value as it is written in the file: a variable is shown by its name, never by its value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// What was expected.
    pub rule: String,
    /// What was probably meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file, self.line, self.column)?;
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        f.write_str(&self.problem)?;
        if !self.key.is_empty() {
            write!(f, " `{}`", self.key)?;
            let path = if self.path.is_empty() { "the configuration" } else { &self.path };
            write!(f, " in {path}")?;
        }
        if let Some(value) = &self.value {
            write!(f, " (value: {value})")?;
        }
        match &self.suggestion {
            Some(meant) if self.problem == ErrorKind::UnknownKey.words() => {
                write!(f, ": did you mean `{meant}`?")
            }
            Some(meant) => write!(f, ": {}; did you mean `{meant}`?", self.rule),
            None => write!(f, ": {}", self.rule),
        }
    }
}

/// Everything that is wrong with a configuration, sorted by place. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Sorts what was collected and puts the files' names in.
    pub(super) fn new(errors: Vec<ConfigError>, files: &[String]) -> Self {
        Problems(Problems::sorted(errors, files))
    }

    /// The same, of what may be nothing.
    pub(super) fn sorted(mut errors: Vec<ConfigError>, files: &[String]) -> Vec<Problem> {
        errors.sort_by(|a, b| a.place.cmp(&b.place).then_with(|| a.key.cmp(&b.key)));
        let name = |file: u16| files.get(usize::from(file)).cloned().unwrap_or_default();
        let show = |error: ConfigError| Problem {
            file: name(error.place.file),
            line: error.place.line,
            column: error.place.column,
            severity: match error.kind {
                ErrorKind::NoEffect | ErrorKind::Doubtful => Severity::Warning,
                _ => Severity::Error,
            },
            problem: error.kind.words().to_owned(),
            key: printable(&error.key),
            path: error.path,
            value: error.value.as_deref().map(printable),
            rule: error.rule,
            suggestion: error.suggestion,
        };
        errors.into_iter().map(show).collect()
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            write!(f, "{newline}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// A text of the file on one line of a terminal: escaped, and cut where it is long.
fn printable(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN).flat_map(escape).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

/// The character itself, unless it would move a terminal's cursor or hide what follows.
fn escape(c: char) -> impl Iterator<Item = char> {
    let bidi =
        matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
    let escaped = c.is_control() || bidi;
    let plain = (!escaped).then_some(c);
    plain.into_iter().chain(escaped.then(|| c.escape_unicode()).into_iter().flatten())
}
