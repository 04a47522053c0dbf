//! A record as the gateway writes one for an everyday request: what the figures of a record are measured with.

use std::borrow::Cow;

use audit_writer::{
    record::{
        End, Ended, Headers, KindEnded, QueryKeys, QueryPairs, Request, Response, RouteName, Source,
        Unnumbered, Upstream, V1,
    },
    time::Timestamp,
};

/// The gateway's `audit.max_record`, unless the configuration says otherwise.
pub(crate) const MAX_RECORD: usize = 8 << 10;

/// What a request leaves behind until its record is made; records borrow from it.
pub(crate) struct Exchange {
    request_id: String,
    path: String,
    route: RouteName,
    headers: [(&'static str, Cow<'static, str>); 1],
    number: u64,
}

impl Exchange {
    /// The exchange with this number; no two are the same, as no two requests are.
    pub(crate) fn new(number: u64) -> Exchange {
        let mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Exchange {
            request_id: format!(
                "0199c3f2-{:04x}-7{:03x}-8{:03x}-{:012x}",
                mixed >> 48,
                mixed & 0xFFF,
                (mixed >> 12) & 0xFFF,
                mixed >> 16
            ),
            path: format!("/orders/{}", mixed % 100_000),
            route: RouteName::new("orders"),
            headers: [("user-agent", Cow::Borrowed("Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"))],
            number: mixed,
        }
    }

    /// Its record, received at `ts`.
    pub(crate) fn record<'a>(&'a self, ts: Timestamp, boot: &'a str) -> Ended<'a> {
        Ended {
            seq: Unnumbered,
            v: V1,
            kind: KindEnded::Completed,
            ts,
            boot,
            request_id: &self.request_id,
            trace_id: None,
            listener: "edge",
            actor: None,
            source: Source {
                ip: [203, 0, 113, (self.number >> 8) as u8].into(),
                port: (self.number >> 16) as u16,
                peer: None,
                claimed: &[],
            },
            tls: None,
            request: Request {
                method: "GET",
                scheme: "http",
                host: "api.example.com",
                path: &self.path,
                raw: None,
                query: QueryKeys("page=2"),
                query_values: QueryPairs(""),
                http: "1.1",
                bytes: 0,
                body_sha256: None,
                content_digest: None,
                headers: Headers(&self.headers),
            },
            route: Some(&self.route),
            action: None,
            decision: None,
            upstream: Some(Upstream {
                name: "orders",
                addr: "10.1.0.3:8080",
                attempts: 1,
                reused: true,
                connect_us: 0,
                ttfb_us: Some(700 + self.number % 300),
            }),
            response: Some(Response { status: 200, bytes: 1024, body_sha256: None }),
            end: End::Ok,
            error: None,
            duration_us: 1000 + self.number % 500,
            config: "3f6a0011",
            trunc: None,
        }
    }
}

/// Some thousand exchanges, to be used in turn: more than a cache of predictions remembers.
pub(crate) fn exchanges() -> Vec<Exchange> {
    (0..4096).map(Exchange::new).collect()
}
