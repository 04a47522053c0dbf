//! The metrics of the gateway: every name once, every label bounded.
//!
//! No request looks a metric up by its labels. What a route or an upstream counts is resolved when the configuration
//! is loaded ([`RouteMetrics`], [`UpstreamMetrics`]) or, for the few statuses that it really answers, the first time.

use std::sync::{Arc, OnceLock};

use http::Method;
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

use crate::edge::Reason;
use crate::identity::IdentityMetrics;

/// The label of what is not there: no route, no status. No name can be equal to it.
const ABSENT: &str = "-";

/// Seconds; from what a local reply takes to the longest usual timeout.
const BUCKETS: [f64; 16] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// The methods that are labels; any other is `OTHER`.
const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "OTHER"];

/// All metrics of the gateway.
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    duration: HistogramVec,
    in_flight: IntGauge,
    connections: IntGaugeVec,
    rejected: Arc<[IntCounter; Reason::ALL.len()]>,
    upstream_requests: IntCounterVec,
    upstream_duration: HistogramVec,
    identity: IdentityMetrics,
    certificate_expiry: IntGaugeVec,
    reloads: [IntCounter; 2],
    upstream_certificates: IntGaugeVec,
}

impl Metrics {
    /// Registers them in `registry`.
    ///
    /// # Errors
    ///
    /// When the registry holds one of these names already.
    pub fn new(registry: Registry) -> prometheus::Result<Metrics> {
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let metric = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(metric.clone())).map(|()| metric)
        };
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            let metric = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(metric.clone())).map(|()| metric)
        };
        let histograms = |name: &str, help: &str, labels: &[&str]| {
            let options = HistogramOpts::new(name, help).buckets(BUCKETS.to_vec());
            let metric = HistogramVec::new(options, labels)?;
            registry.register(Box::new(metric.clone())).map(|()| metric)
        };
        let rejected = counters(
            "sealgate_rejected_total",
            "Attempts that never became a request, by reason.",
            &["reason"],
        )?;
        let build = gauges("sealgate_build_info", "1, labelled with the version that runs.", &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let reloads = counters(
            "sealgate_config_reloads_total",
            "Times that certificates, keys and key sets were read again, by outcome (ok, failed).",
            &["outcome"],
        )?;
        let in_flight = IntGauge::new("sealgate_http_requests_in_flight", "Requests that are being served.")?;
        registry.register(Box::new(in_flight.clone()))?;
        Ok(Metrics {
            requests: counters(
                "sealgate_http_requests_total",
                "Requests that ended, by route (- for none), method and status (- for no answer).",
                &["route", "method", "code"],
            )?,
            duration: histograms(
                "sealgate_http_request_duration_seconds",
                "From a request's head to its end, by route (- for none).",
                &["route"],
            )?,
            in_flight,
            connections: gauges(
                "sealgate_http_connections",
                "Client connections that are open, by listener.",
                &["listener"],
            )?,
            rejected: Arc::new(Reason::ALL.map(|reason| rejected.with_label_values(&[reason.as_str()]))),
            upstream_requests: counters(
                "sealgate_upstream_requests_total",
                "Requests to an upstream, by its answer's status (- for no answer).",
                &["upstream", "code"],
            )?,
            upstream_duration: histograms(
                "sealgate_upstream_duration_seconds",
                "From the choice of an endpoint to the head of its answer.",
                &["upstream"],
            )?,
            identity: IdentityMetrics::new(&registry)?,
            certificate_expiry: gauges(
                "sealgate_tls_certificate_expiry_timestamp_seconds",
                "When the certificate that is served ends, seconds since 1970, by listener and file.",
                &["listener", "certificate"],
            )?,
            reloads: ["ok", "failed"].map(|outcome| reloads.with_label_values(&[outcome])),
            upstream_certificates: gauges(
                "sealgate_upstream_certificate_expiry_timestamp_seconds",
                "When the client certificate ends that is shown to an upstream.",
                &["upstream"],
            )?,
            registry,
        })
    }

    /// The open connections of a listener.
    pub fn connections(&self, listener: &str) -> IntGauge {
        self.connections.with_label_values(&[listener])
    }

    /// One counter for each of [`Reason::ALL`], in its order.
    pub fn rejected(&self) -> Arc<[IntCounter; Reason::ALL.len()]> {
        self.rejected.clone()
    }

    /// When the certificates of listeners end.
    pub fn certificate_expiry(&self) -> IntGaugeVec {
        self.certificate_expiry.clone()
    }

    /// The reloads: those that went well, and those that failed.
    pub fn reloads(&self) -> [IntCounter; 2] {
        self.reloads.clone()
    }

    /// The requests in flight.
    pub fn in_flight(&self) -> IntGauge {
        self.in_flight.clone()
    }

    /// Those of identity.
    pub fn identity(&self) -> &IdentityMetrics {
        &self.identity
    }

    /// What a route counts; `None` is for the requests that no route takes.
    pub fn route(&self, route: Option<&str>) -> RouteMetrics {
        let label = route.unwrap_or(ABSENT);
        RouteMetrics {
            route: label.into(),
            requests: self.requests.clone(),
            by_method: Default::default(),
            duration: self.duration.with_label_values(&[label]),
        }
    }

    /// What an upstream counts.
    pub fn upstream(&self, upstream: &str) -> UpstreamMetrics {
        UpstreamMetrics {
            upstream: upstream.into(),
            requests: self.upstream_requests.clone(),
            by_status: ByStatus::default(),
            duration: self.upstream_duration.with_label_values(&[upstream]),
            certificates: self.upstream_certificates.clone(),
        }
    }

    /// Everything in the registry, in Prometheus' text format.
    pub fn render(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(16 * 1024);
        TextEncoder::new()
            .encode(&self.registry.gather(), &mut text)
            .expect("a Vec takes every write, and what was registered is well-formed");
        text
    }
}

/// The counters of one route.
pub struct RouteMetrics {
    route: Box<str>,
    requests: IntCounterVec,
    by_method: [OnceLock<Box<ByStatus>>; METHODS.len()],
    duration: Histogram,
}

impl RouteMetrics {
    /// Counts one request that ended; without a status where nothing was answered.
    pub fn observe(&self, method: &Method, status: Option<u16>, seconds: f64) {
        let place = method_place(method);
        let by_status = self.by_method[place].get_or_init(Box::default);
        by_status
            .get(status, |code| self.requests.with_label_values(&[&*self.route, METHODS[place], code]))
            .inc();
        self.duration.observe(seconds);
    }
}

fn method_place(method: &Method) -> usize {
    let other = METHODS.len() - 1;
    METHODS[..other].iter().position(|known| *known == method.as_str()).unwrap_or(other)
}

/// The counters of one upstream.
pub struct UpstreamMetrics {
    upstream: Box<str>,
    requests: IntCounterVec,
    by_status: ByStatus,
    duration: Histogram,
    certificates: IntGaugeVec,
}

impl UpstreamMetrics {
    /// Counts one request to it; without a status where it gave none.
    pub fn count(&self, status: Option<u16>) {
        self.by_status.get(status, |code| self.requests.with_label_values(&[&*self.upstream, code])).inc();
    }

    /// When the certificate ends that is shown to it: from now on there is such a series.
    pub fn certificate_expiry(&self) -> IntGauge {
        self.certificates.with_label_values(&[&self.upstream])
    }

    /// Observes how long its answer's head took.
    pub fn observe(&self, seconds: f64) {
        self.duration.observe(seconds);
    }
}

/// Statuses from 100 to 599.
const STATUSES: usize = 500;

/// A counter for each status, made when it is first met.
struct ByStatus {
    counters: [OnceLock<IntCounter>; STATUSES],
    absent: OnceLock<IntCounter>,
    other: OnceLock<IntCounter>,
}

impl Default for ByStatus {
    fn default() -> Self {
        ByStatus {
            counters: [const { OnceLock::new() }; STATUSES],
            absent: OnceLock::new(),
            other: OnceLock::new(),
        }
    }
}

impl ByStatus {
    fn get(&self, status: Option<u16>, make: impl FnOnce(&str) -> IntCounter) -> &IntCounter {
        match status {
            None => self.absent.get_or_init(|| make(ABSENT)),
            Some(status) => match self.counters.get(usize::from(status).wrapping_sub(100)) {
                Some(counter) => counter.get_or_init(|| make(&status.to_string())),
                None => self.other.get_or_init(|| make("OTHER")),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_bounded_whatever_a_client_sends() {
        let metrics = Metrics::new(Registry::new()).expect("a new registry");
        let route = metrics.route(Some("orders"));
        for method in ["GET", "BREW", "X-Y", "get"] {
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            route.observe(&method, Some(200), 0.001);
        }
        route.observe(&Method::GET, None, 0.001);
        route.observe(&Method::GET, Some(999), 0.001);
        let text = String::from_utf8(metrics.render()).expect("text");
        for line in [
            r#"sealgate_http_requests_total{code="200",method="GET",route="orders"} 1"#,
            r#"sealgate_http_requests_total{code="200",method="OTHER",route="orders"} 3"#,
            r#"sealgate_http_requests_total{code="-",method="GET",route="orders"} 1"#,
            r#"sealgate_http_requests_total{code="OTHER",method="GET",route="orders"} 1"#,
            r#"sealgate_http_request_duration_seconds_count{route="orders"} 6"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }

    #[test]
    fn what_has_known_labels_is_there_from_the_start_with_help() {
        let metrics = Metrics::new(Registry::new()).expect("a new registry");
        metrics.connections("edge");
        let text = String::from_utf8(metrics.render()).expect("text");
        for reason in Reason::ALL {
            let line = format!(r#"sealgate_rejected_total{{reason="{}"}} 0"#, reason.as_str());
            assert!(text.contains(&line), "{line}");
        }
        assert!(text.contains(r#"sealgate_http_connections{listener="edge"} 0"#));
        for line in text.lines().filter(|line| line.starts_with("# TYPE ")) {
            let name = line.split(' ').nth(2).expect("a name");
            assert!(text.contains(&format!("# HELP {name} ")), "{name}");
        }
    }
}
