//! Reading a line at the speed of hashing it: one pass that checks the whole of it and picks out what readers rely on.
//! The one reader of lines: `verify`, recovery and [`Brief`](super::Brief) take what it finds.
//!
//! [`scan`] accepts exactly the lines of the format: the prefix to the byte, then members of one JSON object (RFC 8259),
//! nothing after. Nothing is copied and no tree is built; values that nobody asks for are checked and passed over.
//!
//! The caller has checked that the bytes are UTF-8, once for a whole frame, which is far cheaper than for each line.

use std::borrow::Cow;

use thiserror::Error;

use super::{Kind, MAX_LINE};
use crate::ids::Seq;
use crate::segment::Facts;
use crate::time::Timestamp;

/// Objects and arrays may nest this deep; a gateway's nest to five.
const MAX_DEPTH: u32 = 64;

/// No honest log counts this far; below it, sums of numbers that were read cannot overflow.
const MAX_SEQ: u64 = 1 << 62;

/// Why a line is not a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadLine {
    /// It is too long.
    #[error("it has {0} bytes, more than {MAX_LINE}")]
    TooLong(usize),
    /// It is not UTF-8.
    #[error("byte {0} is not UTF-8")]
    NotUtf8(usize),
    /// Something else belongs there.
    #[error("byte {at}: expected {expected}")]
    Expected {
        /// Where, from the line's begin.
        at: usize,
        /// What.
        expected: &'static str,
    },
}

/// A JSON string as it stands in the line, between its quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Text<'a> {
    raw: &'a [u8],
    escaped: bool,
}

impl<'a> Text<'a> {
    /// The string that it stands for.
    pub(crate) fn decode(self) -> Cow<'a, str> {
        if !self.escaped {
            return String::from_utf8_lossy(self.raw);
        }
        let quoted = [b"\"", self.raw, b"\""].concat();
        let text: Result<String, _> = serde_json::from_slice(&quoted);
        Cow::Owned(text.expect("the escapes of a scanned string are well formed"))
    }

    /// Its bytes as they stand in the line.
    pub(crate) fn raw(self) -> &'a [u8] {
        self.raw
    }
}

/// What readers need of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    pub(crate) seq: Seq,
    pub(crate) kind: Kind,
    pub(crate) ts: Timestamp,
    /// 8 hex digits.
    pub(crate) boot: &'a [u8; 8],
    pub(crate) request_id: Option<Text<'a>>,
    pub(crate) actor: Option<Text<'a>>,
    pub(crate) route: Option<Text<'a>>,
    pub(crate) status: Option<u16>,
    /// `lost` as it stands there: `Some(None)` is null.
    pub(crate) lost: Option<Option<u64>>,
    pub(crate) event: Option<Text<'a>>,
}

impl Line<'_> {
    /// Hands over what the index takes of the record.
    pub(crate) fn with_facts<T>(&self, take: impl FnOnce(&Facts<'_>) -> T) -> T {
        let (actor, route) = (self.actor.map(Text::decode), self.route.map(Text::decode));
        take(&Facts {
            ts: self.ts,
            kind: self.kind,
            actor: actor.as_deref(),
            route: route.as_deref(),
            status: self.status,
            gap: if self.kind == Kind::Gap { self.lost } else { None },
        })
    }
}

/// Reads one line, without its newline. Its bytes must be UTF-8.
///
/// # Errors
/// The first place where the line is not what the format says.
pub(crate) fn scan(line: &[u8]) -> Result<Line<'_>, BadLine> {
    if line.len() > MAX_LINE {
        return Err(BadLine::TooLong(line.len()));
    }
    let mut at = Scanner { line, at: 0 };
    at.literal(br#"{"seq":"#, r#"{"seq":"#)?;
    let seq = at.unsigned(MAX_SEQ)?;
    at.literal(br#","v":1,"kind":""#, r#","v":1,"kind":""#)?;
    let kind = at.kind()?;
    at.literal(br#"","ts":""#, r#"","ts":""#)?;
    let ts = at.timestamp()?;
    at.literal(br#"","boot":""#, r#"","boot":""#)?;
    let boot = at.boot()?;
    at.literal(b"\"", "a quote")?;
    let mut found = Line {
        seq: Seq(seq),
        kind,
        ts,
        boot,
        request_id: None,
        actor: None,
        route: None,
        status: None,
        lost: None,
        event: None,
    };
    while at.another_member()? {
        at.member(&mut found)?;
    }
    if kind == Kind::Gap && found.lost.is_none() {
        return Err(at.expected("a gap to have `lost`"));
    }
    if at.at == line.len() { Ok(found) } else { Err(at.expected("nothing after the object")) }
}

struct Scanner<'a> {
    line: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    #[cold]
    fn expected(&self, expected: &'static str) -> BadLine {
        BadLine::Expected { at: self.at, expected }
    }

    fn peek(&self) -> u8 {
        // A newline stands in no line: it can stand for its end.
        self.line.get(self.at).copied().unwrap_or(b'\n')
    }

    fn literal(&mut self, literal: &'static [u8], name: &'static str) -> Result<(), BadLine> {
        if !self.line[self.at..].starts_with(literal) {
            return Err(self.expected(name));
        }
        self.at += literal.len();
        Ok(())
    }

    fn kind(&mut self) -> Result<Kind, BadLine> {
        let rest = &self.line[self.at..];
        let length = rest.iter().take(16).position(|&b| b == b'"').unwrap_or(0);
        let kind = Kind::parse(&rest[..length]).ok_or_else(|| self.expected("a kind of record"))?;
        self.at += length;
        Ok(kind)
    }

    fn timestamp(&mut self) -> Result<Timestamp, BadLine> {
        let text = self.line.get(self.at..self.at + Timestamp::LEN);
        let ts = text.and_then(Timestamp::parse).ok_or_else(|| self.expected("a time of 27 bytes"))?;
        self.at += Timestamp::LEN;
        Ok(ts)
    }

    fn boot(&mut self) -> Result<&'a [u8; 8], BadLine> {
        let boot = self.line[self.at..].first_chunk::<8>();
        let is_hex = |boot: &&[u8; 8]| boot.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let boot = boot.filter(is_hex).ok_or_else(|| self.expected("8 lower-case hexadecimal digits"))?;
        self.at += 8;
        Ok(boot)
    }

    /// A non-negative integer as JSON writes it, at most `max`.
    fn unsigned(&mut self, max: u64) -> Result<u64, BadLine> {
        let begin = self.at;
        let mut number: u64 = 0;
        while let digit @ b'0'..=b'9' = self.peek() {
            let next = number.checked_mul(10).and_then(|n| n.checked_add(u64::from(digit - b'0')));
            number = next.filter(|&n| n <= max).ok_or_else(|| self.expected("a smaller number"))?;
            self.at += 1;
        }
        let digits = self.at - begin;
        let well_formed = digits == 1 || (digits > 1 && self.line[begin] != b'0');
        if !well_formed || matches!(self.peek(), b'.' | b'e' | b'E') {
            return Err(self.expected("an integer from 0 on, without a leading zero"));
        }
        Ok(number)
    }

    fn space(&mut self) {
        while matches!(self.peek(), b' ' | b'\t' | b'\r') {
            self.at += 1;
        }
    }

    /// After a member's value: passes `,` and says yes, or passes `}` and says no.
    fn another_member(&mut self) -> Result<bool, BadLine> {
        self.space();
        let more = match self.peek() {
            b',' => true,
            b'}' => false,
            _ => return Err(self.expected("`,` or `}`")),
        };
        self.at += 1;
        if more {
            self.space();
        }
        Ok(more)
    }

    fn key(&mut self) -> Result<&'a [u8], BadLine> {
        let key = self.string()?;
        self.space();
        if self.peek() != b':' {
            return Err(self.expected("`:`"));
        }
        self.at += 1;
        self.space();
        // An escaped key could spell one that is looked for; no gateway writes one.
        if key.escaped { Err(self.expected("a key without escapes")) } else { Ok(key.raw) }
    }

    /// One member of the record itself.
    fn member(&mut self, found: &mut Line<'a>) -> Result<(), BadLine> {
        let once = |seen: bool, at: &Self| if seen { Err(at.expected("each key once")) } else { Ok(()) };
        match self.key()? {
            b"request_id" => {
                once(found.request_id.is_some(), self)?;
                found.request_id = Some(self.string()?);
            }
            b"route" => {
                once(found.route.is_some(), self)?;
                found.route = Some(self.string()?);
            }
            b"actor" => {
                let mut id = found.actor;
                self.object(|at, key| {
                    if key != b"id" {
                        return at.value(1);
                    }
                    once(id.is_some(), at)?;
                    id = Some(at.string()?);
                    Ok(())
                })?;
                found.actor = id;
            }
            b"response" => {
                let mut status = found.status;
                self.object(|at, key| {
                    if key != b"status" {
                        return at.value(1);
                    }
                    once(status.is_some(), at)?;
                    status = Some(at.unsigned(u64::from(u16::MAX))? as u16);
                    Ok(())
                })?;
                found.status = status;
            }
            b"lost" => {
                once(found.lost.is_some(), self)?;
                found.lost = Some(if self.peek() == b'n' {
                    self.literal(b"null", "null")?;
                    None
                } else {
                    Some(self.unsigned(MAX_SEQ)?)
                });
            }
            b"event" => {
                once(found.event.is_some(), self)?;
                found.event = Some(self.string()?);
            }
            b"seq" | b"v" | b"kind" | b"ts" | b"boot" => return Err(self.expected("each key once")),
            _ => self.value(0)?,
        }
        Ok(())
    }

    /// An object whose members are handed to `member`, with the place at the value.
    fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, &'a [u8]) -> Result<(), BadLine>,
    ) -> Result<(), BadLine> {
        if self.peek() != b'{' {
            return Err(self.expected("an object"));
        }
        self.at += 1;
        self.space();
        if self.peek() == b'}' {
            self.at += 1;
            return Ok(());
        }
        loop {
            let key = self.key()?;
            member(self, key)?;
            if !self.another_member()? {
                return Ok(());
            }
        }
    }

    /// Any value: checked and passed over.
    fn value(&mut self, depth: u32) -> Result<(), BadLine> {
        match self.peek() {
            b'"' => self.string().map(drop),
            b'0'..=b'9' | b'-' => self.number(),
            b't' => self.literal(b"true", "true"),
            b'f' => self.literal(b"false", "false"),
            b'n' => self.literal(b"null", "null"),
            b'{' | b'[' if depth == MAX_DEPTH => Err(self.expected("less nesting")),
            b'{' => {
                self.at += 1;
                self.space();
                if self.peek() == b'}' {
                    self.at += 1;
                    return Ok(());
                }
                loop {
                    self.string()?;
                    self.space();
                    if self.peek() != b':' {
                        return Err(self.expected("`:`"));
                    }
                    self.at += 1;
                    self.space();
                    self.value(depth + 1)?;
                    if !self.another_member()? {
                        return Ok(());
                    }
                }
            }
            b'[' => self.array(depth),
            _ => Err(self.expected("a JSON value")),
        }
    }

    fn array(&mut self, depth: u32) -> Result<(), BadLine> {
        self.at += 1;
        self.space();
        if self.peek() == b']' {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.value(depth + 1)?;
            self.space();
            let end = match self.peek() {
                b',' => false,
                b']' => true,
                _ => return Err(self.expected("`,` or `]`")),
            };
            self.at += 1;
            if end {
                return Ok(());
            }
            self.space();
        }
    }

    fn digits(&mut self) -> Result<(), BadLine> {
        if !self.peek().is_ascii_digit() {
            return Err(self.expected("a digit"));
        }
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), BadLine> {
        if self.peek() == b'-' {
            self.at += 1;
        }
        if self.peek() == b'0' {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.at += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn string(&mut self) -> Result<Text<'a>, BadLine> {
        if self.peek() != b'"' {
            return Err(self.expected("a string"));
        }
        self.at += 1;
        let begin = self.at;
        let mut escaped = false;
        loop {
            self.at += plain_bytes(&self.line[self.at..]);
            match self.peek() {
                b'"' => {
                    let raw = &self.line[begin..self.at];
                    self.at += 1;
                    return Ok(Text { raw, escaped });
                }
                b'\\' => {
                    escaped = true;
                    self.escape()?;
                }
                _ => return Err(self.expected("a string without control characters, and its end")),
            }
        }
    }

    /// Passes an escape; a surrogate must be one of a pair.
    fn escape(&mut self) -> Result<(), BadLine> {
        self.at += 1;
        match self.peek() {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 1,
            b'u' => match self.code_unit()? {
                0xD800..0xDC00 => {
                    self.literal(b"\\", "the second half of a surrogate pair")?;
                    if self.peek() != b'u' || !(0xDC00..0xE000).contains(&self.code_unit()?) {
                        return Err(self.expected("the second half of a surrogate pair"));
                    }
                }
                0xDC00..0xE000 => return Err(self.expected("the first half of a surrogate pair before")),
                _ => {}
            },
            _ => return Err(self.expected("an escape of JSON")),
        }
        Ok(())
    }

    /// `u` and its four hexadecimal digits.
    fn code_unit(&mut self) -> Result<u32, BadLine> {
        let digits = self.line.get(self.at + 1..self.at + 5).unwrap_or(&[]);
        let unit = digits.iter().try_fold(0, |unit, &b| Some(unit << 4 | char::from(b).to_digit(16)?));
        let unit =
            unit.filter(|_| digits.len() == 4).ok_or_else(|| self.expected("four hexadecimal digits"))?;
        self.at += 5;
        Ok(unit)
    }
}

/// How many bytes at the begin of `bytes` need no look inside a string: neither quote nor backslash nor control
/// character. Eight at a time; what a borrow spoils lies above the byte that is found, so the lowest is exact.
fn plain_bytes(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let mut done = 0;
    let mut rest = bytes;
    while let Some((eight, after)) = rest.split_first_chunk::<8>() {
        let word = u64::from_le_bytes(*eight);
        let equal = |byte: u8| {
            let differing = word ^ (ONES * u64::from(byte));
            differing.wrapping_sub(ONES) & !differing
        };
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let found = (equal(b'"') | equal(b'\\') | control) & HIGH;
        if found != 0 {
            return done + found.trailing_zeros() as usize / 8;
        }
        done += 8;
        rest = after;
    }
    done + rest.iter().position(|&b| b == b'"' || b == b'\\' || b < 0x20).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests;
