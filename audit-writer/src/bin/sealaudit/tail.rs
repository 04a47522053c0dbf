//! `sealaudit tail`.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::thread;
use std::time::Duration;

use audit_writer::archive::Archive;
use audit_writer::search::{Follower, Hit, Summary, search};
use clap::Args;

use crate::filters::Filters;
use crate::output::{self, Format};
use crate::{Done, search as search_command};

/// The arguments of `tail`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The store: a directory, file:///path, or a gateway's data or spool directory
    store: String,
    /// Go on with records as they come, until interrupted
    #[arg(short, long)]
    follow: bool,
    /// Begin with the last so many records that fit
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    lines: usize,
    /// How records are written [default: table on a terminal, ndjson on a pipe]
    #[arg(long, value_enum)]
    format: Option<Format>,
    #[command(flatten)]
    filters: Filters,
}

const EXAMPLES: &str = "\
Records come oldest first. A gateway's data directory shows them within a fraction of a second, a store when they are sealed.

Examples:
  sealaudit tail ./sealgate-data -f
  sealaudit tail /mnt/audit -n 50 --log '*/gw-1' --status 5xx";

/// Between two looks at a gateway's own spool.
const SPOOL_INTERVAL: Duration = Duration::from_millis(200);
/// Between two looks at a store, which must be listed each time.
const STORE_INTERVAL: Duration = Duration::from_secs(1);

/// Prints the last records, and those that come.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<Done> {
    let archive = Archive::open(&arguments.store)?;
    let filter = arguments.filters.filter();
    let format = Format::or_by_terminal(arguments.format);
    let interval = if archive.spool().is_some() { SPOOL_INTERVAL } else { STORE_INTERVAL };
    let mut out = io::BufWriter::new(io::stdout().lock());

    // What comes between the two is shown twice rather than never: the follower drops what was shown.
    let mut follower = match arguments.follow {
        true => Some(Follower::new(archive.clone(), filter.clone(), arguments.filters.logs().to_vec())?),
        false => None,
    };
    let mut hits = Vec::new();
    let mut summary = Summary::default();
    if arguments.lines > 0 {
        let views = arguments.filters.views(&archive)?;
        summary = search(&views, &filter, Some(arguments.lines), |hit| {
            let is_new = follower.as_ref().is_some_and(|follower| follower.will_give(&hit));
            if !is_new {
                hits.push(hit);
            }
            ControlFlow::Continue(())
        })?;
    }
    hits.reverse();
    match format {
        Format::Table if follower.is_none() && !hits.is_empty() => output::write_table(&mut out, &hits)?,
        _ => hits.iter().try_for_each(|hit| write(&mut out, hit, format))?,
    }
    out.flush()?;
    let Some(follower) = follower.as_mut() else {
        return search_command::finish(&mut io::stderr().lock(), &summary);
    };
    loop {
        let mut written = Ok(());
        follower.look(|hit| {
            if written.is_ok() {
                written = write(&mut out, &hit, format);
            }
        })?;
        written.and_then(|()| out.flush())?;
        thread::sleep(interval);
    }
}

fn write(out: &mut impl Write, hit: &Hit, format: Format) -> io::Result<()> {
    match format {
        Format::Table => output::write_row(out, hit),
        Format::Ndjson => output::write_line(out, hit),
    }
}
