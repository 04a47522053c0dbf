//! For tests: a server of key sets that answers as it is told, and can be stopped and started.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls_pki_types::PrivatePkcs8KeyDer;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

/// What it answers.
#[derive(Clone)]
pub(super) enum Answer {
    /// This text.
    Text(String),
    /// This status, and where to go instead.
    Status(u16, String),
    /// A body that goes on for ever.
    Endless,
    /// Nothing, and the connection stays.
    Never,
}

pub(super) struct Server {
    pub(super) address: SocketAddr,
    answer: Arc<Mutex<Answer>>,
    asked: Arc<AtomicUsize>,
    tls: Option<TlsAcceptor>,
    runtime: Option<Runtime>,
}

impl Server {
    pub(super) fn new(answer: Answer) -> Server {
        Server::start_with(answer, None)
    }

    /// One that proves to be `localhost`; with its certificate, in PEM.
    pub(super) fn with_tls(answer: Answer) -> (Server, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(crate::pem::provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())
            .expect("a certificate and its key");
        (Server::start_with(answer, Some(TlsAcceptor::from(Arc::new(config)))), made.cert.pem())
    }

    fn start_with(answer: Answer, tls: Option<TlsAcceptor>) -> Server {
        let mut server = Server {
            address: ([127, 0, 0, 1], 0).into(),
            answer: Arc::new(Mutex::new(answer)),
            asked: Arc::default(),
            tls,
            runtime: None,
        };
        server.start();
        server
    }

    pub(super) fn url(&self) -> String {
        match self.tls {
            Some(_) => format!("https://localhost:{}/jwks", self.address.port()),
            None => format!("http://{}/jwks", self.address),
        }
    }

    pub(super) fn answer(&self, answer: Answer) {
        *self.answer.lock().expect("no panic") = answer;
    }

    /// How often it was asked.
    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    /// Nobody listens any more.
    pub(super) fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(1));
        }
    }

    /// It listens, where it did before.
    pub(super) fn start(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind(self.address)).expect("its address is free");
        self.address = listener.local_addr().expect("it is bound");
        let (answer, asked, tls) = (self.answer.clone(), self.asked.clone(), self.tls.clone());
        runtime.spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (answer, asked) = (answer.clone(), asked.clone());
                let service = service_fn(move |request| {
                    asked.fetch_add(1, Ordering::Relaxed);
                    let answer = answer.lock().expect("no panic").clone();
                    respond(request, answer)
                });
                let tls = tls.clone();
                tokio::spawn(async move {
                    match tls {
                        // A client that goes away is no failure of the server's.
                        None => {
                            drop(http1::Builder::new().serve_connection(TokioIo::new(tcp), service).await)
                        }
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(tcp).await {
                                drop(
                                    http1::Builder::new()
                                        .serve_connection(TokioIo::new(stream), service)
                                        .await,
                                );
                            }
                        }
                    }
                });
            }
        });
        self.runtime = Some(runtime);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn respond(request: Request<Incoming>, answer: Answer) -> Result<Response<Full<Bytes>>, Infallible> {
    assert_eq!(request.uri().path(), "/jwks");
    let response = match answer {
        Answer::Text(text) => Response::new(Full::from(text)),
        Answer::Status(status, location) => Response::builder()
            .status(status)
            .header(http::header::LOCATION, location)
            .body(Full::default())
            .expect("a response"),
        Answer::Endless => Response::new(Full::from(vec![b' '; 8 * super::MAX_KEY_SET])),
        Answer::Never => std::future::pending().await,
    };
    Ok(response)
}
