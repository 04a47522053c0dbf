//! `sealgate proxy`: a configuration made from a command line, in the same words as any other.

use std::fmt::Write as _;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use audit_writer::checkpoint::{LogName, LogNameError};
use audit_writer::key_file::{self, KeyFileError};

use crate::cli::{ProxyArgs, Switchable};
use crate::config::{Config, Durability, Problems};

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
    #[error(transparent)]
    Key(#[from] KeyFileError),
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
    /// `--data` cannot be written into a configuration.
    #[error("--data {}: expected a path in UTF-8", .0.display())]
    Data(PathBuf),
    /// What the command line amounts to is no configuration.
    #[error(transparent)]
    Configuration(#[from] Problems),
}

impl StandaloneError {
    /// Whether it is the command line that is wrong, rather than what it was found to mean.
    pub fn is_usage(&self) -> bool {
        matches!(self, StandaloneError::To(..) | StandaloneError::Log(_) | StandaloneError::Data(_))
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
        let data = args.data.to_str().ok_or_else(|| StandaloneError::Data(args.data.clone()))?;
        let admin = listener(args.admin, ADMIN, "admin", args.listen, &mut warnings);
        let metrics = listener(args.metrics, METRICS, "metrics", args.listen, &mut warnings);
        let durability = args.durability.map(Durability::from);
        let text = text(args.listen, data, &to, &log, durability, admin, metrics);
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
        line("durability", self.config.durability().as_str().to_owned());
        line("data", data.to_string());
        if let Some(admin) = self.config.admin {
            line("status", format!("http://{}/status", admin.address));
        }
        line("search", format!("sealaudit search {data}"));
        line("verify", format!("sealaudit verify {data} --keys {data}/gateway.pub"));
        banner
    }
}

/// What `--to` comes to.
struct To {
    address: SocketAddr,
    /// The name that its certificate must hold for, where it is spoken to over TLS.
    verified: Option<String>,
}

/// The address behind `--to`. Of several, the first that accepts a connection; `localhost` often has two, and a server
/// on only one of them.
fn resolve(to: &str, warnings: &mut Vec<String>) -> Result<To, StandaloneError> {
    let wrong = |why| StandaloneError::To(to.to_owned(), why);
    let (authority, tls) = match to.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (rest, false),
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (rest, true),
        _ => return Err(wrong("expected http://HOST[:PORT] or https://HOST[:PORT]")),
    };
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    if authority.contains(['/', '?', '#', '@']) || authority.is_empty() {
        return Err(wrong(
            "expected http://HOST[:PORT] or https://HOST[:PORT], without path, query or user: requests keep their own",
        ));
    }
    let port_given = authority.rfind(':').is_some_and(|at| !authority[at..].contains(']'));
    let usual = if tls { 443 } else { 80 };
    let host = if port_given { authority.to_owned() } else { format!("{authority}:{usual}") };
    let name = host.rsplit_once(':').map_or(&*host, |(name, _)| name);
    let verified = tls.then(|| name.trim_matches(['[', ']']).to_ascii_lowercase());
    let addresses = host.to_socket_addrs().map(Vec::from_iter);
    let mut addresses =
        addresses.map_err(|source| StandaloneError::Resolve { host: host.clone(), source })?;
    addresses.sort_by_key(SocketAddr::is_ipv6);
    let answers =
        |address: &&SocketAddr| TcpStream::connect_timeout(address, Duration::from_millis(500)).is_ok();
    match (addresses.iter().find(answers), addresses.first()) {
        (Some(address), _) => Ok(To { address: *address, verified }),
        (None, Some(address)) => {
            warnings
                .push(format!("nothing answers at {address} yet: requests are answered 502 until it does"));
            Ok(To { address: *address, verified })
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
fn key_name(path: &Path) -> Result<Option<LogName>, KeyFileError> {
    match key_file::read(path) {
        Ok(key) => Ok(Some(key.name().clone())),
        Err(KeyFileError::Absent { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Where a listener goes: as asked for, or at its default address if that is free.
fn listener(
    asked: Option<Switchable>,
    default: &str,
    name: &str,
    listen: SocketAddr,
    warnings: &mut Vec<String>,
) -> Option<SocketAddr> {
    let free = || match TcpListener::bind(default).and_then(|listener| listener.local_addr()) {
        Ok(address) if address.port() == listen.port() => Err("--listen has this port".to_owned()),
        Ok(address) => Ok(address),
        Err(error) => Err(error.to_string()),
    };
    match asked {
        Some(Switchable::At(address)) => Some(address),
        Some(Switchable::Off) => None,
        None => free()
            .inspect_err(|why| {
                warnings.push(format!(
                    "no {name} listener at {default}: {why}; --{name} gives it another address"
                ));
            })
            .ok(),
    }
}

/// The configuration as text: what a file would say.
fn text(
    listen: SocketAddr,
    data: &str,
    to: &To,
    log: &LogName,
    durability: Option<Durability>,
    admin: Option<SocketAddr>,
    metrics: Option<SocketAddr>,
) -> String {
    let data = |name: &str| quoted(&format!("{}/{name}", data.trim_end_matches('/')));
    let address = |at: SocketAddr| quoted(&at.to_string());
    let extra = |name: &str, at: Option<SocketAddr>| {
        at.map_or_else(String::new, |at| format!("{name}: {{ address: {} }}\n", address(at)))
    };
    format!(
        "\
# made by: sealgate proxy
version: 1
listen:
  - name: proxy
    address: {listen}
    limits: {{ body_bytes: 1GiB, connections_per_address: 10000 }}
{admin}{metrics}shutdown: {{ lameduck: 0s, timeout: 25s }}
upstreams:
  default: {{ endpoints: {{ static: [{to}] }}{tls} }}
routes:
  - name: default
    match: {{ path_prefix: / }}
    upstream: default
    timeout: none
    auth: none
    audit: {{ headers: [user-agent] }}
audit:
  log: {log}
  key: {{ file: {key}, create: true }}
  create_log: true
{durability}  spool: {{ path: {spool}, min_free: 256MiB }}
  store: {{ directory: {store} }}
",
        listen = address(listen),
        to = address(to.address),
        tls = to
            .verified
            .as_ref()
            .map_or_else(String::new, |name| format!(", tls: {{ sni: {} }}", quoted(name))),
        durability = durability.map_or_else(String::new, |mode| format!("  durability: {}\n", mode.as_str())),
        admin = extra("admin", admin),
        metrics = extra("metrics", metrics),
        key = data("gateway.key"),
        spool = data("spool"),
        store = data("store"),
    )
}

/// A text in double quotes: JSON's escapes are YAML's too. A `${` in it is no variable.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace("${", "$${")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::keygen::keygen;

    #[derive(Parser)]
    struct Typed {
        #[command(flatten)]
        args: ProxyArgs,
    }

    fn args(data: &Path, more: &[&str]) -> ProxyArgs {
        let data = data.to_str().unwrap();
        let typed = ["proxy", "--data", data, "--admin", "off", "--metrics", "off"];
        Typed::parse_from(typed.iter().chain(more)).args
    }

    fn refused(more: &[&str]) -> String {
        Standalone::new(&args(Path::new("d"), more)).unwrap_err().to_string()
    }

    #[test]
    fn one_server_is_a_whole_configuration() {
        let data = tempfile::tempdir().unwrap();
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = server.local_addr().unwrap();
        let url = format!("http://localhost:{}/", to.port());
        let made = Standalone::new(&args(data.path(), &["--to", &url])).unwrap();
        assert_eq!(made.warnings, Vec::<String>::new());
        assert_eq!(
            made.config.upstreams["default"].endpoints.fixed,
            [to],
            "the address that answers is taken"
        );
        assert_eq!(made.config.audit.log.as_str(), LOG);
        assert_eq!(made.config.audit.key.file, data.path().join("gateway.key"));
        assert_eq!(made.config.audit.store.directory, data.path().join("store"));
        assert!(made.config.audit.create_log && made.config.audit.key.create);
        assert!(made.config.admin.is_none() && made.config.metrics.is_none());
        assert_eq!(made.config.audit.durability, None, "it is written where it was asked for only");
        let strict = Standalone::new(&args(data.path(), &["--to", &url, "--durability", "strict"])).unwrap();
        assert_eq!(strict.config.audit.durability, Some(Durability::Strict));
        let again = Config::from_text("again", made.config.text()).unwrap();
        assert_eq!(again.sha256(), made.config.sha256());
    }

    #[test]
    fn any_directory_can_hold_the_data() {
        let parent = tempfile::tempdir().unwrap();
        for name in
            ["a b", "${HOME}", "$${x}", "\"quoted\" \\ 'it'", "\u{e9}\u{1f512}", "# no: comment", "trailing/"]
        {
            let data = parent.path().join(name);
            let made = Standalone::new(&args(&data, &["--to", "http://127.0.0.1:1"])).unwrap();
            assert_eq!(made.config.audit.spool.path, data.join("spool"));
        }
    }

    #[test]
    fn a_key_that_is_there_names_the_log() {
        let data = tempfile::tempdir().unwrap();
        keygen(&"audit.example.com/gw-7".parse().unwrap(), data.path()).unwrap();
        let made = |more: &[&str]| {
            Standalone::new(&args(data.path(), &[&["--to", "http://127.0.0.1:1"], more].concat()))
        };
        assert_eq!(made(&[]).unwrap().config.audit.log.as_str(), "audit.example.com/gw-7");
        assert_eq!(
            made(&["--log", "audit.example.com/gw-7"]).unwrap().config.audit.log.as_str(),
            "audit.example.com/gw-7"
        );
        let other = made(&["--log", "audit.example.com/gw-8"]).unwrap_err();
        assert!(matches!(other, StandaloneError::OtherLog { .. }) && !other.is_usage());
        std::fs::write(data.path().join("gateway.key"), "no key").unwrap();
        assert!(matches!(made(&[]), Err(StandaloneError::Key(_))));
    }

    #[test]
    fn what_cannot_be_forwarded_to_is_refused() {
        for to in [
            "localhost",
            "127.0.0.1:80",
            "http://",
            "http:///",
            "http://h/path",
            "http://u@h",
            "http://h?q",
            "ftp://h",
            "",
        ] {
            assert!(
                refused(&["--to", to]).starts_with(&format!("--to {to}: expected http://HOST[:PORT]")),
                "{to}"
            );
        }
        assert!(
            refused(&["--to", "http://127.0.0.1:99999"]).starts_with("--to: no address for 127.0.0.1:99999")
        );
        assert!(refused(&["--to", "http://127.0.0.1:1", "--log", "UPPER"]).starts_with("--log: "));
    }

    #[test]
    fn a_server_behind_tls_is_verified_by_its_name() {
        let verified = |to: &str| {
            let made = Standalone::new(&args(Path::new("d"), &["--to", to])).unwrap();
            let upstream = made.config.upstreams.into_values().next().unwrap();
            (upstream.endpoints.fixed[0].port(), upstream.tls.map(|tls| tls.sni.as_str().to_owned()))
        };
        assert_eq!(verified("https://LOCALHOST:1"), (1, Some("localhost".into())));
        assert_eq!(verified("https://127.0.0.1"), (443, Some("127.0.0.1".into())));
        assert_eq!(verified("https://[::1]:1"), (1, Some("::1".into())));
        assert_eq!(verified("http://127.0.0.1"), (80, None));
    }

    #[test]
    fn a_server_that_does_not_answer_yet_is_a_warning() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let made = Standalone::new(&args(Path::new("d"), &["--to", &format!("http://{closed}")])).unwrap();
        assert!(made.warnings[0].starts_with(&format!("nothing answers at {closed} yet")));
    }

    #[test]
    fn a_default_port_that_is_taken_is_left_out_with_a_warning() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let listen = "127.0.0.1:8080".parse().unwrap();
        let mut warnings = Vec::new();
        assert_eq!(listener(None, &address.to_string(), "admin", listen, &mut warnings), None);
        assert!(warnings[0].contains(&address.to_string()) && warnings[0].contains("--admin"));
        drop(taken);
        assert_eq!(
            listener(None, &address.to_string(), "admin", address, &mut warnings),
            None,
            "it is --listen's own"
        );
        assert_eq!(listener(None, &address.to_string(), "admin", listen, &mut warnings), Some(address));
        assert_eq!(
            listener(Some(Switchable::Off), &address.to_string(), "admin", listen, &mut warnings),
            None
        );
    }
}
