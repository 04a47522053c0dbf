//! A YAML document as a tree in which every node knows its place.
//!
//! The tree is what the reader walks, so that one pass can report every error with line and column. What a
//! configuration has no use for is refused here: anchors and aliases (so nothing is cyclic and nothing expands), tags,
//! directives, several documents, keys that are not scalars, keys that occur twice.

use granit_parser::{Event, Parser, ScalarStyle, Span};

use super::error::{ConfigError, ErrorKind, Place};

/// The nodes of one file at most: far beyond any real configuration, small enough to refuse a hostile one.
const MAX_NODES: usize = 200_000;

/// How deep collections may lie in one another.
const MAX_DEPTH: usize = 32;

/// One node of the tree.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) content: Content,
}

/// What a node holds.
#[derive(Debug, Clone)]
pub(super) enum Content {
    Scalar(Scalar),
    Sequence(Vec<Node>),
    Mapping(Vec<Entry>),
}

/// A scalar as it stands in the file, before any variable in it is replaced.
#[derive(Debug, Clone)]
pub(super) struct Scalar {
    pub(super) text: String,
    /// Whether it was written without quotes: only then can it be a number, `true`, or nothing at all.
    pub(super) plain: bool,
}

/// A key and its value.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) value: Node,
}

impl Node {
    /// What stands here, in a few words: for the `value` of an error. Empty where nothing stands.
    pub(super) fn describe(&self) -> String {
        match &self.content {
            Content::Scalar(_) if self.is_null() => String::new(),
            Content::Scalar(scalar) if scalar.text.is_empty() => "\"\"".into(),
            Content::Scalar(scalar) => scalar.text.clone(),
            Content::Sequence(items) if items.is_empty() => "an empty list".into(),
            Content::Sequence(_) => "a list".into(),
            Content::Mapping(_) => "a mapping".into(),
        }
    }

    /// Whether nothing stands here: `key:`, `key: ~` or `key: null`.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.content, Content::Scalar(s) if s.plain && matches!(s.text.as_str(), "" | "~" | "null"))
    }
}

/// Parses the one document of `text`. Errors that leave the tree usable are added to `errors`; where there is no tree
/// at all, the last of them says why.
pub(super) fn parse(file: u16, text: &str, errors: &mut Vec<ConfigError>) -> Option<Node> {
    let options = granit_parser::options! { emit_comments: false, disallow_directives: true };
    let events = Parser::new_from_str_with_options(text, options);
    let mut builder = Builder { file, open: Vec::new(), root: None, nodes: 0, documents: 0, errors };
    for event in events {
        match event {
            Ok((event, span)) => builder.take(event, span)?,
            Err(error) => {
                let marker = error.marker();
                let place = Place::new(file, marker.line(), marker.col() + 1);
                builder.refuse(place, "not YAML", error.info());
                return None;
            }
        }
    }
    if builder.root.is_none() {
        builder.refuse(
            Place::new(file, 1, 1),
            "nothing here",
            "expected a configuration that begins with `version: 1`",
        );
    }
    builder.root
}

/// A collection whose end has not come yet.
enum Open {
    Sequence(Place, Vec<Node>),
    /// With the key that waits for its value.
    Mapping(Place, Vec<Entry>, Option<(String, Place)>),
}

/// Builds the tree from the parser's events.
struct Builder<'e> {
    file: u16,
    open: Vec<Open>,
    root: Option<Node>,
    nodes: usize,
    documents: usize,
    errors: &'e mut Vec<ConfigError>,
}

impl Builder<'_> {
    /// Takes one event; `None` where there is no use in going on.
    fn take(&mut self, event: Event<'_>, span: Span) -> Option<()> {
        let place = Place::new(self.file, span.start.line(), span.start.col() + 1);
        if let Some(anchored) = event.anchor_id().filter(|&id| id != 0).map(|_| place) {
            self.refuse(
                anchored,
                "anchor",
                "anchors and aliases are not understood: write the value out where it is used",
            );
        }
        if event.tag().is_some() {
            self.refuse(place, "tag", "tags are not understood: a value's type follows from its key");
        }
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    self.refuse(place, "second document", "expected one document a file");
                    return None;
                }
            }
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                self.refuse(
                    place,
                    "alias",
                    "anchors and aliases are not understood: write the value out where it is used",
                );
                return None;
            }
            Event::Scalar(text, style, ..) => {
                let scalar = Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain };
                self.add(Node { place, content: Content::Scalar(scalar) })?;
            }
            Event::SequenceStart(..) => self.begin(Open::Sequence(place, Vec::new()))?,
            Event::MappingStart(..) => self.begin(Open::Mapping(place, Vec::new(), None))?,
            Event::SequenceEnd | Event::MappingEnd => {
                let node = match self.open.pop()? {
                    Open::Sequence(place, items) => Node { place, content: Content::Sequence(items) },
                    Open::Mapping(place, entries, _) => Node { place, content: Content::Mapping(entries) },
                };
                self.add(node)?;
            }
            _ => {}
        }
        Some(())
    }

    fn begin(&mut self, collection: Open) -> Option<()> {
        let (Open::Sequence(place, _) | Open::Mapping(place, ..)) = &collection;
        if self.open.len() >= MAX_DEPTH {
            self.refuse(*place, "too deep", format!("expected at most {MAX_DEPTH} levels"));
            return None;
        }
        self.open.push(collection);
        Some(())
    }

    /// Puts a finished node where it belongs.
    fn add(&mut self, node: Node) -> Option<()> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            self.refuse(node.place, "too large", format!("expected at most {MAX_NODES} values"));
            return None;
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::Sequence(_, items)) => items.push(node),
            Some(Open::Mapping(_, entries, waiting)) => match waiting.take() {
                Some((key, place)) => entries.push(Entry { key, place, value: node }),
                None => match node.content {
                    Content::Scalar(Scalar { text, .. }) => *waiting = Some((text, node.place)),
                    Content::Sequence(_) | Content::Mapping(_) => {
                        self.refuse(node.place, "bad key", "expected a name as the key");
                        return None;
                    }
                },
            },
        }
        Some(())
    }

    fn refuse(&mut self, place: Place, what: &str, rule: impl Into<String>) {
        self.errors.push(ConfigError::new(place, ErrorKind::Document(what.into()), rule));
    }
}
