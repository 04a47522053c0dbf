//! `listen`: where clients connect to, and what a connection may cost.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Serialize;

use super::value::{AddressText, ByteSize, DurationText, Name, NetworkTexts};

/// One listener for plain HTTP/1.1.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Listener {
    /// Label in metrics, and the record's field `listener`.
    pub name: Name,
    /// IP address and port; `"[::]:8080"` (quoted) is dual stack.
    #[schemars(with = "AddressText")]
    pub address: SocketAddr,
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
    /// From a request's first byte (or a connection's start) to the end of its headers.
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
    #[schemars(range(min = 1))]
    pub connections: u32,
    /// The same, from one peer address.
    #[schemars(range(min = 1))]
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
