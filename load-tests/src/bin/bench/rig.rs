//! What the measurements over sockets share: an upstream, a bare proxy and the gateway, each bound to its core; wrk.

use std::{
    env, fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::Path,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use load_tests::process::Process;
use sha2::{Digest, Sha256};

use crate::cores::{MEASURED, OTHER, bound};

/// Connections that are kept and used at once.
pub(crate) const CONNECTIONS: usize = 64;
/// What the gateway audits `buffered`.
pub(crate) const BUFFERED: &str = "/orders/42";
/// What it audits `strict`.
pub(crate) const STRICT: &str = "/payments/42";
const START: Duration = Duration::from_secs(20);
const STOP: Duration = Duration::from_secs(40);

/// A program that answers at an address.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) process: Process,
}

/// NGINX, which costs as little as an upstream can.
pub(crate) async fn upstream(folder: &Path) -> anyhow::Result<Server> {
    fs::create_dir_all(folder)?;
    let address = free_address()?;
    fs::write(folder.join("nginx.conf"), nginx_conf(address))?;
    let prefix = fs::canonicalize(folder)?;
    let mut nginx = bound(OTHER, "nginx");
    nginx.arg("-p").arg(&prefix).args(["-e", "stderr", "-c", "nginx.conf"]);
    let mut process = Process::start("nginx", &mut nginx, &folder.join("nginx.log"))?;
    process.ready(address, BUFFERED, START).await.context("the upstream does not run")?;
    Ok(Server { address, process })
}

fn nginx_conf(address: SocketAddr) -> String {
    let body = "x".repeat(1024);
    // One process: workers of a master that is killed would stay.
    format!(
        "daemon off; master_process off; pid nginx.pid; error_log stderr crit;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\n  access_log off; keepalive_requests 1000000000; client_body_temp_path tmp; proxy_temp_path tmp;\n  \
         fastcgi_temp_path tmp; uwsgi_temp_path tmp; scgi_temp_path tmp;\n  \
         server {{ listen {address}; location / {{ return 200 \"{body}\"; }} }}\n}}\n"
    )
}

/// The least that is a proxy on Pingora.
pub(crate) async fn bare_proxy(folder: &Path, upstream: SocketAddr) -> anyhow::Result<Server> {
    let address = free_address()?;
    let mut command = bound(MEASURED, env::current_exe()?.with_file_name("bare-proxy"));
    command.arg("--listen").arg(address.to_string()).arg("--to").arg(upstream.to_string());
    let mut process = Process::start("bare-proxy", &mut command, &folder.join("bare-proxy.log"))?;
    process.ready(address, BUFFERED, START).await?;
    Ok(Server { address, process })
}

/// `sealgate run`.
pub(crate) async fn gateway(folder: &Path, upstream: SocketAddr) -> anyhow::Result<Server> {
    let (address, metrics) = (free_address()?, free_address()?);
    let file = folder.join("sealgate.yaml");
    fs::write(&file, gateway_conf(address, metrics, upstream))?;
    let mut command = bound(MEASURED, env::current_exe()?.with_file_name("sealgate"));
    command.arg("run").arg("-c").arg(&file);
    let mut process = Process::start("sealgate", &mut command, &folder.join("sealgate.log"))?;
    process.ready(metrics, "/readyz", START).await?;
    Ok(Server { address, process })
}

/// The listeners of a gateway with TLS.
pub(crate) struct Secure {
    /// Clients show no certificate.
    pub(crate) tls: SocketAddr,
    /// They must.
    pub(crate) mtls: SocketAddr,
}

/// `sealgate run` with listeners for plain TCP, TLS and mTLS, and a route that has all of identity. Needs `ca.pem`,
/// `server.pem`, `server.key` and `jwks.json` in `folder`.
pub(crate) async fn secure_gateway(folder: &Path, upstream: SocketAddr) -> anyhow::Result<(Server, Secure)> {
    let (address, metrics) = (free_address()?, free_address()?);
    let secure = Secure { tls: free_address()?, mtls: free_address()? };
    let file = folder.join("secure.yaml");
    fs::write(folder.join("hmac.key"), Sha256::digest("a key that nobody else has"))?;
    fs::set_permissions(folder.join("hmac.key"), fs::Permissions::from_mode(0o600))?;
    fs::write(&file, secure_conf(address, &secure, metrics, upstream))?;
    let mut command = bound(MEASURED, env::current_exe()?.with_file_name("sealgate"));
    command.arg("run").arg("-c").arg(&file);
    let mut process = Process::start("sealgate", &mut command, &folder.join("sealgate.log"))?;
    process.ready(metrics, "/readyz", START).await?;
    Ok((Server { address, process }, secure))
}

fn secure_conf(plain: SocketAddr, secure: &Secure, metrics: SocketAddr, upstream: SocketAddr) -> String {
    let Secure { tls, mtls } = secure;
    let (issuer, audience) = (crate::token::ISSUER, crate::token::AUDIENCE);
    format!(
        "version: 1\n\
         listen:\n  \
         - {{ name: plain, address: {plain} }}\n  \
         - {{ name: tls, address: {tls}, tls: {{ certificates: [{{ cert: server.pem, key: server.key }}] }} }}\n  \
         - {{ name: mtls, address: {mtls}, tls: {{ certificates: [{{ cert: server.pem, key: server.key }}], client_auth: {{ mode: required, ca: ca.pem }} }} }}\n\
         metrics: {{ address: {metrics} }}\n\
         shutdown: {{ lameduck: 0s, timeout: 25s }}\n\
         upstreams: {{ orders: {{ endpoints: {{ static: [{upstream}] }} }} }}\n\
         identity: {{ corp: {{ jwt: {{ issuer: {issuer}, audience: [{audience}], jwks: {{ file: jwks.json }}, algorithms: [ES256] }} }} }}\n\
         routes:\n  \
         - {{ name: plain, match: {{ path_prefix: /plain }}, upstream: orders, auth: none, audit: {{ headers: [user-agent] }} }}\n  \
         - name: orders\n    match: {{ path_prefix: /orders }}\n    upstream: orders\n    auth: {{ any_of: [corp] }}\n    \
         allow:\n      \
         - {{ name: write, groups: [writers], methods: [POST, PUT] }}\n      \
         - {{ name: invoices, groups: [billing], paths: [\"/orders/*/invoices/**\"] }}\n      \
         - {{ name: read, groups: [ops], methods: [GET], sources: [127.0.0.0/8] }}\n    \
         audit: {{ action: orders.access, body_digest: sha256, headers: [user-agent, x-patient-id] }}\n\
         audit:\n  \
         log: bench.localhost/gw-2\n  \
         key: {{ file: secure.key, create: true }}\n  \
         create_log: true\n  \
         redact: {{ hmac_key: hmac.key, hmac: [request.headers.x-patient-id] }}\n  \
         spool: {{ path: secure-spool, min_free: 64MiB }}\n  \
         store: {{ directory: secure-store }}\n"
    )
}

/// Ends the gateway as an operator would: a figure of one that does not end well is none.
pub(crate) async fn stop(gateway: Server) -> anyhow::Result<()> {
    let stopped = gateway.process.stop(STOP).await?;
    ensure!(stopped.success(), "sealgate stopped with {stopped}");
    Ok(())
}

fn gateway_conf(at: SocketAddr, metrics: SocketAddr, upstream: SocketAddr) -> String {
    format!(
        "version: 1\n\
         listen: [{{ name: edge, address: {at} }}]\n\
         metrics: {{ address: {metrics} }}\n\
         shutdown: {{ lameduck: 0s, timeout: 25s }}\n\
         upstreams: {{ orders: {{ endpoints: {{ static: [{upstream}] }} }} }}\n\
         routes:\n  \
         - {{ name: orders, match: {{ path_prefix: /orders }}, upstream: orders, auth: none, audit: {{ headers: [user-agent] }} }}\n  \
         - {{ name: payments, match: {{ path_prefix: /payments }}, upstream: orders, auth: none, audit: {{ headers: [user-agent], durability: strict }} }}\n\
         audit:\n  \
         log: bench.localhost/gw-1\n  \
         key: {{ file: gateway.key, create: true }}\n  \
         create_log: true\n  \
         spool: {{ path: spool, min_free: 64MiB }}\n  \
         store: {{ directory: store }}\n"
    )
}

/// What wrk says of one run.
pub(crate) struct Load {
    pub(crate) requests: u64,
    pub(crate) p99: Duration,
}

/// Sends as many requests as can be answered for so many seconds.
pub(crate) async fn wrk(at: SocketAddr, path: &str, seconds: u64) -> anyhow::Result<Load> {
    let mut command = tokio::process::Command::from(bound(OTHER, "wrk"));
    command.args([
        "-t1",
        "--latency",
        &format!("-c{CONNECTIONS}"),
        &format!("-d{seconds}s"),
        &format!("http://{at}{path}"),
    ]);
    let output =
        command.kill_on_drop(true).output().await.context("cannot run wrk, which `make bench` installs")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "wrk failed: {text}{}", String::from_utf8_lossy(&output.stderr));
    if let Some(bad) = text.lines().find(|line| line.contains("Non-2xx") || line.contains("Socket errors")) {
        bail!("not every request to {at} was answered with 200: {}", bad.trim());
    }
    parse(&text).with_context(|| format!("wrk did not say what it did: {text}"))
}

fn parse(text: &str) -> Option<Load> {
    let requests = text.lines().find_map(|line| line.trim().split_once(" requests in ")?.0.parse().ok())?;
    let p99 = text.lines().find_map(|line| duration(line.trim().strip_prefix("99%")?.trim()))?;
    Some(Load { requests, p99 })
}

/// `1.53ms`, as wrk writes it.
fn duration(text: &str) -> Option<Duration> {
    let unit = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit);
    let seconds = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()
}

/// An address that nothing listens on now.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_prints_is_read() {
        let text = "  Latency Distribution\n     50%    1.20ms\n     99%  980.00us\n  34071 requests in 1.10s, 40.00MB read\n";
        let load = parse(text).expect("whole");
        assert_eq!((load.requests, load.p99), (34_071, Duration::from_micros(980)));
        assert_eq!(duration("1.50s"), Some(Duration::from_millis(1500)));
        assert_eq!(duration("fast"), None);
    }
}
