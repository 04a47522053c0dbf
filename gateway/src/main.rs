//! The program `sealgate`: which command, and what it exits with.

use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use audit_writer::checkpoint::LogName;
use clap::{CommandFactory as _, Parser as _};
use gateway::cli::{
    Cli, Command, CompletionsArgs, ExplainArgs, Format, HashArgs, KeygenArgs, ProxyArgs, RunArgs,
    ValidateArgs, exit,
};
use gateway::config::{self, Config, Problems};
use gateway::diagnostics;
use gateway::explain::{Asking, explain};
use gateway::keygen::keygen;
use gateway::route::Router;
use gateway::serve;
use gateway::standalone::{Standalone, StandaloneError};
use tracing::Level;

/// Requests allocate in one thread and free in another, or in none for long: measured against the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Proxy(args) => proxy(&args),
        Command::Run(args) => run(&args),
        Command::Validate(args) => validate(&args),
        Command::Explain(args) => explain_request(&args),
        Command::Keygen(args) => make_key(&args),
        Command::Hash(args) => hash(&args),
        Command::Schema => print(config::schema().trim_end()),
        Command::Version => print(&gateway::version()),
        Command::Completions(args) => completions(&args),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        // Whoever read our output has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(exit::CLEAN),
        Err(error) => {
            let _ = writeln!(io::stderr(), "sealgate: {error}");
            ExitCode::from(exit::FAILED)
        }
    }
}

/// Writes a line to standard output.
fn print(text: &str) -> io::Result<u8> {
    writeln!(io::stdout().lock(), "{text}")?;
    Ok(exit::CLEAN)
}

/// Writes why there is no result, and what that comes from, to standard error.
fn fail(code: u8, why: impl Into<anyhow::Error>) -> io::Result<u8> {
    let told = why.into().chain().map(ToString::to_string).reduce(|told, cause| {
        // Some errors tell their cause themselves.
        if told.ends_with(&cause) { told } else { format!("{told}: {cause}") }
    });
    writeln!(io::stderr().lock(), "sealgate: {}", told.unwrap_or_default())?;
    Ok(code)
}

/// The configuration that is asked for, or the first that is there.
fn find_config(asked: Option<&Path>) -> PathBuf {
    const USUAL: [&str; 2] = ["sealgate.yaml", "/etc/sealgate/sealgate.yaml"];
    let first = || USUAL.into_iter().map(Path::new).find(|path| path.exists());
    asked.or_else(first).unwrap_or(Path::new(USUAL[0])).to_owned()
}

/// Loads it; otherwise every problem, one a line, and the exit code.
fn load(asked: Option<&Path>) -> Result<Config, io::Result<u8>> {
    Config::load(&find_config(asked)).map_err(|problems| report(&problems))
}

fn report(problems: &Problems) -> io::Result<u8> {
    writeln!(io::stderr().lock(), "{problems}")?;
    Ok(exit::CONFIGURATION)
}

fn run(args: &RunArgs) -> io::Result<u8> {
    match load(args.config.config.as_deref()) {
        Ok(config) => serve(&config, Level::INFO, || {}),
        Err(reported) => reported,
    }
}

fn proxy(args: &ProxyArgs) -> io::Result<u8> {
    let standalone = match Standalone::new(args) {
        Ok(standalone) => standalone,
        Err(StandaloneError::Configuration(problems)) => return report(&problems),
        Err(error) => {
            return fail(if error.is_usage() { exit::USAGE } else { exit::CONFIGURATION }, error);
        }
    };
    for warning in &standalone.warnings {
        writeln!(io::stderr().lock(), "sealgate: {warning}")?;
    }
    serve(&standalone.config, Level::WARN, || {
        // Whether anybody reads it is not the requests' concern.
        let _ = write!(io::stderr().lock(), "{}", standalone.banner(args));
    })
}

/// Serves until the process is asked to stop.
fn serve(config: &Config, level: Level, started: impl FnOnce()) -> io::Result<u8> {
    if let Err(error) = diagnostics::to_stderr(level) {
        return fail(exit::USAGE, anyhow::anyhow!("RUST_LOG: {error}"));
    }
    for warning in config.warnings() {
        tracing::warn!(%warning, "a part of the configuration has no effect");
    }
    match serve::run(config, started) {
        Ok(()) => Ok(exit::CLEAN),
        Err(error) => fail(error.exit_code(), error),
    }
}

fn validate(args: &ValidateArgs) -> io::Result<u8> {
    let path = find_config(args.config.as_deref());
    let checked = Config::load(&path).and_then(|config| {
        let doubts = if args.no_environment { Vec::new() } else { config.check_environment()? };
        let warnings = [config.warnings(), doubts].concat();
        Ok((config, warnings))
    });
    match (checked, args.format) {
        (Ok((config, warnings)), Format::Text) => {
            for warning in warnings {
                writeln!(io::stderr().lock(), "{warning}")?;
            }
            print(&format!(
                "{}: OK: listeners {}, routes {}, upstreams {}, log {}, config {}",
                path.display(),
                config.listen.len(),
                config.routes.len(),
                config.upstreams.len(),
                config.audit.log,
                config.hash(),
            ))
        }
        (Ok((_, warnings)), Format::Json) => print(&serde_json::to_string_pretty(&warnings)?),
        (Err(problems), Format::Text) => report(&problems),
        (Err(problems), Format::Json) => {
            print(&serde_json::to_string_pretty(&problems)?)?;
            Ok(exit::CONFIGURATION)
        }
    }
}

fn explain_request(args: &ExplainArgs) -> io::Result<u8> {
    let config = match load(args.config.config.as_deref()) {
        Ok(config) => config,
        Err(reported) => return reported,
    };
    let router = Router::new(&config.routes).expect("a configuration with ties is not loaded");
    let asking = Asking {
        method: &args.method,
        url: &args.url,
        actor: args.actor.as_deref(),
        groups: &args.groups,
        source: args.source.map(|source| source.to_canonical()),
    };
    let explanation = match explain(&config, &router, &asking) {
        Ok(explanation) => explanation,
        Err(error) => return fail(exit::USAGE, error),
    };
    match args.format {
        Format::Text => print(&explanation.to_string())?,
        Format::Json => print(&serde_json::to_string_pretty(&explanation)?)?,
    };
    Ok(if explanation.is_forwarded() { exit::CLEAN } else { exit::FAILED })
}

fn make_key(args: &KeygenArgs) -> io::Result<u8> {
    let name: LogName = match args.name.parse() {
        Ok(name) => name,
        Err(error) => return fail(exit::USAGE, error),
    };
    match keygen(&name, &args.output) {
        Ok(verifier) => print(&verifier.to_string()),
        Err(error) => fail(exit::FAILED, error),
    }
}

/// Bytes of the longest value that is hashed; no header is longer.
const MAX_VALUE: u64 = 1 << 20;

fn hash(args: &HashArgs) -> io::Result<u8> {
    let config = match load(args.config.config.as_deref()) {
        Ok(config) => config,
        Err(reported) => return reported,
    };
    let key = match config.audit.redact.read_hmac_key() {
        Ok(Some(key)) => key,
        Ok(None) => {
            return fail(
                exit::CONFIGURATION,
                anyhow::anyhow!("the configuration has no `audit.redact.hmac_key`"),
            );
        }
        Err(error) => return fail(exit::CONFIGURATION, error),
    };
    if args.value != "-" {
        return print(&key.hash(args.value.as_bytes()));
    }
    let mut value = Vec::new();
    io::stdin().lock().take(MAX_VALUE + 1).read_to_end(&mut value)?;
    if value.len() as u64 > MAX_VALUE {
        return fail(
            exit::USAGE,
            anyhow::anyhow!("standard input: expected a value of at most {MAX_VALUE} bytes"),
        );
    }
    let value = value.strip_suffix(b"\n").unwrap_or(&value);
    print(&key.hash(value.strip_suffix(b"\r").unwrap_or(value)))
}

fn completions(args: &CompletionsArgs) -> io::Result<u8> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "sealgate", &mut script);
    io::stdout().lock().write_all(&script)?;
    Ok(exit::CLEAN)
}
