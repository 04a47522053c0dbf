//! `sealgate proxy`: a configuration made from a command line, in the same words as any other.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use audit_writer::checkpoint::{KeyError, LogName, LogNameError, SigningKey};

use crate::cli::{ProxyArgs, Switchable};
use crate::config::{Config, Problems};

/// The log's name where neither the command line nor a key gives one.
const LOG: &str = "sealgate.localhost/gw-1";

/// Where admin and metrics listen, when these ports are free.
const ADMIN: &str = "127.0.0.1:9911";
const METRICS: &str = "127.0.0.1:9912";

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum StandaloneError {
    /// `--to` is no URL that can be forwarded to.
    #[error("--to {0}: {1}")]
    To(String, &'static str),
    /// `--to` names a host that has no address.
    #[error("--to: no address for {host}: {source}")]
    Resolve {
        /// The host and port.
        host: String,
        /// Why not.
        source: io::Error,
    },
    /// `--log` is no name for a log.
    #[error("--log: {0}")]
    Log(#[from] LogNameError),
    /// The key that is there cannot be read.
    #[error("{}: {source}", path.display())]
    KeyFile {
        /// The key file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The key that is there is none.
    #[error("{}: {source}", path.display())]
    Key {
        /// The key file.
        path: PathBuf,
        /// Why not.
        source: KeyError,
    },
    /// The key that is there belongs to another log.
    #[error("{} is the key of the log `{found}`, not of `{expected}`: leave --log out, or give another --data", path.display())]
    OtherLog {
        /// The key file.
        path: PathBuf,
        /// What `--log` says.
        expected: LogName,
        /// What the key says.
        found: LogName,
    },
    /// What the command line amounts to is no configuration.
    #[error("{0}")]
    Configuration(#[from] Problems),
}

impl StandaloneError {
    /// Whether it is the command line that is wrong, rather than what it was found to mean.
    pub fn is_usage(&self) -> bool {
        matches!(self, StandaloneError::To(..) | StandaloneError::Log(_))
    }
}

/// A gateway that forwards everything to one server.
#[derive(Debug)]
#[non_exhaustive]
pub struct Standalone {
    /// Its configuration.
    pub config: Config,
    /// What the operator should know, one line each.
    pub warnings: Vec<String>,
}

impl Standalone {
    /// Makes the configuration. Resolves the server's name, reads the key that is there already, and tries the default
    /// ports of the admin and metrics listeners.
    ///
    /// # Errors
    ///
    /// When the command line does not amount to a configuration.
    pub fn new(args: &ProxyArgs) -> Result<Standalone, StandaloneError> {
        let mut warnings = Vec::new();
        let to = resolve(&args.to, &mut warnings)?;
        let log = log_name(args)?;
        let admin = listener(args.admin, ADMIN, "admin", &mut warnings);
        let metrics = listener(args.metrics, METRICS, "metrics", &mut warnings);
        let text = text(args, to, &log, admin, metrics);
        let config = Config::from_text("sealgate proxy", text)?;
        Ok(Standalone { config, warnings })
    }

    /// What to tell the operator once it serves.
    pub fn banner(&self, args: &ProxyArgs) -> String {
        let data = args.data.display();
        let mut banner = format!("listening on   http://{}\nforwarding to  {}\n", args.listen, args.to);
        let mut line = |name: &str, value: String| {
            let _ = writeln!(banner, "{name:<15}{value}");
        };
        line("log", self.config.audit.log.to_string());
        line("data", data.to_string());
        if let Some(admin) = self.config.admin {
            line("status", format!("http://{}/status", admin.address));
        }
        line("search", format!("sealaudit search {data}"));
        line("verify", format!("sealaudit verify {data}/store --keys {data}/gateway.pub"));
        banner
    }
}

/// The address behind `--to`. Of several, the first that accepts a connection; `localhost` often has two, and a server
/// on only one of them.
fn resolve(to: &str, warnings: &mut Vec<String>) -> Result<SocketAddr, StandaloneError> {
    let wrong = |why| StandaloneError::To(to.to_owned(), why);
    let authority = match to.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("https") => {
            return Err(wrong("TLS to an upstream is not implemented in this version"));
        }
        _ => return Err(wrong("expected http://HOST[:PORT]")),
    };
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    if authority.contains(['/', '?', '#', '@']) || authority.is_empty() {
        return Err(wrong(
            "expected http://HOST[:PORT], without path, query or user: requests keep their own",
        ));
    }
    let port_given = authority.rfind(':').is_some_and(|at| !authority[at..].contains(']'));
    let host = if port_given { authority.to_owned() } else { format!("{authority}:80") };
    let addresses = host.to_socket_addrs().map(Vec::from_iter);
    let mut addresses =
        addresses.map_err(|source| StandaloneError::Resolve { host: host.clone(), source })?;
    addresses.sort_by_key(SocketAddr::is_ipv6);
    let answers =
        |address: &&SocketAddr| TcpStream::connect_timeout(address, Duration::from_millis(500)).is_ok();
    match (addresses.iter().find(answers), addresses.first()) {
        (Some(address), _) => Ok(*address),
        (None, Some(address)) => {
            warnings
                .push(format!("nothing answers at {address} yet: requests are answered 502 until it does"));
            Ok(*address)
        }
        (None, None) => Err(wrong("this host has no address")),
    }
}

/// `--log`, which a key that is there must agree with; else the key's name; else the default.
fn log_name(args: &ProxyArgs) -> Result<LogName, StandaloneError> {
    let wanted = args.log.as_deref().map(str::parse::<LogName>).transpose()?;
    let path = args.data.join("gateway.key");
    let found = key_name(&path)?;
    match (wanted, found) {
        (Some(expected), Some(found)) if expected != found => {
            Err(StandaloneError::OtherLog { path, expected, found })
        }
        (Some(name), _) | (None, Some(name)) => Ok(name),
        (None, None) => Ok(LOG.parse()?),
    }
}

/// The name of the key in a file, where there is one.
fn key_name(path: &Path) -> Result<Option<LogName>, StandaloneError> {
    match fs::read_to_string(path) {
        Ok(text) => {
            let key = text.trim().parse::<SigningKey>();
            let key = key.map_err(|source| StandaloneError::Key { path: path.to_owned(), source })?;
            Ok(Some(key.name().clone()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StandaloneError::KeyFile { path: path.to_owned(), source }),
    }
}

/// Where a listener goes: as asked for, or at its default address if that is free.
fn listener(
    asked: Option<Switchable>,
    default: &str,
    name: &str,
    warnings: &mut Vec<String>,
) -> Option<SocketAddr> {
    match asked {
        Some(Switchable::At(address)) => Some(address),
        Some(Switchable::Off) => None,
        None => match TcpListener::bind(default).and_then(|listener| listener.local_addr()) {
            Ok(address) => Some(address),
            Err(error) => {
                warnings.push(format!(
                    "no {name} listener: {default}: {error}; give another address by --{name}"
                ));
                None
            }
        },
    }
}

/// The configuration as text: what a file would say.
fn text(
    args: &ProxyArgs,
    to: SocketAddr,
    log: &LogName,
    admin: Option<SocketAddr>,
    metrics: Option<SocketAddr>,
) -> String {
    let data = |name: &str| quoted(&args.data.join(name));
    let extra = |name: &str, at: Option<SocketAddr>| {
        at.map_or_else(String::new, |at| format!("{name}: {{ address: \"{at}\" }}\n"))
    };
    format!(
        "\
# made by: sealgate proxy
version: 1
listen:
  - name: proxy
    address: \"{listen}\"
    limits: {{ body_bytes: 1GiB, connections_per_address: 10000 }}
{admin}{metrics}shutdown: {{ lameduck: 0s, timeout: 25s }}
upstreams:
  default: {{ endpoints: {{ static: [\"{to}\"] }} }}
routes:
  - {{ name: default, match: {{ path_prefix: / }}, upstream: default, timeout: none, auth: none, audit: {{ headers: [user-agent] }} }}
audit:
  log: {log}
  key: {{ file: {key}, create: true }}
  create_log: true
  spool: {{ path: {spool}, min_free: 256MiB }}
  store: {{ directory: {store} }}
",
        listen = args.listen,
        admin = extra("admin", admin),
        metrics = extra("metrics", metrics),
        key = data("gateway.key"),
        spool = data("spool"),
        store = data("store"),
    )
}

/// A path in double quotes: JSON's escapes are YAML's too. A `${` in it is no variable.
fn quoted(path: &Path) -> String {
    serde_json::Value::from(path.display().to_string()).to_string().replace("${", "$${")
}
