//! Processor time a request, and memory: the whole gateway, audited, against a bare proxy on Pingora.
//!
//! The proxy under test has one core, wrk and the upstream have the other, and the two proxies take turns, so that a
//! machine that grows slower grows slower for both.

use std::path::Path;

use crate::{
    cores::{MEASURED, OTHER},
    median::median,
    report::{Line, Report},
    rig::{self, BUFFERED, CONNECTIONS, Server, wrk},
};

const ROUNDS: usize = 4;
const SECONDS: u64 = 5;

/// What one round came to.
struct Round {
    microseconds: f64,
    per_second: f64,
}

/// Measures both.
pub(crate) fn measure(folder: &Path) -> anyhow::Result<Report> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(take_turns(folder))
}

async fn take_turns(folder: &Path) -> anyhow::Result<Report> {
    let upstream = rig::upstream(folder).await?;
    let bare = rig::bare_proxy(folder, upstream.address).await?;
    let gateway = rig::gateway(folder, upstream.address).await?;
    for server in [&bare, &gateway] {
        wrk(server.address, BUFFERED, 1).await?;
    }
    let (mut of_bare, mut of_gateway) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        of_bare.push(round(&bare).await?);
        of_gateway.push(round(&gateway).await?);
    }
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let (our_memory, their_memory) = (gateway.process.most_memory()?, bare.process.most_memory()?);
    let (our_memory, their_memory) = (mebibytes(our_memory), mebibytes(their_memory));
    rig::stop(gateway).await?;
    let time = |rounds: &[Round]| median(rounds.iter().map(|round| round.microseconds));
    let rate = |rounds: &[Round]| median(rounds.iter().map(|round| round.per_second));
    let (ours, theirs) = (time(&of_gateway), time(&of_bare));
    Ok(Report {
        title: "processor time a request, and memory",
        how: format!(
            "all threads of the proxy, on core {MEASURED}; wrk ({CONNECTIONS} connections) and NGINX, 1 KiB a reply, on core \
             {OTHER}; {ROUNDS} rounds of {SECONDS} s each in turn, medians; memory is the most that was resident"
        ),
        lines: vec![
            Line {
                what: "sealgate run: routing, metrics, buffered audit".into(),
                figure: format!("{ours:.1} µs  ({:.0} requests/s)", rate(&of_gateway)),
                ratio: Some(ours / theirs),
                target: "at most 1.20 ×",
            },
            Line::anchor(
                "bare proxy on Pingora",
                format!("{theirs:.1} µs  ({:.0} requests/s)", rate(&of_bare)),
            ),
            Line {
                what: format!("sealgate run: memory at {CONNECTIONS} connections, ring included"),
                figure: format!("{our_memory:.0} MiB"),
                ratio: Some(our_memory / their_memory),
                target: "less than 100 MiB",
            },
            Line::anchor("bare proxy on Pingora", format!("{their_memory:.0} MiB")),
        ],
    })
}

async fn round(proxy: &Server) -> anyhow::Result<Round> {
    let before = proxy.process.processor_time()?;
    let requests = wrk(proxy.address, BUFFERED, SECONDS).await?.requests;
    let used = proxy.process.processor_time()? - before;
    Ok(Round {
        microseconds: used.as_secs_f64() * 1e6 / requests as f64,
        per_second: requests as f64 / SECONDS as f64,
    })
}
