//! The headers that tell an upstream who asks: set by the gateway alone, whatever a client sends.
//!
//! Servers read names in ways of their own: CGI and what came after it make `X_Sealgate_Actor`, `X-Sealgate-Actor` and
//! at times `X.Sealgate.Actor` one variable. So a name is compared with everything in it but letters and digits read
//! as `-`, and whatever could be taken for one of these headers never goes upstream.

use http::{HeaderName, HeaderValue};
use pingora_core::{Error, ErrorType, Result};
use pingora_http::RequestHeader;

use crate::identity::Principal;

/// Who asks: the actor's id.
pub const ACTOR: HeaderName = HeaderName::from_static("x-sealgate-actor");
/// How it proved who it is.
pub const SCHEME: HeaderName = HeaderName::from_static("x-sealgate-scheme");
/// The identity provider that vouches for it.
pub const PROVIDER: HeaderName = HeaderName::from_static("x-sealgate-provider");
/// The groups that it is in, with commas between them; absent where it is in none.
pub const GROUPS: HeaderName = HeaderName::from_static("x-sealgate-groups");

/// What the names of headers begin with that say who asks: the gateway's own, and those of proxies in front.
const FAMILIES: [&str; 2] = ["x-sealgate-", "x-auth-request-"];

/// Other names under which proxies say who asks.
const NAMES: [&str; 8] = [
    "remote-user",
    "x-remote-user",
    "x-forwarded-user",
    "x-forwarded-email",
    "x-forwarded-groups",
    "x-forwarded-preferred-username",
    "x-forwarded-access-token",
    "x-forwarded-client-cert",
];

/// What never goes upstream as a client sent it.
#[derive(Debug, Default)]
pub struct IdentityHeaders {
    /// The headers that identity providers read, in lower case, everything but letters and digits read as `-`.
    read: Box<[Box<str>]>,
}

impl IdentityHeaders {
    /// The usual ones, and those that identity providers read.
    pub fn new<'a>(read: impl IntoIterator<Item = &'a HeaderName>) -> IdentityHeaders {
        let plain = |name: &HeaderName| name.as_str().bytes().map(plain).map(char::from).collect::<String>();
        IdentityHeaders { read: read.into_iter().map(|name| plain(name).into()).collect() }
    }

    /// Whether a header could be taken for one that says who asks.
    pub fn claims(&self, name: &HeaderName) -> bool {
        let name = name.as_str();
        FAMILIES.iter().any(|family| begins(name, family))
            || NAMES.iter().any(|one| is(name, one))
            || self.read.iter().any(|one| is(name, one))
    }

    /// Takes off what a client says about itself, and says who asks where somebody vouches for that.
    pub(crate) fn set(&self, head: &mut RequestHeader, principal: Option<&Principal>) -> Result<()> {
        // Nothing is allocated where nothing is found.
        let claims: Vec<HeaderName> = head.headers.keys().filter(|name| self.claims(name)).cloned().collect();
        for name in &claims {
            head.remove_header(name);
        }
        for (name, value) in principal.into_iter().flat_map(told) {
            let value = HeaderValue::try_from(value)
                .map_err(|error| Error::because(ErrorType::InternalError, "identity header", error))?;
            head.insert_header(name, value)?;
        }
        Ok(())
    }
}

/// What an upstream is told about somebody.
pub fn told(principal: &Principal) -> impl Iterator<Item = (HeaderName, String)> {
    let groups = principal.groups.iter().map(|group| escaped(group)).collect::<Vec<_>>().join(",");
    [
        (ACTOR, escaped(principal.id.as_str())),
        (SCHEME, principal.scheme.as_str().to_owned()),
        (PROVIDER, principal.provider.to_string()),
        (GROUPS, groups),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
}

/// A text as a header's value, and as one of a list: what is no visible ASCII, and `,` and `%`, is percent-encoded.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && !matches!(byte, b',' | b'%') {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

/// Whether a name is another one, read as servers might.
pub(crate) fn is(name: &str, other: &str) -> bool {
    name.len() == other.len() && begins(name, other)
}

/// Whether a name begins with another one, read as servers might.
pub(crate) fn begins(name: &str, beginning: &str) -> bool {
    name.len() >= beginning.len()
        && name.bytes().map(plain).zip(beginning.bytes()).all(|(one, other)| one == other)
}

fn plain(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'-' }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use audit_writer::record::ActorId;
    use proptest::prelude::*;

    use super::*;
    use crate::identity::Scheme;

    fn principal(id: &str, groups: &[&str]) -> Principal {
        Principal {
            id: ActorId::new(id),
            scheme: Scheme::ApiKey,
            provider: Arc::from("partners"),
            groups: groups.iter().map(|group| Box::from(*group)).collect(),
        }
    }

    fn names() -> IdentityHeaders {
        let read = [HeaderName::from_static("x-api-key"), HeaderName::from_static("x_edge_user")];
        IdentityHeaders::new(&read)
    }

    fn sent(principal: Option<&Principal>, headers: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut head = RequestHeader::build("GET", b"/", None).expect("a head");
        for (name, value) in headers {
            head.append_header((*name).to_owned(), *value).expect("a header");
        }
        names().set(&mut head, principal).expect("a head for the upstream");
        let mut wire = Vec::new();
        head.header_to_h1_wire(&mut wire);
        let text = String::from_utf8(wire).expect("text");
        let mut lines: Vec<(String, String)> = text
            .lines()
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        lines.sort();
        lines
    }

    #[test]
    fn whatever_could_be_taken_for_who_asks_never_goes_upstream() {
        let forged = [
            "X-Sealgate-Actor",
            "x-sealgate-actor",
            "X_Sealgate_Actor",
            "x-sealgate_actor",
            "X.Sealgate.Actor",
            "X-SEALGATE-ANYTHING-AT-ALL",
            "x-sealgate-",
            "X-Auth-Request-Email",
            "X_Auth_Request_User",
            "Remote-User",
            "REMOTE_USER",
            "X-Remote-User",
            "X-Forwarded-User",
            "X_Forwarded_Email",
            "X-Forwarded-Groups",
            "X-Forwarded-Preferred-Username",
            "X-Forwarded-Access-Token",
            "X-Forwarded-Client-Cert",
            "X-Api-Key",
            "x_api_key",
            "X-Edge-User",
            "x_edge-user",
        ];
        let mut headers: Vec<(&str, &str)> = forged.iter().map(|name| (*name, "mallory")).collect();
        headers.extend(forged.iter().map(|name| (*name, "again")));
        headers.extend([("X-Sealgate", "1"), ("Authorization", "Bearer x"), ("X-Api-Key-Id", "7")]);
        let kept = [("authorization", "Bearer x"), ("x-api-key-id", "7"), ("x-sealgate", "1")];
        let own = |lines: &[(&str, &str)]| {
            lines.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>()
        };
        assert_eq!(sent(None, &headers), own(&kept));
        let billing = principal("svc-billing", &["partners", "billing"]);
        let mut expected = own(&kept);
        expected.extend(own(&[
            ("x-sealgate-actor", "svc-billing"),
            ("x-sealgate-groups", "partners,billing"),
            ("x-sealgate-provider", "partners"),
            ("x-sealgate-scheme", "api_key"),
        ]));
        assert_eq!(sent(Some(&billing), &headers), expected);
    }

    #[test]
    fn an_actor_says_nothing_beyond_its_own_header() {
        let odd = principal("CN=Ünï,O=a b%0d\r\nX-Evil: 1", &["a,b", "c%", "é"]);
        let lines = sent(Some(&odd), &[]);
        let value = |name: &str| lines.iter().find(|(one, _)| one == name).map(|(_, value)| value.as_str());
        assert_eq!(value("x-sealgate-actor"), Some("CN=%C3%9Cn%C3%AF%2CO=a%20b%250d%0D%0AX-Evil:%201"));
        assert_eq!(value("x-sealgate-groups"), Some("a%2Cb,c%25,%C3%A9"));
        assert_eq!(lines.len(), 4);
        assert_eq!(sent(Some(&principal("a", &[])), &[]).len(), 3);
    }

    proptest! {
        #[test]
        fn no_spelling_gets_through(
            name in prop::sample::select(vec!["x-sealgate-actor", "x-auth-request-email", "remote-user", "x-api-key"]),
            odd in proptest::collection::vec(prop::sample::select(b"-_.!#$%&'*+^`|~".to_vec()), 8),
            upper in any::<u32>(),
        ) {
            let mut odd = odd.into_iter();
            let spelled: String = name.chars().enumerate().map(|(place, letter)| match letter {
                '-' => char::from(odd.next().unwrap_or(b'-')),
                letter if upper >> (place % 32) & 1 == 1 => letter.to_ascii_uppercase(),
                letter => letter,
            }).collect();
            prop_assert_eq!(sent(None, &[(&spelled, "mallory")]), vec![]);
        }

        #[test]
        fn every_actor_is_a_value_that_reads_back(id in "\\PC{1,64}", groups in proptest::collection::vec("\\PC{1,16}", 0..4)) {
            let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
            let told: Vec<_> = told(&principal(&id, &groups)).collect();
            prop_assert!(told.iter().all(|(_, value)| value.bytes().all(|byte| byte.is_ascii_graphic())));
            prop_assert_eq!(unescaped(&told[0].1), id);
            let read: Vec<String> = told.get(3).iter().flat_map(|(_, value)| value.split(',')).map(unescaped).collect();
            prop_assert_eq!(read, groups);
        }
    }

    fn unescaped(text: &str) -> String {
        let mut bytes = Vec::new();
        let mut rest = text.as_bytes();
        while let [first, more @ ..] = rest {
            rest = more;
            if let (b'%', Some(digits)) = (first, more.get(..2)) {
                let digits = std::str::from_utf8(digits).expect("digits");
                bytes.push(u8::from_str_radix(digits, 16).expect("hexadecimal"));
                rest = &more[2..];
            } else {
                bytes.push(*first);
            }
        }
        String::from_utf8(bytes).expect("UTF-8")
    }
}
