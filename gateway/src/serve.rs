//! `sealgate run`: puts the parts together, serves, and stops without losing a record.
//!
//! Order of the start: sockets are bound and signals caught, the audit log is opened, then Pingora's server runs. So
//! nothing is served that cannot be recorded, and nothing is recorded by a gateway that cannot serve. Order of the
//! end: requests drain, Pingora's server returns with every task dropped, and only then the log is stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use audit_writer::audit_log::{AuditLog, OpenError, StatusView, StopError};
use audit_writer::config::Instance;
use audit_writer::config::{AuditConfig, KeyConfig, RingConfig, SegmentConfig, SpoolConfig, StoreConfig};
use audit_writer::disk::{Disk, RealDisk};
use audit_writer::metrics::AuditMetrics;
use audit_writer::record::RouteName;
use audit_writer::redact::{HmacKey, HmacKeyError, PathTemplates};
use audit_writer::ring::Recorder;
use audit_writer::ship::Fatal;
use http::Method;
use pingora_core::apps::HttpServerOptions;
use pingora_core::server::configuration::ServerConf;
use pingora_core::server::{RunArgs, Server};
use pingora_proxy::http_proxy;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::admin::{Admin, Audience, Facts};
use crate::authorise::Rule;
use crate::client_address::ClientAddresses;
use crate::config::{self, Config, Durability, PathKept};
use crate::edge::{ConnectionLimit, Drain, Edge, Listener, Patience, Rejections, ServerTls, TlsError, bind};
use crate::identity::{self, Providers};
use crate::identity_headers::IdentityHeaders;
use crate::metrics::Metrics;
use crate::pem::PemError;
use crate::proxy::Proxy;
use crate::reload::{self, Reloadable, Reloader};
use crate::route::Router;
use crate::serving::{Gateway, Plan};
use crate::shutdown::{Departure, Readiness, Signals};
use crate::upstream::Pool;

/// Times that Pingora may try an upstream: a kept connection that the upstream has just closed is tried again on
/// another, where the request can be repeated. 0 would mean that nothing is proxied.
const ATTEMPTS: usize = 2;
/// Kept upstream connections, a thread.
const KEPT: usize = 512;
/// Seconds for Pingora's runtimes to drop what was cut.
const DROP_TASKS: u64 = 2;
/// What the audit log gets to stop in, however much of the time the requests took.
const LEAST_FOR_THE_LOG: Duration = Duration::from_secs(1);

/// Why the gateway did not serve, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address} for {listener}")]
    Bind {
        /// The listener's name.
        listener: String,
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// A listener's certificates, keys or authorities cannot be used.
    #[error("cannot serve TLS on listener `{listener}`")]
    Tls {
        /// The listener's name.
        listener: String,
        /// Why not.
        source: TlsError,
    },
    /// Signals cannot be caught.
    #[error("cannot catch signals")]
    Signals(#[source] std::io::Error),
    /// Files cannot be watched for changes.
    #[error("cannot reload what changes")]
    Reload(#[source] std::io::Error),
    /// The audit log cannot be opened.
    #[error("cannot open the audit log")]
    Open(#[from] OpenError),
    /// The audit log did not stop well.
    #[error("the audit log did not stop cleanly")]
    Stop(#[from] StopError),
    /// The evidence was found broken while the gateway served.
    #[error("the evidence is broken")]
    Broken(#[source] Fatal),
    /// A metric was registered twice.
    #[error("cannot register a metric")]
    Metrics(#[from] prometheus::Error),
    /// There is no key for what is to be hashed.
    #[error("`audit.redact.hmac_key`")]
    HmacKey(#[from] HmacKeyError),
    /// An identity provider cannot do its work.
    #[error("identity")]
    Identity(#[from] identity::StartError),
    /// A file that TLS to an upstream needs cannot be used.
    #[error("TLS to the upstream `{upstream}`")]
    UpstreamTls {
        /// The upstream's name.
        upstream: String,
        /// What is wrong with which file.
        source: PemError,
    },
    /// Two routes would take the same request; the configuration's own check finds it earlier, with its place.
    #[error("routes[{0}] and routes[{1}] take the same requests")]
    Tie(usize, usize),
    /// The globs of a rule cannot be made one; the configuration's own check finds it earlier, with its place.
    #[error("`allow`")]
    Rules(#[from] globset::Error),
}

impl ServeError {
    /// The exit code: 75 where trying again may help, 70 where the evidence is broken, 78 for the configuration.
    pub fn exit_code(&self) -> u8 {
        match self {
            ServeError::Bind { .. } => 75,
            ServeError::Broken(_) => 70,
            ServeError::Tie(..)
            | ServeError::Rules(_)
            | ServeError::HmacKey(_)
            | ServeError::Identity(_)
            | ServeError::Tls { .. }
            | ServeError::UpstreamTls { .. } => 78,
            ServeError::Open(error) => error.exit_code(),
            ServeError::Signals(_) | ServeError::Reload(_) | ServeError::Stop(_) | ServeError::Metrics(_) => {
                1
            }
        }
    }
}

/// The sockets of a gateway, bound before anything else happens.
struct Sockets {
    listen: Vec<TcpListener>,
    admin: Option<TcpListener>,
    metrics: Option<TcpListener>,
}

impl Sockets {
    /// Binds every listener of a configuration; otherwise the first that cannot be.
    fn bind(config: &Config) -> Result<Sockets, ServeError> {
        let named = |listener: &str, address: SocketAddr| {
            let listener = listener.to_owned();
            bind(address).map_err(|source| ServeError::Bind { listener, address, source })
        };
        Ok(Sockets {
            listen: config
                .listen
                .iter()
                .map(|listener| named(&format!("listener `{}`", listener.name), listener.address))
                .collect::<Result<_, _>>()?,
            admin: config.admin.map(|admin| named("`admin`", admin.address)).transpose()?,
            metrics: config.metrics.map(|metrics| named("`metrics`", metrics.address)).transpose()?,
        })
    }

    /// Says where the gateway listens, with the ports that the system chose where the configuration says 0.
    fn announce(&self, config: &Config) {
        let named = config.listen.iter().map(|listener| listener.name.as_str()).zip(&self.listen);
        let others = [("admin", &self.admin), ("metrics", &self.metrics)];
        for (listener, socket) in
            named.chain(others.into_iter().filter_map(|(name, socket)| Some((name, socket.as_ref()?))))
        {
            if let Ok(address) = socket.local_addr() {
                tracing::info!(listener, %address, "listening");
            }
        }
    }
}

/// Serves until the process is asked to stop. `started` is called once everything is up, before the first request.
///
/// # Errors
///
/// When the gateway cannot start, its evidence is found broken, or its log did not stop cleanly.
pub fn run(config: &Config, started: impl FnOnce()) -> Result<(), ServeError> {
    run_on(Arc::new(RealDisk), config, started)
}

/// [`run`] with the audit log on a disk of one's own: the seam through which tests inject faults.
///
/// # Errors
///
/// As [`run`].
pub fn run_on(disk: Arc<dyn Disk>, config: &Config, started: impl FnOnce()) -> Result<(), ServeError> {
    let hmac_key = config.audit.redact.read_hmac_key()?.map(Arc::new);
    let registry = prometheus::Registry::new();
    let metrics = Metrics::new(registry.clone())?;
    let providers = Providers::start(config, metrics.identity())?;
    let pools = pools(config, &metrics)?;
    let read = FromFiles { hmac_key, providers, pools };
    let tls = read_tls(config, &metrics)?;
    let sockets = Sockets::bind(config)?;
    let (waker, wakes) = reload::waker();
    let signals = Signals::catch(waker.clone()).map_err(ServeError::Signals)?;
    let instance =
        Instance { version: env!("CARGO_PKG_VERSION").to_owned(), config: config.text().as_bytes().into() };
    let log = AuditLog::open_on(disk, audit_config(&config.audit), instance, AuditMetrics::new(&registry)?)?;
    sockets.announce(config);

    let recorder = log.recorder();
    let (stop, stopped) = watch::channel(false);
    let drain = Arc::new(Drain::default());
    let readiness = Arc::new(Readiness::new(refuses(config).then(|| recorder.clone())));
    let gateway = gateway(config, &metrics, &read, recorder.clone(), stopped.clone(), drain.clone())?;
    let gateway = Arc::new(gateway);
    let parts = reloadable(config, &tls, &read);
    let reloading =
        Reloader::new(parts, metrics.reloads()).start(waker, wakes).map_err(ServeError::Reload)?;
    let listeners = config.listen.iter().zip(tls).zip(sockets.listen).map(|((listener, tls), socket)| {
        (Arc::new(edge_listener(listener, tls, &metrics, recorder.clone(), drain.clone())), socket)
    });
    let listeners: Vec<_> = listeners.collect();

    let mut server = Server::new_with_opt_and_conf(None, server_conf());
    let mut proxy = http_proxy(&server.configuration, Proxy(gateway));
    proxy.server_options = Some(server_options());
    server.add_service(Edge::new(Arc::new(proxy), listeners, stopped));

    let facts = Arc::new(Facts {
        metrics,
        readiness: readiness.clone(),
        status: status(config, log.status_view(), readiness.clone()),
    });
    for (audience, socket) in [(Audience::Operators, sockets.admin), (Audience::Scrapers, sockets.metrics)] {
        if let Some(socket) = socket {
            server.add_service(Admin::new(audience, facts.clone(), socket));
        }
    }

    let fatal = log.fatal();
    let departure = Departure::new(signals, fatal.clone(), config.shutdown, readiness, stop, drain);
    let deadline = departure.deadline();
    started();
    server.run(RunArgs { shutdown_signal: Box::new(departure) });
    drop(reloading);

    let least = Instant::now() + LEAST_FOR_THE_LOG;
    let stopped = log.stop(deadline.get().map_or(least, |deadline| least.max(*deadline)))?;
    if let Some(fatal) = fatal.borrow().clone() {
        return Err(ServeError::Broken(fatal));
    }
    tracing::info!(records = stopped.counters.captured, unshipped = stopped.unshipped_segments, "stopped");
    Ok(())
}

/// Reads what the listeners need for TLS.
fn read_tls(config: &Config, metrics: &Metrics) -> Result<Vec<Option<Arc<ServerTls>>>, ServeError> {
    let read = |listener: &config::Listener| {
        ServerTls::read(listener, metrics.certificate_expiry())
            .map_err(|source| ServeError::Tls { listener: listener.name.to_string(), source })
    };
    config.listen.iter().map(read).collect()
}

/// What is read again when it changes.
fn reloadable(
    config: &Config,
    tls: &[Option<Arc<ServerTls>>],
    read: &FromFiles<'_>,
) -> Vec<Arc<dyn Reloadable>> {
    let tls = tls.iter().flatten().map(|tls| tls.clone() as Arc<dyn Reloadable>);
    let text: Arc<dyn Reloadable> = Arc::new(config.watched());
    let pools = read.pools.values().filter_map(|pool| pool.reloadable());
    tls.chain(read.providers.reloadable()).chain(pools).chain([text]).collect()
}

/// Whether there are requests that are not served while no record can be kept of them.
fn refuses(config: &Config) -> bool {
    config.routes.iter().any(|route| config.durability_of(route).0 > Durability::BestEffort)
}

/// What was read from files, before anything is served.
pub(crate) struct FromFiles<'c> {
    /// The key for HMAC.
    pub(crate) hmac_key: Option<Arc<HmacKey>>,
    /// Who vouches for clients.
    pub(crate) providers: Providers,
    /// The upstreams.
    pub(crate) pools: Pools<'c>,
}

/// The upstreams by their names.
pub(crate) type Pools<'c> = BTreeMap<&'c str, Arc<Pool>>;

/// The pool of every upstream; reads the files of their TLS.
pub(crate) fn pools<'c>(config: &'c Config, metrics: &Metrics) -> Result<Pools<'c>, ServeError> {
    let pool = |(name, upstream): (&'c config::Name, &config::Upstream)| {
        Pool::new(name, upstream, metrics.upstream(name))
            .map(|pool| (name.as_str(), Arc::new(pool)))
            .map_err(|source| ServeError::UpstreamTls { upstream: name.to_string(), source })
    };
    config.upstreams.iter().map(pool).collect()
}

/// What serves requests.
pub(crate) fn gateway(
    config: &Config,
    metrics: &Metrics,
    read: &FromFiles<'_>,
    recorder: Recorder,
    stop: watch::Receiver<bool>,
    drain: Arc<Drain>,
) -> Result<Gateway, ServeError> {
    let router = Router::new(&config.routes).map_err(|ties| {
        ties.first().map_or(ServeError::Tie(0, 0), |tie| ServeError::Tie(tie.first, tie.second))
    })?;
    let plans = router
        .routes()
        .iter()
        .map(|route| {
            Ok(Plan {
                name: RouteName::new(&route.name),
                pattern: pattern(&config.routes[route.index]),
                hmac: config.routes[route.index]
                    .audit
                    .headers
                    .iter()
                    .map(|header| read.hmac_key.clone().filter(|_| config.audit.redact.hmac.contains(header)))
                    .collect(),
                auth: read.providers.any_of(&config.routes[route.index].auth)?,
                auth_counters: metrics.identity().route(&route.name),
                rules: config.routes[route.index].allow.iter().map(Rule::new).collect::<Result<_, _>>()?,
                action: config.routes[route.index].audit.action.clone(),
                body_digest: config.routes[route.index].audit.body_digest,
                durability: config.durability_of(&config.routes[route.index]).0,
                pool: read.pools[route.upstream.as_str()].clone(),
                metrics: metrics.route(Some(&route.name)),
                route: route.clone(),
            })
        })
        .collect::<Result<_, ServeError>>()?;
    let methods = allowable_methods(config);
    Ok(Gateway {
        router,
        plans,
        methods,
        durability: config.durability(),
        unrouted: metrics.route(None),
        in_flight: metrics.in_flight(),
        recorder,
        admit_timeout: config.audit.admit_timeout,
        templates: PathTemplates::new(config.audit.redact.paths.iter().cloned()),
        identity_headers: IdentityHeaders::new(config.identity.values().flat_map(config::Provider::headers)),
        max_record: config.audit.max_record.as_usize(),
        config_hash: config.hash().into(),
        stop,
        drain,
    })
}

/// What stands in a route's records in place of paths that are not kept.
fn pattern(route: &config::Route) -> Option<Box<str>> {
    match route.audit.path {
        PathKept::Full => None,
        PathKept::Route => Some(route.matches.pattern().into()),
    }
}

/// The methods that `Allow` may name: the usual ones, and those that routes are told of.
fn allowable_methods(config: &Config) -> Box<[Method]> {
    let usual = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
    ];
    let told = config.routes.iter().flat_map(|route| route.matches.methods.iter().cloned());
    let mut seen = BTreeSet::new();
    usual.into_iter().chain(told).filter(|method| seen.insert(method.as_str().to_owned())).collect()
}

/// One listener at work.
pub(crate) fn edge_listener(
    config: &config::Listener,
    tls: Option<Arc<ServerTls>>,
    metrics: &Metrics,
    recorder: Recorder,
    drain: Arc<Drain>,
) -> Listener {
    let config::Limits { header_bytes, body_bytes, connections, connections_per_address } = config.limits;
    let config::ListenerTimeouts { header, body_idle, write_idle, keepalive_idle } = config.timeouts;
    Listener {
        name: config.name.as_str().into(),
        http2: config.http2,
        tls,
        redirect_to_https: config.redirect_to_https,
        client_addresses: ClientAddresses::new(&config.client_address),
        patience: Patience { header, body_idle, write_idle, keepalive_idle },
        header_bytes: header_bytes.get(),
        body_bytes: body_bytes.get(),
        connections: ConnectionLimit::new(
            connections,
            connections_per_address,
            metrics.connections(&config.name),
            drain,
        ),
        rejections: Rejections::new(&config.name, recorder, metrics.rejected()),
    }
}

/// Pingora's own settings, where its defaults are not ours.
fn server_conf() -> ServerConf {
    ServerConf {
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        // A thread keeps its connections: measured a tenth cheaper than tasks that move, on one core.
        work_stealing: false,
        max_retries: ATTEMPTS,
        upstream_keepalive_pool_size: KEPT,
        // Requests have drained before Pingora is told; what is left is cut at once.
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(DROP_TASKS),
        // Neither is ever made, and none is looked for where others could write.
        pid_file: String::new(),
        upgrade_sock: String::new(),
        ..ServerConf::default()
    }
}

fn server_options() -> HttpServerOptions {
    let mut options = HttpServerOptions::default();
    // It is refused, but by a hook, so that it has a record.
    options.allow_connect_method_proxying = true;
    options
}

/// The audit log's part of a configuration.
pub(crate) fn audit_config(config: &config::Audit) -> AuditConfig {
    AuditConfig {
        log: config.log.clone(),
        key: KeyConfig { file: config.key.file.clone(), create: config.key.create },
        create_log: config.create_log,
        sync_interval: config.sync_interval,
        heartbeat_interval: config.heartbeat_interval,
        max_record: config.max_record.as_usize(),
        ring: RingConfig {
            slots: usize::try_from(config.ring.slots).unwrap_or(usize::MAX),
            max_bytes: config.ring.max_bytes.get(),
        },
        spool: SpoolConfig {
            path: config.spool.path.clone(),
            max_bytes: config.spool.max_bytes.get(),
            min_free: config.spool.min_free.get(),
            warn_at_percent: config.spool.warn_at.get(),
        },
        segment: SegmentConfig {
            max_bytes: config.segment.max_bytes.get(),
            max_age: config.segment.max_age,
            compression_level: i32::from(config.segment.compression_level),
        },
        store: StoreConfig::Directory(config.store.directory.clone()),
    }
}

/// `/status`: what runs, whether it is ready, and the audit log.
fn status(
    config: &Config,
    log: StatusView,
    readiness: Arc<Readiness>,
) -> Box<dyn Fn() -> Value + Send + Sync> {
    let hash = config.hash();
    let routes = config.routes.iter().map(|route| (route.name.to_string(), config.durability_of(route).0));
    let durability = json!({ "default": config.durability(), "routes": BTreeMap::from_iter(routes) });
    Box::new(move || {
        let reasons = readiness.reasons();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "config": hash,
            "ready": reasons.is_empty(),
            "reasons": reasons,
            "durability": durability,
            "audit": log.read(),
        })
    })
}
