//! The listeners for operators (`admin`) and for Prometheus and the kubelet (`metrics`).
//!
//! Small and bounded: a thread, a number of connections, a time for each exchange. Whoever is slow here takes nothing
//! from the requests. They never show a secret.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use http::{Method, Response, StatusCode};
use pingora_core::apps::HttpServerApp;
use pingora_core::apps::http_app::ServeHttp;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::server::{ListenFds, ShutdownWatch};
use pingora_core::services::{ServiceReadyNotifier, ServiceWithDependents};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::metrics::Metrics;
use crate::shutdown::Readiness;

/// Connections at once.
const CONNECTIONS: usize = 64;
/// From one answer to the end of the next: longer than Prometheus waits between two scrapes.
const EXCHANGE: Duration = Duration::from_secs(75);
/// For how long nothing is accepted when that failed.
const REST: Duration = Duration::from_millis(200);

/// Who is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Everything.
    Operators,
    /// `/metrics`, `/livez`, `/readyz`.
    Scrapers,
}

/// What there is to tell.
pub struct Facts {
    /// The metrics.
    pub metrics: Metrics,
    /// Whether requests should come.
    pub readiness: Arc<Readiness>,
    /// `/status`, at the moment.
    pub status: Box<dyn Fn() -> Value + Send + Sync>,
}

/// One of the two listeners.
pub struct Admin {
    app: Arc<App>,
    socket: Option<std::net::TcpListener>,
}

impl Admin {
    /// Tells `facts` to an audience, on a socket that is bound already.
    pub fn new(audience: Audience, facts: Arc<Facts>, socket: std::net::TcpListener) -> Admin {
        Admin { app: Arc::new(App { audience, facts }), socket: Some(socket) }
    }
}

#[async_trait]
impl ServiceWithDependents for Admin {
    async fn start_service(
        &mut self,
        _fds: Option<ListenFds>,
        mut shutdown: ShutdownWatch,
        _listeners_per_fd: usize,
        ready: ServiceReadyNotifier,
    ) {
        let Some(socket) = self.socket.take() else { return };
        let socket = match TcpListener::from_std(socket) {
            Ok(socket) => socket,
            Err(error) => {
                tracing::error!(listener = self.name(), %error, "listener not served");
                return;
            }
        };
        ready.notify_ready();
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let accepted = tokio::select! {
                accepted = socket.accept() => accepted,
                _ = shutdown.changed() => return,
            };
            let Ok((tcp, _)) = accepted else {
                tokio::time::sleep(REST).await;
                continue;
            };
            let Ok(place) = places.clone().try_acquire_owned() else { continue };
            let (app, shutdown) = (self.app.clone(), shutdown.clone());
            tokio::spawn(async move {
                serve(&app, tcp, &shutdown).await;
                drop(place);
            });
        }
    }

    fn name(&self) -> &str {
        match self.app.audience {
            Audience::Operators => "admin",
            Audience::Scrapers => "metrics",
        }
    }

    fn threads(&self) -> Option<usize> {
        Some(1)
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        Some(Vec::new())
    }
}

async fn serve(app: &Arc<App>, tcp: TcpStream, shutdown: &ShutdownWatch) {
    let mut session = ServerSession::new_http1(Box::new(Stream::from(tcp)));
    loop {
        session.set_keepalive(Some(EXCHANGE.as_secs()));
        let exchange = tokio::time::timeout(EXCHANGE, app.process_new_http(session, shutdown)).await;
        let Some((stream, _)) = exchange.ok().flatten().map(|reused| reused.consume()) else { return };
        session = ServerSession::new_http1(stream);
    }
}

struct App {
    audience: Audience,
    facts: Arc<Facts>,
}

#[async_trait]
impl ServeHttp for App {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let head = session.req_header();
        self.answer(&head.method, head.uri.path())
    }
}

impl App {
    fn answer(&self, method: &Method, path: &str) -> Response<Vec<u8>> {
        let known = match path {
            "/livez" | "/readyz" | "/metrics" => true,
            "/status" => self.audience == Audience::Operators,
            _ => false,
        };
        if !known {
            return problem(StatusCode::NOT_FOUND);
        }
        if method != Method::GET && method != Method::HEAD {
            return problem(StatusCode::METHOD_NOT_ALLOWED);
        }
        match path {
            "/livez" => json_response(StatusCode::OK, &json!({ "live": true })),
            "/readyz" => {
                let reasons = self.facts.readiness.reasons();
                let status =
                    if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                json_response(status, &json!({ "ready": reasons.is_empty(), "reasons": reasons }))
            }
            "/metrics" => response(StatusCode::OK, prometheus::TEXT_FORMAT, self.facts.metrics.render()),
            _ => json_response(StatusCode::OK, &(self.facts.status)()),
        }
    }
}

fn json_response(status: StatusCode, body: &Value) -> Response<Vec<u8>> {
    response(status, "application/json", format!("{body:#}\n").into_bytes())
}

fn problem(status: StatusCode) -> Response<Vec<u8>> {
    let body = json!({ "title": status.canonical_reason(), "status": status.as_u16() });
    let mut response = response(status, "application/problem+json", body.to_string().into_bytes());
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, http::HeaderValue::from_static("GET, HEAD"));
    }
    response
}

fn response(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Response<Vec<u8>> {
    Response::builder()
        .status(status)
        .header(CONTENT_TYPE, content_type)
        .header(CONTENT_LENGTH, body.len())
        .header(CACHE_CONTROL, "no-store")
        .body(body)
        .expect("constant names and values make a response")
}
