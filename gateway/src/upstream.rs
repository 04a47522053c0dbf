//! The services behind the gateway: which endpoint a request goes to, and how it is connected to.
//!
//! Endpoints are addresses that are resolved already, so that choosing one never waits: `HttpPeer::new` would resolve
//! a name on the request's thread.

pub mod fault;
mod tls;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt;
use pingora_core::protocols::ALPN;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_load_balancing::discovery::Static;
use pingora_load_balancing::selection::RoundRobin;
use pingora_load_balancing::{Backend, Backends, LoadBalancer};

use crate::config::{self, Protocol};
use crate::metrics::UpstreamMetrics;
use crate::pem::PemError;
use crate::reload::Reloadable;
use tls::UpstreamTls;
pub use tls::check;

/// How long a connection without a request is kept for the next one.
const IDLE: Duration = Duration::from_secs(60);

/// Requests at once on one connection of HTTP/2, where the upstream allows as many.
const STREAMS: usize = 100;

/// The endpoints of one upstream.
pub struct Pool {
    /// The upstream's name: the record's `upstream.name`.
    pub name: Box<str>,
    /// What it counts.
    pub metrics: UpstreamMetrics,
    /// The version of HTTP that it is spoken to in.
    pub protocol: Protocol,
    endpoints: Box<[Endpoint]>,
    balancer: LoadBalancer<RoundRobin>,
    tls: Option<Arc<UpstreamTls>>,
}

/// One address of an upstream.
pub struct Endpoint {
    /// The address as text: the record's `upstream.addr`.
    pub text: Box<str>,
    address: SocketAddr,
    peer: HttpPeer,
    tls: Option<Arc<UpstreamTls>>,
}

/// Whether a request may use a connection that was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// It may.
    Any,
    /// It asks for an upgrade, and gets a connection of HTTP/1.1 of its own, where the upstream speaks that.
    ///
    /// Pingora 0.9.1 ends an upgrade at once where the upstream's 101 can be read before Pingora has looked at its own
    /// side of the exchange. On a connection of this very thread, that takes another turn of the thread's reactor; a
    /// kept connection may belong to another thread.
    Anew,
}

impl Endpoint {
    /// The peer to connect to. `left` is what the whole exchange may still take, if that is limited.
    pub fn peer(&self, left: Option<Duration>, connection: Connection) -> Box<HttpPeer> {
        static UPGRADES: AtomicU64 = AtomicU64::new(1);
        let mut peer = Box::new(self.peer.clone());
        if let Some(tls) = &self.tls {
            tls.secure(&mut peer);
        }
        if connection == Connection::Anew && peer.options.alpn.get_min_http_version() == 1 {
            peer.options.alpn = ALPN::H1;
            peer.group_key = UPGRADES.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(left) = left {
            let shorten = |limit: &mut Option<Duration>| *limit = limit.map(|limit| limit.min(left));
            shorten(&mut peer.options.total_connection_timeout);
            shorten(&mut peer.options.connection_timeout);
            shorten(&mut peer.options.read_timeout);
            shorten(&mut peer.options.write_timeout);
        }
        peer
    }
}

impl Pool {
    /// The pool of the upstream `name`.
    ///
    /// # Errors
    ///
    /// When a file that its TLS needs cannot be used.
    pub fn new(name: &str, config: &config::Upstream, metrics: UpstreamMetrics) -> Result<Pool, PemError> {
        let tls = match &config.tls {
            Some(tls) => {
                let expiry = tls.client.as_ref().map(|_| metrics.certificate_expiry());
                Some(Arc::new(UpstreamTls::new(name, tls, expiry)?))
            }
            None => None,
        };
        let fixed = config.endpoints.fixed.iter();
        let endpoints: Box<[Endpoint]> = fixed
            .map(|address| Endpoint {
                text: address.to_string().into(),
                address: SocketAddr::Inet(*address),
                peer: peer(address, config),
                tls: tls.clone(),
            })
            .collect();
        let backends: BTreeSet<Backend> = endpoints
            .iter()
            .map(|endpoint| Backend { addr: endpoint.address.clone(), weight: 1, ext: Default::default() })
            .collect();
        let balancer = LoadBalancer::from_backends(Backends::new(Static::new(backends)));
        balancer
            .update()
            .now_or_never()
            .expect("a static list is there at once")
            .expect("a static list cannot fail");
        Ok(Pool { name: name.into(), metrics, protocol: config.protocol, endpoints, balancer, tls })
    }

    /// What of it is read again when files change.
    pub fn reloadable(&self) -> Option<Arc<dyn Reloadable>> {
        Some(self.tls.clone()?)
    }

    /// The number of the endpoint whose turn it is.
    pub fn next(&self) -> Option<usize> {
        if self.endpoints.len() == 1 {
            return Some(0);
        }
        let backend = self.balancer.select(b"", self.endpoints.len())?;
        self.endpoints.iter().position(|endpoint| endpoint.address == backend.addr)
    }

    /// The endpoint of this number.
    pub fn endpoint(&self, number: usize) -> &Endpoint {
        &self.endpoints[number]
    }
}

/// The peer at one address, without what is read from files.
fn peer(address: &std::net::SocketAddr, config: &config::Upstream) -> HttpPeer {
    let config::Upstream { protocol, tls, timeouts, .. } = config;
    let name = tls.as_ref().map(|tls| tls.sni.as_str().to_owned());
    let mut peer = HttpPeer::new(address, name.is_some(), name.unwrap_or_default());
    peer.options.alpn = match protocol {
        Protocol::H1 => ALPN::H1,
        Protocol::H2 | Protocol::H2c => ALPN::H2,
        Protocol::Alpn => ALPN::H2H1,
    };
    peer.options.max_h2_streams = STREAMS;
    // They are Pingora's defaults; a connection that is not verified must not come of another default.
    peer.options.verify_cert = true;
    peer.options.verify_hostname = true;
    peer.options.connection_timeout = Some(timeouts.connect);
    peer.options.total_connection_timeout = Some(timeouts.connect);
    peer.options.read_timeout = Some(timeouts.read_idle);
    peer.options.write_timeout = Some(timeouts.read_idle);
    peer.options.idle_timeout = Some(IDLE);
    peer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Balance, Endpoints, Upstream, UpstreamTimeouts};
    use crate::metrics::Metrics;
    use pingora_core::upstreams::peer::Peer;
    use std::collections::HashMap;

    fn pool(endpoints: &[&str]) -> Pool {
        let config = Upstream {
            endpoints: Endpoints {
                fixed: endpoints.iter().map(|e| e.parse().expect("an address")).collect(),
            },
            balance: Balance::default(),
            protocol: Protocol::default(),
            tls: None,
            timeouts: UpstreamTimeouts::default(),
        };
        let metrics = Metrics::new(prometheus::Registry::new()).expect("a new registry");
        Pool::new("orders", &config, metrics.upstream("orders")).expect("no file is needed")
    }

    #[test]
    fn endpoints_take_turns() {
        let pool = pool(&["127.0.0.1:1", "127.0.0.1:2", "[::1]:3"]);
        let mut turns = HashMap::new();
        for _ in 0..300 {
            *turns.entry(pool.next().expect("an endpoint")).or_insert(0) += 1;
        }
        assert_eq!(turns.len(), 3);
        assert!(turns.values().all(|count| *count == 100), "{turns:?}");
    }

    #[test]
    fn no_timeout_outlives_the_exchange() {
        let pool = pool(&["127.0.0.1:1"]);
        let endpoint = pool.endpoint(pool.next().expect("an endpoint"));
        let peer = endpoint.peer(Some(Duration::from_millis(300)), Connection::Any);
        assert_eq!(peer.connection_timeout(), Some(Duration::from_millis(300)));
        assert_eq!(peer.options.read_timeout, Some(Duration::from_millis(300)));
        assert_eq!(endpoint.peer(None, Connection::Any).options.read_timeout, Some(Duration::from_secs(30)));
    }
}
