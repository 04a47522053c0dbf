//! How figures are printed: each beside its anchor and the target.

use std::fs;

use anyhow::Context;
use comfy_table::{Cell, CellAlignment, LineStyle, Table, TableStyle};

/// One line.
pub(crate) struct Line {
    /// What was measured.
    pub(crate) what: String,
    /// The figure, with its unit.
    pub(crate) figure: String,
    /// Its ratio to the anchor; none for the anchor itself, or where there is no point in one.
    pub(crate) ratio: Option<f64>,
    /// What is aimed at.
    pub(crate) target: &'static str,
}

impl Line {
    /// The line of an anchor.
    pub(crate) fn anchor(what: impl Into<String>, figure: String) -> Line {
        Line { what: format!("  anchor: {}", what.into()), figure, ratio: None, target: "" }
    }
}

/// A group of lines, and how they were measured.
pub(crate) struct Report {
    pub(crate) title: &'static str,
    pub(crate) how: String,
    pub(crate) lines: Vec<Line>,
}

/// A line below the head, and no other.
const PLAIN: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// Prints one report.
pub(crate) fn print(report: &Report) {
    let mut table = Table::new();
    table.load_style(PLAIN);
    let right = |text: &str| Cell::new(text).set_alignment(CellAlignment::Right);
    table.set_header([Cell::new(report.title), right("figure"), right("ratio"), Cell::new("target")]);
    for line in &report.lines {
        let ratio = line.ratio.map_or(String::new(), |ratio| format!("{ratio:.2} ×"));
        table.add_row([Cell::new(&line.what), right(&line.figure), right(&ratio), Cell::new(line.target)]);
    }
    println!("\n{table}\n ({})", report.how);
}

/// Says on which machine all of it was measured.
pub(crate) fn machine() -> anyhow::Result<()> {
    let cpus = fs::read_to_string("/proc/cpuinfo").context("cannot read /proc/cpuinfo")?;
    let kernel =
        fs::read_to_string("/proc/sys/kernel/osrelease").context("cannot read the kernel's release")?;
    // Not every architecture names its model there.
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("processor of unknown model", |(_, model)| model);
    println!("{model}, {} cores, Linux {}", crate::cores::count()?, kernel.trim());
    Ok(())
}
