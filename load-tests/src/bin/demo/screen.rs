//! How the demo looks: headings, commands as they would be typed, tables, one bar. Colours on a terminal only.

use std::{
    env,
    fmt::Display,
    io::{IsTerminal, stderr, stdout},
    time::Duration,
};

use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

const BOLD: &str = "1";
const DIM: &str = "2";
const GREEN: &str = "32";
const RED: &str = "31";
const CYAN: &str = "1;36";

/// A line below the head, and no other.
const PLAIN: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

fn coloured(code: &str, text: impl Display) -> String {
    if stdout().is_terminal() && env::var_os("NO_COLOR").is_none() {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_string()
    }
}

/// The heading of a scene.
pub(crate) fn heading(number: usize, text: &str) {
    let line = format!("── {number} · {text} ");
    println!("\n{}", coloured(CYAN, format!("{line:─<100}")));
}

/// A sentence for the reader.
pub(crate) fn say(text: impl Display) {
    println!("{text}");
}

/// A command, as one would type it.
pub(crate) fn command(line: &str) {
    println!("\n{} {}", coloured(DIM, "$"), coloured(BOLD, line));
}

/// What a program printed; its verdict is coloured.
pub(crate) fn output(text: &str) {
    for line in text.trim_end().lines() {
        match line.split([' ', ':']).next() {
            Some("OK") => println!("{}", coloured(GREEN, line)),
            Some("FAILED" | "FINDING") => println!("{}", coloured(RED, line)),
            _ => println!("{line}"),
        }
    }
}

/// Something that was checked and found good.
pub(crate) fn good(text: impl Display) {
    println!("{} {text}", coloured(GREEN, "✓"));
}

/// A line of a record before and after, with what differs between them marked.
pub(crate) fn difference(before: &str, after: &str) {
    println!("{} {before}", coloured(RED, "-"));
    println!("{} {after}", coloured(GREEN, "+"));
}

/// A table; columns whose head begins with a space are numbers.
pub(crate) fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) {
    let mut table = Table::new();
    table.load_style(PLAIN);
    table.set_header(head.iter().map(|name| name.trim()));
    for row in rows {
        table.add_row(row);
    }
    for (index, name) in head.iter().enumerate() {
        if name.starts_with(' ')
            && let Some(column) = table.column_mut(index)
        {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    println!("\n{table}");
}

/// A time in the unit that suits it.
pub(crate) fn time(time: Duration) -> String {
    let milliseconds = time.as_secs_f64() * 1e3;
    if milliseconds < 10.0 { format!("{milliseconds:.1} ms") } else { format!("{milliseconds:.0} ms") }
}

/// A bar for `total` requests; where standard error is no terminal, a line for every quarter.
pub(crate) fn progress(total: usize) -> impl Fn() + Clone + Send + 'static {
    let on_terminal = stderr().is_terminal();
    let target = if on_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(total as u64), target).with_style(
        ProgressStyle::with_template("  {bar:50.cyan/dim} {human_pos:>6} of {human_len} requests  {per_sec}")
            .expect("the template is valid"),
    );
    let quarter = (total / 4).max(1) as u64;
    move || {
        bar.inc(1);
        let sent = bar.position();
        if sent == total as u64 {
            bar.finish_and_clear();
        }
        if !on_terminal && sent.is_multiple_of(quarter) {
            eprintln!("  {sent} of {total} requests");
        }
    }
}
