//! The file of an `api_key` provider: the SHA-256 of each key, and whose it is.
//!
//! ```yaml
//! keys:
//!   - { actor: svc-billing, groups: [partners], sha256: 9f86…, not_after: 2027-01-01T00:00:00Z }
//! ```
//!
//! It is read by the configuration's reader, so that errors have their places; but none repeats a value: who writes a
//! key where its hash belongs is told so, and nobody else learns the key.

use std::path::Path;

use audit_writer::time::Timestamp;

use super::error::{ConfigError, ErrorKind, Place, Problems};
use super::load::environment;
use super::node::{self, Content, Node};
use super::source;
use super::walk::{Read, ReadText, Slots, Unreadable, Walk};
use crate::identity::{MAX_ACTOR, MAX_GROUP, MAX_GROUPS};

/// The most keys of one file: a request is held against all of them.
const MOST_KEYS: usize = 10_000;

/// SHA-256 of nothing, which is what an empty header would hold.
const OF_NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// One key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Whose it is.
    pub actor: String,
    /// The actor's groups.
    pub groups: Vec<String>,
    /// Its SHA-256.
    pub sha256: [u8; 32],
    /// Until when it holds; for ever when left out.
    pub not_after: Option<Timestamp>,
}

/// Reads the keys of a file.
///
/// # Errors
///
/// Everything that is wrong with it, without a value that stands in it.
pub fn read_api_keys(path: &Path) -> Result<Vec<ApiKey>, Problems> {
    let names = [path.display().to_string()];
    let refuse = |what: &str, rule: String| {
        let kind = ErrorKind::Document(what.into());
        Problems::new(vec![ConfigError::new(Place::new(0, 1, 1), kind, rule)], &names)
    };
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Err(refuse("unreadable", "expected a file".into())),
        Err(error) => return Err(refuse("unreadable", error.to_string())),
    }
    let mut errors = Vec::new();
    let files = source::read(path, &mut errors);
    let tree = match &*files {
        [file] if errors.is_empty() => node::parse(0, &file.text, &mut errors),
        _ => None,
    };
    let is_empty = errors.iter().any(|error| error.kind == ErrorKind::Document("nothing here".into()));
    let tree = match tree {
        Some(tree) if matches!(tree.content, Content::Mapping(_)) => tree,
        None if !is_empty => return Err(Problems::new(hidden(errors), &names)),
        None | Some(_) => return Err(refuse("no file of keys", format!("expected {}", File::EXPECTED))),
    };
    let mut walk = Walk::new(&files, &environment, errors);
    match walk.read::<File>(&tree, "") {
        Some(File(keys)) if walk.errors.is_empty() => Ok(keys),
        _ => Err(Problems::new(hidden(walk.errors), &names)),
    }
}

/// Errors without anything that may be a key.
fn hidden(errors: Vec<ConfigError>) -> Vec<ConfigError> {
    let word = |key: &str| {
        key.len() <= 16 && key.bytes().all(|b| b.is_ascii_lowercase() || b"_[]0123456789".contains(&b))
    };
    errors
        .into_iter()
        .map(|error| ConfigError {
            value: None,
            path: if error.path.is_empty() { "the file of keys".into() } else { error.path },
            key: if word(&error.key) { error.key } else { "…".into() },
            ..error
        })
        .collect()
}

/// The whole file.
struct File(Vec<ApiKey>);

impl Read for File {
    const EXPECTED: &'static str = "a mapping with `keys`";

    fn read(node: &Node, path: &str, walk: &mut Walk<'_>) -> Option<Self> {
        let mut file = walk.mapping(node, path, Self::EXPECTED)?;
        let keys: Option<Slots<ApiKey>> = file.required("keys");
        let keys = keys.unwrap_or_default();
        for (index, key) in keys.present() {
            if keys.present().any(|(before, other)| before < index && other.sha256 == key.sha256) {
                file.bad_value(
                    &format!("keys[{index}].sha256"),
                    "expected once, and this key is already in this list",
                );
            }
        }
        if keys.len() > MOST_KEYS {
            file.bad_value("keys", format!("expected at most {MOST_KEYS}"));
        }
        file.finish();
        keys.complete().map(File)
    }
}

impl Read for ApiKey {
    const EXPECTED: &'static str = "a mapping with `actor`, `groups`, `sha256`, `not_after`";

    fn read(node: &Node, path: &str, walk: &mut Walk<'_>) -> Option<Self> {
        let mut key = walk.mapping(node, path, Self::EXPECTED)?;
        let actor: Option<ActorText> = key.required("actor");
        let groups: Vec<GroupText> = key.or("groups", Vec::new());
        let sha256: Option<Sha256Text> = key.required("sha256");
        let not_after = key.optional("not_after").map(|MomentText(moment)| moment);
        let groups: Vec<String> = groups.into_iter().map(|GroupText(group)| group).collect();
        key.distinct("groups", &groups);
        if groups.len() > MAX_GROUPS {
            key.bad_value("groups", format!("expected at most {MAX_GROUPS}"));
        }
        key.finish();
        Some(ApiKey { actor: actor?.0, groups, sha256: sha256?.0, not_after })
    }
}

struct ActorText(String);

impl ReadText for ActorText {
    const EXPECTED: &'static str = "an actor's id";

    fn read_text(text: &str) -> Result<Self, Unreadable> {
        bounded(text, MAX_ACTOR).map(ActorText)
    }
}

struct GroupText(String);

impl ReadText for GroupText {
    const EXPECTED: &'static str = "a group's name";

    fn read_text(text: &str) -> Result<Self, Unreadable> {
        bounded(text, MAX_GROUP).map(GroupText)
    }
}

fn bounded(text: &str, most: usize) -> Result<String, Unreadable> {
    let text = String::read_text(text)?;
    if text.len() > most {
        return Err(Unreadable::rule(format!("expected at most {most} bytes")));
    }
    Ok(text)
}

/// A SHA-256 in hexadecimal digits.
struct Sha256Text([u8; 32]);

impl ReadText for Sha256Text {
    const EXPECTED: &'static str =
        "the SHA-256 of a key, 64 hexadecimal digits (`printf %s \"$KEY\" | sha256sum`), never the key";

    fn read_text(text: &str) -> Result<Self, Unreadable> {
        let lower = text.to_ascii_lowercase();
        if lower == OF_NOTHING {
            return Err(Unreadable::rule("expected the SHA-256 of a key: this is that of an empty text"));
        }
        let mut sha256 = [0; 32];
        let mut digits = lower.bytes().map(|digit| match digit {
            b'0'..=b'9' => Some(digit - b'0'),
            b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        });
        let mut digit = || digits.next().flatten();
        for byte in &mut sha256 {
            let (high, low) = (digit(), digit());
            *byte = high.zip(low).map(|(high, low)| high << 4 | low).ok_or_else(Unreadable::default)?;
        }
        if lower.len() == 64 { Ok(Sha256Text(sha256)) } else { Err(Unreadable::default()) }
    }
}

/// A moment in UTC.
struct MomentText(Timestamp);

impl ReadText for MomentText {
    const EXPECTED: &'static str = "a moment in UTC such as `2027-01-01T00:00:00Z`";

    fn read_text(text: &str) -> Result<Self, Unreadable> {
        let whole = text.strip_suffix('Z').filter(|_| text.len() == "2027-01-01T00:00:00Z".len());
        let full = whole.map(|whole| format!("{whole}.000000Z"));
        Timestamp::parse(full.as_deref().unwrap_or(text).as_bytes())
            .map(MomentText)
            .ok_or_else(Unreadable::default)
    }
}
