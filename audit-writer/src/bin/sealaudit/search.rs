//! `sealaudit search`.

use std::io::{self, IsTerminal as _, Write};
use std::ops::ControlFlow;

use audit_writer::archive::Archive;
use audit_writer::search::{Summary, search};
use clap::Args;

use crate::Done;
use crate::filters::Filters;
use crate::output::{self, Format};

/// The arguments of `search`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The store: a directory, file:///path, or a gateway's data or spool directory
    store: String,
    /// At most so many records, the newest; 0 for all
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// Say on standard error what was read
    #[arg(long)]
    stats: bool,
    /// How records are written [default: table on a terminal, ndjson on a pipe]
    #[arg(long, value_enum)]
    format: Option<Format>,
    #[command(flatten)]
    filters: Filters,
}

const EXAMPLES: &str = "\
Records come newest first. Indexes are believed here; `sealaudit verify` holds them against the records.

Examples:
  sealaudit search ./sealgate-data --since 15m --status 5xx
  sealaudit search /mnt/audit --request-id 0199c3f2-7b1e-7cc0-8000-00000000000a --stats
  sealaudit search /mnt/audit --since 2026-11-01 --until 2026-11-02 --path '/users/*' --source 203.0.113.0/24 --limit 0 | jq .request.path";

/// Searches and prints what was found.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<Done> {
    let archive = Archive::open(&arguments.store)?;
    let views = arguments.filters.views(&archive)?;
    let filter = arguments.filters.filter();
    let limit = Some(arguments.limit).filter(|&limit| limit > 0);
    let mut out = io::BufWriter::new(io::stdout().lock());
    let summary = match Format::or_by_terminal(arguments.format) {
        Format::Ndjson => {
            let mut written = Ok(());
            let summary = search(&views, &filter, limit, |hit| {
                written = output::write_line(&mut out, &hit);
                if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            written.and_then(|()| out.flush())?;
            summary
        }
        Format::Table => {
            let mut hits = Vec::new();
            let summary = search(&views, &filter, limit, |hit| {
                hits.push(hit);
                ControlFlow::Continue(())
            })?;
            if !hits.is_empty() {
                output::write_table(&mut out, &hits)?;
            }
            out.flush()?;
            summary
        }
    };
    let mut err = io::stderr().lock();
    if summary.limited && err.is_terminal() {
        writeln!(err, "there are more: --limit {} was reached", arguments.limit)?;
    }
    if arguments.stats {
        write_stats(&mut err, &summary)?;
    }
    finish(&mut err, &summary)
}

/// What was read, on three lines.
fn write_stats(err: &mut impl Write, summary: &Summary) -> io::Result<()> {
    let stats = &summary.stats;
    writeln!(
        err,
        "segments {}  indexes read {} ({} bytes)  ruled out by their index {}",
        stats.segments, stats.indexes_read, stats.index_bytes, stats.segments_skipped
    )?;
    writeln!(err, "frames read {} of {} ({} bytes)", stats.frames_read, stats.frames, stats.frame_bytes)?;
    writeln!(err, "unsealed records {}  found {}", stats.unsealed_records, summary.found)
}

/// Tells what could not be read, and how the search ended.
pub(crate) fn finish(err: &mut impl Write, summary: &Summary) -> anyhow::Result<Done> {
    for trouble in &summary.troubles {
        writeln!(err, "sealaudit: {}", output::printable(trouble))?;
    }
    Ok(match (summary.troubles.is_empty(), summary.found) {
        (false, _) => Done::Incomplete,
        (true, 0) => {
            writeln!(err, "sealaudit: nothing matched")?;
            Done::Not
        }
        (true, _) => Done::Good,
    })
}
