//! What is read from files and may change while the gateway serves: certificates, keys, key sets.
//!
//! Each such part is a [`Reloadable`]. It is read again on SIGHUP, and when a file of its changes: as a whole, or not at
//! all. What cannot be read leaves what serves in place. No connection is dropped, and no request waits: parts put what
//! they read behind an `ArcSwap`.
//!
//! A notice of the file system only says when to look. Whether there is something to read is decided by the files'
//! contents, which are looked at once a minute in any case: some file systems give no notice. One thread does all of
//! it.

mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use prometheus::IntCounter;
use sha2::{Digest, Sha256};

use crate::pem::read_file;
use watch::Watch;

/// How long nothing must have changed before files are looked at: a change is often several.
const QUIET: Duration = Duration::from_millis(300);
/// How long they are waited for at most.
const RESTLESS: Duration = Duration::from_secs(3);
/// A certificate and its key are two files, and not written at once: so long after a change that cannot be read, it is
/// read once more before anybody is told.
const SECOND_LOOK: Duration = Duration::from_secs(1);
/// How often files are looked at without a notice.
const LOOK: Duration = Duration::from_secs(60);

/// How long a stop waits for the reload's thread.
const FAREWELL: Duration = Duration::from_millis(500);

/// A part that is read from files, and can be read again.
pub trait Reloadable: Send + Sync {
    /// What it is, for people: "TLS of listener `edge`".
    fn what(&self) -> String;

    /// The files that it was read from, or would be.
    fn files(&self) -> Vec<PathBuf>;

    /// Reads the files again, and serves from then on with what they hold.
    ///
    /// # Errors
    ///
    /// Why they cannot be used, without anything that stands in them; what served before goes on serving.
    fn reload(&self) -> Result<(), String>;
}

/// Why the reload's thread is woken.
enum Wake {
    /// SIGHUP.
    HangUp,
    /// Something happened to one of the files.
    Changed,
    /// The gateway has stopped.
    Stop,
}

/// Wakes the reload's thread.
#[derive(Clone)]
pub struct Waker(Sender<Wake>);

/// Where the reload's thread is woken.
pub struct Wakes(Receiver<Wake>);

/// A waker, and what it wakes; so that it may be told of a signal before there is a thread.
pub fn waker() -> (Waker, Wakes) {
    let (sender, receiver) = mpsc::channel();
    (Waker(sender), Wakes(receiver))
}

impl Waker {
    /// SIGHUP: everything is to be read again.
    pub fn hang_up(&self) {
        self.wake(Wake::HangUp);
    }

    fn wake(&self, wake: Wake) {
        // Nobody listens once the gateway has stopped.
        let _ = self.0.send(wake);
    }
}

/// What a file held when it was last looked at; nothing where it could not be read.
type Contents = Option<[u8; 32]>;

/// Reads parts again when it is asked to, or when a file of theirs has changed.
pub struct Reloader {
    parts: Vec<Part>,
    ok: IntCounter,
    failed: IntCounter,
}

impl Reloader {
    /// Reloads these parts, which have been read just now; what becomes of it is counted by outcome.
    pub fn new(parts: Vec<Arc<dyn Reloadable>>, [ok, failed]: [IntCounter; 2]) -> Reloader {
        let parts = parts.into_iter().map(Part::new).collect();
        Reloader { parts, ok, failed }
    }

    /// Begins to watch the files, and to listen to the waker, on a thread of its own.
    ///
    /// # Errors
    ///
    /// When there can be no such thread.
    pub fn start(self, waker: Waker, wakes: Wakes) -> std::io::Result<Reloading> {
        let watch = Watch::new(waker.clone());
        let thread = std::thread::Builder::new().name("reload".into());
        let thread = thread.spawn(move || self.run(watch, &wakes.0))?;
        Ok(Reloading { waker, thread })
    }

    fn run(mut self, mut watch: Watch, wakes: &Receiver<Wake>) {
        // What changed before there was a watch gave no notice.
        let mut next = Next::Changed;
        while next != Next::Stop {
            // First the watch, then the look: what changes after the look gives a notice.
            watch.follow(self.parts.iter().flat_map(|part| part.of.files()));
            self.parts.iter_mut().for_each(Part::look);
            match next {
                Next::Everything => self.reload(|_| true, Tell::Always),
                Next::Changed if self.parts.iter().any(Part::is_due) => {
                    if !self.try_before_telling(wakes) {
                        return;
                    }
                }
                Next::Changed | Next::Stop => {}
            }
            next = match wakes.recv_timeout(LOOK) {
                Ok(Wake::Changed) => settled(wakes, QUIET, RESTLESS),
                other => Next::of(other),
            };
        }
    }

    /// Reads what has changed; where that fails, reads it once more after a while. False where the gateway stops.
    fn try_before_telling(&mut self, wakes: &Receiver<Wake>) -> bool {
        if self.parts.iter().filter(|part| part.is_due()).any(|part| part.of.reload().is_err()) {
            if settled(wakes, SECOND_LOOK, SECOND_LOOK) == Next::Stop {
                return false;
            }
            self.parts.iter_mut().for_each(Part::look);
        }
        self.reload(Part::is_due, Tell::News);
        true
    }

    /// Reads parts again, and tells what became of it.
    fn reload(&mut self, due: impl Fn(&Part) -> bool, tell: Tell) {
        let (mut well, mut told) = (true, false);
        for part in self.parts.iter_mut().filter(|part| due(part)) {
            let what = part.of.what();
            part.changed = false;
            match part.of.reload() {
                Ok(()) => {
                    part.failed = None;
                    told = true;
                    tracing::info!(what, "read again");
                }
                Err(error) => {
                    well = false;
                    if tell == Tell::Always || part.failed.as_ref() != Some(&error) {
                        told = true;
                        tracing::error!(
                            what,
                            error,
                            "cannot be read again: what was read before goes on serving"
                        );
                    }
                    part.failed = Some(error);
                }
            }
        }
        if told {
            if well { self.ok.inc() } else { self.failed.inc() }
        }
    }
}

/// A part, and what is known of its files.
struct Part {
    of: Arc<dyn Reloadable>,
    contents: Vec<(PathBuf, Contents)>,
    /// Whether its files have changed since it was read.
    changed: bool,
    /// Why it could not be read the last time. It is tried again even where nothing changes: a certificate may hold
    /// only from tomorrow on.
    failed: Option<String>,
}

impl Part {
    fn new(of: Arc<dyn Reloadable>) -> Part {
        let contents = contents(&*of);
        Part { of, contents, changed: false, failed: None }
    }

    /// Looks at its files. Before it is read, so that what changes meanwhile is found the next time.
    fn look(&mut self) {
        let contents = contents(&*self.of);
        self.changed |= contents != self.contents;
        self.contents = contents;
    }

    fn is_due(&self) -> bool {
        self.changed || self.failed.is_some()
    }
}

fn contents(part: &dyn Reloadable) -> Vec<(PathBuf, Contents)> {
    let held = |file: PathBuf| {
        let contents = read_file(&file).ok().map(|bytes| Sha256::digest(bytes).into());
        (file, contents)
    };
    part.files().into_iter().map(held).collect()
}

/// Of what a reload tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tell {
    /// Of everything: somebody has asked.
    Always,
    /// Not of what failed before, and fails in the same way.
    News,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Everything is read again.
    Everything,
    /// What has changed is read again.
    Changed,
    /// Nothing any more.
    Stop,
}

impl Next {
    fn of(woken: Result<Wake, RecvTimeoutError>) -> Next {
        match woken {
            Ok(Wake::HangUp) => Next::Everything,
            Ok(Wake::Changed) | Err(RecvTimeoutError::Timeout) => Next::Changed,
            Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => Next::Stop,
        }
    }
}

/// Waits until nothing has changed for as long as `quiet`, or for `most` in all.
fn settled(wakes: &Receiver<Wake>, quiet: Duration, most: Duration) -> Next {
    let until = Instant::now() + most;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match wakes.recv_timeout(quiet.min(left)) {
            Ok(Wake::Changed) if !left.is_zero() => {}
            other => return Next::of(other),
        }
    }
}

/// A reload's thread at work; it ends when this is dropped.
pub struct Reloading {
    waker: Waker,
    thread: JoinHandle<()>,
}

impl Drop for Reloading {
    /// Waits for the thread, but not for long: it changes nothing that has to be whole, and files may be slow.
    fn drop(&mut self) {
        self.waker.wake(Wake::Stop);
        let until = Instant::now() + FAREWELL;
        while !self.thread.is_finished() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[cfg(test)]
mod tests;
