//! `bench`: what `make bench` runs. Each figure is printed beside its anchor, measured in the same run.
//!
//! A figure alone says what the machine can do; the ratio to an anchor says what Sealgate costs. Nothing here is a
//! test: a busy machine makes figures worse, never an exit code.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that speaks to a terminal")]

mod cores;
mod durability;
mod hook;
mod identity;
mod latency;
mod median;
mod pipeline;
mod proxy;
mod record;
mod report;
mod rig;
mod secure;
mod token;
mod verify;

use std::{path::Path, process::ExitCode};

use anyhow::{Context, ensure};
use clap::{Parser, ValueEnum};
use load_tests::folder::Folder;

const FOLDER: &str = "target/bench";

/// Measures what the audit costs, beside what must be paid anyway.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// What to measure; all of it when nothing is named.
    what: Vec<What>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Capture in the hook, against serialising the same fields alone.
    Hook,
    /// Ring to durable record, against hashing and compressing the same bytes alone.
    Pipeline,
    /// `sealaudit verify`, against `zstd -dc | sha256sum`. Runs `pipeline` first, for a store.
    Verify,
    /// Processor time a request, and memory, against a bare proxy on Pingora.
    Proxy,
    /// Latency at half of saturation, against a bare proxy on Pingora.
    Latency,
    /// Strict against buffered audit, beside what the disk itself takes to sync.
    Durability,
    /// Tokens, API keys, rules, HMAC, each beside what it cannot do without.
    Identity,
    /// The gateway with everything of identity on, against the same gateway without; handshakes.
    Secure,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let wanted = |what| arguments.what.is_empty() || arguments.what.contains(&what);
    ensure!(cores::count()? >= 2, "two cores are needed: what is measured has one to itself");
    if cfg!(debug_assertions) {
        eprintln!("bench: this is a debug build, and its figures say nothing: use `make bench`");
    }
    let folder = Folder::fresh(Path::new(FOLDER))
        .with_context(|| format!("cannot make {FOLDER} (run me in the checkout)"))?;
    report::machine()?;
    if wanted(What::Hook) {
        report::print(&hook::measure(&folder.path().join("hook"))?);
    }
    if wanted(What::Pipeline) || wanted(What::Verify) {
        let at = folder.path().join("pipeline");
        report::print(&pipeline::measure(&at)?);
        if wanted(What::Verify) {
            report::print(&verify::measure(&at)?);
        }
    }
    if wanted(What::Proxy) {
        report::print(&proxy::measure(&folder.path().join("proxy"))?);
    }
    if wanted(What::Latency) {
        report::print(&latency::measure(&folder.path().join("latency"))?);
    }
    if wanted(What::Durability) {
        report::print(&durability::measure(&folder.path().join("durability"))?);
    }
    if wanted(What::Identity) {
        report::print(&identity::measure(&folder.path().join("identity"))?);
    }
    if wanted(What::Secure) {
        report::print(&secure::measure(&folder.path().join("secure"))?);
    }
    Ok(())
}
