//! `listen`: where clients connect to, and what a connection may cost.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Serialize;

use super::node::Node;
use super::read::{Choice, Choices};
use super::tls::ListenerTls;
use super::value::{ByteSize, DurationText, Name};
use super::walk::{Read, Walk};
use super::written::{AddressText, Count, NetworkTexts, Port};

/// One listener.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Listener {
    /// Label in metrics, and the record's field `listener`.
    pub name: Name,
    /// IP address and port; `"[::]:8080"` (quoted) is dual stack.
    #[schemars(with = "AddressText")]
    pub address: SocketAddr,
    /// TLS. None when left out: everything is plain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTls>,
    /// Answers every request 308 to the same URL with `https` and this port. Not beside `tls`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Port>")]
    pub redirect_to_https: Option<u16>,
    /// Whether HTTP/2 is spoken as well: with TLS where the client offers `h2` (ALPN), without it where the client
    /// begins with HTTP/2's preface (prior knowledge).
    #[schemars(default)]
    pub http2: bool,
    /// Whose address a record's `source` names.
    #[schemars(default)]
    pub client_address: ClientAddress,
    /// How long a connection may stand still.
    #[schemars(default)]
    pub timeouts: ListenerTimeouts,
    /// How much a connection, a request, or one address may take.
    #[schemars(default)]
    pub limits: Limits,
}

/// Whose address is the client's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, default)]
pub struct ClientAddress {
    /// Where it is read from.
    pub from: ClientAddressFrom,
    /// The proxies in front that are believed: networks (`10.0.0.0/8`) or addresses. Only with `x-forwarded-for`.
    #[serde(with = "NetworkTexts")]
    pub trusted: Vec<IpNet>,
}

/// Where the client's address is read from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ClientAddressFrom {
    /// The address of the connection's other end.
    #[default]
    Peer,
    /// The last entry of `X-Forwarded-For` that no trusted proxy stands for.
    XForwardedFor,
}

/// How long a client's connection may stand still. `*_idle` is between two reads, or two writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, default)]
pub struct ListenerTimeouts {
    /// From a request's first byte (or a connection's start, so with its TLS handshake) to the end of its headers.
    #[serde(with = "DurationText")]
    pub header: Duration,
    /// Between two reads of a request's body.
    #[serde(with = "DurationText")]
    pub body_idle: Duration,
    /// Between two writes of a response.
    #[serde(with = "DurationText")]
    pub write_idle: Duration,
    /// Between two requests on one connection.
    #[serde(with = "DurationText")]
    pub keepalive_idle: Duration,
}

impl Default for ListenerTimeouts {
    fn default() -> Self {
        ListenerTimeouts {
            header: Duration::from_secs(10),
            body_idle: Duration::from_secs(60),
            write_idle: Duration::from_secs(60),
            keepalive_idle: Duration::from_secs(75),
        }
    }
}

/// How much a request, a connection, or one address may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, default)]
pub struct Limits {
    /// The request line and all headers of one request; more is answered 431.
    pub header_bytes: ByteSize,
    /// The body of one request; more is answered 413.
    pub body_bytes: ByteSize,
    /// Connections open at once on this listener; more are closed, and recorded as `rejected`.
    #[schemars(with = "Count")]
    pub connections: u32,
    /// The same, from one peer address.
    #[schemars(with = "Count")]
    pub connections_per_address: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            header_bytes: ByteSize::kib(64),
            body_bytes: ByteSize::mib(10),
            connections: 10_000,
            connections_per_address: 200,
        }
    }
}

impl Read for Listener {
    const EXPECTED: &'static str = "a listener (`name`, `address`, …)";

    fn read(node: &Node, path: &str, walk: &mut Walk<'_>) -> Option<Self> {
        let mut listener = walk.mapping(node, path, Self::EXPECTED)?;
        let name = listener.required("name");
        let address = listener.required("address");
        let tls = listener.optional("tls");
        let redirect_to_https = listener.optional("redirect_to_https");
        if redirect_to_https == Some(0) {
            listener.bad_value("redirect_to_https", "expected a port from 1 to 65535");
        }
        if listener.has("redirect_to_https") && listener.has("tls") {
            listener.bad_value("redirect_to_https", "expected only on a listener without `tls`");
        }
        let http2 = listener.or("http2", false);
        let client_address = listener.or("client_address", ClientAddress::default());
        let timeouts = listener.or("timeouts", ListenerTimeouts::default());
        let limits = listener.or("limits", Limits::default());
        listener.finish();
        Some(Listener {
            name: name?,
            address: address?,
            http2,
            tls,
            redirect_to_https,
            client_address,
            timeouts,
            limits,
        })
    }
}

impl Read for ClientAddress {
    const EXPECTED: &'static str = "a mapping with `from` and `trusted`";

    fn read(node: &Node, path: &str, walk: &mut Walk<'_>) -> Option<Self> {
        let mut client = walk.mapping(node, path, Self::EXPECTED)?;
        let from = client.or("from", ClientAddressFrom::default());
        let trusted: Option<Vec<IpNet>> = client.optional("trusted");
        match from {
            ClientAddressFrom::Peer if client.has("trusted") && client.has("from") => {
                client.bad_value("trusted", "expected only beside `from: x-forwarded-for`");
            }
            ClientAddressFrom::Peer if client.has("trusted") => {
                client.missing("from", "expected `x-forwarded-for`, or no `trusted`");
            }
            ClientAddressFrom::XForwardedFor if !client.has("trusted") => {
                client.missing(
                    "trusted",
                    "expected the networks of the proxies whose `X-Forwarded-For` is believed",
                );
            }
            ClientAddressFrom::XForwardedFor if trusted.as_ref().is_some_and(Vec::is_empty) => {
                client.bad_value("trusted", "expected at least one network");
            }
            _ => {}
        }
        client.finish();
        Some(ClientAddress { from, trusted: trusted.unwrap_or_default() })
    }
}

impl Choice for ClientAddressFrom {
    const EXPECTED: &'static str = "`peer` or `x-forwarded-for`";
    const CHOICES: Choices<Self> = &[("peer", Self::Peer), ("x-forwarded-for", Self::XForwardedFor)];
    const LATER: &'static [&'static str] = &["proxy_protocol"];
}

impl Read for ListenerTimeouts {
    const EXPECTED: &'static str = "a mapping with `header`, `body_idle`, `write_idle`, `keepalive_idle`";

    fn read(node: &Node, path: &str, walk: &mut Walk<'_>) -> Option<Self> {
        let mut timeouts = walk.mapping(node, path, Self::EXPECTED)?;
        let default = ListenerTimeouts::default();
        let read = ListenerTimeouts {
            header: timeouts.positive("header", default.header),
            body_idle: timeouts.positive("body_idle", default.body_idle),
            write_idle: timeouts.positive("write_idle", default.write_idle),
            keepalive_idle: timeouts.positive("keepalive_idle", default.keepalive_idle),
        };
        timeouts.finish();
        Some(read)
    }
}

impl Read for Limits {
    const EXPECTED: &'static str =
        "a mapping with `header_bytes`, `body_bytes`, `connections`, `connections_per_address`";

    fn read(node: &Node, path: &str, walk: &mut Walk<'_>) -> Option<Self> {
        let mut limits = walk.mapping(node, path, Self::EXPECTED)?;
        let default = Limits::default();
        let header = ByteSize::kib(1)..=ByteSize::mib(1);
        let read = Limits {
            header_bytes: limits.within("header_bytes", default.header_bytes, header),
            body_bytes: limits.or("body_bytes", default.body_bytes),
            connections: limits.within("connections", default.connections, 1..=10_000_000),
            connections_per_address: limits.within(
                "connections_per_address",
                default.connections_per_address,
                1..=10_000_000,
            ),
        };
        limits.finish();
        Some(read)
    }
}
