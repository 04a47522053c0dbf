//! Paths and queries.

use std::borrow::Cow;

use super::Refusal;

/// What a byte means in a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// A letter, a digit, `-`, `.`, `_`, `~`: never escaped.
    Unreserved,
    /// Another character that may stand in a segment.
    Segment,
    /// `/`.
    Slash,
    /// `%`.
    Percent,
    /// A backslash.
    Backslash,
    /// C0 controls and DEL.
    Control,
    /// Everything else, which has to be escaped.
    Other,
}

/// RFC 3986, sections 2.3 and 3.3.
const fn class(byte: u8) -> Class {
    match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => Class::Unreserved,
        b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@' => {
            Class::Segment
        }
        b'/' => Class::Slash,
        b'%' => Class::Percent,
        b'\\' => Class::Backslash,
        0x00..=0x1f | 0x7f => Class::Control,
        _ => Class::Other,
    }
}

/// [`class`] of every byte, so that the usual path costs one look-up a byte.
static CLASSES: [Class; 256] = {
    let mut classes = [Class::Other; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = class(byte as u8);
        byte += 1;
    }
    classes
};

/// The one spelling of a path, without its query.
///
/// The result begins with `/`, is ASCII, holds no dot segment, no `//`, no escape of an unreserved character, of a
/// slash, of a backslash or of a control character; and `path` of it is itself.
///
/// ```
/// use gateway::normalise::{Refusal, path};
///
/// assert_eq!(path(b"/orders//%34%32/./x/..").as_deref(), Ok("/orders/42/"));
/// assert_eq!(path(b"/orders/%2e%2e/%2E%2E/etc"), Err(Refusal::AboveRoot));
/// ```
///
/// # Errors
///
/// [`Refusal::BadTarget`] where it does not begin with `/`; otherwise what two servers could read differently.
pub fn path(raw: &[u8]) -> Result<Cow<'_, str>, Refusal> {
    if raw.first() != Some(&b'/') {
        return Err(Refusal::BadTarget);
    }
    if is_normal(raw) {
        return std::str::from_utf8(raw).map(Cow::Borrowed).map_err(|_| Refusal::NotUtf8);
    }
    let spelled = spell(raw)?;
    resolve(&spelled).map(Cow::Owned)
}

/// Whether nothing can need a change. It may be wrong in one direction only: `/.well-known` takes the long way.
fn is_normal(raw: &[u8]) -> bool {
    let mut after_slash = false;
    for &byte in raw {
        match CLASSES[usize::from(byte)] {
            Class::Unreserved if after_slash && byte == b'.' => return false,
            Class::Slash if after_slash => return false,
            Class::Unreserved | Class::Segment | Class::Slash => after_slash = byte == b'/',
            _ => return false,
        }
    }
    true
}

/// Decodes what need not be escaped, escapes what must be, and refuses what is ambiguous.
fn spell(raw: &[u8]) -> Result<String, Refusal> {
    let mut spelled = String::with_capacity(raw.len() + 8);
    let mut decoded = Vec::with_capacity(raw.len());
    let mut bytes = raw.iter();
    while let Some(&byte) = bytes.next() {
        match class(byte) {
            Class::Unreserved | Class::Segment | Class::Slash => {
                spelled.push(char::from(byte));
                decoded.push(byte);
            }
            Class::Backslash => return Err(Refusal::Backslash),
            Class::Control => return Err(Refusal::ControlCharacter),
            Class::Other => {
                push_escape(&mut spelled, byte);
                decoded.push(byte);
            }
            Class::Percent => {
                let high = bytes.next().copied().and_then(hex).ok_or(Refusal::BadEscape)?;
                let low = bytes.next().copied().and_then(hex).ok_or(Refusal::BadEscape)?;
                let byte = high << 4 | low;
                match class(byte) {
                    Class::Unreserved => spelled.push(char::from(byte)),
                    Class::Slash | Class::Backslash => return Err(Refusal::EncodedSeparator),
                    Class::Control => return Err(Refusal::ControlCharacter),
                    Class::Segment | Class::Percent | Class::Other => push_escape(&mut spelled, byte),
                }
                decoded.push(byte);
            }
        }
    }
    match std::str::from_utf8(&decoded) {
        Ok(text) if text.chars().any(char::is_control) => Err(Refusal::ControlCharacter),
        Ok(_) => Ok(spelled),
        Err(_) => Err(Refusal::NotUtf8),
    }
}

/// Resolves dot segments and double slashes (RFC 3986, section 5.2.4, but that climbing above the root is refused).
fn resolve(path: &str) -> Result<String, Refusal> {
    let mut resolved = String::with_capacity(path.len());
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "" | "." if last => resolved.push('/'),
            "" | "." => {}
            ".." => {
                let parent = resolved.rfind('/').ok_or(Refusal::AboveRoot)?;
                resolved.truncate(parent);
                if last {
                    resolved.push('/');
                }
            }
            _ if matches!(name(segment), "." | "..") => return Err(Refusal::DotSegment),
            _ => {
                resolved.push('/');
                resolved.push_str(segment);
            }
        }
    }
    Ok(resolved)
}

/// A normalised path without the parameters of its segments (`;…`, RFC 3986, section 3.3), as servers see it that take
/// them off before they look at the path; `None` where it has none. An encoded semicolon counts as one.
///
/// ```
/// use gateway::normalise::without_parameters;
///
/// assert_eq!(without_parameters("/orders;v=1/42%3Bx").as_deref(), Some("/orders/42"));
/// assert_eq!(without_parameters("/;x/orders/;y").as_deref(), Some("/orders/"));
/// assert_eq!(without_parameters("/orders/42"), None);
/// ```
pub fn without_parameters(path: &str) -> Option<String> {
    if !path.contains(';') && !path.contains(SEMICOLON) {
        return None;
    }
    let mut bare = String::with_capacity(path.len());
    let mut segments = path.split('/').skip(1).map(name).peekable();
    while let Some(segment) = segments.next() {
        if !segment.is_empty() || segments.peek().is_none() {
            bare.push('/');
            bare.push_str(segment);
        }
    }
    Some(bare)
}

/// A semicolon, encoded as normalised paths have it.
const SEMICOLON: &str = "%3B";

/// A segment without its parameters.
fn name(segment: &str) -> &str {
    let end = [segment.find(';'), segment.find(SEMICOLON)].into_iter().flatten().min();
    &segment[..end.unwrap_or(segment.len())]
}

/// A query: its escapes are left as they are, what may not stand in a URI is escaped.
///
/// # Errors
///
/// [`Refusal::ControlCharacter`]: one that is not encoded.
pub(super) fn escape_query(raw: &[u8]) -> Result<Cow<'_, str>, Refusal> {
    let fits = |byte: u8| {
        matches!(byte, b'?' | b'%')
            || matches!(CLASSES[usize::from(byte)], Class::Unreserved | Class::Segment | Class::Slash)
    };
    if raw.iter().any(|&byte| class(byte) == Class::Control) {
        return Err(Refusal::ControlCharacter);
    }
    if raw.iter().all(|&byte| fits(byte)) {
        // Every byte that fits is ASCII.
        return std::str::from_utf8(raw).map(Cow::Borrowed).map_err(|_| Refusal::NotUtf8);
    }
    let mut escaped = String::with_capacity(raw.len() + 16);
    for &byte in raw {
        if fits(byte) {
            escaped.push(char::from(byte));
        } else {
            push_escape(&mut escaped, byte);
        }
    }
    Ok(Cow::Owned(escaped))
}

/// The value of a hexadecimal digit.
fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

/// `%XX`, with capital digits.
fn push_escape(text: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    text.push('%');
    text.push(char::from(DIGITS[usize::from(byte >> 4)]));
    text.push(char::from(DIGITS[usize::from(byte & 15)]));
}
