//! The same counts from DuckDB, which shares no code with the gateway, the log or the load generator.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, ensure};
use load_tests::load::Tally;
use serde::Deserialize;
use tokio::process::Command;

use crate::screen;

const DUCKDB: &str = ".venv/bin/duckdb";

#[derive(Deserialize)]
struct Row {
    route: Option<String>,
    status: Option<u16>,
    requests: usize,
}

/// The query: requests by route and status, straight from the segments.
pub(crate) fn query(store: &Path) -> String {
    format!(
        "SELECT route, response.status AS status, count(*) AS requests,\n         \
         round(median(duration_us) / 1000, 2) AS median_ms, sum(response.bytes) AS bytes\n    \
         FROM read_json('{}/**/*.ndjson.zst', format = 'newline_delimited')\n   \
         WHERE kind IN ('completed', 'aborted') GROUP BY ALL ORDER BY ALL",
        store.display()
    )
}

/// Runs the query twice: for the reader as a table, and for [`compare`].
pub(crate) async fn show(query: &str) -> anyhow::Result<String> {
    screen::command(&format!("{DUCKDB} -c \"\n  {query}\""));
    run(&["-box", "-c", query]).await
}

/// Holds DuckDB's counts against the load generator's own; returns how many rows and requests there are on the log.
pub(crate) async fn compare(query: &str, sent: &Tally) -> anyhow::Result<(usize, usize)> {
    let rows: Vec<Row> =
        serde_json::from_str(&run(&["-json", "-c", query]).await?).context("DuckDB did not print JSON")?;
    let in_log: BTreeMap<_, _> =
        rows.into_iter().map(|row| ((row.route, row.status), row.requests)).collect();
    let sent: BTreeMap<_, _> =
        sent.rows().iter().map(|row| ((row.route.map(str::to_owned), row.status), row.count)).collect();
    ensure!(
        in_log == sent,
        "the log and the load generator disagree.\n  the log:       {in_log:?}\n  the generator: {sent:?}"
    );
    Ok((in_log.len(), in_log.values().sum()))
}

async fn run(arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(DUCKDB)
        .args(arguments)
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("cannot run {DUCKDB}, which `make demo` installs"))?;
    ensure!(output.status.success(), "duckdb failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    String::from_utf8(output.stdout).context("duckdb did not print text")
}
