//! Which core does what: what is measured has one to itself, everything else is on the other.

use std::{process::Command, time::Duration};

use anyhow::Context;
use rustix::{
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
    time::{ClockId, clock_gettime},
};

/// The core of what is measured.
pub(crate) const MEASURED: usize = 0;
/// The core of what drives it.
pub(crate) const OTHER: usize = 1;

/// How many cores this process may use.
pub(crate) fn count() -> anyhow::Result<u32> {
    Ok(sched_getaffinity(None).context("cannot ask for the cores")?.count())
}

/// Binds the calling thread, and the threads that it starts from now on, to one core.
pub(crate) fn bind_thread(core: usize) -> anyhow::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).with_context(|| format!("cannot bind a thread to core {core}"))
}

/// Processor time that the calling thread has used: other programs on its core do not count.
pub(crate) fn thread_time() -> Duration {
    time(ClockId::ThreadCPUTime)
}

/// Processor time that all threads of this process have used.
pub(crate) fn process_time() -> Duration {
    time(ClockId::ProcessCPUTime)
}

fn time(clock: ClockId) -> Duration {
    Duration::try_from(clock_gettime(clock)).expect("a processor's time is never negative")
}

/// `program` as a command that is bound to one core.
pub(crate) fn bound(core: usize, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("taskset");
    command.arg("-c").arg(core.to_string()).arg(program);
    command
}
