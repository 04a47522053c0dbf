//! `upstreams`: the services behind the gateway.

mod files;
mod tls;

use std::net::SocketAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::node::Node;
use super::read::{Choice, Choices};
use super::value::DurationText;
use super::walk::{Read, Walk};
use super::written::AddressTexts;

pub use tls::{UpstreamTls, VerifiedName};

/// One service: where it answers, and how long it may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Upstream {
    /// Where it answers.
    pub endpoints: Endpoints,
    /// Which endpoint a request goes to.
    #[schemars(default)]
    pub balance: Balance,
    /// The version of HTTP that it is spoken to in.
    #[schemars(default)]
    pub protocol: Protocol,
    /// TLS to it; plain TCP when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<UpstreamTls>,
    /// How long it may take.
    #[schemars(default)]
    pub timeouts: UpstreamTimeouts,
}

/// Where an upstream answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Endpoints {
    /// IP addresses with ports.
    #[schemars(with = "AddressTexts")]
    #[serde(rename = "static")]
    pub fixed: Vec<SocketAddr>,
}

/// Which endpoint a request goes to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, default)]
pub struct Balance {
    /// The rule by which one is chosen.
    pub policy: Policy,
}

/// The rule by which an endpoint is chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// One after the other.
    #[default]
    RoundRobin,
}

/// The version of HTTP that an upstream is spoken to in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    H1,
    /// HTTP/2, agreed on in the TLS handshake; what does not agree is not used. Needs `tls`.
    H2,
    /// HTTP/2 without TLS, begun without asking (RFC 9113, section 3.3).
    H2c,
    /// HTTP/2 where the TLS handshake agrees on it, else HTTP/1.1. Needs `tls`.
    Alpn,
}

/// How long an upstream may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, default)]
pub struct UpstreamTimeouts {
    /// To accept a connection, its TLS handshake included.
    #[serde(with = "DurationText")]
    pub connect: Duration,
    /// Between two reads of its response, and until the first.
    #[serde(with = "DurationText")]
    pub read_idle: Duration,
}

impl Default for UpstreamTimeouts {
    fn default() -> Self {
        UpstreamTimeouts { connect: Duration::from_secs(1), read_idle: Duration::from_secs(30) }
    }
}

impl Read for Upstream {
    const EXPECTED: &'static str = "an upstream (`endpoints`, …)";

    fn read(node: &Node, path: &str, walk: &mut Walk<'_>) -> Option<Self> {
        let mut upstream = walk.mapping(node, path, Self::EXPECTED)?;
        let endpoints = upstream.required("endpoints");
        let balance = upstream.or("balance", Balance::default());
        let protocol = upstream.or("protocol", Protocol::default());
        let tls = upstream.optional("tls");
        match protocol {
            Protocol::H2 | Protocol::Alpn if !upstream.has("tls") => {
                let plain = if protocol == Protocol::H2 { "`h2c`" } else { "`h1` or `h2c`" };
                upstream.bad_value(
                    "protocol",
                    format!("expected {plain} without `tls`: it is TLS that agrees on HTTP/2"),
                );
            }
            Protocol::H2c if upstream.has("tls") => {
                upstream.bad_value("protocol", "expected `h2` beside `tls`: `h2c` is HTTP/2 without it");
            }
            _ => {}
        }
        let timeouts = upstream.or("timeouts", UpstreamTimeouts::default());
        upstream.finish();
        // A `tls` that is there and cannot be read is no wish for plain TCP; the error is kept.
        Some(Upstream { endpoints: endpoints?, balance, protocol, tls, timeouts })
    }
}

impl Read for Endpoints {
    const EXPECTED: &'static str = "a mapping with `static`";

    fn read(node: &Node, path: &str, walk: &mut Walk<'_>) -> Option<Self> {
        let mut endpoints = walk.mapping(node, path, Self::EXPECTED)?;
        let fixed: Option<Vec<SocketAddr>> = endpoints.required("static");
        if fixed.as_ref().is_some_and(|fixed| fixed.is_empty()) && endpoints.is_empty_list("static") {
            endpoints.bad_value("static", "expected at least one address");
        }
        endpoints.distinct("static", fixed.as_deref().unwrap_or_default());
        for (index, address) in fixed.iter().flatten().enumerate() {
            if address.port() == 0 {
                endpoints.bad_value(&format!("static[{index}]"), "expected a port from 1 to 65535");
            }
        }
        endpoints.finish();
        Some(Endpoints { fixed: fixed? })
    }
}

impl Read for Balance {
    const EXPECTED: &'static str = "a mapping with `policy`";

    fn read(node: &Node, path: &str, walk: &mut Walk<'_>) -> Option<Self> {
        let mut balance = walk.mapping(node, path, Self::EXPECTED)?;
        let policy = balance.or("policy", Policy::default());
        balance.finish();
        Some(Balance { policy })
    }
}

impl Choice for Policy {
    const EXPECTED: &'static str = "`round_robin`";
    const CHOICES: Choices<Self> = &[("round_robin", Self::RoundRobin)];
    const LATER: &'static [&'static str] = &["random", "least_requests", "hash"];
}

impl Choice for Protocol {
    const EXPECTED: &'static str = "`h1`, `h2`, `h2c` or `alpn`";
    const CHOICES: Choices<Self> =
        &[("h1", Self::H1), ("h2", Self::H2), ("h2c", Self::H2c), ("alpn", Self::Alpn)];
    const LATER: &'static [&'static str] = &[];
}

impl Read for UpstreamTimeouts {
    const EXPECTED: &'static str = "a mapping with `connect`, `read_idle`";

    fn read(node: &Node, path: &str, walk: &mut Walk<'_>) -> Option<Self> {
        let mut timeouts = walk.mapping(node, path, Self::EXPECTED)?;
        let default = UpstreamTimeouts::default();
        let read = UpstreamTimeouts {
            connect: timeouts.positive("connect", default.connect),
            read_idle: timeouts.positive("read_idle", default.read_idle),
        };
        timeouts.finish();
        Some(read)
    }
}
