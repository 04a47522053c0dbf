//! Sealgate: an access proxy on Pingora whose access log is evidence.
//!
//! The program `sealgate` is a thin shell around this library, so that its tests and the load tests use the very
//! parts that serve.

pub mod admin;
pub mod admission;
pub mod asked;
pub mod authorise;
pub mod body_digest;
pub mod capture;
pub mod cli;
pub mod client_address;
pub mod config;
pub mod credentials;
pub mod diagnostics;
pub mod edge;
pub mod evidence;
pub mod explain;
pub mod failure;
pub mod forward;
pub mod identity;
pub mod identity_headers;
pub mod keygen;
pub mod metrics;
pub mod normalise;
pub mod pem;
pub mod problem;
pub mod proxy;
pub mod reload;
pub mod request_id;
pub mod route;
pub mod serve;
pub mod serving;
pub mod shutdown;
pub mod standalone;
pub mod trace_context;
pub mod upstream;

/// What `sealgate version` prints: the version, the version of the records it writes, and how it was built.
pub fn version() -> String {
    format!(
        "sealgate {}\nformat   {}\ntarget   {}-{}\nprofile  {}",
        env!("CARGO_PKG_VERSION"),
        RECORD_VERSION,
        std::env::consts::ARCH,
        std::env::consts::OS,
        if cfg!(debug_assertions) { "debug" } else { "release" },
    )
}

/// The version of the records that this gateway writes (`docs/format.md`).
const RECORD_VERSION: u32 = 1;
