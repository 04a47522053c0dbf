//! The command line of `sealgate`: its types and its help.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::Durability;

/// What `sealgate` exits with.
pub mod exit {
    /// Done, or stopped cleanly.
    pub const CLEAN: u8 = 0;
    /// Something unexpected; of `explain`: the request would not be forwarded.
    pub const FAILED: u8 = 1;
    /// The command line cannot be understood.
    pub const USAGE: u8 = 2;
    /// The evidence is broken: a split log, another key.
    pub const EVIDENCE: u8 = 70;
    /// Try again: an address or the spool is taken, the store is away.
    pub const AGAIN: u8 = 75;
    /// The configuration cannot be meant.
    pub const CONFIGURATION: u8 = 78;
}

/// A reverse proxy whose access log is evidence: complete, immutable, and checkable by anyone who has the public key.
#[derive(Debug, Parser)]
#[command(name = "sealgate", version, max_term_width = 110, arg_required_else_help = true)]
#[command(after_help = "\
Begin without any file:
  sealgate proxy --to http://127.0.0.1:3000
  curl http://127.0.0.1:8080/
  sealaudit search sealgate-data

Exit codes: 0 clean · 1 failed, or nothing matched · 2 usage · 70 evidence broken · 75 try again · 78 configuration")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What `sealgate` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Forward everything to one server, audited, without a configuration file.
    Proxy(ProxyArgs),
    /// Serve what the configuration says.
    Run(RunArgs),
    /// Report everything that is wrong with a configuration, at once.
    Validate(ValidateArgs),
    /// Show where a request would go, as what, and why.
    Explain(ExplainArgs),
    /// Make the key that signs a log's checkpoints.
    Keygen(KeygenArgs),
    /// Print what records have in place of a hashed value, to search for it.
    Hash(HashArgs),
    /// Print the JSON Schema of the configuration, for editors.
    Schema,
    /// Print the version, the format it writes, and how it was built.
    Version,
    /// Print a script that completes commands in a shell.
    Completions(CompletionsArgs),
}

/// `sealgate proxy`
#[derive(Debug, Args)]
#[command(after_help = "\
Key, spool and a directory store are made below --data; everything is kept when you stop, and gone on with the next time.

Examples:
  sealgate proxy --to http://127.0.0.1:3000
  sealgate proxy --to http://127.0.0.1:3000 --durability strict
  sealgate proxy --to http://app.internal:8000 --listen 0.0.0.0:80 --data /var/lib/sealgate --log audit.example.com/gw-1
  sealaudit search sealgate-data --status 5xx
  sealaudit verify sealgate-data --keys sealgate-data/gateway.pub")]
pub struct ProxyArgs {
    /// The server to forward to: `http://HOST[:PORT]`, or `https://HOST[:PORT]`, which is verified by the system's authorities
    #[arg(long, value_name = "URL")]
    pub to: String,
    /// Where clients connect to
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// The directory of key, spool and store
    #[arg(long, value_name = "DIR", default_value = "./sealgate-data")]
    pub data: PathBuf,
    /// The log's name; without it the existing key's, else sealgate.localhost/gw-1
    #[arg(long, value_name = "NAME")]
    pub log: Option<String>,
    /// What must be durable before the server sees a request; without it `buffered`
    #[arg(long, value_name = "MODE")]
    pub durability: Option<Mode>,
    /// The listener for /status and /metrics, or `off`; without it 127.0.0.1:9911, when that is free
    #[arg(long, value_name = "ADDRESS|off")]
    pub admin: Option<Switchable>,
    /// The listener for /metrics, /livez and /readyz, or `off`; without it 127.0.0.1:9912, when that is free
    #[arg(long, value_name = "ADDRESS|off")]
    pub metrics: Option<Switchable>,
}

/// A durability on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Mode {
    /// A record that the request came is synced first; refused with 503 when that cannot be.
    Strict,
    /// A place for its record is reserved first; refused with 503 when there is none.
    Buffered,
    /// Nothing: it is served, and what cannot be recorded is declared.
    BestEffort,
}

impl From<Mode> for Durability {
    fn from(mode: Mode) -> Durability {
        match mode {
            Mode::Strict => Durability::Strict,
            Mode::Buffered => Durability::Buffered,
            Mode::BestEffort => Durability::BestEffort,
        }
    }
}

/// An address, or the word `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switchable {
    /// No listener.
    Off,
    /// A listener here.
    At(SocketAddr),
}

impl std::str::FromStr for Switchable {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Switchable::Off),
            _ => text
                .parse()
                .map(Switchable::At)
                .map_err(|_| "expected an IP address and port such as 127.0.0.1:9911, or `off`".into()),
        }
    }
}

/// Where a configuration is found.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// A file, or a directory whose *.yaml are merged; without it ./sealgate.yaml, else /etc/sealgate/sealgate.yaml
    #[arg(short, long, value_name = "FILE|DIR", env = "SEALGATE_CONFIG")]
    pub config: Option<PathBuf>,
}

/// `sealgate run`
#[derive(Debug, Args)]
#[command(after_help = "\
SIGTERM and SIGINT: /readyz says 503 for shutdown.lameduck, then no more connections are accepted, requests in flight are
finished, the log is stopped, sealed and shipped, and the exit code is 0.

RUST_LOG chooses among the lines on standard error (`warn`, `gateway=debug`, …). The libraries below are never heard beneath
warnings, whatever it says: what they tell there holds what clients send, credentials as well.

Examples:
  sealgate run
  sealgate run -c /etc/sealgate/sealgate.yaml
  RUST_LOG=debug sealgate run -c conf/quickstart.yaml")]
pub struct RunArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub config: ConfigArgs,
}

/// `sealgate validate`
#[derive(Debug, Args)]
#[command(after_help = "\
Every error has its place, one a line, sorted:
  sealgate.yaml:31:7: unknown key `upstreem` in routes[0] (value: orders): did you mean `upstream`?
What is understood and has no effect is a warning, which leaves the exit code at 0.

Examples:
  sealgate validate
  sealgate validate --no-environment -c conf/production.yaml        in CI, where the gateway's files are not
  helm template . | yq '.data[\"sealgate.yaml\"]' | sealgate validate -c -")]
pub struct ValidateArgs {
    /// A file, a directory whose *.yaml are merged, or - for standard input; without it as for `run`
    #[arg(short, long, value_name = "FILE|DIR|-", env = "SEALGATE_CONFIG")]
    pub config: Option<PathBuf>,
    /// Touch no file, key or store that the configuration names
    #[arg(long)]
    pub no_environment: bool,
    /// How errors are printed; json is an array of objects
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Format,
}

/// `sealgate explain`
#[derive(Debug, Args)]
#[command(after_help = "\
Exit code 1 when the request would not be forwarded: no route takes it, it is refused, or nobody may send it.
Without --actor nobody is known; without --source the client is in no network.

Examples:
  sealgate explain GET http://api.example.com/orders/42
  sealgate explain --actor alice@example.com --groups ops,dev --source 10.1.2.3 DELETE https://api.example.com/orders/42
  sealgate explain -c conf/quickstart.yaml --format json POST 'http://localhost:8080/users/../orders?page=2'")]
pub struct ExplainArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub config: ConfigArgs,
    /// Who asks: the id that an identity provider of the route vouches for
    #[arg(long, value_name = "ACTOR")]
    pub actor: Option<String>,
    /// The groups that the actor is in
    #[arg(long, value_name = "GROUP,…", value_delimiter = ',', requires = "actor")]
    pub groups: Vec<String>,
    /// The client's address
    #[arg(long, value_name = "IP")]
    pub source: Option<IpAddr>,
    /// How the answer is printed
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Format,
    /// The method, such as GET
    pub method: String,
    /// The URL as a client would ask for it: `http://HOST[:PORT]/PATH[?QUERY]`
    pub url: String,
}

/// `sealgate keygen`
#[derive(Debug, Args)]
#[command(after_help = "\
Keep gateway.key on the gateway alone; give gateway.pub to whoever is to verify. Existing files are never overwritten.

Example:
  sealgate keygen audit.example.com/gw-1 -o /var/lib/sealgate")]
pub struct KeygenArgs {
    /// The key's name, which is the log's: audit.example.com/gw-1
    pub name: String,
    /// The directory for gateway.key (mode 0600) and gateway.pub
    #[arg(short, long, value_name = "DIR")]
    pub output: PathBuf,
}

/// `sealgate hash`
#[derive(Debug, Args)]
#[command(after_help = "\
The key is that of `audit.redact.hmac_key`. A value on the command line shows in the list of processes and in your shell's
history: `-` reads it from standard input, without the newline at its end.

Examples:
  printf %s p-4711 | sealgate hash -
  sealaudit search STORE --format ndjson | grep -F \"$(sealgate hash -c /etc/sealgate/sealgate.yaml p-4711)\"")]
pub struct HashArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub config: ConfigArgs,
    /// The value, or - for standard input
    #[arg(value_name = "VALUE|-")]
    pub value: std::ffi::OsString,
}

/// `sealgate completions`
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sealgate completions bash > /etc/bash_completion.d/sealgate")]
pub struct CompletionsArgs {
    /// The shell
    pub shell: clap_complete::Shell,
}

/// How something is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}
