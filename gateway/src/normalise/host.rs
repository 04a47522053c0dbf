//! Hosts.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;

use super::{Refusal, Scheme};

/// The longest host name, as in DNS.
const MAX_NAME: usize = 253;

/// A host in its one spelling: lower case, without trailing dot, the port only where it is not the scheme's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host<'a> {
    text: Cow<'a, str>,
    name: usize,
}

impl<'a> Host<'a> {
    /// Reads the value of a Host header, or an authority.
    ///
    /// ```
    /// use gateway::normalise::{Host, Scheme};
    ///
    /// let host = Host::parse(b"API.example.com.:8080", Scheme::Http)?;
    /// assert_eq!((host.as_str(), host.name()), ("api.example.com:8080", "api.example.com"));
    /// # Ok::<(), gateway::normalise::Refusal>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Refusal::BadHost`]: a user name, a broken port, empty labels, or characters that no host name has. Bytes of
    /// international names are left as they are, where they are UTF-8.
    pub fn parse(raw: &'a [u8], scheme: Scheme) -> Result<Host<'a>, Refusal> {
        let text = std::str::from_utf8(raw).map_err(|_| Refusal::BadHost)?;
        let (name, port) = split_port(text)?;
        let port = match port {
            None | Some("") => None,
            Some(digits) => Some(port_number(digits)?).filter(|&port| port != scheme.default_port()),
        };
        let name = match name.strip_prefix('[') {
            Some(address) => ipv6(name, address)?,
            None => registered(name)?,
        };
        let length = name.len();
        let text = match port {
            None => name,
            // Borrowed whole where name and port already stand in it as they should.
            Some(port) => {
                let spelled = matches!(name, Cow::Borrowed(_))
                    && text.len() > length
                    && text.as_bytes()[length] == b':'
                    && !text[length + 1..].starts_with('0');
                if spelled { Cow::Borrowed(text) } else { Cow::Owned(format!("{name}:{port}")) }
            }
        };
        Ok(Host { text, name: length })
    }

    /// Name and port, as recorded: `api.example.com`, `localhost:8080`, `[::1]:8080`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The name alone, as routed: `localhost`, `[::1]`.
    pub fn name(&self) -> &str {
        &self.text[..self.name]
    }
}

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Splits the port off: what follows the colon behind the name or the closing bracket.
fn split_port(text: &str) -> Result<(&str, Option<&str>), Refusal> {
    let name = match text.strip_prefix('[') {
        Some(rest) => rest.find(']').ok_or(Refusal::BadHost)? + 2,
        None => text.find(':').unwrap_or(text.len()),
    };
    match text.split_at(name) {
        (name, "") => Ok((name, None)),
        (name, rest) => Ok((name, Some(rest.strip_prefix(':').ok_or(Refusal::BadHost)?))),
    }
}

/// A port from 1 to 65535.
fn port_number(digits: &str) -> Result<u16, Refusal> {
    let plain = digits.len() <= 5 && digits.bytes().all(|b| b.is_ascii_digit());
    match digits.parse() {
        Ok(port) if plain && port != 0 => Ok(port),
        _ => Err(Refusal::BadHost),
    }
}

/// An address in brackets, in the spelling of RFC 5952.
fn ipv6<'a>(bracketed: &'a str, address: &str) -> Result<Cow<'a, str>, Refusal> {
    let address: Ipv6Addr = address.trim_end_matches(']').parse().map_err(|_| Refusal::BadHost)?;
    let spelled = format!("[{address}]");
    Ok(if spelled == bracketed { Cow::Borrowed(bracketed) } else { Cow::Owned(spelled) })
}

/// A name of labels between dots, in lower case.
fn registered(name: &str) -> Result<Cow<'_, str>, Refusal> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.') || !b.is_ascii();
    let mut after_dot = true;
    let mut capitals = false;
    for byte in name.bytes() {
        if !fits(byte) || (after_dot && byte == b'.') {
            return Err(Refusal::BadHost);
        }
        after_dot = byte == b'.';
        capitals |= byte.is_ascii_uppercase();
    }
    // Also where the name is empty, or ends in two dots.
    if after_dot || name.len() > MAX_NAME || name.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(Refusal::BadHost);
    }
    Ok(if capitals { Cow::Owned(name.to_ascii_lowercase()) } else { Cow::Borrowed(name) })
}
