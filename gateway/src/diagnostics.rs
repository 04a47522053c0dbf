//! What the program says about itself, on standard error: never a secret, whatever `RUST_LOG` asks for.
//!
//! Sealgate's own lines have constant messages, and fields without what clients send. The libraries below it are
//! another matter: at DEBUG and TRACE they print heads and frames, tokens and cookies in them. So what `RUST_LOG`
//! asks for is only ever part of what `allowed` lets pass.

use std::io::IsTerminal;

use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{EnvFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The crates whose lines are written here: each level of theirs may be asked for.
const OWN: [&str; 4] = ["gateway", "audit_writer", "sealgate", "faulty_gateway"];

/// Libraries, or parts of them, that are not heard at all. They would write a line for requests that fail and for
/// clients that misbehave, which have their record and their metric; some repeat values of headers in it, and a kept
/// connection that is wanted at the very moment at which it is put back is called a fault. Clients must not be able to
/// fill the log.
const SILENT: [&str; 4] = ["h2", "pingora_proxy", "pingora_core::connectors", "pingora_core::protocols"];

/// Sends events, the libraries' as well, to standard error: what `RUST_LOG` asks for if it does, else from `level`
/// on; of the libraries only warnings and errors in any case.
///
/// # Errors
///
/// When `RUST_LOG` cannot be understood, or events go somewhere already.
pub fn to_stderr(level: Level) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let asked = match std::env::var(EnvFilter::DEFAULT_ENV) {
        Ok(directives) => EnvFilter::try_new(directives)?,
        Err(_) => EnvFilter::new(level.as_str()),
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    tracing_subscriber::registry().with(allowed()).with(asked).with(lines).try_init()?;
    Ok(())
}

/// What may be said at all.
fn allowed() -> Targets {
    let own = OWN.iter().map(|name| (*name, LevelFilter::TRACE));
    let silent = SILENT.iter().map(|name| (*name, LevelFilter::OFF));
    Targets::new().with_default(LevelFilter::WARN).with_targets(own.chain(silent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_never_heard_below_warnings() {
        let allowed = allowed();
        for target in ["rustls::client", "hyper", "tokio", "mio", "pingora_core::server", "notify"] {
            assert!(allowed.would_enable(target, &Level::WARN), "{target}");
            assert!(!allowed.would_enable(target, &Level::INFO), "{target}");
        }
        for target in
            SILENT.into_iter().chain(["h2::proto::streams", "pingora_core::protocols::http::v1::common"])
        {
            assert!(!allowed.would_enable(target, &Level::ERROR), "{target}");
        }
        assert!(allowed.would_enable("gateway::serve", &Level::TRACE));
        assert!(allowed.would_enable("audit_writer::ship", &Level::TRACE));
    }
}
