//! The configuration: typed, complete, and refused as a whole when anything in it cannot be understood.
//!
//! A [`Config`] holds only values that were read and checked: durations, sizes, addresses and names are typed, paths
//! are resolved, defaults are filled in, every route's upstream exists and no two routes tie. It is built once, before
//! anything is served, and never changes afterwards.

mod allow;
mod api_keys;
mod audit;
mod auth;
mod check;
mod durability;
mod environment;
mod error;
mod identity;
mod idle_rules;
mod listen;
mod load;
mod mapping;
mod node;
mod read;
mod redact;
mod route;
mod route_audit;
mod schema;
mod source;
mod tls;
mod upstream;
mod value;
mod variable;
mod walk;
mod watched;
mod written;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

pub use allow::Allow;
pub use api_keys::{ApiKey, read_api_keys};
pub use audit::{Audit, Key, Ring, Segment, Spool, Store};
pub use auth::Auth;
pub use durability::{Durability, WrittenIn};
pub use error::{Problem, Problems, Severity};
pub use identity::{Algorithm, ApiKeys, CertificateActor, EdgeHeaders, Jwks, Jwt, Mtls, Provider};
pub use listen::{ClientAddress, ClientAddressFrom, Limits, Listener, ListenerTimeouts};
pub use redact::Redact;
pub use route::{Match, PathMatch, Rewrite, Route};
pub use route_audit::{BodyDigest, PathKept, Query, RouteAudit};
pub use schema::schema;
pub use tls::{CertificateFiles, ClientAuth, ClientAuthMode, ListenerTls, TlsVersion};
pub use upstream::{
    Balance, Endpoints, Policy, Protocol, Upstream, UpstreamTimeouts, UpstreamTls, VerifiedName,
};
use walk::Seen;

pub use value::{ByteSize, DurationText, Name, Percent};
pub use watched::Watched;

/// The whole configuration of one gateway.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// The version of this format: 1.
    #[schemars(range(min = 1, max = 1))]
    pub version: u32,
    /// Where clients connect to.
    #[schemars(length(min = 1))]
    pub listen: Vec<Listener>,
    /// The listener for operators: `/status` and everything that `metrics` serves. None when left out.
    pub admin: Option<Admin>,
    /// The listener for Prometheus and the kubelet: `/metrics`, `/livez`, `/readyz`. None when left out.
    pub metrics: Option<Metrics>,
    /// What happens on SIGTERM.
    #[schemars(default)]
    pub shutdown: Shutdown,
    /// The services behind the gateway, by name.
    #[schemars(extend("minProperties" = 1))]
    pub upstreams: BTreeMap<Name, Upstream>,
    /// Who vouches for those who ask, by name. None when left out.
    #[schemars(default, extend("minProperties" = 1))]
    pub identity: BTreeMap<Name, Provider>,
    /// What is forwarded where: exact host first, then the longest path, then methods given.
    #[schemars(length(min = 1))]
    pub routes: Vec<Route>,
    /// The audit log.
    pub audit: Audit,
    #[serde(skip)]
    loaded: Loaded,
}

/// The configuration's own text and its hash.
#[derive(Debug, Clone)]
struct Loaded {
    text: String,
    sha256: [u8; 32],
    /// Where it was loaded from; none where it was made in code, or came by standard input.
    origin: Option<PathBuf>,
    /// The names of the files, for errors.
    files: Vec<String>,
    /// The place of each value, and the value as it is written.
    seen: Seen,
}

impl Config {
    /// The configuration as loaded: the file's own text, with variables left as references. Of a directory, its files
    /// one after the other.
    pub fn text(&self) -> &str {
        &self.loaded.text
    }

    /// The SHA-256 of [`Config::text`].
    pub fn sha256(&self) -> [u8; 32] {
        self.loaded.sha256
    }

    /// The first eight hexadecimal digits of [`Config::sha256`]: the `config` of every record.
    pub fn hash(&self) -> String {
        let [a, b, c, d, ..] = self.loaded.sha256;
        format!("{:08x}", u32::from_be_bytes([a, b, c, d]))
    }
}

/// The listener for operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Admin {
    /// IP address and port.
    #[schemars(with = "written::AddressText")]
    pub address: SocketAddr,
}

/// The listener for Prometheus and the kubelet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Metrics {
    /// IP address and port.
    #[schemars(with = "written::AddressText")]
    pub address: SocketAddr,
}

/// How the gateway leaves when it is asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, default)]
pub struct Shutdown {
    /// How long `/readyz` answers 503 while connections are still accepted.
    #[serde(with = "DurationText")]
    pub lameduck: Duration,
    /// How long requests in flight and the shipping of the last segment may take after that.
    #[serde(with = "DurationText")]
    pub timeout: Duration,
}

impl Default for Shutdown {
    fn default() -> Self {
        Shutdown { lameduck: Duration::from_secs(5), timeout: Duration::from_secs(25) }
    }
}
