//! Sealgate: an access proxy on Pingora whose access log is evidence.
//!
//! The program `sealgate` is a thin shell around this library, so that its tests and the load tests use the very
//! parts that serve.

pub mod cli;
pub mod config;
pub mod explain;
pub mod keygen;
pub mod normalise;
pub mod route;
pub mod standalone;
