//! Which requests are sent, and how each is meant to end.

use hyper::Method;

/// The body of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// No body.
    None,
    /// So many bytes, announced by `Content-Length`.
    Sized(usize),
    /// So many chunks of 256 bytes, by `Transfer-Encoding: chunked`.
    Chunked(usize),
}

/// How the client lets the exchange end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It reads the whole reply.
    Read,
    /// It hangs up before the reply begins.
    HangUpWaiting,
    /// It hangs up after the head and the first piece of the reply.
    HangUpReading,
    /// It hangs up in the middle of its own body.
    HangUpSending,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The route that it should take through the gateway; `None` where no route fits.
    pub route: Option<&'static str>,
    /// The method.
    pub method: Method,
    /// Path and query.
    pub target: String,
    /// The body.
    pub payload: Payload,
    /// How it ends.
    pub ending: Ending,
}

/// A list of requests, well mixed, the same every time.
#[derive(Clone, Debug)]
pub struct Plan {
    asks: Vec<Ask>,
}

/// A kind of request: how many in a hundred, and how one is made from its number.
type Kind = (usize, fn(usize) -> Ask);

const KINDS: &[Kind] = &[
    (22, |n| get("orders", format!("/orders/{}", n % 9000))),
    (8, |n| get("orders", format!("/orders?page={}&sort=date", n % 40))),
    (4, |_| get("orders", "/orders/export".into())),
    (4, |n| get("orders", format!("/orders/{}", 100_000 + n))),
    (10, |n| post("orders", "/orders", Payload::Sized(200 + n % 4000))),
    (5, |n| post("orders", "/orders", Payload::Chunked(1 + n % 12))),
    (2, |_| post("orders", "/orders", Payload::None)),
    (14, |n| get("users", format!("/users/{n}"))),
    (5, |n| Ask { method: Method::HEAD, ..get("users", format!("/users/{n}")) }),
    (4, |n| get("users", format!("/users/{n}/picture"))),
    (2, |_| get("users", "/users/me".into())),
    (3, |n| Ask { method: Method::PUT, ..post("users", &format!("/users/{n}"), Payload::Sized(300)) }),
    (6, |n| get("payments", format!("/payments/{n}"))),
    (3, |_| post("payments", "/payments", Payload::Sized(400))),
    (1, |_| post("payments", "/payments", Payload::Sized(2000))),
    (1, |_| get("payments", "/payments/report".into())),
    (1, |_| get("payments", "/payments/batch".into())),
    (2, |n| get("down", format!("/down/{n}"))),
    (2, |n| Ask { route: None, ..get("", format!("/wp-admin/{n}.php")) }),
    (1, |_| Ask { ending: Ending::HangUpWaiting, ..get("payments", "/payments/audit".into()) }),
    (1, |_| Ask { ending: Ending::HangUpReading, ..get("orders", "/orders/export".into()) }),
    (1, |_| Ask { ending: Ending::HangUpSending, ..post("orders", "/orders", Payload::Chunked(8)) }),
];

impl Plan {
    /// Everything that the demo services can do, an upstream that is down, a path without a route, and what only clients
    /// do: about 100 requests a round.
    pub fn of_the_demo(rounds: usize) -> Plan {
        Plan::mix(KINDS, rounds)
    }

    /// How many requests there are.
    pub fn len(&self) -> usize {
        self.asks.len()
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.asks.is_empty()
    }

    pub(super) fn into_asks(self) -> Vec<Ask> {
        self.asks
    }

    fn mix(kinds: &[Kind], rounds: usize) -> Plan {
        let round: Vec<_> = kinds.iter().flat_map(|(share, kind)| vec![kind; *share]).collect();
        let total = round.len() * rounds;
        // A stride without a common factor visits each place once; by the golden ratio, neighbours in time are far apart
        // in the round.
        let golden = round.len() * (rounds / 2) + round.len() * 89 / 144;
        let stride = (golden..).find(|stride| gcd(*stride, total) == 1).unwrap_or(1);
        let asks = (0..total).map(|n| {
            let place = n * stride % total;
            round[place % round.len()](place)
        });
        Plan { asks: asks.collect() }
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn get(route: &'static str, target: String) -> Ask {
    Ask { route: Some(route), method: Method::GET, target, payload: Payload::None, ending: Ending::Read }
}

fn post(route: &'static str, target: &str, payload: Payload) -> Ask {
    Ask { method: Method::POST, payload, ..get(route, target.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_asked_as_often_as_its_share_says() {
        let plan = Plan::of_the_demo(7);
        let shares: usize = KINDS.iter().map(|(share, _)| share).sum();
        assert_eq!(plan.len(), 7 * shares);
        let of = |ending| plan.asks.iter().filter(|ask| ask.ending == ending).count();
        assert_eq!(of(Ending::HangUpWaiting), 7);
        assert_eq!(of(Ending::HangUpReading), 7);
        assert_eq!(of(Ending::HangUpSending), 7);
        assert_eq!(plan.asks.iter().filter(|ask| ask.route.is_none()).count(), 14);
    }

    #[test]
    fn neighbours_differ_so_that_the_load_is_mixed() {
        let plan = Plan::of_the_demo(40);
        let runs = plan
            .asks
            .windows(4)
            .filter(|four| four.iter().all(|ask| ask.route == four[0].route && ask.method == four[0].method));
        assert!(runs.count() < plan.len() / 20);
    }
}
