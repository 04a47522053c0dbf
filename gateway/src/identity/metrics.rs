//! What identity counts.

use std::sync::OnceLock;

use audit_writer::time::Timestamp;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::Scheme;

/// The label where nobody vouched.
const NOBODY: &str = "-";

/// What became of a request at its route's door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthOutcome {
    /// It was let in.
    Allowed,
    /// No rule lets its sender do this.
    Denied,
    /// Nobody vouches for its sender.
    Unauthenticated,
    /// Whether somebody vouches for its sender cannot be told.
    Unavailable,
}

impl AuthOutcome {
    const ALL: [AuthOutcome; 4] =
        [AuthOutcome::Allowed, AuthOutcome::Denied, AuthOutcome::Unauthenticated, AuthOutcome::Unavailable];

    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            AuthOutcome::Allowed => "allowed",
            AuthOutcome::Denied => "denied",
            AuthOutcome::Unauthenticated => "unauthenticated",
            AuthOutcome::Unavailable => "unavailable",
        }
    }
}

/// The metrics of identity.
#[derive(Debug, Clone)]
pub struct IdentityMetrics {
    auth: IntCounterVec,
    refreshes: IntCounterVec,
    last_success: IntGaugeVec,
}

impl IdentityMetrics {
    /// Registers them.
    ///
    /// # Errors
    ///
    /// When the registry holds one of these names already.
    pub fn new(registry: &Registry) -> prometheus::Result<IdentityMetrics> {
        let auth = IntCounterVec::new(
            Opts::new(
                "sealgate_auth_total",
                "Requests at the door of a route that asks who sends them or what they may do, by scheme (- for nobody) and outcome.",
            ),
            &["route", "scheme", "outcome"],
        )?;
        registry.register(Box::new(auth.clone()))?;
        let refreshes = IntCounterVec::new(
            Opts::new(
                "sealgate_jwks_refreshes_total",
                "Attempts to fetch a key set, by provider and outcome.",
            ),
            &["provider", "outcome"],
        )?;
        registry.register(Box::new(refreshes.clone()))?;
        let last_success = IntGaugeVec::new(
            Opts::new(
                "sealgate_jwks_last_success_timestamp_seconds",
                "When a provider's key set was last fetched; 0 where it never was.",
            ),
            &["provider"],
        )?;
        registry.register(Box::new(last_success.clone()))?;
        Ok(IdentityMetrics { auth, refreshes, last_success })
    }

    /// What a provider that fetches its keys counts.
    pub(super) fn jwks(&self, provider: &str) -> JwksMetrics {
        JwksMetrics {
            ok: self.refreshes.with_label_values(&[provider, "ok"]),
            failed: self.refreshes.with_label_values(&[provider, "failed"]),
            last_success: self.last_success.with_label_values(&[provider]),
        }
    }

    /// What a route counts.
    pub fn route(&self, route: &str) -> AuthCounters {
        AuthCounters { route: route.into(), auth: self.auth.clone(), by_scheme: Default::default() }
    }
}

/// What a provider that fetches its keys counts.
#[derive(Debug, Clone)]
pub(super) struct JwksMetrics {
    ok: IntCounter,
    failed: IntCounter,
    last_success: IntGauge,
}

impl JwksMetrics {
    /// Counts one attempt.
    pub(super) fn fetched(&self, well: bool) {
        if well {
            self.ok.inc();
            let seconds = Timestamp::now().as_micros() / 1_000_000;
            self.last_success.set(i64::try_from(seconds).unwrap_or(i64::MAX));
        } else {
            self.failed.inc();
        }
    }
}

/// What one route counts: each counter is looked up once.
#[derive(Debug)]
pub struct AuthCounters {
    route: Box<str>,
    auth: IntCounterVec,
    /// By scheme, the last for nobody; then by outcome.
    by_scheme: [[OnceLock<IntCounter>; AuthOutcome::ALL.len()]; Scheme::ALL.len() + 1],
}

impl AuthCounters {
    /// Counts one request.
    pub fn count(&self, scheme: Option<Scheme>, outcome: AuthOutcome) {
        let (place, label) = match scheme {
            Some(scheme) => (scheme as usize, scheme.as_str()),
            None => (Scheme::ALL.len(), NOBODY),
        };
        let make = || self.auth.with_label_values(&[&*self.route, label, outcome.as_str()]);
        self.by_scheme[place][outcome as usize].get_or_init(make).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scheme_and_outcome_has_its_own_counter() {
        let metrics = IdentityMetrics::new(&Registry::new()).expect("a new registry");
        let route = metrics.route("orders");
        let schemes: Vec<Option<Scheme>> = Scheme::ALL.into_iter().map(Some).chain([None]).collect();
        for (index, (scheme, outcome)) in
            schemes.iter().flat_map(|scheme| AuthOutcome::ALL.map(|outcome| (*scheme, outcome))).enumerate()
        {
            for _ in 0..=index {
                route.count(scheme, outcome);
            }
            let label = scheme.map_or(NOBODY, Scheme::as_str);
            let counter = metrics.auth.with_label_values(&["orders", label, outcome.as_str()]);
            assert_eq!(counter.get(), index as u64 + 1, "{label} {}", outcome.as_str());
        }
    }
}
