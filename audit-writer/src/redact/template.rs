//! Templates of paths, and what they hide.
//!
//! `/reset/{token}` fits every target whose segments begin so, and hides what stands in place of `{token}`. What fits
//! is judged generously, since a secret that is hidden once too often is no harm: literals are compared without regard
//! to case, escapes and parameters (`;x`), dot segments are followed, and each target is read in both ways of
//! [`super::spelling`].

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use super::spelling::{Reading, Segment, decoded, segments};

/// Bytes of the longest template.
pub const MAX_TEMPLATE: usize = 1024;

/// Why a text is no template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It is too long.
    #[error("expected at most {MAX_TEMPLATE} bytes")]
    TooLong,
    /// It does not begin with `/`.
    #[error("expected a template that begins with `/`, such as `/reset/{{token}}`")]
    NoPath,
    /// Nothing in it is hidden.
    #[error("expected at least one segment `{{name}}`, in place of which secrets stand")]
    NothingHidden,
    /// A brace where none may be, or a name that is none.
    #[error("expected `{{name}}` as a whole segment, of letters, digits, `_` and `-`")]
    BadName,
    /// A segment that no path has.
    #[error(
        "expected segments as paths have them: not empty, no dot segment, no `?`, `#`, `;`, backslash or control character, no encoded separator"
    )]
    BadSegment,
}

/// A template: literal segments, and names for what is hidden.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathTemplate {
    segments: Box<[Part]>,
}

#[derive(Clone, Debug, Eq)]
enum Part {
    /// Decoded, in lower case.
    Literal { decoded: Box<[u8]>, written: Box<str> },
    /// With its braces.
    Name(Box<str>),
}

/// Two spellings of a literal are one: they fit the same segments.
impl PartialEq for Part {
    fn eq(&self, other: &Part) -> bool {
        match (self, other) {
            (Part::Literal { decoded, .. }, Part::Literal { decoded: other, .. }) => decoded == other,
            (Part::Name(name), Part::Name(other)) => name == other,
            _ => false,
        }
    }
}

impl FromStr for PathTemplate {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        if text.len() > MAX_TEMPLATE {
            return Err(TemplateError::TooLong);
        }
        let path = text.strip_prefix('/').ok_or(TemplateError::NoPath)?;
        let segments: Box<[Part]> = path.split('/').map(Part::read).collect::<Result<_, _>>()?;
        let hides = segments.iter().any(|part| matches!(part, Part::Name(_)));
        if hides { Ok(PathTemplate { segments }) } else { Err(TemplateError::NothingHidden) }
    }
}

impl fmt::Display for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.segments.iter().try_for_each(|part| match part {
            Part::Literal { written: text, .. } | Part::Name(text) => write!(f, "/{text}"),
        })
    }
}

impl Part {
    fn read(text: &str) -> Result<Part, TemplateError> {
        if let Some(name) = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
            let named = !name.is_empty() && name.bytes().all(fits);
            return if named { Ok(Part::Name(text.into())) } else { Err(TemplateError::BadName) };
        }
        if text.contains(['{', '}']) {
            return Err(TemplateError::BadName);
        }
        let decoded = decoded(text).to_ascii_lowercase();
        let foreign =
            |byte: &u8| byte.is_ascii_control() || matches!(byte, b'?' | b'#' | b';' | b'/' | b'\\');
        if matches!(decoded.as_slice(), b"" | b"." | b"..") || decoded.iter().any(foreign) {
            return Err(TemplateError::BadSegment);
        }
        Ok(Part::Literal { decoded: decoded.into(), written: text.into() })
    }

    fn fits(&self, name: &[u8]) -> bool {
        match self {
            Part::Literal { decoded, .. } => name.eq_ignore_ascii_case(decoded),
            Part::Name(_) => true,
        }
    }
}

/// A request's path and raw target with everything hidden that templates name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redacted {
    /// The path.
    pub path: Box<str>,
    /// The target, where it still differs and can be told.
    pub raw: Option<Box<str>>,
}

/// All templates of a gateway.
#[derive(Clone, Debug, Default)]
pub struct PathTemplates(Box<[PathTemplate]>);

impl PathTemplates {
    /// These templates; where two hide the same segment, either names it.
    pub fn new(templates: impl IntoIterator<Item = PathTemplate>) -> PathTemplates {
        PathTemplates(templates.into_iter().collect())
    }

    /// What a record has in place of a request's path, and of its target as received where that differs; `None` where
    /// nothing is to be hidden, which for a path without escapes costs no allocation. An empty path is that of a
    /// request that could not be understood.
    pub fn redact(&self, path: &str, raw: Option<&str>) -> Option<Redacted> {
        if self.0.is_empty() {
            return None;
        }
        if path.is_empty() {
            let raw = raw?;
            if !is_legible(raw) {
                return Some(Redacted { path: "".into(), raw: None });
            }
            return self.hide(raw).map(|raw| Redacted { path: "".into(), raw: Some(raw.into()) });
        }
        let hidden = self.hide(path);
        let raw_hidden = raw.and_then(|raw| self.hide(raw));
        let raw = match (&hidden, raw_hidden) {
            (None, None) => return None,
            (_, Some(raw)) => Some(raw.into_boxed_str()),
            // Both are spellings of one thing: where they are not read alike, only the routed one is told.
            (Some(_), None) => None,
        };
        let path = hidden.map_or_else(|| path.into(), String::into_boxed_str);
        Some(Redacted { raw: raw.filter(|raw| *raw != path), path })
    }

    /// `target` with everything hidden that a template names; `None` where that is nothing.
    fn hide(&self, target: &str) -> Option<String> {
        if is_plain(target) && !self.0.iter().any(|template| template.fits_plain(target)) {
            return None;
        }
        let from = path_begins(target);
        let mut hidden: Vec<(Range<usize>, &str)> = Vec::new();
        for reading in [Reading::Once, Reading::Fully] {
            self.find(&segments(target, from, reading), &mut hidden);
        }
        if hidden.is_empty() {
            return None;
        }
        for (place, _) in &mut hidden {
            // What one server reads as the next segment may be the secret's own end to another.
            place.end = target[place.start..].find('/').map_or(target.len(), |length| place.start + length);
        }
        hidden.sort_by_key(|(place, _)| place.start);
        let mut told = String::with_capacity(target.len());
        let mut at = from;
        told.push_str(&target[..from]);
        for (place, name) in hidden {
            if place.start >= at {
                told.push_str(&target[at..place.start]);
                told.push_str(name);
                at = place.end;
            }
        }
        told.push_str(&target[at..]);
        Some(told)
    }

    /// Adds the places that templates name, following dot segments as they come: also what is left again was sent.
    fn find<'t>(&'t self, segments: &[Segment], hidden: &mut Vec<(Range<usize>, &'t str)>) {
        let mut above: Vec<&Segment> = Vec::new();
        for segment in segments {
            if !segment.is_bare() {
                above.push(segment);
                let fitting = self.0.iter().filter(|template| template.fits(&above));
                for (part, segment) in fitting.flat_map(|template| template.segments.iter().zip(&above)) {
                    if let Part::Name(name) = part {
                        hidden.push((segment.place.clone(), name));
                    }
                }
                if matches!(segment.name(), b"" | b"." | b"..") {
                    above.pop();
                }
            }
            if segment.name() == b".." {
                above.pop();
            }
        }
    }
}

impl PathTemplate {
    fn fits(&self, segments: &[&Segment]) -> bool {
        self.segments.len() == segments.len()
            && self.segments.iter().zip(segments).all(|(part, segment)| part.fits(segment.name()))
    }

    /// The same for a target that [`is_plain`], of which it must fit the begin.
    fn fits_plain(&self, target: &str) -> bool {
        let mut segments = target.split('/').skip(1).filter(|segment| !segment.is_empty());
        self.segments.iter().all(|part| segments.next().is_some_and(|segment| part.fits(segment.as_bytes())))
    }
}

/// Whether a target can be read in one way only: no escape, no parameter, no dot segment, no authority.
fn is_plain(target: &str) -> bool {
    target.starts_with('/') && !target.contains(['%', ';', '\\']) && !target.contains("/.")
}

/// Where the path of a target begins: after the authority of an absolute one.
fn path_begins(target: &str) -> usize {
    if target.starts_with(['/', '\\']) {
        return 0;
    }
    let Some(scheme) = target.find("://") else { return 0 };
    let authority = scheme + "://".len();
    target[authority..].find(['/', '\\']).map_or(target.len(), |length| authority + length)
}

/// Whether the segments of a target that was refused can be told at all; where not, a secret could hide in it.
fn is_legible(raw: &str) -> bool {
    let rooted = raw.starts_with('/') || raw.find("://").is_some_and(|at| !raw[..at].contains(['/', '\\']));
    let decoded = decoded(raw);
    let readable = |text: &str| {
        !text.contains(['#', char::REPLACEMENT_CHARACTER]) && !text.chars().any(char::is_control)
    };
    rooted && std::str::from_utf8(&decoded).is_ok_and(readable)
}

#[cfg(test)]
mod tests;
