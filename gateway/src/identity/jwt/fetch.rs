//! Keys that are fetched from a server: on a thread of their own, never by a request.
//!
//! Known keys are kept for as long as the server is down, slow, or answers anything but a set of keys that could be
//! used. A token that names an unknown key has the thread ask sooner, at most once in [`SPACING`], so that a client
//! cannot have the server asked as often as it likes.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ACCEPT, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};
use tokio::runtime::{Builder, Runtime};

use super::keys::Keys;
use super::{KeySet, KeySetError, MAX_KEY_SET};
use crate::config::Algorithm;
use crate::identity::metrics::JwksMetrics;
use crate::pem::{self, PemError};

/// How long one attempt may take, from the name look-up to the last byte.
const PATIENCE: Duration = Duration::from_secs(5);
/// At least this lies between two attempts that tokens ask for.
const SPACING: Duration = Duration::from_secs(10);
/// The first pause after an attempt that failed; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause after attempts that failed.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Where keys are fetched from.
#[derive(Debug, Clone)]
pub struct Fetch {
    /// The provider's name.
    pub provider: Arc<str>,
    /// The URL.
    pub url: String,
    /// How often it is asked.
    pub refresh: Duration,
    /// The authorities that may vouch for the server; those of the system when `None`.
    pub ca: Option<PathBuf>,
    /// What the keys may be for.
    pub algorithms: Box<[Algorithm]>,
}

/// Why keys could not be fetched. Nothing of the answer is in it, nor the URL.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The authorities cannot be read.
    #[error("authorities")]
    Authorities(#[from] PemError),
    /// No connection can be secured.
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
    /// The URL is none.
    #[error("cannot make a request of the URL")]
    Url(#[from] http::Error),
    /// The server cannot be reached, or broke off.
    #[error("cannot reach the server")]
    Reach(#[from] hyper_util::client::legacy::Error),
    /// It answered, but not with keys.
    #[error("the server answered {0}{hint}", hint = if .0.is_redirection() { ": redirects are not followed" } else { "" })]
    Status(StatusCode),
    /// The answer broke off, or is too long.
    #[error("the answer broke off, or is longer than {} KiB", MAX_KEY_SET / 1024)]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It took too long.
    #[error("no whole answer within {} s", PATIENCE.as_secs())]
    Slow,
    /// What it answered cannot be used.
    #[error(transparent)]
    KeySet(#[from] KeySetError),
}

impl FetchError {
    /// It and what it comes from, on one line.
    fn told(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            text.push_str(&format!(": {error}"));
            source = error.source();
        }
        text
    }
}

impl Fetch {
    /// Fetches for these keys from now on, until they are dropped. The receiver hears once when the first attempt is
    /// over, whatever came of it.
    pub(in crate::identity) fn start(
        self,
        keys: &Arc<Keys>,
        metrics: JwksMetrics,
    ) -> std::io::Result<Receiver<()>> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (first, over) = sync_channel(1);
        let weak = Arc::downgrade(keys);
        let name = format!("jwks {}", self.provider);
        let thread =
            thread::Builder::new().name(name).spawn(move || self.run(&runtime, &weak, &metrics, &first))?;
        keys.fetched_by(thread.thread().clone());
        Ok(over)
    }

    fn run(&self, runtime: &Runtime, keys: &Weak<Keys>, metrics: &JwksMetrics, first: &SyncSender<()>) {
        let mut failures = 0u32;
        loop {
            let Some(current) = keys.upgrade() else { return };
            current.begin();
            let begun = Instant::now();
            let fetched = runtime.block_on(self.once());
            metrics.fetched(fetched.is_ok());
            match fetched {
                Ok(set) => {
                    current.replace(set);
                    if failures > 0 {
                        tracing::info!(provider = &*self.provider, failures, "key set fetched again");
                    }
                    failures = 0;
                }
                Err(error) => {
                    // Each is counted; a line for the first alone.
                    if failures == 0 {
                        self.complain(&error, current.are_known());
                    }
                    failures = failures.saturating_add(1);
                }
            }
            // Nobody may be waiting any more.
            let _ = first.try_send(());
            drop(current);
            if !self.pause(keys, begun, failures) {
                return;
            }
        }
    }

    fn complain(&self, error: &FetchError, known: bool) {
        let (provider, error) = (&*self.provider, error.told());
        if known {
            tracing::warn!(provider, error, "key set not fetched: known keys go on serving");
        } else {
            tracing::error!(provider, error, "no key set yet: tokens cannot be verified");
        }
    }

    /// Waits until it is time for the next attempt; false where there is nobody left to fetch for.
    fn pause(&self, keys: &Weak<Keys>, begun: Instant, failures: u32) -> bool {
        let pause = match failures {
            0 => self.refresh,
            failures => {
                let doubled = FIRST_PAUSE.saturating_mul(1 << (failures - 1).min(16));
                doubled.min(LONGEST_PAUSE).min(self.refresh)
            }
        };
        loop {
            let Some(keys) = keys.upgrade() else { return false };
            let due = begun + if keys.is_asked() { pause.min(SPACING) } else { pause };
            drop(keys);
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            thread::park_timeout(left);
        }
    }

    /// One attempt. No redirect is followed: whoever serves the URL would choose whose keys are believed.
    async fn once(&self) -> Result<KeySet, FetchError> {
        tokio::time::timeout(PATIENCE, self.ask()).await.unwrap_or(Err(FetchError::Slow))
    }

    async fn ask(&self) -> Result<KeySet, FetchError> {
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(self.tls()?).https_or_http().enable_http1();
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build::<_, Empty<Bytes>>(connector.build());
        let request = Request::get(&self.url)
            .header(ACCEPT, "application/jwk-set+json, application/json")
            .header(USER_AGENT, concat!("sealgate/", env!("CARGO_PKG_VERSION")))
            .body(Empty::new())?;
        let answer = client.request(request).await?;
        if answer.status() != StatusCode::OK {
            return Err(FetchError::Status(answer.status()));
        }
        let body = Limited::new(answer.into_body(), MAX_KEY_SET).collect().await.map_err(FetchError::Body)?;
        Ok(KeySet::parse(&body.to_bytes(), &self.algorithms)?)
    }

    /// Whom the server must prove itself to be. The authorities are read each time: what is replaced on disk counts.
    fn tls(&self) -> Result<ClientConfig, FetchError> {
        let roots = match &self.ca {
            Some(file) => pem::read_authorities(file)?,
            None => {
                let mut roots = RootCertStore::empty();
                // What of the system's store cannot be read vouches for nobody.
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                roots
            }
        };
        let provider = Arc::new(pem::provider());
        let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        Ok(tls.with_root_certificates(roots).with_no_client_auth())
    }
}

#[cfg(test)]
mod server;
#[cfg(test)]
mod tests;
