//! Strict against buffered: what it costs that a request's `received` is on the disk before the upstream sees it.
//!
//! Both are routes of one gateway and take turns. Beside them stands what the disk itself takes to sync, measured in
//! the same folder: no strict audit can be faster.

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context;

use crate::{
    cores::{MEASURED, OTHER},
    median::{median, percentile},
    report::{Line, Report},
    rig::{self, BUFFERED, CONNECTIONS, Load, STRICT, wrk},
};

const ROUNDS: usize = 4;
const SECONDS: u64 = 5;
/// Syncs of the disk alone, before the rounds and after them.
const SYNCS: usize = 300;
/// What they append: as many records as there are connections.
const GROUP: usize = CONNECTIONS * 700;

/// Measures both.
pub(crate) fn measure(folder: &Path) -> anyhow::Result<Report> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(take_turns(folder))
}

async fn take_turns(folder: &Path) -> anyhow::Result<Report> {
    let upstream = rig::upstream(folder).await?;
    let mut syncs = syncs(folder)?;
    let gateway = rig::gateway(folder, upstream.address).await?;
    for path in [BUFFERED, STRICT] {
        wrk(gateway.address, path, 1).await?;
    }
    let (mut buffered, mut strict) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        buffered.push(wrk(gateway.address, BUFFERED, SECONDS).await?);
        strict.push(wrk(gateway.address, STRICT, SECONDS).await?);
    }
    rig::stop(gateway).await?;
    syncs.extend(self::syncs(folder)?);

    let rate = |rounds: &[Load]| median(rounds.iter().map(|load| load.requests as f64)) / SECONDS as f64;
    let p99 = |rounds: &[Load]| median(rounds.iter().map(|load| load.p99.as_secs_f64())) * 1e3;
    let sync = |share| percentile(&syncs, share).as_secs_f64() * 1e3;
    let added = (p99(&strict) - p99(&buffered)) / sync(0.99);
    Ok(Report {
        title: "strict against buffered",
        how: format!(
            "two routes of one gateway on core {MEASURED}; wrk ({CONNECTIONS} connections) and NGINX on core {OTHER}; {ROUNDS} \
             rounds of {SECONDS} s each in turn, medians; {} syncs of {} KiB each in the folder of the spool",
            syncs.len(),
            GROUP >> 10
        ),
        lines: vec![
            Line {
                what: "strict: throughput".into(),
                figure: format!("{:.0} requests/s", rate(&strict)),
                ratio: Some(rate(&strict) / rate(&buffered)),
                target: "at least 0.85 ×",
            },
            Line::anchor("buffered", format!("{:.0} requests/s", rate(&buffered))),
            Line::anchor(
                "buffered, were each request to wait for one sync (p50)",
                format!("{:.0} requests/s", with_one_sync(rate(&buffered), sync(0.5) / 1e3)),
            ),
            Line {
                what: "strict: p99 at saturation".into(),
                figure: format!("{:.2} ms  (buffered and {added:.1} syncs)", p99(&strict)),
                ratio: Some(p99(&strict) / p99(&buffered)),
                target: "buffered and at most 2 syncs (p99)",
            },
            Line::anchor("buffered", format!("{:.2} ms", p99(&buffered))),
            Line::anchor(
                "append and fdatasync alone, p50 / p99",
                format!("{:.2} / {:.2} ms", sync(0.5), sync(0.99)),
            ),
        ],
    })
}

/// What as many connections can send that send `rate` a second, where each request takes a sync longer: on a slow disk
/// no strict audit comes closer to a buffered one, however many requests share a sync.
fn with_one_sync(rate: f64, seconds: f64) -> f64 {
    CONNECTIONS as f64 / (CONNECTIONS as f64 / rate + seconds)
}

/// What the disk takes to append a group and sync it, with nothing else to do.
fn syncs(folder: &Path) -> anyhow::Result<Vec<Duration>> {
    let path = folder.join("syncs");
    let mut file = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    let group = vec![b'x'; GROUP];
    let mut took = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let started = Instant::now();
        file.write_all(&group)?;
        file.sync_data()?;
        took.push(started.elapsed());
    }
    fs::remove_file(&path)?;
    Ok(took)
}
