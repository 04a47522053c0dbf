//! What all requests share: made once from the configuration, read by every hook.

use std::sync::Arc;
use std::time::Duration;

use audit_writer::record::RouteName;
use audit_writer::redact::{HmacKey, PathTemplates};
use audit_writer::ring::Recorder;
use http::Method;
use prometheus::IntGauge;
use tokio::sync::watch;

use crate::authorise::Rule;
use crate::config::{BodyDigest, Durability, Name};
use crate::edge::Drain;
use crate::identity::{AnyOf, AuthCounters};
use crate::identity_headers::IdentityHeaders;
use crate::metrics::RouteMetrics;
use crate::route::{Route, Router};
use crate::upstream::Pool;

/// What serves requests: made once from the configuration.
pub struct Gateway {
    /// Finds the route of a request.
    pub router: Router,
    /// What each route needs at work, by its index.
    pub plans: Box<[Plan]>,
    /// Every method that some route or standard names, to tell what a path allows.
    pub methods: Box<[Method]>,
    /// What must be certain of a request's evidence where no route takes it.
    pub durability: Durability,
    /// What requests count that no route takes.
    pub unrouted: RouteMetrics,
    /// The requests in flight.
    pub in_flight: IntGauge,
    /// The way into the audit log.
    pub recorder: Recorder,
    /// How long a request waits for a slot.
    pub admit_timeout: Duration,
    /// What records hide of paths.
    pub templates: PathTemplates,
    /// The headers that tell upstreams who asks.
    pub identity_headers: IdentityHeaders,
    /// Bytes of the longest record.
    pub max_record: usize,
    /// The first 8 hex digits of the configuration's SHA-256.
    pub config_hash: Box<str>,
    /// Says true once the gateway stops.
    pub stop: watch::Receiver<bool>,
    /// Says whether what is still served is being cut.
    pub drain: Arc<Drain>,
}

/// One route at work.
pub struct Plan {
    /// The route.
    pub route: Arc<Route>,
    /// Its name, as records carry it.
    pub name: RouteName,
    /// What stands in its records in place of the path, where that is not kept.
    pub pattern: Option<Box<str>>,
    /// The key, for each of its headers that records tell as an HMAC.
    pub hmac: Box<[Option<Arc<HmacKey>>]>,
    /// Who vouches for those who ask; nobody is asked when `None`.
    pub auth: Option<AnyOf>,
    /// What became of requests at its door.
    pub auth_counters: AuthCounters,
    /// Who may do what.
    pub rules: Box<[Rule]>,
    /// What its records call such a request.
    pub action: Option<Name>,
    /// Whether its records tell digests of bodies.
    pub body_digest: BodyDigest,
    /// What must be certain of a request's evidence.
    pub durability: Durability,
    /// Where its requests go.
    pub pool: Arc<Pool>,
    /// What it counts.
    pub metrics: RouteMetrics,
}

impl Gateway {
    /// Whether the gateway is shutting down.
    pub fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }
}
