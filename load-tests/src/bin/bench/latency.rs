//! What the audit adds to the latency of a gateway that is half busy, against a bare proxy on Pingora.
//!
//! Requests are sent at a fixed rate, each at its own time, whatever became of those before. One that could not be sent
//! in time, because the answer before it was late, counts from when it should have been sent: so a stall is seen by every
//! request that it would have met (no coordinated omission). That the system's clock woke the sender late is not the
//! proxy's doing, and does not count.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow, ensure};

use crate::{
    cores::{MEASURED, OTHER, bind_thread},
    median::{median, percentile},
    report::{Line, Report},
    rig::{self, BUFFERED, CONNECTIONS, wrk},
};

const ROUNDS: usize = 4;
const SECONDS: u64 = 5;
/// Nothing is answered later, unless something is broken.
const LIMIT: Duration = Duration::from_secs(10);

/// Measures both.
pub(crate) fn measure(folder: &Path) -> anyhow::Result<Report> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let upstream = runtime.block_on(rig::upstream(folder))?;
    let bare = runtime.block_on(rig::bare_proxy(folder, upstream.address))?;
    let gateway = runtime.block_on(rig::gateway(folder, upstream.address))?;
    runtime.block_on(wrk(bare.address, BUFFERED, 1))?;
    let saturation =
        runtime.block_on(wrk(gateway.address, BUFFERED, SECONDS))?.requests as f64 / SECONDS as f64;
    let rate = saturation / 2.0;

    bind_thread(OTHER)?;
    let (mut ours, mut theirs) = (Latencies::default(), Latencies::default());
    for _ in 0..ROUNDS {
        theirs.add(&paced(bare.address, rate)?);
        ours.add(&paced(gateway.address, rate)?);
    }
    runtime.block_on(rig::stop(gateway))?;
    let line = |what: &str, ours: f64, theirs: f64, target| Line {
        what: format!("sealgate run, buffered: {what}"),
        figure: format!("{ours:.0} µs  ({:+.0} µs)", ours - theirs),
        ratio: Some(ours / theirs),
        target,
    };
    let anchor = |what: &str, theirs: f64| {
        Line::anchor(format!("bare proxy on Pingora: {what}"), format!("{theirs:.0} µs"))
    };
    let ((our_p50, our_p99), (their_p50, their_p99)) = (ours.medians(), theirs.medians());
    Ok(Report {
        title: "latency at half of saturation",
        how: format!(
            "{rate:.0} requests/s at fixed times over {CONNECTIONS} connections from core {OTHER}, where NGINX runs as well; \
             the proxy on core {MEASURED}; {ROUNDS} rounds of {SECONDS} s each in turn, medians"
        ),
        lines: vec![
            line("p99", our_p99, their_p99, "at most 50 µs added"),
            anchor("p99", their_p99),
            line("p50", our_p50, their_p50, ""),
            anchor("p50", their_p50),
        ],
    })
}

/// Percentiles of each round, in microseconds.
#[derive(Default)]
struct Latencies {
    p50: Vec<f64>,
    p99: Vec<f64>,
}

impl Latencies {
    fn add(&mut self, took: &[Duration]) {
        let micros = |share| percentile(took, share).as_secs_f64() * 1e6;
        self.p50.push(micros(0.5));
        self.p99.push(micros(0.99));
    }

    fn medians(self) -> (f64, f64) {
        (median(self.p50), median(self.p99))
    }
}

/// Sends at `rate`, and returns how long each answer took.
fn paced(at: SocketAddr, rate: f64) -> anyhow::Result<Vec<Duration>> {
    let period = Duration::from_secs_f64(CONNECTIONS as f64 / rate);
    let connections: Vec<_> = (0..CONNECTIONS).map(|_| Connection::open(at)).collect::<Result<_, _>>()?;
    let start = Instant::now() + Duration::from_millis(50);
    let end = start + Duration::from_secs(SECONDS);
    let senders: Vec<_> = connections
        .into_iter()
        .zip(0..)
        .map(|(connection, number)| {
            let first = start + period.mul_f64(f64::from(number) / CONNECTIONS as f64);
            thread::spawn(move || connection.send(first, period, end))
        })
        .collect();
    let mut took = Vec::new();
    for sender in senders {
        took.extend(sender.join().map_err(|_| anyhow!("a sender panicked"))??);
    }
    ensure!(!took.is_empty(), "nothing was answered");
    Ok(took)
}

/// One kept connection, used by one thread.
struct Connection {
    stream: TcpStream,
    request: String,
    buffer: Vec<u8>,
}

impl Connection {
    fn open(at: SocketAddr) -> anyhow::Result<Connection> {
        let stream = TcpStream::connect(at).with_context(|| format!("cannot connect to {at}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
        let request = format!("GET {BUFFERED} HTTP/1.1\r\nHost: {at}\r\nUser-Agent: bench\r\n\r\n");
        Ok(Connection { stream, request, buffer: vec![0; 16 << 10] })
    }

    fn send(mut self, first: Instant, period: Duration, end: Instant) -> anyhow::Result<Vec<Duration>> {
        let mut took = Vec::new();
        let mut due = first;
        while due < end {
            let now = Instant::now();
            let began = if now < due {
                thread::sleep(due - now);
                Instant::now()
            } else {
                due
            };
            self.stream.write_all(self.request.as_bytes())?;
            self.answer()?;
            took.push(began.elapsed());
            due += period;
        }
        Ok(took)
    }

    /// Reads one answer to its end.
    fn answer(&mut self) -> anyhow::Result<()> {
        let mut have = 0;
        let mut whole = None;
        while whole.is_none_or(|whole| have < whole) {
            let read = self.stream.read(&mut self.buffer[have..]).context("an answer did not come")?;
            ensure!(read > 0, "the connection was closed");
            have += read;
            if whole.is_none() {
                whole = length(&self.buffer[..have])?;
            }
        }
        Ok(())
    }
}

/// How long an answer is, head and body, once its head is there.
fn length(bytes: &[u8]) -> anyhow::Result<Option<usize>> {
    let Some(head) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let text = str::from_utf8(&bytes[..head])?;
    ensure!(text.starts_with("HTTP/1.1 200 "), "not answered with 200: {text}");
    let field = |line: &str| {
        Some(
            line.split_once(':')
                .filter(|(name, _)| name.eq_ignore_ascii_case("content-length"))?
                .1
                .trim()
                .to_owned(),
        )
    };
    let body = text.lines().find_map(field).context("an answer has no Content-Length")?;
    Ok(Some(head + 4 + body.parse::<usize>()?))
}

#[cfg(test)]
mod tests {
    use super::length;

    #[test]
    fn an_answer_is_as_long_as_its_head_says() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc";
        assert_eq!(length(answer).expect("an answer"), Some(answer.len()));
        assert_eq!(length(&answer[..20]).expect("a part"), None);
        assert!(length(b"HTTP/1.1 503 Service Unavailable\r\n\r\n").is_err());
    }
}
