//! What no record may hold, whatever the configuration keeps: credentials, by where they stand and by what they look
//! like.
//!
//! Headers that are there for credentials are never kept. A query's value is told as `{redacted}` where its key is one
//! that credentials are usually given by, and so is whatever looks like a signed token (RFC 7519): in a query's keys and
//! values, in a kept header, in a segment of a path. What is recognised is read as generously as a server may: in any
//! case, behind percent-escapes, as a part of something longer. Nothing is copied where nothing is found.
//!
//! A secret without a usual name and shape cannot be told from any other text: that is what `audit.redact.paths` and
//! the lists of kept headers are for.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderName;

/// What stands in a record in place of a credential.
pub const REDACTED: &str = "{redacted}";

/// Headers that are there for credentials, of both directions.
const HEADERS: [&str; 16] = [
    "authorization",
    "proxy-authorization",
    "authentication-info",
    "proxy-authentication-info",
    "cookie",
    "set-cookie",
    "api-key",
    "apikey",
    "x-api-key",
    "x-auth-token",
    "x-access-token",
    "x-amz-security-token",
    "x-csrf-token",
    "x-forwarded-access-token",
    "x-vault-token",
    "x-xsrf-token",
];

/// Keys of a query that credentials are given by, in lower case and with `_`.
const KEYS: [&str; 16] = [
    "access_token",
    "api_key",
    "apikey",
    "client_secret",
    "code",
    "id_token",
    "key",
    "passwd",
    "password",
    "refresh_token",
    "secret",
    "sig",
    "signature",
    "token",
    "x_amz_security_token",
    "x_amz_signature",
];

/// Escapes within escapes that are read.
const MOST_READINGS: usize = 3;

/// Whether a header is there for credentials.
pub fn is_for_credentials(header: &HeaderName) -> bool {
    HEADERS.contains(&header.as_str())
}

/// A query as records may tell it.
pub fn query(query: &str) -> Cow<'_, str> {
    let pairs = || query.split('&');
    if pairs().all(|pair| matches!(told_pair(pair), Cow::Borrowed(_))) {
        return Cow::Borrowed(query);
    }
    Cow::Owned(pairs().map(told_pair).collect::<Vec<_>>().join("&"))
}

/// A kept header's value as records may tell it.
pub fn header_value(value: Cow<'_, str>) -> Cow<'_, str> {
    if holds_token(&value) {
        return Cow::Borrowed(REDACTED);
    }
    // A URL, such as a referrer's.
    let Some((before, rest)) = value.split_once('?') else { return value };
    let told = match query(rest) {
        Cow::Borrowed(_) => None,
        Cow::Owned(told) => Some(format!("{before}?{told}")),
    };
    told.map_or(value, Cow::Owned)
}

/// A path, or a target without its query, as records may tell it.
pub fn path(path: &str) -> Cow<'_, str> {
    if !holds_token(path) {
        return Cow::Borrowed(path);
    }
    let segment = |segment| if holds_token(segment) { REDACTED } else { segment };
    let told = path.split('/').map(segment).collect::<Vec<_>>().join("/");
    // Where only the segments together look like one.
    if holds_token(&told) { Cow::Borrowed(REDACTED) } else { Cow::Owned(told) }
}

/// A pair of a query as records may tell it; new text where it is told otherwise.
fn told_pair(pair: &str) -> Cow<'_, str> {
    let (key, value) = match pair.split_once('=') {
        Some((key, value)) => (key, Some(value)),
        None => (pair, None),
    };
    let secret_key = holds_token(key);
    let secret_value = value.is_some_and(|value| is_key_of_credential(key) || holds_credential(value));
    let told_key = if secret_key { REDACTED } else { key };
    match value {
        _ if !secret_key && !secret_value => Cow::Borrowed(pair),
        None => Cow::Owned(told_key.to_owned()),
        Some(value) => Cow::Owned(format!("{told_key}={}", if secret_value { REDACTED } else { value })),
    }
}

/// Whether a value holds a token, or what a server that separates by `;` would read as a pair with a credential.
fn holds_credential(value: &str) -> bool {
    let named = |pair: &str| pair.split_once('=').is_some_and(|(key, _)| is_key_of_credential(key));
    holds_token(value) || value.split(';').skip(1).any(named)
}

/// Whether a key is one that credentials are given by: as a whole, or in brackets (`user[password]`).
fn is_key_of_credential(key: &str) -> bool {
    decoded(key).split(['[', ']', '.']).any(|part| KEYS.iter().any(|known| is_spelled(part.trim(), known)))
}

/// Whether a text is one of [`KEYS`], in any case and with `-` for `_`.
fn is_spelled(text: &str, known: &str) -> bool {
    let plain = |byte: u8| if byte == b'-' { b'_' } else { byte.to_ascii_lowercase() };
    text.len() == known.len() && text.bytes().map(plain).eq(known.bytes())
}

/// Whether something in a text has the shape of a signed token: three parts in base64url with dots between them, the
/// first of which is a JSON object.
pub fn holds_token(text: &str) -> bool {
    // What escapes stand for counts as well as they themselves: one may hold the token's first letters.
    let mut reading = Cow::Borrowed(text);
    for _ in 0..MOST_READINGS {
        if shows_token(&reading) {
            return true;
        }
        match unescaped(&reading) {
            Some(next) => reading = Cow::Owned(next),
            None => return false,
        }
    }
    shows_token(&reading)
}

fn shows_token(text: &str) -> bool {
    let of_token = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    text.split(|c| !of_token(c)).any(|run| {
        let (second, third) = (run.split('.').skip(1), run.split('.').skip(2));
        let mut triples = run.split('.').zip(second.zip(third));
        triples.any(|(first, (second, _))| !second.is_empty() && ends_in_object(first))
    })
}

/// Whether a text ends in the base64url of what begins like a JSON object with a member.
fn ends_in_object(text: &str) -> bool {
    /// Fewer letters than any token's header has, and a whole number of groups, so that no bits are left over.
    const LOOKED_AT: usize = 16;
    // `{` is an `e` and some bits of the next letter.
    let mut begins = text.match_indices('e').filter_map(|(at, _)| text.get(at..at + LOOKED_AT));
    begins.any(|head| {
        let bytes = URL_SAFE_NO_PAD.decode(head).unwrap_or_default();
        let readable = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
        bytes.iter().all(readable)
            && bytes.strip_prefix(b"{").is_some_and(|rest| rest.trim_ascii_start().starts_with(b"\""))
    })
}

/// A text without percent-escapes, read as often as they are within one another.
fn decoded(text: &str) -> Cow<'_, str> {
    let mut read = Cow::Borrowed(text);
    for _ in 0..MOST_READINGS {
        match unescaped(&read) {
            Some(next) => read = Cow::Owned(next),
            None => break,
        }
    }
    read
}

/// A text with its percent-escapes replaced; none where there is none.
fn unescaped(text: &str) -> Option<String> {
    if !text.contains('%') {
        return None;
    }
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let bytes = text.as_bytes();
    let mut read = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match (*byte, digit(bytes.get(at + 1)), digit(bytes.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                read.push((high << 4 | low) as u8);
                at += 3;
            }
            _ => {
                read.push(*byte);
                at += 1;
            }
        }
    }
    (read.len() != bytes.len()).then(|| String::from_utf8_lossy(&read).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// That of RFC 7515, appendix A.1, cut.
    const TOKEN: &str = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UifQ.dBjftJeZ4CVP";

    #[test]
    fn values_of_keys_that_credentials_are_given_by_are_told_as_redacted() {
        for key in [
            "access_token",
            "id_token",
            "refresh_token",
            "token",
            "api_key",
            "apikey",
            "key",
            "password",
            "secret",
            "client_secret",
            "code",
            "sig",
            "signature",
            "X-Amz-Signature",
            "X-Amz-Security-Token",
            "apiKey",
            "ACCESS_TOKEN",
            "api-key",
            "access%5Ftoken",
            "access%5ftoken",
            "%61ccess_token",
            "access%255Ftoken",
            "user[password]",
            "user%5Bpassword%5D",
            "auth.token",
            "+token",
        ] {
            let written = format!("page=2&{key}=hunter2&size=10");
            let told = query(&written);
            if key == "+token" {
                // No server reads a space before a name away; it is another key.
                assert_eq!(told, written);
                continue;
            }
            assert_eq!(told, format!("page=2&{key}={REDACTED}&size=10"), "{key}");
        }
        for other in [
            "page=2&size=10",
            "",
            "&&",
            "=",
            "a=b=c",
            "tokens=3",
            "keyboard=de",
            "token",
            "codes[]=1",
            "monkey=1",
        ] {
            assert!(matches!(query(other), Cow::Borrowed(told) if told == other), "{other}");
        }
        assert_eq!(query("token="), "token={redacted}");
        assert_eq!(query("a=1;token=hunter2"), "a={redacted}");
        assert_eq!(query("a=1;b=2"), "a=1;b=2");
        assert_eq!(query("token=a&token=b"), "token={redacted}&token={redacted}");
    }

    #[test]
    fn what_looks_like_a_token_is_told_as_redacted_wherever_it_stands() {
        assert_eq!(query(&format!("q={TOKEN}&page=2")), "q={redacted}&page=2");
        assert_eq!(query(&format!("{TOKEN}&page=2")), "{redacted}&page=2");
        assert_eq!(query(&format!("{TOKEN}=x")), "{redacted}=x");
        for hidden in [
            TOKEN.replace('.', "%2E"),
            TOKEN.replace('.', "%252e"),
            TOKEN.replacen('e', "%65", 1),
            format!("Bearer%20{TOKEN}"),
            format!("https://x.example/?t={TOKEN}"),
            format!("prefix_{TOKEN}"),
            format!("v1.{TOKEN}.x.y"),
            // Unsigned, and encrypted.
            TOKEN.rsplit_once('.').map(|(unsigned, _)| format!("{unsigned}.")).expect("a dot"),
            format!("{TOKEN}.x.y"),
        ] {
            assert_eq!(query(&format!("q={hidden}")), "q={redacted}", "{hidden}");
            assert_eq!(header_value(Cow::Borrowed(&hidden)), REDACTED, "{hidden}");
        }
        for object in
            ["{\"alg\":\"none\"}", "{ \"alg\":\"none\"}", "{\n\"alg\":\"none\"}", "{\t\"alg\":\"none\"}"]
        {
            let token = format!("{}.{}.x", URL_SAFE_NO_PAD.encode(object), URL_SAFE_NO_PAD.encode("{}"));
            assert!(holds_token(&token), "{object}");
        }
        assert_eq!(path(&format!("/reset/{TOKEN}/now")), "/reset/{redacted}/now");
        assert_eq!(path(&format!("/reset/{}", TOKEN.replace('.', "%2e"))), "/reset/{redacted}");
        assert_eq!(path("/orders/42"), "/orders/42");
    }

    #[test]
    fn what_does_not_look_like_a_token_is_told_as_it_is() {
        for plain in [
            "",
            "curl/8.9.1",
            "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
            "1.2.3.4",
            "a.b.c",
            "eyes.example.com",
            "heyJude.example.com",
            "eyJ.eyJ.eyJ",
            "api.example.com:8080",
            "text/html, */*;q=0.8",
            "100%",
            "%zz.a.b",
            "é.é.é",
            "ObeyAccounting.example.com",
            "elephant.in.the.room",
        ] {
            assert!(!holds_token(plain), "{plain}");
            assert!(
                matches!(header_value(Cow::Borrowed(plain)), Cow::Borrowed(told) if told == plain),
                "{plain}"
            );
        }
    }

    #[test]
    fn the_query_of_a_kept_url_is_told_like_any_other() {
        let of = |value: &'static str| header_value(Cow::Borrowed(value)).into_owned();
        assert_eq!(
            of("https://x.example/a?page=2&code=hunter2"),
            "https://x.example/a?page=2&code={redacted}"
        );
        assert_eq!(of("https://x.example/a?page=2"), "https://x.example/a?page=2");
    }

    #[test]
    fn headers_for_credentials_are_known() {
        for header in [http::header::AUTHORIZATION, http::header::COOKIE, http::header::SET_COOKIE] {
            assert!(is_for_credentials(&header));
        }
        assert!(!is_for_credentials(&http::header::USER_AGENT));
    }

    proptest! {
        /// Whatever stands around it, no part of a token is told.
        #[test]
        fn no_token_gets_through(before in "[a-z0-9=&;/?.%+ -]{0,20}", after in "[a-z=&;/?%+ ]{0,20}") {
            let text = format!("{before}{TOKEN}{after}");
            let secret = &TOKEN[TOKEN.len() - 12..];
            prop_assert!(!query(&text).contains(secret), "{}", query(&text));
            prop_assert!(!header_value(Cow::Borrowed(&text)).contains(secret));
            prop_assert!(!path(&text).contains(secret));
        }

        #[test]
        fn no_text_panics_and_pairs_stay_pairs(text in any::<String>()) {
            let told = query(&text).into_owned();
            prop_assert_eq!(told.split('&').count(), text.split('&').count());
            path(&text);
            header_value(Cow::Borrowed(&text));
        }
    }
}
