use std::borrow::Cow;

use http::Method;
use proptest::prelude::*;

use super::{Host, Refusal, Scheme, path, request};

fn normal(raw: &str) -> Result<String, Refusal> {
    path(raw.as_bytes()).map(Cow::into_owned)
}

#[test]
fn a_normal_path_is_borrowed() {
    for raw in ["/", "/orders", "/orders/42", "/a/b/", "/a.b/c..d", "/a;v=1/@b:c", "/~u/!$&'()*+,=", "/...x"]
    {
        let same = path(raw.as_bytes());
        assert_eq!(same.as_deref(), Ok(raw));
        assert!(raw.starts_with("/...") || matches!(same, Ok(Cow::Borrowed(_))), "{raw} was copied");
    }
}

#[test]
fn known_path_tricks() {
    let kept: &[(&str, &str)] = &[
        ("/a/./b", "/a/b"),
        ("/a/../b", "/b"),
        ("/a/b/..", "/a/"),
        ("/a/.", "/a/"),
        ("/a/..", "/"),
        ("//", "/"),
        ("///a//b///", "/a/b/"),
        ("//evil.example/x", "/evil.example/x"),
        ("/a//../b", "/b"),
        ("/%61dmin", "/admin"),
        ("/%7Euser", "/~user"),
        ("/a/%2e/b", "/a/b"),
        ("/a/%2E%2e/b", "/b"),
        ("/a/.%2e/b", "/b"),
        ("/%2e", "/"),
        ("/a%3fb", "/a%3Fb"),
        ("/a%3Bb", "/a%3Bb"),
        ("/a%20b", "/a%20b"),
        ("/100%25", "/100%25"),
        ("/%252e%252e%252fx", "/%252e%252e%252fx"),
        ("/caf\u{e9}", "/caf%C3%A9"),
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/[id]|x^{y}\"<>`", "/%5Bid%5D%7Cx%5E%7By%7D%22%3C%3E%60"),
        ("/a;/../b", "/b"),
        ("/...", "/..."),
        ("/.well-known/x", "/.well-known/x"),
        ("/..a", "/..a"),
    ];
    for (raw, expected) in kept {
        assert_eq!(normal(raw).as_deref(), Ok(*expected), "{raw}");
    }
    let refused: &[(&str, Refusal)] = &[
        ("", Refusal::BadTarget),
        ("a", Refusal::BadTarget),
        ("/..", Refusal::AboveRoot),
        ("/../etc/passwd", Refusal::AboveRoot),
        ("/a/../../b", Refusal::AboveRoot),
        ("/%2e%2e/b", Refusal::AboveRoot),
        ("/a/%2e%2e%2fb", Refusal::EncodedSeparator),
        ("/a%2fb", Refusal::EncodedSeparator),
        ("/a%2Fb", Refusal::EncodedSeparator),
        ("/a%5cb", Refusal::EncodedSeparator),
        ("/a\\b", Refusal::Backslash),
        ("/..\\..\\x", Refusal::Backslash),
        ("/a%00", Refusal::ControlCharacter),
        ("/a\0", Refusal::ControlCharacter),
        ("/a%0d%0aX: y", Refusal::ControlCharacter),
        ("/a%7f", Refusal::ControlCharacter),
        ("/a%c2%85", Refusal::ControlCharacter),
        ("/a%", Refusal::BadEscape),
        ("/a%2", Refusal::BadEscape),
        ("/a%zz", Refusal::BadEscape),
        ("/a%+1", Refusal::BadEscape),
        ("/%u002e%u002e/", Refusal::BadEscape),
        ("/%c0%ae%c0%ae/", Refusal::NotUtf8),
        ("/%c0%af", Refusal::NotUtf8),
        ("/%e0%80%af", Refusal::NotUtf8),
        ("/caf%e9", Refusal::NotUtf8),
        ("/a/..;/b", Refusal::DotSegment),
        ("/a/..;x=1/b", Refusal::DotSegment),
        ("/a/.;/b", Refusal::DotSegment),
        ("/a/%2e%2e;/b", Refusal::DotSegment),
    ];
    for (raw, expected) in refused {
        assert_eq!(normal(raw), Err(*expected), "{raw}");
    }
    assert_eq!(path(b"/caf\xe9"), Err(Refusal::NotUtf8));
}

/// The definition, step by step: decode, look at every character, split, resolve, escape.
fn reference(raw: &[u8]) -> Option<String> {
    let mut decoded: Vec<(u8, bool)> = Vec::new();
    let mut at = 0;
    while at < raw.len() {
        if raw[at] == b'%' {
            let digits = std::str::from_utf8(raw.get(at + 1..at + 3)?).ok()?;
            if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
                return None;
            }
            decoded.push((u8::from_str_radix(digits, 16).ok()?, true));
            at += 3;
        } else {
            decoded.push((raw[at], false));
            at += 1;
        }
    }
    let plain: Vec<u8> = decoded.iter().map(|(byte, _)| *byte).collect();
    let text = String::from_utf8(plain).ok()?;
    if text.chars().any(char::is_control) || text.contains('\\') || decoded.contains(&(b'/', true)) {
        return None;
    }
    let mut segments: Vec<Vec<(u8, bool)>> =
        decoded.split(|c| *c == (b'/', false)).map(<[_]>::to_vec).collect();
    if !segments.remove(0).is_empty() || segments.is_empty() {
        return None;
    }
    let name = |segment: &[(u8, bool)]| segment.iter().map(|(byte, _)| *byte).collect::<Vec<u8>>();
    let directory = segments.last().is_some_and(|last| matches!(name(last).as_slice(), b"" | b"." | b".."));
    let mut kept: Vec<String> = Vec::new();
    for segment in segments {
        let bytes = name(&segment);
        match bytes.as_slice() {
            b"" | b"." => {}
            b".." => {
                kept.pop()?;
            }
            _ => {
                let until = segment.iter().position(|(byte, _)| *byte == b';');
                if until.is_some_and(|until| matches!(&bytes[..until], b"." | b"..")) {
                    return None;
                }
                let mut spelled = String::new();
                for (byte, escaped) in segment {
                    let unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
                    if unreserved || (!escaped && b"!$&'()*+,;=:@".contains(&byte)) {
                        spelled.push(char::from(byte));
                    } else {
                        spelled.push_str(&format!("%{byte:02X}"));
                    }
                }
                kept.push(spelled);
            }
        }
    }
    let slash = if directory && !kept.is_empty() { "/" } else { "" };
    Some(format!("/{}{slash}", kept.join("/")))
}

/// Paths made of the pieces that matter, so that tricks are met often.
fn tricky_path() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        &b"/"[..],
        b"/",
        b"/",
        b".",
        b"..",
        b"..",
        b"%2e",
        b"%2E",
        b"%2f",
        b"%5C",
        b"\\",
        b"%",
        b"%25",
        b"%00",
        b"a",
        b"a",
        b"a",
        b"B7",
        b";",
        b"%3b",
        b"%41",
        b"\xc3\xa9",
        b"%c3%a9",
        b"%c0",
        b"\xff",
        b"[",
        b" ",
    ]);
    prop::collection::vec(piece, 0..12).prop_map(|pieces| [&b"/"[..], &pieces.concat()].concat())
}

proptest! {
    #[test]
    fn a_path_agrees_with_the_definition(raw in tricky_path()) {
        prop_assert_eq!(path(&raw).ok().map(Cow::into_owned), reference(&raw));
    }

    #[test]
    fn any_bytes_agree_with_the_definition(raw in prop::collection::vec(any::<u8>(), 0..40)) {
        let raw = [&b"/"[..], &raw].concat();
        prop_assert_eq!(path(&raw).ok().map(Cow::into_owned), reference(&raw));
    }

    #[test]
    fn a_normal_path_is_safe_and_stays_as_it_is(raw in tricky_path()) {
        if let Ok(normal) = path(&raw) {
            prop_assert_eq!(path(normal.as_bytes()), Ok(Cow::Borrowed(&*normal)));
            prop_assert!(normal.starts_with('/') && normal.is_ascii());
            prop_assert!(!normal.contains("//") && !normal.contains('\\'));
            prop_assert!(!normal.split('/').any(|segment| segment == "." || segment == ".."));
            let lower = normal.to_lowercase();
            for hidden in ["%2e", "%2f", "%5c", "%00"] {
                prop_assert!(!lower.contains(hidden), "{hidden} in {normal}");
            }
        }
    }

    #[test]
    fn a_host_is_read_the_same_twice(raw in "[A-Za-z0-9.:_\\[\\]@%-]{0,24}") {
        if let Ok(host) = Host::parse(raw.as_bytes(), Scheme::Http) {
            let again = Host::parse(host.as_str().as_bytes(), Scheme::Http);
            prop_assert_eq!(again, Ok(host.clone()));
            prop_assert!(!host.name().is_empty() && !host.as_str().ends_with('.'));
            prop_assert!(!host.as_str().bytes().any(|b| b.is_ascii_uppercase()));
        }
    }
}

#[test]
fn hosts_have_one_spelling() {
    let kept = [
        ("api.example.com", "api.example.com", "api.example.com"),
        ("API.Example.COM.", "api.example.com", "api.example.com"),
        ("localhost:8080", "localhost:8080", "localhost"),
        ("localhost.:8080", "localhost:8080", "localhost"),
        ("localhost:80", "localhost", "localhost"),
        ("localhost:", "localhost", "localhost"),
        ("localhost:0080", "localhost", "localhost"),
        ("localhost:08080", "localhost:8080", "localhost"),
        ("127.0.0.1:9", "127.0.0.1:9", "127.0.0.1"),
        ("[::1]:8080", "[::1]:8080", "[::1]"),
        ("[0:0::1]:80", "[::1]", "[::1]"),
        ("[2001:DB8::1]", "[2001:db8::1]", "[2001:db8::1]"),
        ("b\u{fc}cher.example", "b\u{fc}cher.example", "b\u{fc}cher.example"),
        ("my_service:8443", "my_service:8443", "my_service"),
    ];
    for (raw, text, name) in kept {
        let host = Host::parse(raw.as_bytes(), Scheme::Http).unwrap_or_else(|why| panic!("{raw}: {why}"));
        assert_eq!((host.as_str(), host.name()), (text, name), "{raw}");
    }
    let refused = [
        ".",
        "..",
        "a..b",
        ".a",
        "a..",
        "user@host",
        "a b",
        "a/b",
        "a%2eb",
        "a:b",
        "a:0",
        "a:65536",
        "a:-1",
        "a:+80",
        "a:1:2",
        "[::1",
        "::1",
        "[::1]x",
        "[::1]]",
        "[fe80::1%eth0]",
        "[127.0.0.1]",
        "a\\b",
        "a,b",
        "a\tb",
        ":80",
    ];
    for raw in refused {
        assert_eq!(Host::parse(raw.as_bytes(), Scheme::Http), Err(Refusal::BadHost), "{raw}");
    }
    assert_eq!(Host::parse(b"caf\xe9", Scheme::Http), Err(Refusal::BadHost));
    assert_eq!(Host::parse("a".repeat(254).as_bytes(), Scheme::Http), Err(Refusal::BadHost));
    let https = |raw: &'static str| Host::parse(raw.as_bytes(), Scheme::Https).map(|host| host.to_string());
    assert_eq!(https("a:443").as_deref(), Ok("a"));
    assert_eq!(https("a:80").as_deref(), Ok("a:80"));
}

#[test]
fn targets_of_every_form() {
    let ask = |method: Method, target: &'static str, hosts: &[&'static str]| {
        let hosts: Vec<&[u8]> = hosts.iter().map(|host| host.as_bytes()).collect();
        request(&method, Scheme::Http, target.as_bytes(), hosts)
            .map(|t| format!("{} {} {}", t.host, t.path, t.query.as_deref().unwrap_or("-")))
    };
    let get = |target, hosts: &[&'static str]| ask(Method::GET, target, hosts);
    assert_eq!(get("/a?b=c?d", &["h"]).as_deref(), Ok("h /a b=c?d"));
    assert_eq!(get("/a?", &["h"]).as_deref(), Ok("h /a "));
    assert_eq!(get("/a?x=%zz&\"é", &["h"]).as_deref(), Ok("h /a x=%zz&%22%C3%A9"));
    assert_eq!(get("http://h/a", &["h"]).as_deref(), Ok("h /a -"));
    assert_eq!(get("HTTP://H:80/a/../b?q", &["h"]).as_deref(), Ok("h /b q"));
    assert_eq!(get("http://h", &["h"]).as_deref(), Ok("h / -"));
    assert_eq!(get("http://h?q", &["h"]).as_deref(), Ok("h / q"));
    assert_eq!(get("http://other/a", &["h"]), Err(Refusal::HostMismatch));
    assert_eq!(get("http://u@h/a", &["h"]), Err(Refusal::BadHost));
    assert_eq!(get("http:///a", &["h"]), Err(Refusal::BadHost));
    assert_eq!(get("http://h/a", &[]), Err(Refusal::MissingHost));
    for target in ["https://h/a", "ftp://h/a", "http:/h", "h:80", "a", "", "?q", "/a#f", "http://h#f", "*a"] {
        assert_eq!(get(target, &["h"]), Err(Refusal::BadTarget), "{target}");
    }
    assert_eq!(get("/a", &[]), Err(Refusal::MissingHost));
    assert_eq!(get("/a", &[""]), Err(Refusal::MissingHost));
    assert_eq!(get("/a", &["h", "h"]), Err(Refusal::DuplicateHost));
    assert_eq!(get("/a?\u{1}", &["h"]), Err(Refusal::ControlCharacter));
    assert_eq!(ask(Method::OPTIONS, "*", &["h"]), Err(Refusal::AsteriskTarget));
    assert_eq!(ask(Method::CONNECT, "h:443", &["h"]), Err(Refusal::Connect));
    assert_eq!((Refusal::Connect.status(), Refusal::BadHost.status()), (405, 400));
}
