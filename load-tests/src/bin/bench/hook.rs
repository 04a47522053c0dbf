//! Capture in the hook: reserve a slot, serialise the record, fill the slot; against serialising the same fields alone.

use std::{hint::black_box, path::Path};

use anyhow::ensure;
use audit_writer::{record::Entry, ring::Need, time::Timestamp};

use crate::{
    cores::{MEASURED, OTHER, bind_thread, thread_time},
    median::median,
    pipeline::{Pipeline, wait_until_durable},
    record::{MAX_RECORD, exchanges},
    report::{Line, Report},
};

/// Records in one burst: fewer than there are slots, so that no burst meets a full ring.
const BURST: usize = 20_000;
const BURSTS: usize = 40;

/// Measures both, in bursts that take turns; the writer has the other core.
pub(crate) fn measure(folder: &Path) -> anyhow::Result<Report> {
    bind_thread(OTHER)?;
    let pipeline = Pipeline::open(folder)?;
    bind_thread(MEASURED)?;
    let recorder = pipeline.log.recorder();
    let exchanges = exchanges();
    let (mut hook, mut anchor) = (Vec::new(), Vec::new());
    let mut buffer = Vec::with_capacity(MAX_RECORD);
    let mut bytes = 0;
    for burst in 1..=BURSTS {
        let ts = Timestamp::now();
        let started = thread_time();
        for exchange in exchanges.iter().cycle().take(BURST) {
            let mut ticket = recorder.enter();
            ensure!(ticket.try_reserve(Need::Record), "the ring was full in the middle of a burst");
            ticket.end(Entry::ended(&exchange.record(ts, recorder.boot()), MAX_RECORD));
        }
        hook.push((thread_time() - started).as_nanos() as f64 / BURST as f64);
        wait_until_durable(&pipeline.log, (burst * BURST) as u64)?;

        let started = thread_time();
        for exchange in exchanges.iter().cycle().take(BURST) {
            buffer.clear();
            serde_json::to_writer(&mut buffer, black_box(&exchange.record(ts, recorder.boot())))?;
            bytes = black_box(&buffer).len();
        }
        anchor.push((thread_time() - started).as_nanos() as f64 / BURST as f64);
    }
    pipeline.stop()?;
    let (hook, anchor) = (median(hook), median(anchor));
    Ok(Report {
        title: "capture in the hook",
        how: format!(
            "a record of {bytes} bytes; {BURSTS} bursts of {BURST} records in turn, medians of the thread's processor time"
        ),
        lines: vec![
            Line {
                what: "reserve, serialise, fill the slot".into(),
                figure: format!("{hook:.0} ns"),
                ratio: Some(hook / anchor),
                target: "at most 900 ns",
            },
            Line::anchor("serde_json of the same fields alone", format!("{anchor:.0} ns")),
        ],
    })
}
