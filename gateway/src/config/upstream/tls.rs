//! `upstreams.X.tls`: whom a connection to an upstream must reach, and how the gateway proves itself there.

use std::net::IpAddr;
use std::path::PathBuf;

use rustls_pki_types::ServerName;
use schemars::JsonSchema;
use serde::Serialize;

use crate::config::CertificateFiles;
use crate::config::node::Node;
use crate::config::walk::{Read, ReadText, Unreadable, Walk};

/// TLS to an upstream: it is always verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct UpstreamTls {
    /// The name that its certificate must hold for: a DNS name, or an IP address.
    pub sni: VerifiedName,
    /// The authorities whose certificates are believed, a PEM file; the system's own where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// The certificate that the gateway shows, and its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<CertificateFiles>,
}

/// A name that a certificate is held against: a DNS name in lower case, or an IP address. Never empty: Pingora takes
/// an empty one for the wish to verify nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct VerifiedName(#[schemars(length(min = 1, max = 253))] String);

impl VerifiedName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ReadText for VerifiedName {
    const EXPECTED: &'static str = "a DNS name such as `orders.internal`, or an IP address";

    fn read_text(text: &str) -> Result<Self, Unreadable> {
        if text.is_empty() {
            return Err(Unreadable::rule(
                "expected the name in the upstream's certificate: without one nothing would be verified",
            ));
        }
        let bare = text.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = bare.parse::<IpAddr>() {
            let shown = address.to_string();
            return if shown == text {
                Ok(VerifiedName(shown))
            } else {
                Err(Unreadable::default().meant(Some(shown)))
            };
        }
        let lower = text.to_ascii_lowercase();
        let plain = lower.strip_suffix('.').unwrap_or(&lower);
        // Pingora would ask for another name where the first label has a `_`.
        let is_name = |name: &str| {
            !name.contains('_') && matches!(ServerName::try_from(name), Ok(ServerName::DnsName(_)))
        };
        if is_name(text) && plain == text {
            return Ok(VerifiedName(lower));
        }
        // The host of an URL, where one was written.
        let host = plain.rsplit("://").next().and_then(|rest| rest.split([':', '/']).next());
        let meant = host.filter(|host| is_name(host));
        Err(Unreadable::default().meant(meant))
    }
}

impl Read for UpstreamTls {
    const EXPECTED: &'static str = "a mapping with `sni`";

    fn read(node: &Node, path: &str, walk: &mut Walk<'_>) -> Option<Self> {
        let mut tls = walk.mapping(node, path, Self::EXPECTED)?;
        let sni = tls.required("sni");
        let ca = tls.optional("ca");
        let client = tls.optional("client");
        tls.finish();
        Some(UpstreamTls { sni: sni?, ca, client })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_would_verify_nothing_or_another_name_is_refused() {
        for good in ["orders.internal", "localhost", "127.0.0.1", "::1", "a-b.example.com"] {
            assert_eq!(VerifiedName::read_text(good).map(|name| name.0).ok().as_deref(), Some(good));
        }
        for (bad, meant) in [
            ("", None),
            (" ", None),
            ("Orders.Internal", Some("orders.internal")),
            ("orders.internal.", Some("orders.internal")),
            ("orders.internal:8443", Some("orders.internal")),
            ("https://orders.internal", Some("orders.internal")),
            ("[::1]", Some("::1")),
            ("a_b.example.com", None),
            ("*.example.com", None),
        ] {
            let refused = VerifiedName::read_text(bad).expect_err(bad);
            assert_eq!(refused.suggestion.as_deref(), meant, "{bad}");
        }
    }
}
