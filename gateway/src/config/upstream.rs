//! `upstreams`: the services behind the gateway.

use std::net::SocketAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::value::{AddressTexts, DurationText};

/// One service: where it answers, and how long it may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Upstream {
    /// Where it answers.
    pub endpoints: Endpoints,
    /// Which endpoint a request goes to.
    #[schemars(default)]
    pub balance: Balance,
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

/// How long an upstream may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, default)]
pub struct UpstreamTimeouts {
    /// To accept a connection.
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
