//! `faulty-gateway`: the gateway as it is, on a disk that fails when a test says so. For tests alone.
//!
//! `faulty-gateway CONFIG FAULTS` is `sealgate run -c CONFIG`, with every operation of its spool and its directory store
//! passed through [`disk::FaultyDisk`], which does what the file `FAULTS` says at that moment: see [`script`].

mod disk;
mod script;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use gateway::config::Config;
use gateway::diagnostics;
use gateway::serve::run_on;
use tracing::Level;

use crate::disk::FaultyDisk;
use crate::script::Script;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Serves like `sealgate run`, on a disk that fails as a file says.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The gateway's configuration.
    config: PathBuf,
    /// What is to fail now; read again before each operation. Where it is not there, nothing fails.
    faults: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match serve(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, error)) => {
            // Whether anybody reads it is not what matters now.
            let _ = writeln!(io::stderr(), "faulty-gateway: {error:#}");
            ExitCode::from(code)
        }
    }
}

/// Serves until it is asked to stop; else the exit code, and why.
fn serve(arguments: Arguments) -> Result<(), (u8, anyhow::Error)> {
    let config = Config::load(&arguments.config).map_err(|problems| (78, anyhow::anyhow!("{problems}")))?;
    diagnostics::to_stderr(Level::INFO).map_err(|error| (2, anyhow::anyhow!("RUST_LOG: {error}")))?;
    let disk = Arc::new(FaultyDisk::new(Script::new(arguments.faults)));
    run_on(disk, &config, || {}).map_err(|error| (error.exit_code(), error.into()))
}
