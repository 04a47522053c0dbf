//! Digests of a request's body and of its response's, taken while both stream by, and what becomes of the client's
//! `Content-Digest` (RFC 9530).
//!
//! A digest is told only of a body that came to its end; of what has no body by its nature (a request without one, the
//! answer to HEAD, 204, 304, an upgraded connection) there is none. Nothing is refused for its digest: by the time that
//! it is known, the upstream has the body. A route that does not ask for digests costs nothing.

mod content_digest;

use audit_writer::merkle::Hash;
use audit_writer::record::{ContentDigest, End};
use http::{HeaderMap, Method, StatusCode};
use sha2::{Digest, Sha256, Sha512};

pub use content_digest::{Claim, Digests};

/// The digests of one exchange's bodies, while they stream by.
#[derive(Debug)]
pub struct BodyDigests {
    /// What the client says about its body, where it says something.
    claim: Option<Claim>,
    request: Request,
    response: Response,
}

/// What the client was answered.
#[derive(Debug)]
enum Response {
    /// What an upstream says, as it streams by.
    Streaming(Sha256),
    /// An answer of the gateway's own, which has gone as a whole.
    Answered(Hash),
}

/// How far a request's body was seen.
#[derive(Debug)]
enum Request {
    /// Not at all: it did not go to an upstream.
    Unread,
    /// It streams by.
    Streaming { has_body: bool, hashers: Box<Hashers> },
    /// It came to its end.
    Done { has_body: bool, sha256: Hash, matches: bool },
}

#[derive(Debug)]
struct Hashers {
    sha256: Sha256,
    sha512: Option<Sha512>,
}

impl BodyDigests {
    /// For a request with these headers.
    pub fn new(headers: &HeaderMap) -> BodyDigests {
        BodyDigests {
            claim: Claim::of(headers),
            request: Request::Unread,
            response: Response::Streaming(Sha256::new()),
        }
    }

    /// The request goes to an upstream; where it goes to another one after that, its body comes anew from its begin.
    pub fn begin_request(&mut self, has_body: bool) {
        let sha512 = matches!(&self.claim, Some(Claim::Digests(claimed)) if claimed.sha512.is_some());
        let hashers = Hashers { sha256: Sha256::new(), sha512: sha512.then(Sha512::new) };
        self.request = Request::Streaming { has_body, hashers: Box::new(hashers) };
    }

    /// Bytes of the request's body.
    pub fn request_bytes(&mut self, bytes: &[u8]) {
        let Request::Streaming { hashers, .. } = &mut self.request else { return };
        hashers.sha256.update(bytes);
        if let Some(sha512) = &mut hashers.sha512 {
            sha512.update(bytes);
        }
    }

    /// The request's body came to its end.
    pub fn end_request(&mut self) {
        let Request::Streaming { has_body, hashers } = &mut self.request else { return };
        let Hashers { sha256, sha512 } =
            std::mem::replace(&mut **hashers, Hashers { sha256: Sha256::new(), sha512: None });
        let sha256: [u8; 32] = sha256.finalize().into();
        let matches = match &self.claim {
            Some(Claim::Digests(claimed)) => {
                claimed.sha256.is_none_or(|claimed| claimed == sha256)
                    && claimed.sha512.as_deref().is_none_or(|claimed| {
                        sha512.is_some_and(|sha512| sha512.finalize().as_slice() == claimed)
                    })
            }
            _ => false,
        };
        self.request = Request::Done { has_body: *has_body, sha256: Hash(sha256), matches };
    }

    /// Bytes of the response's body, on their way to the client.
    pub fn response_bytes(&mut self, bytes: &[u8]) {
        if let Response::Streaming(sha256) = &mut self.response {
            sha256.update(bytes);
        }
    }

    /// The client was answered with this, and not with what an upstream may have begun to say.
    pub fn answered(&mut self, body: &[u8]) {
        self.response = Response::Answered(Hash::of(body));
    }

    /// The SHA-256 of the request's body, where it has one and the whole of it was seen.
    pub fn request(&self) -> Option<Hash> {
        match self.request {
            Request::Done { has_body: true, sha256, .. } => Some(sha256),
            _ => None,
        }
    }

    /// What became of the client's `Content-Digest`, where it sent one.
    pub fn content_digest(&self) -> Option<ContentDigest> {
        Some(match (self.claim.as_ref()?, &self.request) {
            (Claim::Malformed, _) => ContentDigest::Malformed,
            (Claim::Unsupported, _) => ContentDigest::Unsupported,
            (Claim::Digests(_), Request::Done { matches: true, .. }) => ContentDigest::Match,
            (Claim::Digests(_), Request::Done { matches: false, .. }) => ContentDigest::Mismatch,
            (Claim::Digests(_), _) => ContentDigest::Incomplete,
        })
    }

    /// The SHA-256 of the response's body, where it went to the client as a whole (`end` tells of what came from an
    /// upstream) and such a response has one (RFC 9110, section 6.4.1).
    pub fn response(&self, method: &Method, status: u16, end: End) -> Option<Hash> {
        let bodyless = method == Method::HEAD
            || status < 200
            || [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].iter().any(|none| none.as_u16() == status);
        match &self.response {
            _ if bodyless => None,
            Response::Answered(sha256) => Some(*sha256),
            Response::Streaming(sha256) => (end == End::Ok).then(|| Hash(sha256.clone().finalize().into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    fn digests(claim: Option<&str>) -> BodyDigests {
        let mut headers = HeaderMap::new();
        if let Some(claim) = claim {
            headers.insert("content-digest", HeaderValue::from_str(claim).expect("a value"));
        }
        BodyDigests::new(&headers)
    }

    fn hello(claim: &str) -> Option<ContentDigest> {
        let mut digests = digests(Some(claim));
        digests.begin_request(true);
        digests.request_bytes(b"hel");
        digests.request_bytes(b"");
        digests.request_bytes(b"lo");
        digests.end_request();
        assert_eq!(digests.request().map(|hash| hash.to_string()).as_deref(), Some(HELLO));
        digests.content_digest()
    }

    const SHA_256: &str = "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:";
    const SHA_512: &str =
        "sha-512=:m3HSJL1i83hdltRq0+o9czGb+8KJDKra4t/3JRlnPKcjI8PZm6XBHXx6zG4UuMXaDEZjR1wuXDre9G9zvN7AQw==:";
    const OTHER: &str = "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:";

    #[test]
    fn every_digest_that_can_be_checked_must_be_the_bodys() {
        assert_eq!(hello(SHA_256), Some(ContentDigest::Match));
        assert_eq!(hello(SHA_512), Some(ContentDigest::Match));
        assert_eq!(
            hello(&format!("{SHA_256}, {SHA_512}, md5=:XUFAKrxLKna5cZ2REBfFkg==:")),
            Some(ContentDigest::Match)
        );
        assert_eq!(hello(OTHER), Some(ContentDigest::Mismatch));
        assert_eq!(hello(&format!("{OTHER},{SHA_512}")), Some(ContentDigest::Mismatch));
        assert_eq!(hello(&SHA_512.replace("m3HS", "m3HT")), Some(ContentDigest::Mismatch));
        assert_eq!(hello("md5=:XUFAKrxLKna5cZ2REBfFkg==:"), Some(ContentDigest::Unsupported));
        assert_eq!(hello("sha-256=LPJN"), Some(ContentDigest::Malformed));
    }

    #[test]
    fn a_body_that_did_not_come_to_its_end_has_no_digest() {
        let mut digests = digests(Some(SHA_256));
        assert_eq!((digests.request(), digests.content_digest()), (None, Some(ContentDigest::Incomplete)));
        digests.begin_request(true);
        digests.request_bytes(b"hello");
        assert_eq!((digests.request(), digests.content_digest()), (None, Some(ContentDigest::Incomplete)));
        digests.begin_request(true);
        digests.request_bytes(b"hello");
        digests.end_request();
        digests.end_request();
        digests.request_bytes(b"what comes too late");
        assert_eq!(digests.content_digest(), Some(ContentDigest::Match));
        assert_eq!(digests.request().map(|hash| hash.to_string()).as_deref(), Some(HELLO));
    }

    #[test]
    fn an_empty_body_has_a_digest_and_none_at_all_has_none() {
        for (has_body, digest) in [(true, Some(EMPTY)), (false, None)] {
            let mut digests = digests(Some(OTHER));
            digests.begin_request(has_body);
            digests.end_request();
            assert_eq!(digests.request().map(|hash| hash.to_string()).as_deref(), digest);
            assert_eq!(digests.content_digest(), Some(ContentDigest::Match));
        }
        assert_eq!(digests(None).content_digest(), None);
    }

    #[test]
    fn a_response_that_has_no_body_has_no_digest() {
        let mut digests = digests(None);
        let whole = |digests: &BodyDigests, method, status| digests.response(&method, status, End::Ok);
        assert_eq!(whole(&digests, Method::GET, 200).map(|hash| hash.to_string()).as_deref(), Some(EMPTY));
        digests.response_bytes(b"hel");
        digests.response_bytes(b"lo");
        assert_eq!(whole(&digests, Method::GET, 404).map(|hash| hash.to_string()).as_deref(), Some(HELLO));
        for (method, status) in
            [(Method::HEAD, 200), (Method::GET, 204), (Method::GET, 304), (Method::GET, 101)]
        {
            assert_eq!(whole(&digests, method, status), None, "{status}");
        }
        assert_eq!(digests.response(&Method::GET, 200, End::ClientClosed), None);
        digests.answered(b"");
        assert_eq!(
            digests.response(&Method::GET, 502, End::UpstreamFailed).map(|hash| hash.to_string()).as_deref(),
            Some(EMPTY)
        );
    }
}
