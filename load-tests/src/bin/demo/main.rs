//! `demo`: what `make demo` runs. The whole story of Sealgate in a minute, with the real programs.
//!
//! It starts three services and the gateway with `conf/quickstart.yaml`, sends real traffic, then shows what the log
//! says of it: the records, the proof, a forgery and how it is found, and the same counts from an engine that knows
//! nothing of Sealgate. What it claims it has checked: a figure that does not fit ends the demo with an error.
//! Everything that it starts or writes is gone when it ends, also on Ctrl-C.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that speaks to a terminal")]

mod duckdb;
mod forge;
mod scenes;
mod screen;
mod stage;

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> ExitCode {
    let mut terminate = match signal(SignalKind::terminate()) {
        Ok(terminate) => terminate,
        Err(error) => {
            eprintln!("demo: cannot watch for SIGTERM: {error}");
            return ExitCode::FAILURE;
        }
    };
    // Whichever comes first, the play is dropped then, and with it every process and folder of its own.
    let ended = tokio::select! {
        ended = scenes::play() => Some(ended),
        _ = tokio::signal::ctrl_c() => None,
        _ = terminate.recv() => None,
    };
    match ended {
        Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(error)) => {
            eprintln!("\ndemo: {error:#}");
            ExitCode::FAILURE
        }
        None => {
            eprintln!("\ndemo: interrupted; everything it had started is stopped and removed");
            ExitCode::from(130)
        }
    }
}
