//! One spelling for each request: what is routed, authorised, recorded and sent upstream is the same string.
//!
//! - [`path()`]: escapes of unreserved characters are decoded once, all other escapes get capital digits, what may not
//!   stand in a path is escaped, dot segments and double slashes are resolved. What two servers could read differently
//!   is refused: an encoded slash or backslash, a backslash, control characters, broken escapes, text that is not
//!   UTF-8, dot segments with parameters (`..;`), and climbing above the root.
//! - [`Host`]: lower case, no trailing dot, no default port; refused when missing, repeated or malformed.
//! - The target's form: origin-form and absolute-form are understood; `*` and CONNECT are refused.
//!
//! A spelling that is already normal is borrowed: the usual request costs one pass over its bytes and no allocation.
//! Source: RFC 3986 sections 2, 3.2.2, 3.3, 5.2.4 and 6.2.2; RFC 9112 section 3.2.

mod host;
mod path;

use std::borrow::Cow;

use http::Method;

pub use host::Host;
pub use path::{path, without_parameters};

/// The scheme that a request came over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Without TLS.
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    /// The port that need not be written.
    pub const fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

/// Why a request is refused before it is routed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A target of no form that is understood, or one with a fragment or another scheme.
    #[error("the request target is neither a path nor a URL of this scheme")]
    BadTarget,
    /// The target is `*`.
    #[error("the target `*` is not served")]
    AsteriskTarget,
    /// CONNECT.
    #[error("CONNECT is not served")]
    Connect,
    /// `%` without two hexadecimal digits after it.
    #[error("the path holds a broken percent-escape")]
    BadEscape,
    /// `%2F` or `%5C`.
    #[error("the path holds an encoded slash or backslash")]
    EncodedSeparator,
    /// A backslash.
    #[error("the path holds a backslash")]
    Backslash,
    /// NUL or another control character, encoded or not.
    #[error("the target holds a control character")]
    ControlCharacter,
    /// Bytes that are not UTF-8 once the path is decoded, overlong encodings among them.
    #[error("the decoded path is not UTF-8")]
    NotUtf8,
    /// A dot segment with parameters, such as `..;x`.
    #[error("the path holds a dot segment with parameters")]
    DotSegment,
    /// Segments with parameters, without which the path takes another route.
    #[error("the path takes another route without its parameters (`;…`)")]
    Parameters,
    /// More `..` than there are segments to leave.
    #[error("the path climbs above the root")]
    AboveRoot,
    /// No Host.
    #[error("the host is missing")]
    MissingHost,
    /// Two or more of them.
    #[error("the host is given more than once")]
    DuplicateHost,
    /// One that is no host name or address with an optional port.
    #[error("the host is malformed")]
    BadHost,
    /// The target's authority and Host differ.
    #[error("the host of the target and the Host header differ")]
    HostMismatch,
}

impl Refusal {
    /// A constant word for records and metrics.
    pub const fn reason(self) -> &'static str {
        match self {
            Refusal::BadTarget => "bad_target",
            Refusal::AsteriskTarget => "asterisk_target",
            Refusal::Connect => "connect",
            Refusal::BadEscape => "bad_escape",
            Refusal::EncodedSeparator => "encoded_separator",
            Refusal::Backslash => "backslash",
            Refusal::ControlCharacter => "control_character",
            Refusal::NotUtf8 => "not_utf8",
            Refusal::DotSegment => "dot_segment",
            Refusal::Parameters => "parameters",
            Refusal::AboveRoot => "above_root",
            Refusal::MissingHost => "missing_host",
            Refusal::DuplicateHost => "duplicate_host",
            Refusal::BadHost => "bad_host",
            Refusal::HostMismatch => "host_mismatch",
        }
    }

    /// The status that answers it: 405 for CONNECT, 400 for all others.
    pub const fn status(self) -> u16 {
        match self {
            Refusal::Connect => 405,
            _ => 400,
        }
    }
}

/// A request's target in its one spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target<'a> {
    /// The host, and the port where it is not the scheme's own.
    pub host: Host<'a>,
    /// The path: begins with `/`, ASCII, normal.
    pub path: Cow<'a, str>,
    /// What follows the first `?`: as received, but for bytes that may not stand in a URI, which are escaped.
    pub query: Option<Cow<'a, str>>,
}

/// Brings a request's target and host into their one spelling.
///
/// `target` is the request target as received (`RequestHeader::raw_path`), `hosts` every value of the Host header (or
/// the one `:authority`).
///
/// # Errors
///
/// What is ambiguous, malformed or not served; see [`Refusal`].
pub fn request<'a>(
    method: &Method,
    scheme: Scheme,
    target: &'a [u8],
    hosts: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Target<'a>, Refusal> {
    if method == Method::CONNECT {
        return Err(Refusal::Connect);
    }
    let (authority, rest) = match target.first() {
        Some(b'/') => (None, target),
        Some(b'*') if target.len() == 1 => return Err(Refusal::AsteriskTarget),
        _ => absolute(scheme, target)?,
    };
    let host = one_host(scheme, hosts)?;
    if let Some(authority) = authority
        && Host::parse(authority, scheme)? != host
    {
        return Err(Refusal::HostMismatch);
    }
    if rest.contains(&b'#') {
        return Err(Refusal::BadTarget);
    }
    let (raw_path, raw_query) = match rest.iter().position(|&b| b == b'?') {
        Some(at) => (&rest[..at], Some(&rest[at + 1..])),
        None => (rest, None),
    };
    let path = if raw_path.is_empty() { Cow::Borrowed("/") } else { path(raw_path)? };
    let query = raw_query.map(path::escape_query).transpose()?;
    Ok(Target { host, path, query })
}

/// The authority of an absolute-form target, and what follows it.
fn absolute(scheme: Scheme, target: &[u8]) -> Result<(Option<&[u8]>, &[u8]), Refusal> {
    let name = scheme.as_str().as_bytes();
    let (given, rest) = target.split_at_checked(name.len()).ok_or(Refusal::BadTarget)?;
    let rest =
        rest.strip_prefix(b"://").filter(|_| given.eq_ignore_ascii_case(name)).ok_or(Refusal::BadTarget)?;
    let end = rest.iter().position(|b| matches!(b, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    Ok((Some(authority), rest))
}

/// The only Host.
fn one_host<'a>(scheme: Scheme, hosts: impl IntoIterator<Item = &'a [u8]>) -> Result<Host<'a>, Refusal> {
    let mut hosts = hosts.into_iter();
    let first = hosts.next().ok_or(Refusal::MissingHost)?;
    if hosts.next().is_some() {
        return Err(Refusal::DuplicateHost);
    }
    if first.is_empty() {
        return Err(Refusal::MissingHost);
    }
    Host::parse(first, scheme)
}

#[cfg(test)]
mod tests;
