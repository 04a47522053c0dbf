//! What is to fail: a file of faults, one a line.
//!
//! ```text
//! OPERATION NAME EFFECT [TIMES]
//!
//! sync wal- EIO 3            three times, the sync of a file whose path holds `wal-` fails; as if the kernel had dropped pages
//! append wal- ENOSPC         each append writes half of its bytes, and fails, for as long as the line is there
//! append wal- 20ms           each append takes 20 ms longer
//! append wal- panic 1        the thread that appends panics
//! create .incoming hang      whoever makes such a file waits until the line is gone
//! ```
//!
//! Operations are the methods of `Disk` and `DiskFile`, by name. The first line that fits an operation takes effect. A
//! test replaces the file whole (by rename); counts begin anew then.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;

/// How often one that hangs looks whether it still has to.
const LOOK: Duration = Duration::from_millis(10);
/// The exit code where the script cannot be understood: a test that means something else must not pass.
const USAGE: i32 = 2;

/// What becomes of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// It is done, this much later.
    Late(Duration),
    /// It fails.
    Fail(Errno),
    /// Its thread panics.
    Panic,
    /// It is done once the fault is gone.
    Hang,
}

#[derive(Debug)]
struct Fault {
    operation: String,
    name: String,
    effect: Effect,
    /// How often it still takes effect, where that is bounded.
    left: Option<u64>,
    met: bool,
}

#[derive(Debug, Default)]
struct Faults {
    hash: u64,
    list: Vec<Fault>,
}

/// The faults of one process.
#[derive(Debug)]
pub(crate) struct Script {
    path: PathBuf,
    faults: Mutex<Faults>,
}

impl Script {
    /// The script that stands in `path`, at any time.
    pub(crate) fn new(path: PathBuf) -> Script {
        Script { path, faults: Mutex::default() }
    }

    /// Called before each operation on a file: fails, waits or panics as the script says.
    ///
    /// # Errors
    /// The one that the script says.
    pub(crate) fn meet(&self, operation: &str, file: &Path) -> io::Result<()> {
        loop {
            let Some(effect) = self.effect(operation, file) else { return Ok(()) };
            match effect {
                Effect::Late(wait) => {
                    thread::sleep(wait);
                    return Ok(());
                }
                Effect::Fail(error) => return Err(error.into()),
                Effect::Panic => panic!("as the script of faults says: {operation} {}", file.display()),
                Effect::Hang => thread::sleep(LOOK),
            }
        }
    }

    fn effect(&self, operation: &str, file: &Path) -> Option<Effect> {
        // A panic that we asked for may have come while it was held.
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        self.read(&mut faults);
        let file = file.to_string_lossy();
        let fits = |fault: &&mut Fault| {
            fault.operation == operation && file.contains(&fault.name) && fault.left != Some(0)
        };
        let fault = faults.list.iter_mut().find(fits)?;
        fault.left = fault.left.map(|left| left - 1);
        if !fault.met {
            fault.met = true;
            // The test waits for this line: only then it knows that the fault was met.
            let _ = writeln!(io::stderr(), "faulty-gateway: {operation} {file}: {:?}", fault.effect);
        }
        Some(fault.effect)
    }

    /// Takes the script as it stands in the file now.
    fn read(&self, faults: &mut Faults) {
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => self.give_up(&error.to_string()),
        };
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let hash = hasher.finish();
        if faults.hash == hash {
            return;
        }
        let parsed = text.lines().map(|line| parse(line).unwrap_or_else(|| self.give_up(line)));
        *faults = Faults { hash, list: parsed.collect() };
    }

    fn give_up(&self, why: &str) -> ! {
        let _ =
            writeln!(io::stderr(), "faulty-gateway: {}: cannot be understood: {why}", self.path.display());
        std::process::exit(USAGE)
    }
}

fn parse(line: &str) -> Option<Fault> {
    let mut words = line.split_whitespace();
    let (operation, name, effect) = (words.next()?, words.next()?, words.next()?);
    let left = words.next().map(str::parse).transpose().ok()?;
    let effect = match effect {
        "EIO" => Effect::Fail(Errno::IO),
        "ENOSPC" => Effect::Fail(Errno::NOSPC),
        "EDQUOT" => Effect::Fail(Errno::DQUOT),
        "EROFS" => Effect::Fail(Errno::ROFS),
        "panic" => Effect::Panic,
        "hang" => Effect::Hang,
        late => Effect::Late(Duration::from_millis(late.strip_suffix("ms")?.parse().ok()?)),
    };
    words.next().is_none().then(|| Fault {
        operation: operation.to_owned(),
        name: name.to_owned(),
        effect,
        left,
        met: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_take_effect_on_what_they_name_and_as_often_as_they_say() {
        let path = std::env::temp_dir().join(format!("faults-{}", std::process::id()));
        std::fs::write(&path, "sync wal- EIO 2\nappend wal- ENOSPC\n").unwrap();
        let script = Script::new(path.clone());
        let meet =
            |operation, file| script.meet(operation, Path::new(file)).map_err(|error| error.raw_os_error());
        assert_eq!(meet("sync", "spool/state"), Ok(()));
        assert_eq!(meet("append", "spool/wal-0000000000"), Err(Some(Errno::NOSPC.raw_os_error())));
        for expected in
            [Err(Some(Errno::IO.raw_os_error())), Err(Some(Errno::IO.raw_os_error())), Ok(()), Ok(())]
        {
            assert_eq!(meet("sync", "spool/wal-0000000000"), expected);
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(meet("append", "spool/wal-0000000000"), Ok(()));
    }

    #[test]
    fn a_line_that_is_no_fault_is_not_taken_for_one() {
        for line in
            ["", "sync", "sync wal-", "sync wal- EPERHAPS", "sync wal- EIO often", "sync wal- EIO 1 2"]
        {
            assert!(parse(line).is_none(), "{line}");
        }
    }
}
