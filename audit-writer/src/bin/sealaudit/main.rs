//! `sealaudit`, the auditor's program: it reads logs and holds them against keys. It writes nothing but its own state.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

mod filters;
mod logs;
mod output;
mod search;
mod show;
mod tail;
mod verify;
mod when;

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "sealaudit", version, about, long_about = None, max_term_width = 110, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
STORE is a directory, file:///path, or a gateway's data or spool directory.

Exit codes: 0 good · 1 a finding, or nothing matched · 2 could not do it (usage, unreachable, unreadable)";

#[derive(Debug, Subcommand)]
enum Command {
    /// Derive everything again from the records, and say what is not as it was signed
    Verify(verify::Arguments),
    /// Find records
    Search(search::Arguments),
    /// Print a record, or all records of a request, whole
    Show(show::Arguments),
    /// Print the last records, and follow those that come
    Tail(tail::Arguments),
    /// List the logs of a store
    Logs(logs::Arguments),
    /// Print completions for a shell, to be read by it
    #[command(
        after_help = "Example:\n  sealaudit completions bash > ~/.local/share/bash-completion/completions/sealaudit"
    )]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// How a command ended, where it could do its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    /// Nothing is wrong; something matched.
    Good,
    /// There is a finding, or nothing matched.
    Not,
    /// Not everything could be read.
    Incomplete,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Verify(arguments) => verify::run(&arguments),
        Command::Search(arguments) => search::run(&arguments),
        Command::Show(arguments) => show::run(&arguments),
        Command::Tail(arguments) => tail::run(&arguments),
        Command::Logs(arguments) => logs::run(&arguments),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "sealaudit", &mut io::stdout());
            Ok(Done::Good)
        }
    };
    match done {
        Ok(Done::Good) => ExitCode::SUCCESS,
        Ok(Done::Not) => ExitCode::from(1),
        Ok(Done::Incomplete) => ExitCode::from(2),
        // Whoever reads has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // Where even that cannot be written, the exit code has to do.
            let _ = writeln!(io::stderr(), "sealaudit: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|e| e.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
