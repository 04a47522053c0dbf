//! The head of an HTTP/2 request, as the gateway takes one of HTTP/1.1.

use bytes::{BufMut, BytesMut};
use http::header::{COOKIE, Entry, HOST};
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use pingora_http::RequestHeader;

/// Makes `:authority` the `Host` where there is none, and one `Cookie` of many (RFC 9113, sections 8.3.1 and 8.2.3).
///
/// The target keeps its scheme and authority, so that they can be held against `Host` and the connection.
pub(super) fn of(mut parts: Parts) -> RequestHeader {
    if let Some(authority) = parts.uri.authority()
        && let Entry::Vacant(host) = parts.headers.entry(HOST)
        && let Ok(authority) = HeaderValue::from_str(authority.as_str())
    {
        host.insert(authority);
    }
    join_cookies(&mut parts.headers);
    parts.into()
}

/// HTTP/2 clients may send a cookie in crumbs, since those compress better; nobody else may see it so.
fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(COOKIE).iter();
    let (Some(first), Some(second)) = (crumbs.next(), crumbs.next()) else { return };
    let mut whole = BytesMut::from(first.as_bytes());
    for crumb in std::iter::once(second).chain(crumbs) {
        whole.put_slice(b"; ");
        whole.put_slice(crumb.as_bytes());
    }
    if let Ok(whole) = HeaderValue::from_maybe_shared(whole.freeze()) {
        headers.insert(COOKIE, whole);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn head(uri: &str, headers: &[(&str, &str)]) -> RequestHeader {
        let request = headers
            .iter()
            .fold(Request::builder().uri(uri), |request, (name, value)| request.header(*name, *value));
        of(request.body(()).expect("a request").into_parts().0)
    }

    #[test]
    fn the_authority_is_the_host_where_there_is_none() {
        let head = head("https://API.test:8443/a?b", &[]);
        assert_eq!(head.headers[HOST], "API.test:8443");
        assert_eq!(head.raw_path(), b"/a?b");
        let head = self::head("https://api.test/", &[("host", "other.test")]);
        assert_eq!(head.headers.get_all(HOST).iter().collect::<Vec<_>>(), ["other.test"]);
        assert!(!self::head("/a", &[]).headers.contains_key(HOST));
    }

    #[test]
    fn crumbs_of_a_cookie_become_one() {
        let crumbs = [("cookie", "a=1"), ("x", "y"), ("cookie", "b=2; c=3"), ("cookie", "d=4")];
        let head = head("https://api.test/", &crumbs);
        let cookies: Vec<_> = head.headers.get_all(COOKIE).iter().collect();
        assert_eq!(cookies, ["a=1; b=2; c=3; d=4"]);
        let head = self::head("https://api.test/", &[("cookie", "a=1")]);
        assert_eq!(head.headers[COOKIE], "a=1");
    }
}
