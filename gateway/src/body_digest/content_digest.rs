//! `Content-Digest` (RFC 9530, section 2): a dictionary (RFC 8941, section 3.2) of digests by algorithm.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::HeaderMap;

/// RFC 8941, section 4.2.7: neither padding nor the bits behind the last byte are to be insisted on.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// What a client says about its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// Digests that can be checked.
    Digests(Digests),
    /// Digests, none of an algorithm that is checked.
    Unsupported,
    /// What cannot be read.
    Malformed,
}

/// Digests that can be checked, at least one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Digests {
    /// `sha-256`.
    pub sha256: Option<[u8; 32]>,
    /// `sha-512`.
    pub sha512: Option<Box<[u8; 64]>>,
}

impl Claim {
    /// What a request's headers say; `None` where they say nothing.
    pub fn of(headers: &HeaderMap) -> Option<Claim> {
        let mut lines = headers.get_all("content-digest").iter();
        let first = lines.next()?;
        let Some(second) = lines.next() else { return Some(Claim::read(first.as_bytes())) };
        // Several lines are one (RFC 8941, section 4.2).
        let mut joined = first.as_bytes().to_vec();
        for line in [second].into_iter().chain(lines) {
            joined.extend_from_slice(b", ");
            joined.extend_from_slice(line.as_bytes());
        }
        Some(Claim::read(&joined))
    }

    /// Reads the field's value.
    fn read(value: &[u8]) -> Claim {
        let mut digests = Digests::default();
        match dictionary(value, &mut digests) {
            None => Claim::Malformed,
            Some(()) if digests == Digests::default() => Claim::Unsupported,
            Some(()) => Claim::Digests(digests),
        }
    }
}

/// Reads the members of a dictionary, at least one, each of them a byte sequence.
fn dictionary(value: &[u8], digests: &mut Digests) -> Option<()> {
    let mut rest = Rest(value);
    rest.skip(b" ");
    loop {
        let name = rest.key()?;
        rest.literal(b'=')?;
        let digest = rest.byte_sequence()?;
        rest.parameters()?;
        // Of the same name, the last one counts (RFC 8941, section 3.2).
        match name {
            b"sha-256" => digests.sha256 = Some(digest.try_into().ok()?),
            b"sha-512" => digests.sha512 = Some(Box::new(digest.try_into().ok()?)),
            _ => {}
        }
        rest.skip(b" \t");
        if rest.0.is_empty() {
            return Some(());
        }
        rest.literal(b',')?;
        rest.skip(b" \t");
    }
}

/// What is still to be read. Each step takes what it reads off the front; `None` where something else stands there.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn skip(&mut self, bytes: &[u8]) {
        self.take(|byte| bytes.contains(&byte));
    }

    fn take(&mut self, fits: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.0.iter().position(|byte| !fits(*byte)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at(end);
        self.0 = rest;
        taken
    }

    fn literal(&mut self, byte: u8) -> Option<()> {
        self.0 = self.0.strip_prefix(&[byte])?;
        Some(())
    }

    fn key(&mut self) -> Option<&'a [u8]> {
        self.0.first().filter(|byte| byte.is_ascii_lowercase() || **byte == b'*')?;
        let rest = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.*".contains(&byte);
        Some(self.take(rest))
    }

    fn byte_sequence(&mut self) -> Option<Vec<u8>> {
        self.literal(b':')?;
        let text = self.take(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte));
        self.literal(b':')?;
        BASE64.decode(text).ok()
    }

    /// Parameters, which no digest has a use for.
    fn parameters(&mut self) -> Option<()> {
        while self.literal(b';').is_some() {
            self.skip(b" ");
            self.key()?;
            if self.literal(b'=').is_some() {
                self.bare_item()?;
            }
        }
        Some(())
    }

    fn bare_item(&mut self) -> Option<()> {
        match *self.0.first()? {
            b':' => self.byte_sequence().map(|_| ()),
            b'?' => {
                self.literal(b'?')?;
                self.literal(b'0').or_else(|| self.literal(b'1'))
            }
            b'"' => self.string(),
            b'-' | b'0'..=b'9' => self.number(),
            first if first.is_ascii_alphabetic() || first == b'*' => {
                self.take(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte));
                Some(())
            }
            _ => None,
        }
    }

    fn string(&mut self) -> Option<()> {
        self.literal(b'"')?;
        loop {
            self.take(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\');
            if self.literal(b'"').is_some() {
                return Some(());
            }
            self.literal(b'\\')?;
            self.literal(b'"').or_else(|| self.literal(b'\\'))?;
        }
    }

    fn number(&mut self) -> Option<()> {
        let _ = self.literal(b'-');
        let whole = self.take(|byte| byte.is_ascii_digit()).len();
        if self.literal(b'.').is_some() {
            let part = self.take(|byte| byte.is_ascii_digit()).len();
            return ((1..=12).contains(&whole) && (1..=3).contains(&part)).then_some(());
        }
        (1..=15).contains(&whole).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const ZEROS: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

    fn read(lines: &[&[u8]]) -> Option<Claim> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("content-digest", HeaderValue::from_bytes(line).expect("a value"));
        }
        Claim::of(&headers)
    }

    fn sha256(bytes: [u8; 32]) -> Option<Claim> {
        Some(Claim::Digests(Digests { sha256: Some(bytes), sha512: None }))
    }

    #[test]
    fn digests_are_read_as_their_authors_may_write_them() {
        let zeros = sha256([0; 32]);
        let one = format!("sha-256=:{ZEROS}:");
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[one.as_bytes()]), zeros);
        for written in [
            format!(" {one} "),
            format!("sha-256=:{}:", ZEROS.trim_end_matches('=')),
            format!("{one} \t,\t md5=:AAAA:"),
            format!("md5=:AAAA:;q=1;a;b=?0;c=\"x\\\"\";d=-1.5;e=t/x;f=:AAAA:, {one}"),
            format!("sha-256=::, {one}").replace("::", &format!(":{}:", ZEROS.replacen('A', "B", 1))),
        ] {
            assert_eq!(read(&[written.as_bytes()]), zeros, "{written}");
        }
        assert_eq!(read(&[b"md5=:AAAA:", one.as_bytes()]), zeros);
        assert_eq!(read(&[b"md5=:AAAA:", b"unixsum=:AA==:"]), Some(Claim::Unsupported));
    }

    #[test]
    fn what_is_no_dictionary_of_digests_is_malformed() {
        let one = format!("sha-256=:{ZEROS}:");
        for hostile in [
            "",
            " ",
            ",",
            "sha-256",
            "sha-256=",
            "sha-256=1",
            "sha-256=:AAAA:",
            "sha-512=:AAAA:",
            "SHA-256=:AAAA:",
            "md5=:AAA*:",
            "md5=:AAAA",
            "md5=AAAA",
            "md5=(:AAAA:)",
            "md5=:A:",
            "md5=:AA==A:",
            "md5=:AAAA:;",
            "md5=:AAAA:;q=",
            "md5=:AAAA:;q=\"x",
            "md5=:AAAA:;q=1234567890123456",
            "md5=:AAAA:;q=1.",
            "md5=:AAAA:;q=1.1234",
            "md5=:AAAA:;q=-",
            "=:AAAA:",
            "1=:AAAA:",
        ] {
            assert_eq!(read(&[hostile.as_bytes()]), Some(Claim::Malformed), "{hostile}");
        }
        for hostile in [
            format!("{one},"),
            format!("{one} {one}"),
            format!("{one};"),
            format!("{one}\u{e9}"),
            format!("\t{one}"),
        ] {
            assert_eq!(read(&[hostile.as_bytes()]), Some(Claim::Malformed), "{hostile}");
        }
        assert_eq!(read(&[b"", one.as_bytes()]), Some(Claim::Malformed));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(value in proptest::collection::vec(0x20u8..=0xff, 0..300)) {
            let value: Vec<u8> = value.into_iter().filter(|byte| *byte != 0x7f).collect();
            let _ = read(&[&value]);
        }

        #[test]
        fn a_digest_reads_back(bytes in any::<[u8; 32]>()) {
            let written = format!("sha-256=:{}:", BASE64.encode(bytes));
            prop_assert_eq!(read(&[written.as_bytes()]), sha256(bytes));
        }
    }
}
