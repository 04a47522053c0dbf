//! How many connections may be open: in all, and from one address.
//!
//! Touched when a connection opens and when it closes, never by a request.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::IntGauge;
use tokio::sync::Notify;

use super::Reason;

/// The limits of one listener, and what is open on it.
#[derive(Debug)]
pub struct ConnectionLimit {
    most: u32,
    most_per_address: u32,
    open: Mutex<Open>,
    gauge: IntGauge,
    drain: Arc<Drain>,
}

#[derive(Debug, Default)]
struct Open {
    all: u32,
    by_address: HashMap<IpAddr, u32>,
}

impl ConnectionLimit {
    /// Limits of `most` connections, and of `most_per_address` from one address. What is open shows in `gauge`, and
    /// counts for `drain`.
    pub fn new(most: u32, most_per_address: u32, gauge: IntGauge, drain: Arc<Drain>) -> Arc<Self> {
        Arc::new(ConnectionLimit { most, most_per_address, open: Mutex::default(), gauge, drain })
    }

    /// Lets a connection from `address` in, or says which limit it met.
    pub fn admit(self: &Arc<Self>, address: IpAddr) -> Result<Permit, Reason> {
        let mut open = self.open();
        if open.all >= self.most {
            return Err(Reason::ConnectionLimit);
        }
        let here = open.by_address.entry(address).or_insert(0);
        if *here >= self.most_per_address {
            return Err(Reason::AddressLimit);
        }
        *here += 1;
        open.all += 1;
        drop(open);
        self.gauge.inc();
        self.drain.enter();
        Ok(Permit { limit: self.clone(), address })
    }

    fn leave(&self, address: IpAddr) {
        let mut open = self.open();
        open.all -= 1;
        if let Some(here) = open.by_address.get_mut(&address) {
            *here -= 1;
            if *here == 0 {
                open.by_address.remove(&address);
            }
        }
        drop(open);
        self.gauge.dec();
        self.drain.leave();
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        // Counters are whole at every step, so a panic elsewhere leaves nothing half done.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One open connection's place; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    limit: Arc<ConnectionLimit>,
    address: IpAddr,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.limit.leave(self.address);
    }
}

/// Knows when the last connection, over all listeners, has gone.
#[derive(Debug, Default)]
pub struct Drain {
    open: AtomicUsize,
    empty: Notify,
    over: AtomicBool,
}

impl Drain {
    /// Connections that are open.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// Resolves once no connection is open.
    pub async fn empty(&self) {
        loop {
            let mut empty = std::pin::pin!(self.empty.notified());
            empty.as_mut().enable();
            if self.open() == 0 {
                return;
            }
            empty.await;
        }
    }

    /// Says that it is over: what is still open is cut.
    pub fn end(&self) {
        self.over.store(true, Ordering::Release);
    }

    /// Whether what is still open is being cut. The threads that serve it end one after the other, so that a request
    /// may see its upstream's connection, or its client's, break before its own task is dropped.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    fn enter(&self) {
        self.open.fetch_add(1, Ordering::AcqRel);
    }

    fn leave(&self) {
        if self.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.empty.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn limit(most: u32, most_per_address: u32) -> (Arc<ConnectionLimit>, Arc<Drain>) {
        let drain = Arc::new(Drain::default());
        let gauge = IntGauge::new("open", "open").expect("a valid name");
        (ConnectionLimit::new(most, most_per_address, gauge, drain.clone()), drain)
    }

    fn address(last: u8) -> IpAddr {
        Ipv4Addr::new(192, 0, 2, last).into()
    }

    #[test]
    fn a_limit_holds_in_all_and_for_each_address_and_is_given_back() {
        let (limit, drain) = limit(3, 2);
        let first = limit.admit(address(1)).ok();
        let _second = limit.admit(address(1)).expect("two from one address");
        assert_eq!(limit.admit(address(1)).err(), Some(Reason::AddressLimit));
        let _third = limit.admit(address(2)).expect("three in all");
        assert_eq!(limit.admit(address(3)).err(), Some(Reason::ConnectionLimit));
        assert_eq!(drain.open(), 3);
        drop(first);
        assert!(limit.admit(address(1)).is_ok());
    }

    #[test]
    fn an_address_without_connections_leaves_nothing_behind() {
        let (limit, drain) = limit(10, 10);
        drop(limit.admit(address(1)));
        assert!(limit.open().by_address.is_empty());
        assert_eq!(limit.gauge.get(), 0);
        assert_eq!(drain.open(), 0);
    }

    #[tokio::test]
    async fn the_drain_ends_with_the_last_connection() {
        let (limit, drain) = limit(10, 10);
        let permit = limit.admit(address(1)).ok();
        let waiting = tokio::spawn({
            let drain = drain.clone();
            async move { drain.empty().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(permit);
        waiting.await.expect("the drain ends");
    }
}
