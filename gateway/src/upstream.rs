//! The services behind the gateway: which endpoint a request goes to, and how it is connected to.
//!
//! Endpoints are addresses that are resolved already, so that choosing one never waits: `HttpPeer::new` would resolve
//! a name on the request's thread.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_load_balancing::discovery::Static;
use pingora_load_balancing::selection::RoundRobin;
use pingora_load_balancing::{Backend, Backends, LoadBalancer};

use crate::config;
use crate::metrics::UpstreamMetrics;

/// How long a connection without a request is kept for the next one.
const IDLE: Duration = Duration::from_secs(60);

/// The endpoints of one upstream.
pub struct Pool {
    /// The upstream's name: the record's `upstream.name`.
    pub name: Box<str>,
    /// What it counts.
    pub metrics: UpstreamMetrics,
    endpoints: Box<[Endpoint]>,
    balancer: LoadBalancer<RoundRobin>,
}

/// One address of an upstream.
pub struct Endpoint {
    /// The address as text: the record's `upstream.addr`.
    pub text: Box<str>,
    address: SocketAddr,
    peer: HttpPeer,
}

impl Endpoint {
    /// The peer to connect to. `left` is what the whole exchange may still take, if that is limited.
    pub fn peer(&self, left: Option<Duration>) -> Box<HttpPeer> {
        let mut peer = Box::new(self.peer.clone());
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

/// Has a peer connected to anew, for a request that asks for an upgrade.
///
/// Pingora 0.9.1 ends an upgrade at once where the upstream's 101 can be read before Pingora has looked at its own side
/// of the exchange. On a connection of this very thread, that takes another turn of the thread's reactor; a kept
/// connection may belong to another thread.
pub fn connect_anew(peer: &mut HttpPeer) {
    static UPGRADES: AtomicU64 = AtomicU64::new(1);
    peer.group_key = UPGRADES.fetch_add(1, Ordering::Relaxed);
}

impl Pool {
    /// The pool of the upstream `name`.
    pub fn new(name: &str, config: &config::Upstream, metrics: UpstreamMetrics) -> Pool {
        let endpoints: Box<[Endpoint]> =
            config.endpoints.fixed.iter().map(|address| endpoint(address, &config.timeouts)).collect();
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
        Pool { name: name.into(), metrics, endpoints, balancer }
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

fn endpoint(address: &std::net::SocketAddr, timeouts: &config::UpstreamTimeouts) -> Endpoint {
    let mut peer = HttpPeer::new(address, false, String::new());
    peer.options.connection_timeout = Some(timeouts.connect);
    peer.options.total_connection_timeout = Some(timeouts.connect);
    peer.options.read_timeout = Some(timeouts.read_idle);
    peer.options.write_timeout = Some(timeouts.read_idle);
    peer.options.idle_timeout = Some(IDLE);
    Endpoint { text: address.to_string().into(), address: SocketAddr::Inet(*address), peer }
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
            timeouts: UpstreamTimeouts::default(),
        };
        let metrics = Metrics::new(prometheus::Registry::new()).expect("a new registry");
        Pool::new("orders", &config, metrics.upstream("orders"))
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
        let peer = endpoint.peer(Some(Duration::from_millis(300)));
        assert_eq!(peer.connection_timeout(), Some(Duration::from_millis(300)));
        assert_eq!(peer.options.read_timeout, Some(Duration::from_millis(300)));
        assert_eq!(endpoint.peer(None).options.read_timeout, Some(Duration::from_secs(30)));
    }
}
