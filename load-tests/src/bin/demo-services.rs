//! `demo-services`: the three services of the demo, on 127.0.0.1:9001 to 9003, to play with by hand.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that speaks to a terminal")]

use std::{
    io::{ErrorKind, Read},
    process::ExitCode,
};

use anyhow::{Context, bail};
use clap::Parser;
use load_tests::services::Service;
use tokio::task::JoinSet;

/// Small services to put behind a gateway: orders (9001), users (9002), payments (9003), on 127.0.0.1.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Which to start; all of them when none is named.
    services: Vec<Service>,
    /// Stop when standard input closes: whoever started this cannot leave it behind, however it ends.
    #[arg(long)]
    until_stdin_closes: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo-services: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let services =
        if arguments.services.is_empty() { Service::ALL.to_vec() } else { arguments.services.clone() };
    let mut serving = JoinSet::new();
    for service in services {
        let address = format!("127.0.0.1:{}", service.port());
        let listener = match service.bind().await {
            Ok(listener) => listener,
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                bail!("{address} is taken, and `{}` needs it: is another demo running?", service.name())
            }
            Err(error) => return Err(error).with_context(|| format!("cannot listen on {address}")),
        };
        println!("{:<9} http://{address}/", service.name());
        serving.spawn(service.serve(listener));
    }
    if arguments.until_stdin_closes {
        std::thread::spawn(|| {
            // Closed or broken, it is the end either way.
            std::io::stdin().read_to_end(&mut Vec::new()).ok();
            std::process::exit(0);
        });
    }
    match serving.join_next().await {
        Some(ended) => ended.context("a service panicked")?.context("a service cannot go on"),
        None => Ok(()),
    }
}
