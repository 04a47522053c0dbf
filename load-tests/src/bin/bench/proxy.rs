//! Processor time a request: the whole gateway, audited, against a bare proxy on Pingora.
//!
//! The proxy under test has one core, wrk and the upstream have the other, and the two proxies take turns, so that a
//! machine that grows slower grows slower for both.

use std::{
    env, fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use load_tests::process::Process;

use crate::{
    cores::{MEASURED, OTHER, bound},
    median::median,
    report::{Line, Report},
};

const ROUNDS: usize = 4;
const SECONDS: u64 = 5;
const CONNECTIONS: usize = 64;
const START: Duration = Duration::from_secs(20);
const STOP: Duration = Duration::from_secs(40);

/// What one round came to.
struct Round {
    microseconds: f64,
    per_second: f64,
}

/// Measures both.
pub(crate) fn measure(folder: &Path) -> anyhow::Result<Report> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(take_turns(folder))
}

async fn take_turns(folder: &Path) -> anyhow::Result<Report> {
    fs::create_dir_all(folder)?;
    let upstream = upstream(folder).await?;
    let (mut bare, bare_at) = bare_proxy(folder, upstream.address).await?;
    let (mut gateway, gateway_at) = gateway(folder, upstream.address).await?;
    for at in [bare_at, gateway_at] {
        wrk(at, 1).await?;
    }
    let (mut of_bare, mut of_gateway) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        of_bare.push(round(&mut bare, bare_at).await?);
        of_gateway.push(round(&mut gateway, gateway_at).await?);
    }
    let stopped = gateway.stop(STOP).await?;
    ensure!(stopped.success(), "sealgate stopped with {stopped}");
    let time = |rounds: &[Round]| median(rounds.iter().map(|round| round.microseconds));
    let rate = |rounds: &[Round]| median(rounds.iter().map(|round| round.per_second));
    let (ours, theirs) = (time(&of_gateway), time(&of_bare));
    Ok(Report {
        title: "processor time a request",
        how: format!(
            "all threads of the proxy, on core {MEASURED}; wrk ({CONNECTIONS} connections) and NGINX, 1 KiB a reply, on core \
             {OTHER}; {ROUNDS} rounds of {SECONDS} s each in turn, medians"
        ),
        lines: vec![
            Line {
                what: "sealgate run: routing, metrics, buffered audit".into(),
                figure: format!("{ours:.1} µs  ({:.0} requests/s)", rate(&of_gateway)),
                ratio: Some(ours / theirs),
                target: "at most 1.20 ×",
            },
            Line::anchor(
                "bare proxy on Pingora",
                format!("{theirs:.1} µs  ({:.0} requests/s)", rate(&of_bare)),
            ),
        ],
    })
}

async fn round(proxy: &mut Process, at: SocketAddr) -> anyhow::Result<Round> {
    let before = proxy.processor_time()?;
    let requests = wrk(at, SECONDS).await?;
    let used = proxy.processor_time()? - before;
    Ok(Round {
        microseconds: used.as_secs_f64() * 1e6 / requests as f64,
        per_second: requests as f64 / SECONDS as f64,
    })
}

/// Sends as many requests as can be answered for so many seconds, and returns how many were.
async fn wrk(at: SocketAddr, seconds: u64) -> anyhow::Result<u64> {
    let mut command = tokio::process::Command::from(bound(OTHER, "wrk"));
    command.args([
        "-t1",
        &format!("-c{CONNECTIONS}"),
        &format!("-d{seconds}s"),
        &format!("http://{at}/orders/42"),
    ]);
    let output =
        command.kill_on_drop(true).output().await.context("cannot run wrk, which `make bench` installs")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "wrk failed: {text}{}", String::from_utf8_lossy(&output.stderr));
    if let Some(bad) = text.lines().find(|line| line.contains("Non-2xx") || line.contains("Socket errors")) {
        bail!("not every request to {at} was answered with 200: {}", bad.trim());
    }
    let count = text.lines().find_map(|line| line.trim().split_once(" requests in ")?.0.parse().ok());
    count.with_context(|| format!("wrk did not say how many requests it sent: {text}"))
}

/// NGINX, which costs as little as an upstream can.
struct Upstream {
    address: SocketAddr,
    _process: Process,
}

async fn upstream(folder: &Path) -> anyhow::Result<Upstream> {
    let address = free_address()?;
    let file = folder.join("nginx.conf");
    fs::write(&file, nginx_conf(address))?;
    let prefix = fs::canonicalize(folder)?;
    let mut nginx = bound(OTHER, "nginx");
    nginx.arg("-p").arg(&prefix).args(["-e", "stderr", "-c", "nginx.conf"]);
    let mut process = Process::start("nginx", &mut nginx, &folder.join("nginx.log"))?;
    process.ready(address, "/orders/42", START).await.context("the upstream does not run")?;
    Ok(Upstream { address, _process: process })
}

fn nginx_conf(address: SocketAddr) -> String {
    let body = "x".repeat(1024);
    format!(
        "daemon off; worker_processes 1; pid nginx.pid; error_log stderr crit;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\n  access_log off; keepalive_requests 1000000000; client_body_temp_path tmp; proxy_temp_path tmp;\n  \
         fastcgi_temp_path tmp; uwsgi_temp_path tmp; scgi_temp_path tmp;\n  \
         server {{ listen {address}; location / {{ return 200 \"{body}\"; }} }}\n}}\n"
    )
}

async fn bare_proxy(folder: &Path, upstream: SocketAddr) -> anyhow::Result<(Process, SocketAddr)> {
    let at = free_address()?;
    let mut command = bound(MEASURED, env::current_exe()?.with_file_name("bare-proxy"));
    command.arg("--listen").arg(at.to_string()).arg("--to").arg(upstream.to_string());
    let mut process = Process::start("bare-proxy", &mut command, &folder.join("bare-proxy.log"))?;
    process.ready(at, "/orders/42", START).await?;
    Ok((process, at))
}

async fn gateway(folder: &Path, upstream: SocketAddr) -> anyhow::Result<(Process, SocketAddr)> {
    let (at, metrics) = (free_address()?, free_address()?);
    let file = folder.join("sealgate.yaml");
    fs::write(&file, gateway_conf(at, metrics, upstream))?;
    let mut command = bound(MEASURED, env::current_exe()?.with_file_name("sealgate"));
    command.arg("run").arg("-c").arg(&file);
    let mut process = Process::start("sealgate", &mut command, &folder.join("sealgate.log"))?;
    process.ready(metrics, "/readyz", START).await?;
    Ok((process, at))
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
         - {{ name: users, match: {{ path_prefix: /users }}, upstream: orders, auth: none }}\n\
         audit:\n  \
         log: bench.localhost/gw-1\n  \
         key: {{ file: gateway.key, create: true }}\n  \
         create_log: true\n  \
         spool: {{ path: spool, min_free: 64MiB }}\n  \
         store: {{ directory: store }}\n"
    )
}

/// An address that nothing listens on now.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
