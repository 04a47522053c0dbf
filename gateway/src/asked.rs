//! What a request asks for, in the one spelling that is routed, forwarded and recorded.
//!
//! Nothing is copied that is spelled as it should be: a part is a place in the head that Pingora read, kept alive by
//! handles that share it. Only what had to be changed is new text.

use std::ops::Range;

use http::header::HOST;
use http::{HeaderValue, Method, Uri, Version};
use pingora_http::RequestHeader;

use crate::normalise::{self, Refusal, Scheme};

/// A request's method, host, path and query.
#[derive(Debug)]
pub struct Asked {
    /// The method, as received.
    pub method: Method,
    version: Version,
    target: Uri,
    host_header: Option<HeaderValue>,
    host: Part,
    /// The length of the host's name, without its port.
    host_name: usize,
    path: Part,
    query: Option<Part>,
    /// The target as received, without its query, where the path is not spelled so.
    raw: Option<Box<str>>,
}

/// A piece of text: a place in another one, or new.
#[derive(Debug)]
enum Part {
    At(Range<usize>),
    New(Box<str>),
}

impl Part {
    const EMPTY: Part = Part::At(0..0);

    /// `text` as a place in `whole`, where it is one.
    fn of(text: &str, whole: &str) -> Part {
        let start = text.as_ptr().addr().wrapping_sub(whole.as_ptr().addr());
        let place = start..start.wrapping_add(text.len());
        if whole.get(place.clone()) == Some(text) { Part::At(place) } else { Part::New(text.into()) }
    }

    fn in_whole<'a>(&'a self, whole: &'a str) -> &'a str {
        match self {
            Part::At(place) => &whole[place.clone()],
            Part::New(text) => text,
        }
    }
}

impl Asked {
    /// Reads a request's head. What is refused is still told as far as it goes, for the record.
    pub fn read(head: &RequestHeader, scheme: Scheme) -> (Asked, Result<(), Refusal>) {
        let mut asked = Asked {
            method: head.method.clone(),
            version: head.version,
            target: head.uri.clone(),
            host_header: head.headers.get(HOST).cloned(),
            host: Part::EMPTY,
            host_name: 0,
            path: Part::EMPTY,
            query: None,
            raw: None,
        };
        let hosts = head.headers.get_all(HOST).iter().map(HeaderValue::as_bytes);
        let read = normalise::request(&head.method, scheme, head.raw_path(), hosts);
        let understood = match read.and_then(|target| agrees(head, scheme).map(|()| target)) {
            Ok(target) => {
                asked.host = Part::of(target.host.as_str(), asked.host_text());
                asked.host_name = target.host.name().len();
                asked.path = Part::of(&target.path, asked.target_text());
                asked.query = target.query.map(|query| Part::of(&query, asked.target_text()));
                Ok(())
            }
            Err(refusal) => Err(refusal),
        };
        let raw = without_query(head.raw_path());
        if raw != asked.path().as_bytes() {
            asked.raw = Some(String::from_utf8_lossy(raw).into());
        }
        (asked, understood)
    }

    /// Host and port; empty where they could not be read.
    pub fn host(&self) -> &str {
        self.host.in_whole(self.host_text())
    }

    /// The host's name, as routed.
    pub fn host_name(&self) -> &str {
        &self.host()[..self.host_name]
    }

    /// The path, as routed; empty where it could not be read.
    pub fn path(&self) -> &str {
        self.path.in_whole(self.target_text())
    }

    /// What follows the `?`.
    pub fn query(&self) -> Option<&str> {
        self.query.as_ref().map(|query| query.in_whole(self.target_text()))
    }

    /// The target as received, without its query, where it differs from the path.
    pub fn raw(&self) -> Option<&str> {
        self.raw.as_deref()
    }

    /// The version as records have it.
    pub fn http(&self) -> &'static str {
        match self.version {
            Version::HTTP_09 => "0.9",
            Version::HTTP_10 => "1.0",
            Version::HTTP_2 => "2",
            _ => "1.1",
        }
    }

    /// The target for the upstream, where it is not the one that was received: `path` with the query.
    pub fn rewritten(&self, path: &str) -> Option<String> {
        let as_received = path == self.path()
            && matches!(self.path, Part::At(Range { start: 0, .. }))
            && !matches!(self.query, Some(Part::New(_)));
        if as_received {
            return None;
        }
        Some(match self.query() {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        })
    }

    fn target_text(&self) -> &str {
        self.target.path_and_query().map_or("", |target| target.as_str())
    }

    fn host_text(&self) -> &str {
        self.host_header.as_ref().and_then(|host| host.to_str().ok()).unwrap_or_default()
    }
}

/// Whether the parts of an HTTP/2 request say the same (RFC 9113, section 8.3.1): its scheme is the connection's, and its
/// authority is its host, to the byte. Other requests have them in one place alone.
fn agrees(head: &RequestHeader, scheme: Scheme) -> Result<(), Refusal> {
    if head.version != Version::HTTP_2 {
        return Ok(());
    }
    if head.uri.scheme_str().is_some_and(|given| given != scheme.as_str()) {
        return Err(Refusal::BadTarget);
    }
    match (head.uri.authority(), head.headers.get(HOST)) {
        (Some(authority), Some(host)) if authority.as_str().as_bytes() != host.as_bytes() => {
            Err(Refusal::HostMismatch)
        }
        _ => Ok(()),
    }
}

fn without_query(target: &[u8]) -> &[u8] {
    target.split(|byte| *byte == b'?').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(target: &[u8], host: &str) -> (Asked, Result<(), Refusal>) {
        let mut head = RequestHeader::build("GET", target, None).expect("a head");
        head.insert_header(HOST, host).expect("a host");
        Asked::read(&head, Scheme::Http)
    }

    #[test]
    fn what_is_spelled_well_is_neither_copied_nor_rewritten() {
        let (asked, understood) = read(b"/orders/42?page=2&size", "api.example.com:8080");
        assert_eq!(understood, Ok(()));
        assert!(matches!(asked.path, Part::At(_)));
        assert!(matches!(asked.host, Part::At(_)));
        assert!(matches!(asked.query, Some(Part::At(_))));
        assert_eq!((asked.path(), asked.query(), asked.raw()), ("/orders/42", Some("page=2&size"), None));
        assert_eq!((asked.host(), asked.host_name()), ("api.example.com:8080", "api.example.com"));
        assert_eq!(asked.rewritten("/orders/42"), None);
        assert_eq!(asked.rewritten("/42").as_deref(), Some("/42?page=2&size"));
    }

    #[test]
    fn what_is_spelled_otherwise_is_told_both_ways_and_rewritten() {
        let (asked, understood) = read(b"/a/./b//%7Ec?q", "API.example.com");
        assert_eq!(understood, Ok(()));
        assert_eq!((asked.path(), asked.raw()), ("/a/b/~c", Some("/a/./b//%7Ec")));
        assert_eq!(asked.host(), "api.example.com");
        assert_eq!(asked.rewritten(asked.path()).as_deref(), Some("/a/b/~c?q"));

        let (asked, understood) = read(b"http://api.example.com/a?q", "api.example.com");
        assert_eq!(understood, Ok(()));
        assert_eq!((asked.path(), asked.raw()), ("/a", Some("http://api.example.com/a")));
        assert_eq!(asked.rewritten(asked.path()).as_deref(), Some("/a?q"));
    }

    #[test]
    fn what_is_refused_is_told_as_received() {
        let (asked, understood) = read(b"/a/..%2f\xff?secret", "api.example.com");
        assert!(understood.is_err());
        assert_eq!((asked.path(), asked.raw()), ("", Some("/a/..%2f\u{fffd}")));
        assert_eq!(asked.query(), None);
    }

    #[test]
    fn an_http2_request_says_one_thing() {
        let read = |uri: &str, host: &str, scheme| {
            let request = http::Request::builder().version(Version::HTTP_2).uri(uri).header(HOST, host);
            let head = RequestHeader::from(request.body(()).expect("a request").into_parts().0);
            Asked::read(&head, scheme)
        };
        let (asked, understood) = read("https://api.test/a/../b?q", "api.test", Scheme::Https);
        assert_eq!(understood, Ok(()));
        assert_eq!((asked.host(), asked.path(), asked.http()), ("api.test", "/b", "2"));
        assert_eq!(asked.rewritten("/b").as_deref(), Some("/b?q"));
        assert_eq!(read("/a", "api.test", Scheme::Http).1, Ok(()), "no authority is given");
        for (uri, host, scheme, refusal) in [
            ("https://api.test/a", "other.test", Scheme::Https, Refusal::HostMismatch),
            ("https://api.test/a", "API.test", Scheme::Https, Refusal::HostMismatch),
            ("https://api.test:443/a", "api.test", Scheme::Https, Refusal::HostMismatch),
            ("https://a@api.test/a", "a@api.test", Scheme::Https, Refusal::BadHost),
            ("http://api.test/a", "api.test", Scheme::Https, Refusal::BadTarget),
            ("https://api.test/a", "api.test", Scheme::Http, Refusal::BadTarget),
            ("https://api.test/a%2fb", "api.test", Scheme::Https, Refusal::EncodedSeparator),
        ] {
            assert_eq!(read(uri, host, scheme).1, Err(refusal), "{uri} {host}");
        }
    }

    /// Targets of the pieces that matter, in origin-form and absolute-form, and any bytes.
    fn target() -> impl Strategy<Value = Vec<u8>> {
        let pieces = [
            "/", "/", "/", ".", "..", "%2e", "%2E", "%2f", "%5c", "\\", "%", "%25", "%252e", "%00", "a", "a",
            "admin", "%61", "%C3%A9", "%c3%a9", "\u{e9}", "%c0%ae", ";", ";x", "..;", "%3b", "?", "?q=/../b",
            "#", " ", "[", "*", "@", ":80", "//h",
        ];
        let beginning = prop::sample::select(vec![
            "/",
            "/",
            "/",
            "//",
            "http://h/",
            "HTTP://H:80/",
            "http://h",
            "http://o/",
            "*",
            "",
        ]);
        let tricky = (beginning, prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..10))
            .prop_map(|(beginning, pieces)| format!("{beginning}{}", pieces.concat()).into_bytes());
        let any_bytes = prop::collection::vec(any::<u8>(), 0..30).prop_map(|bytes| [b"/", &*bytes].concat());
        prop_oneof![4 => tricky, 1 => any_bytes]
    }

    proptest! {
        /// Whatever a client asks for: what was routed, authorised and recorded is what the upstream is asked for.
        #[test]
        fn the_path_that_is_decided_on_is_the_path_that_is_sent(target in target()) {
            let Ok(mut head) = RequestHeader::build("GET", &target, None) else { return Ok(()) };
            head.insert_header(HOST, "h").expect("a host");
            let (asked, understood) = Asked::read(&head, Scheme::Http);
            if understood.is_err() {
                prop_assert_eq!(asked.path(), "");
                return Ok(());
            }
            if let Some(rewritten) = asked.rewritten(asked.path()) {
                head.set_raw_path(rewritten.as_bytes()).expect("a target");
            }
            let sent = head.raw_path().to_owned();
            prop_assert_eq!(without_query(&sent), asked.path().as_bytes());
            // A server behind that normalises as this one does reads the same.
            let again = normalise::path(asked.path().as_bytes());
            prop_assert_eq!(again.as_deref(), Ok(asked.path()));
            prop_assert!(sent.iter().all(u8::is_ascii_graphic), "{:?}", sent);
        }
    }
}
