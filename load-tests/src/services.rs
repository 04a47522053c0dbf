//! Three small services to put behind the gateway: `orders`, `users` and `payments`.
//!
//! They differ in what matters to a proxy: how long they take, how much they answer, with which status, and whether
//! the length is known beforehand. What they answer depends on the request alone, so that two runs can be compared.
//! Each accepts its paths with and without its own name in front, as a gateway may strip that.

use std::{convert::Infallible, io, net::Ipv4Addr, time::Duration};

use bytes::Bytes;
use clap::ValueEnum;
use futures::stream;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Frame, Incoming},
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

type Reply = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// One of the demo services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Service {
    /// Lists, single orders, an export that is streamed in chunks; takes orders by `POST`, in any framing.
    Orders,
    /// Profiles, pictures of 64 KiB, updates without a reply's body.
    Users,
    /// Slower; declines some payments, and has two paths that always fail and one that is slow.
    Payments,
}

impl Service {
    /// All of them, in the order of their ports.
    pub const ALL: [Service; 3] = [Service::Orders, Service::Users, Service::Payments];

    /// The service's name, which is also the first segment of its paths.
    pub fn name(self) -> &'static str {
        match self {
            Service::Orders => "orders",
            Service::Users => "users",
            Service::Payments => "payments",
        }
    }

    /// The port on 127.0.0.1.
    pub fn port(self) -> u16 {
        match self {
            Service::Orders => 9001,
            Service::Users => 9002,
            Service::Payments => 9003,
        }
    }

    /// Takes the service's port, on the loopback interface only.
    ///
    /// # Errors
    /// What the system says, usually that the port is taken.
    pub async fn bind(self) -> io::Result<TcpListener> {
        TcpListener::bind((Ipv4Addr::LOCALHOST, self.port())).await
    }

    /// Accepts connections for as long as the future is polled.
    ///
    /// # Errors
    /// Only a listener that is broken ends it; a connection's own troubles end that connection.
    pub async fn serve(self, listener: TcpListener) -> io::Result<()> {
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let answer = service_fn(move |request| self.answer(request));
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
        }
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Reply, hyper::Error> {
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        let path = path.strip_prefix('/').unwrap_or(path);
        let path = path.strip_prefix(self.name()).unwrap_or(path).trim_matches('/').to_owned();
        let received = body.collect().await?.to_bytes().len();
        // hyper leaves out the body of a reply to HEAD by itself, and keeps its length.
        let method = if head.method == Method::HEAD { Method::GET } else { head.method };
        Ok(match self {
            Service::Orders => orders(&method, &path, received).await,
            Service::Users => users(&method, &path).await,
            Service::Payments => payments(&method, &path, received).await,
        })
    }
}

async fn orders(method: &Method, path: &str, received: usize) -> Reply {
    match (method, path) {
        (&Method::GET, "") => {
            pause(3).await;
            json(StatusCode::OK, &format!("[{}]", vec![order("1"); 60].join(",")))
        }
        (&Method::GET, "export") => export(),
        (&Method::GET, id) => {
            pause(1).await;
            // Orders of this shop have at most four digits.
            if id.len() > 4 { not_found() } else { json(StatusCode::OK, &order(id)) }
        }
        (&Method::POST, "") if received == 0 => {
            json(StatusCode::BAD_REQUEST, r#"{"error":"an order is missing"}"#)
        }
        (&Method::POST, "") => {
            pause(4).await;
            json(StatusCode::CREATED, &format!(r#"{{"accepted":true,"bytes":{received}}}"#))
        }
        _ => not_allowed(),
    }
}

async fn users(method: &Method, path: &str) -> Reply {
    match (method, path) {
        (&Method::GET, "me") => json(StatusCode::UNAUTHORIZED, r#"{"error":"who are you?"}"#),
        (&Method::GET, path) if path.ends_with("/picture") => {
            let mut reply = json(StatusCode::OK, &"#".repeat(64 * 1024));
            reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("image/x-demo"));
            reply
        }
        (&Method::GET, id) => {
            json(StatusCode::OK, &format!(r#"{{"id":"{id}","name":"Ada","groups":["ops"]}}"#))
        }
        (&Method::PUT, _) => {
            pause(2).await;
            json(StatusCode::NO_CONTENT, "")
        }
        _ => not_allowed(),
    }
}

async fn payments(method: &Method, path: &str, received: usize) -> Reply {
    match (method, path) {
        (&Method::GET, "report") => {
            json(StatusCode::INTERNAL_SERVER_ERROR, r#"{"error":"the report is broken"}"#)
        }
        (&Method::GET, "batch") => {
            json(StatusCode::SERVICE_UNAVAILABLE, r#"{"error":"closed for the night"}"#)
        }
        (&Method::GET, "audit") => {
            pause(400).await;
            json(StatusCode::OK, r#"{"audited":true}"#)
        }
        (&Method::GET, id) => {
            pause(6).await;
            json(StatusCode::OK, &format!(r#"{{"id":"{id}","amount":4200,"state":"settled"}}"#))
        }
        // A payment with much to explain is declined.
        (&Method::POST, "") if received > 1024 => {
            pause(8).await;
            json(StatusCode::PAYMENT_REQUIRED, r#"{"error":"declined"}"#)
        }
        (&Method::POST, "") => {
            pause(12).await;
            json(StatusCode::CREATED, r#"{"state":"pending"}"#)
        }
        _ => not_allowed(),
    }
}

/// Twenty chunks, 4 ms apart: long enough for a client to hang up in the middle.
fn export() -> Reply {
    let chunks = stream::unfold(0u32, |sent| async move {
        if sent == 20 {
            return None;
        }
        pause(4).await;
        let line = Bytes::from(format!("{}\n", order(&sent.to_string())));
        Some((Ok(Frame::data(line)), sent + 1))
    });
    let mut reply = Response::new(StreamBody::new(chunks).boxed_unsync());
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    reply
}

fn order(id: &str) -> String {
    format!(r#"{{"id":"{id}","items":[{{"sku":"A-17","count":2}}],"state":"shipped"}}"#)
}

fn json(status: StatusCode, text: &str) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::copy_from_slice(text.as_bytes())).boxed_unsync());
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}

fn not_found() -> Reply {
    json(StatusCode::NOT_FOUND, r#"{"error":"no such thing"}"#)
}

fn not_allowed() -> Reply {
    json(StatusCode::METHOD_NOT_ALLOWED, r#"{"error":"not like this"}"#)
}

async fn pause(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}
