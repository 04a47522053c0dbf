//! Real programs, started, waited for and ended by whoever runs a demo or a benchmark.

use std::{
    fs::{self, File},
    io,
    net::SocketAddr,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{net::TcpStream, time};

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Why a program is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It cannot be started, seen or stopped.
    #[error("cannot {what} {name}")]
    System {
        /// The program's name.
        name: String,
        /// What was tried.
        what: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It ended by itself.
    #[error("{name} ended ({status}) before it was ready. It said:\n{said}")]
    Ended {
        /// The program's name.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of its output.
        said: String,
    },
    /// It did not become ready, or did not stop.
    #[error("{name} was not {state} within {} s. It said:\n{said}", limit.as_secs())]
    Late {
        /// The program's name.
        name: String,
        /// What it should have become.
        state: &'static str,
        /// How long was waited.
        limit: Duration,
        /// The end of its output.
        said: String,
    },
}

/// A program that runs until it is stopped; dropped, it is killed.
///
/// It is in a process group of its own, so that Ctrl-C reaches only whoever started it, who then ends it in order.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    output: PathBuf,
}

impl Process {
    /// Starts `command`; its output goes to `output`. Its standard input stays open for as long as this value lives.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(name: &str, command: &mut Command, output: &Path) -> Result<Process, ProcessError> {
        let failed = |source| ProcessError::System { name: name.to_owned(), what: "start", source };
        let log = File::create(output).map_err(failed)?;
        let child = command
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(log)
            .spawn()
            .map_err(failed)?;
        Ok(Process { name: name.to_owned(), child, output: output.to_owned() })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `GET path` at `address` answers 200.
    ///
    /// # Errors
    /// It ended, or the answer did not come within `limit`.
    pub async fn ready(
        &mut self,
        address: SocketAddr,
        path: &str,
        limit: Duration,
    ) -> Result<(), ProcessError> {
        let deadline = Instant::now() + limit;
        loop {
            // First: a port may be answered by somebody else's process, while ours has ended for that very reason.
            if let Some(status) = self.child.try_wait().map_err(|source| self.failed("see", source))? {
                return Err(ProcessError::Ended { name: self.name.clone(), status, said: self.said() });
            }
            if let Ok(Ok(200)) = time::timeout(Duration::from_secs(2), status_of(address, path)).await {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(self.late("ready", limit));
            }
            time::sleep(LOOK).await;
        }
    }

    /// Asks it to stop (SIGTERM), and waits until it did.
    ///
    /// # Errors
    /// It did not stop within `limit`; it is killed then.
    pub async fn stop(mut self, limit: Duration) -> Result<ExitStatus, ProcessError> {
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            kill_process(pid, Signal::TERM).map_err(|errno| self.failed("stop", errno.into()))?;
        }
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().map_err(|source| self.failed("see", source))? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                return Err(self.late("stopped", limit));
            }
            time::sleep(LOOK).await;
        }
    }

    /// Processor time that it has used so far, all its threads together.
    ///
    /// # Errors
    /// The system does not say.
    pub fn processor_time(&self) -> io::Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The second field is the name in parentheses, which may hold anything; utime and stime are the 14th and 15th.
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks: Option<u64> =
            fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().ok()).sum();
        let ticks = ticks.ok_or_else(|| io::Error::other(format!("not as expected: {stat}")))?;
        Ok(Duration::from_nanos(ticks * (1_000_000_000 / rustix::param::clock_ticks_per_second())))
    }

    /// Bytes of memory that it had resident at most.
    ///
    /// # Errors
    /// The system does not say.
    pub fn most_memory(&self) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        let kibibytes: Option<u64> = peak.and_then(|peak| peak.parse().ok());
        Ok(kibibytes.ok_or_else(|| io::Error::other("it has no peak of resident memory"))? << 10)
    }

    fn failed(&self, what: &'static str, source: io::Error) -> ProcessError {
        ProcessError::System { name: self.name.clone(), what, source }
    }

    fn late(&self, state: &'static str, limit: Duration) -> ProcessError {
        ProcessError::Late { name: self.name.clone(), state, limit, said: self.said() }
    }

    /// The last lines of its output.
    fn said(&self) -> String {
        let said = fs::read_to_string(&self.output).unwrap_or_else(|error| format!("(unreadable: {error})"));
        let lines: Vec<_> = said.lines().collect();
        lines[lines.len().saturating_sub(12)..].iter().map(|line| format!("  {line}\n")).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The status of `GET path` at `address`, over a connection of its own.
///
/// # Errors
/// There was none.
pub async fn status_of(address: SocketAddr, path: &str) -> anyhow::Result<u16> {
    let stream = TcpStream::connect(address).await?;
    let (mut requests, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let request = Request::get(path).header(HOST, address.to_string()).body(Empty::<Bytes>::new())?;
    let reply = requests.send_request(request).await?;
    let status = reply.status().as_u16();
    reply.into_body().collect().await?;
    drop(requests);
    driver.await??;
    Ok(status)
}
