//! What the program says about itself, on standard error.

use std::io::IsTerminal;

use tracing::Level;
use tracing_subscriber::EnvFilter;

/// Pingora's part. Its proxy and its connectors would write a line for requests that fail, which have their record and
/// their metric, and one wherever a kept connection is wanted at the very moment that it is put back, which is no fault
/// at all: clients must not be able to fill the log.
const PINGORA: &str = "pingora=warn,pingora_core=warn,pingora_core::connectors=off,pingora_load_balancing=warn,pingora_proxy=off";

/// Sends events, Pingora's as well, to standard error: what `RUST_LOG` asks for if it does, else from `level` on.
///
/// # Errors
///
/// When `RUST_LOG` cannot be understood, or events go somewhere already.
pub fn to_stderr(level: Level) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let filter = match std::env::var(EnvFilter::DEFAULT_ENV) {
        Ok(directives) => EnvFilter::try_new(directives)?,
        Err(_) => EnvFilter::new(format!("{level},{PINGORA}")),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init()
}
