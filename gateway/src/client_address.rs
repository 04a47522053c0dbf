//! Whose address is the client's: the connection's other end, or what proxies in front say that it is.
//!
//! `X-Forwarded-For` grows to the right, one entry a proxy, and whatever stands left of the first proxy that is
//! trusted was written by the client. So it is read from the right, from a trusted peer only, and the first entry that
//! no trusted proxy stands for is the client.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

use crate::config::{ClientAddress, ClientAddressFrom};

/// The list of addresses that proxies keep.
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Trusted proxies that are believed to stand in a row.
const MOST_HOPS: usize = 32;

/// How a listener tells its clients' addresses.
#[derive(Debug, Clone, Default)]
pub struct ClientAddresses {
    trusted: Box<[IpNet]>,
}

impl ClientAddresses {
    /// As the configuration says.
    pub fn new(config: &ClientAddress) -> ClientAddresses {
        match config.from {
            ClientAddressFrom::Peer => ClientAddresses::default(),
            ClientAddressFrom::XForwardedFor => ClientAddresses { trusted: config.trusted.clone().into() },
        }
    }

    /// Whether `peer` is a proxy whose word is taken.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(&peer))
    }

    /// The client's address, for a request that came from `peer`.
    ///
    /// An entry that is no address is where knowledge ends: the proxy that wrote it, the last one trusted, is then
    /// the closest to the client that is known.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        if !self.trusts(peer) {
            return peer;
        }
        let mut client = peer;
        for entry in entries(headers.get_all(X_FORWARDED_FOR).iter()).rev().take(MOST_HOPS) {
            let Some(address) = parse(entry) else { break };
            client = address;
            if !self.trusts(address) {
                break;
            }
        }
        client
    }
}

/// What the lines of an `X-Forwarded-For` say, as received, whether it is believed or not.
pub fn claimed(lines: &[HeaderValue]) -> impl Iterator<Item = Cow<'_, str>> {
    entries(lines.iter()).map(String::from_utf8_lossy)
}

/// The entries of an `X-Forwarded-For`, from left to right; empty ones are passed over.
fn entries<'a>(
    lines: impl DoubleEndedIterator<Item = &'a HeaderValue>,
) -> impl DoubleEndedIterator<Item = &'a [u8]> {
    lines
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|entry| !entry.is_empty())
}

/// An address, alone or with a port, IPv6 with or without brackets.
fn parse(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?;
    let bare = text.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().or_else(|_| text.parse().map(|with_port: SocketAddr| with_port.ip())).ok()?;
    Some(IpAddr::to_canonical(&address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn addresses(trusted: &[&str]) -> ClientAddresses {
        ClientAddresses { trusted: trusted.iter().map(|net| net.parse().expect("a network")).collect() }
    }

    fn headers(lines: &[&[u8]]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(X_FORWARDED_FOR, HeaderValue::from_bytes(line).expect("a value"));
        }
        headers
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn the_rightmost_untrusted_entry_is_the_client() {
        let addresses = addresses(&["10.0.0.0/8", "2001:db8::/32"]);
        let peer = ip("10.0.0.7");
        for (lines, client) in [
            (&[b"203.0.113.9".as_slice()] as &[&[u8]], "203.0.113.9"),
            (&[b"6.6.6.6, 203.0.113.9"], "203.0.113.9"),
            (&[b"6.6.6.6, 203.0.113.9, 10.1.2.3"], "203.0.113.9"),
            (&[b"6.6.6.6", b"203.0.113.9", b"10.1.2.3"], "203.0.113.9"),
            (&[b" 203.0.113.9 ,, 10.1.2.3 ,"], "203.0.113.9"),
            (&[b"203.0.113.9:4711"], "203.0.113.9"),
            (&[b"[2001:db9::1]:4711, 2001:db8::1"], "2001:db9::1"),
            (&[b"[2001:db9::1]"], "2001:db9::1"),
            (&[b"::ffff:203.0.113.9"], "203.0.113.9"),
            // Only trusted proxies: the leftmost is the closest that is known.
            (&[b"10.9.9.9, 10.1.2.3"], "10.9.9.9"),
            (&[], "10.0.0.7"),
        ] {
            assert_eq!(addresses.client(peer, &headers(lines)), ip(client), "{lines:?}");
        }
    }

    #[test]
    fn what_is_no_address_ends_what_is_known() {
        let addresses = addresses(&["10.0.0.0/8"]);
        let peer = ip("10.0.0.7");
        for hostile in [
            b"unknown".as_slice(),
            b"_hidden",
            b"203.0.113.9.1",
            b"203.0.113.9 6.6.6.6",
            b"0x7f000001",
            b"\xff\xfe",
            b"'; DROP TABLE records; --",
            b"[::1",
            b"203.0.113.9:99999",
        ] {
            assert_eq!(addresses.client(peer, &headers(&[hostile])), peer, "{hostile:?}");
            let behind = [b"6.6.6.6, ".as_slice(), hostile, b", 10.1.2.3"].concat();
            assert_eq!(addresses.client(peer, &headers(&[&behind])), ip("10.1.2.3"), "{hostile:?}");
        }
    }

    #[test]
    fn an_untrusted_peer_is_believed_nothing() {
        let forged = headers(&[b"127.0.0.1, 10.0.0.1"]);
        assert_eq!(addresses(&["10.0.0.0/8"]).client(ip("203.0.113.9"), &forged), ip("203.0.113.9"));
        assert_eq!(ClientAddresses::default().client(ip("10.0.0.7"), &forged), ip("10.0.0.7"));
        let lines: Vec<_> = forged.get_all(X_FORWARDED_FOR).iter().cloned().collect();
        assert_eq!(claimed(&lines).collect::<Vec<_>>(), ["127.0.0.1", "10.0.0.1"]);
    }

    proptest! {
        /// Whatever a client writes to the left, the entry that the trusted proxy added stays the client.
        #[test]
        fn no_forged_prefix_moves_the_client(forged in proptest::collection::vec(0x20u8..0x7f, 0..200)) {
            let line = [forged.as_slice(), b", 203.0.113.9, 10.1.2.3"].concat();
            let client = addresses(&["10.0.0.0/8"]).client(ip("10.0.0.7"), &headers(&[&line]));
            prop_assert_eq!(client, ip("203.0.113.9"));
        }
    }
}
