//! A run: events happen to a gateway and its disk, and after each the model is asked.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::Path;

use super::check::{self, Failure, failure};
use super::clock::{self, Simulated};
use super::disk::{SPOOL, STORE, SimDisk, Step};
use super::gateway::{Gateway, LOG, key};
use super::model::{Boot, Ending, Model};
use super::op::{Crash, Op, Run, Tree};
use super::read::{self, Files};
use super::verify;
use crate::audit_log::OpenError;
use crate::checkpoint::Checkpoint;
use crate::merkle::{CompactRange, leaf_hash};
use crate::ship::Try;
use crate::spool::SpoolError;
use crate::time::Timestamp;
use crate::writer::Round;

/// How much is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// The log against the model.
    Light,
    /// That, and the auditor's own `verify`.
    Full,
}

/// What a run was, for those that pass.
#[derive(Debug, Default)]
pub(super) struct Tale {
    /// The steps that were seen.
    pub(super) steps: BTreeMap<Step, u64>,
    pub(super) boots: usize,
    pub(super) power_losses: usize,
    pub(super) records: usize,
    pub(super) gaps: usize,
}

/// A gateway, its disk, and what should be.
struct World<'a> {
    run: &'a Run,
    disk: SimDisk,
    gateway: Option<Gateway>,
    model: Model,
    /// The log has begun: from now on it may not begin anew.
    begun: bool,
    /// How the process will end that is doomed.
    doomed: Option<Crash>,
    power_losses: usize,
    /// The spool was removed, and is not yet what it was.
    spool_damage: Option<Damage>,
}

/// What a removed spool took with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    /// Nothing that the running gateway cannot make again.
    Nothing,
    /// Sealed segments that were not in the store.
    Segments,
}

/// Rounds in which a gateway must have mended itself, once nothing is wrong any more.
const ROUNDS_TO_MEND: usize = 4;

/// Runs it all; `mutation` is passed over.
pub(super) fn play(run: &Run, mutation: Option<Step>, depth: Depth) -> Result<Tale, Failure> {
    let _simulated = Simulated::begin();
    let mut world = World {
        run,
        disk: SimDisk::new(run.seed, mutation),
        gateway: None,
        model: Model::default(),
        begun: false,
        doomed: None,
        power_losses: 0,
        spool_damage: None,
    };
    for op in &run.ops {
        world.apply(op)?;
        world.look()?;
    }
    world.end(depth)
}

impl World<'_> {
    fn apply(&mut self, op: &Op) -> Result<(), Failure> {
        match op {
            Op::CrashAt(crash, operations, moment) => {
                self.doomed = Some(*crash);
                self.disk.doom((*operations).into(), *moment);
                // Where nothing runs the next start is doomed.
                if self.gateway.is_none() {
                    self.start()?
                }
                return Ok(());
            }
            Op::Condition(tree, condition) => {
                self.trouble();
                match tree {
                    Tree::Spool => self.disk.set_spool(*condition),
                    Tree::Store => self.disk.set_store(*condition),
                }
                return Ok(());
            }
            Op::Fault(armed) => {
                self.trouble();
                self.disk.arm(*armed);
                return Ok(());
            }
            Op::Heal => {
                self.disk.heal();
                return Ok(());
            }
            Op::Wait(millis) => {
                clock::advance(u64::from(*millis) * 1000);
                if let Some(gateway) = &mut self.gateway {
                    gateway.let_time_pass();
                }
                return Ok(());
            }
            _ => {}
        }
        if self.gateway.is_none() {
            self.start()?;
        }
        let Some(gateway) = &mut self.gateway else { return Ok(()) };
        let boot = self.model.boots.last_mut().expect("a gateway runs in a boot");
        match op {
            Op::Request(mode, bytes) => gateway.request(*mode, *bytes, boot),
            Op::End(which) => gateway.end((*which).into(), boot),
            Op::Write => self.write()?,
            Op::Ship => self.ship()?,
            Op::Second => self.start_second()?,
            Op::DeleteSpool => self.delete_spool()?,
            Op::CrashNow(crash) => self.crash(*crash)?,
            Op::Stop => self.stop()?,
            _ => {}
        }
        Ok(())
    }

    /// Looks at what the event has left: a process that is dead, counters, acknowledgements.
    fn look(&mut self) -> Result<(), Failure> {
        self.settle()?;
        if self.disk.is_dead() {
            let crash = self.doomed.unwrap_or(Crash::PowerLost);
            self.crash(crash)?;
        }
        if let Some(violation) = self.disk.violations().first() {
            return failure("nobody touches what is in the store", violation);
        }
        Ok(())
    }

    /// Takes over what the gateway says of itself.
    fn settle(&mut self) -> Result<(), Failure> {
        let Some(gateway) = &mut self.gateway else { return Ok(()) };
        let boot = self.model.boots.last_mut().expect("a gateway runs in a boot");
        let counters = gateway.counters();
        if counters.captured != counters.durable + counters.queued + counters.lost {
            return failure("captured = durable + queued + lost", format!("{counters:?}"));
        }
        let durable = counters.durable as usize;
        if durable < boot.durable || durable > boot.captured.len() {
            let message =
                format!("{counters:?}, {} before, {} handed over", boot.durable, boot.captured.len());
            return failure("what is durable stays so", message);
        }
        boot.durable = durable;
        let acknowledged = gateway.poll(boot);
        if let Some(place) = acknowledged.iter().find(|place| **place >= durable) {
            let message = format!("record {place} was acknowledged, {durable} are durable");
            return failure("what is acknowledged is durable", message);
        }
        Ok(())
    }

    fn trouble(&mut self) {
        if let Some(boot) = self.model.boots.last_mut() {
            boot.untroubled = false;
        }
    }

    fn write(&mut self) -> Result<(), Failure> {
        let Some(gateway) = &mut self.gateway else { return Ok(()) };
        let before = clock::now().unwrap_or_default();
        let round = gateway.write();
        if self.disk.is_dead() {
            return Ok(());
        }
        self.settle()?;
        let (Some(gateway), Some(boot)) = (&mut self.gateway, self.model.boots.last_mut()) else {
            return Ok(());
        };
        match round {
            Round::Done => {
                let queued = boot.captured[boot.durable..].iter().map(|captured| captured.ts);
                boot.watermark = gateway.unrecorded().into_iter().chain(queued).fold(before, Timestamp::min);
                boot.quiet = gateway.in_flight() == 0 && gateway.counters().queued == 0;
                let spool = self.disk.files(Path::new(SPOOL));
                if self.spool_damage == Some(Damage::Nothing)
                    && spool.keys().any(|path| path.ends_with("state"))
                {
                    // Made again, whole.
                    self.spool_damage = None;
                    boot.spool_lost = false;
                }
            }
            Round::Failing if gateway.refusing().is_none() => {
                return failure("who cannot write refuses", format!("boot {}", boot.name));
            }
            Round::Failing => {}
        }
        self.remember()
    }

    fn ship(&mut self) -> Result<(), Failure> {
        let Some(gateway) = &mut self.gateway else { return Ok(()) };
        match gateway.ship() {
            Try::Broken if self.spool_damage.is_none() && !self.disk.is_dead() => {
                failure("evidence is never broken by the gateway itself", "the shipper found a split log")
            }
            Try::Shipped => self.remember_checkpoints(),
            _ => Ok(()),
        }
    }

    fn stop(&mut self) -> Result<(), Failure> {
        let Some(mut gateway) = self.gateway.take() else { return Ok(()) };
        let boot = self.model.boots.last_mut().expect("a gateway runs in a boot");
        while gateway.in_flight() > 0 {
            gateway.end(0, boot);
        }
        self.gateway = Some(gateway);
        self.settle()?;
        let Some(gateway) = self.gateway.take() else { return Ok(()) };
        let stopped = gateway.stop();
        self.model.boots.iter_mut().for_each(|boot| boot.quiet &= boot.durable == boot.captured.len());
        let boot = self.model.boots.last_mut().expect("a gateway runs in a boot");
        if self.disk.is_dead() {
            let crash = self.doomed.unwrap_or(Crash::PowerLost);
            if stopped {
                boot.durable = boot.captured.len();
            }
            return self.end_process(crash, if stopped { Ending::Stopped } else { ending(crash) });
        }
        let ended = if stopped { Ending::Stopped } else { Ending::Killed };
        if stopped {
            boot.durable = boot.captured.len();
        }
        self.end_process(Crash::Killed, ended)?;
        if stopped { self.remember() } else { Ok(()) }
    }

    /// Starts a process. It may fail where something is wrong, but never find evidence broken.
    fn start(&mut self) -> Result<(), Failure> {
        clock::advance(1000);
        if self.spool_damage.is_some()
            && !self.disk.files(Path::new(SPOOL)).keys().any(|path| path.ends_with("state"))
        {
            self.lose_spool()?;
        }
        let name = format!("{:08x}", self.model.boots.len() + 1);
        let troubled = self.disk.is_troubled();
        let mut boot = Boot::new(name.clone());
        boot.untroubled = !troubled;
        self.model.boots.push(boot);
        let started = std::panic::catch_unwind(AssertUnwindSafe(|| {
            Gateway::start(&self.disk, self.run, &name, !self.begun)
        }));
        if self.disk.is_dead() {
            drop(started);
            return Ok(());
        }
        let started = match started {
            Ok(started) => started,
            Err(_) if troubled => return self.end_process(Crash::Killed, Ending::Killed),
            Err(panic) => std::panic::resume_unwind(panic),
        };
        match started {
            Ok(gateway) => {
                self.begun = true;
                self.gateway = Some(gateway);
                let boot = self.model.boots.last_mut().expect("pushed above");
                (boot.began, boot.quiet) = (true, true);
                boot.watermark = clock::now().unwrap_or_default();
                self.check_log()
            }
            Err(error) => {
                let text = crate::error_chain(&error);
                let code = error.exit_code();
                if self.spool_damage.is_some() && code == 70 {
                    // The operator reads the message, and moves the spool away.
                    self.end_process(Crash::Killed, Ending::Killed)?;
                    return self.lose_spool();
                }
                if !(troubled && code == 75) {
                    return failure("a start finds nothing broken", format!("exit {code}: {text}"));
                }
                self.end_process(Crash::Killed, Ending::Killed)
            }
        }
    }

    /// A second gateway on the same spool must be refused while the first one runs.
    fn start_second(&mut self) -> Result<(), Failure> {
        let troubled = self.disk.is_troubled() || self.spool_damage.is_some();
        let second = std::panic::catch_unwind(AssertUnwindSafe(|| {
            Gateway::start(&self.disk, self.run, "ffffffff", false)
        }));
        let second = match second {
            Ok(second) => second,
            Err(_) if troubled => return Ok(()),
            Err(panic) => std::panic::resume_unwind(panic),
        };
        match second {
            Err(OpenError::Spool(SpoolError::Locked { .. })) => Ok(()),
            Err(_) if self.disk.is_dead() || troubled => Ok(()),
            Err(error) => failure("one gateway at a time", crate::error_chain(&error)),
            Ok(_) => failure("one gateway at a time", "a second one was let in"),
        }
    }

    fn delete_spool(&mut self) -> Result<(), Failure> {
        self.trouble();
        let spool = self.disk.files(Path::new(SPOOL));
        let stored = read::checkpoints(&self.disk.files(Path::new(STORE))).len();
        let sealed = |path: &std::path::PathBuf| {
            let number = super::disk::name_of(path).strip_suffix(crate::segment::EXTENSION)?;
            crate::ids::SegmentNo::from_digits(number)
        };
        let waits = spool.keys().filter_map(sealed).any(|number| number.0 >= stored as u64);
        if waits {
            self.spool_damage = Some(Damage::Segments);
        } else {
            self.spool_damage.get_or_insert(Damage::Nothing);
        }
        self.disk.empty(Path::new(SPOOL));
        self.forget_what_is_not_stored()
    }

    /// What is not in the store may be lost: nothing is promised of it any more.
    fn forget_what_is_not_stored(&mut self) -> Result<(), Failure> {
        let files = self.disk.files(Path::new(STORE));
        let stored = read::stored(&files).or_else(|error| failure("the store can be read", error))?;
        self.model.durable.truncate(stored.len());
        self.model.boots.iter_mut().for_each(|boot| boot.spool_lost = true);
        Ok(())
    }

    /// An operator moves a spool away that is of no use.
    fn lose_spool(&mut self) -> Result<(), Failure> {
        self.disk.empty(Path::new(SPOOL));
        self.spool_damage = None;
        self.forget_what_is_not_stored()
    }

    fn crash(&mut self, crash: Crash) -> Result<(), Failure> {
        self.settle()?;
        self.end_process(crash, ending(crash))
    }

    fn end_process(&mut self, crash: Crash, ending: Ending) -> Result<(), Failure> {
        if let Some(boot) = self.model.boots.last_mut()
            && boot.ending == Ending::Running
        {
            boot.ending = ending;
            if let Some(gateway) = &self.gateway {
                boot.in_flight = gateway.unrecorded();
                boot.quiet &= gateway.in_flight() == 0 && boot.durable == boot.captured.len();
            }
        }
        self.gateway = None;
        self.doomed = None;
        match crash {
            Crash::Killed => self.disk.kill(),
            Crash::PowerLost => {
                self.power_losses += 1;
                self.disk.lose_power();
                for boot in &mut self.model.boots {
                    // What the system remembers without a sync is gone, of all that ran before.
                    if boot.ending == Ending::Killed {
                        boot.ending = Ending::PowerLost;
                    }
                }
            }
        }
        Ok(())
    }

    /// Remembers what is durable by now, and must never change.
    fn remember(&mut self) -> Result<(), Failure> {
        let size = match &self.gateway {
            Some(gateway) => gateway.tree_size() as usize,
            None => usize::MAX,
        };
        if self.spool_damage.is_some() || size == self.model.durable.len() {
            return Ok(());
        }
        let files = self.disk.files(Path::new("/"));
        let lines = read::whole(&files).or_else(|error| failure("the log can be read", error))?;
        if size != usize::MAX && lines.len() < size {
            return failure("what is durable can be read", format!("{size} records, {} found", lines.len()));
        }
        check::check_past(&self.model, &lines)?;
        self.model.durable = lines;
        self.model.durable.truncate(size);
        Ok(())
    }

    /// Remembers the checkpoints that are in the store by now, and must never change.
    fn remember_checkpoints(&mut self) -> Result<(), Failure> {
        self.model.checkpoints = self.check_checkpoints()?;
        Ok(())
    }

    fn check_checkpoints(&self) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
        let found = read::checkpoints(&self.disk.files(Path::new(STORE)));
        for (name, bytes) in &self.model.checkpoints {
            if found.get(name) != Some(bytes) {
                return failure("checkpoints never change", format!("checkpoint {name}"));
            }
        }
        Ok(found)
    }

    /// The whole log against the model, after a start.
    fn check_log(&mut self) -> Result<(), Failure> {
        let files = self.disk.files(Path::new("/"));
        let lines = read::whole(&files).or_else(|error| failure("the log can be read", error))?;
        check::check(&self.model, &lines)?;
        self.check_checkpoints().map(drop)
    }

    /// The end of a run: nothing is wrong any more, and everything must come right.
    fn end(mut self, depth: Depth) -> Result<Tale, Failure> {
        self.disk.heal();
        self.disk.pardon();
        self.doomed = None;
        if self.spool_damage == Some(Damage::Segments) {
            // The operator reads what the shipper says, and moves the spool away.
            self.crash(Crash::Killed)?;
            self.lose_spool()?;
        }
        for _ in 0..3 {
            if self.gateway.is_none() {
                self.start()?;
            }
            for _ in 0..ROUNDS_TO_MEND {
                if let Some(gateway) = &mut self.gateway {
                    gateway.let_time_pass();
                    self.write()?;
                    self.look()?;
                }
            }
            match self.gateway.as_ref().map(Gateway::refusing) {
                Some(Some(reason)) => {
                    return failure("service goes on when the fault is gone", reason.as_str());
                }
                Some(None) => break,
                None => {}
            }
        }
        if self.gateway.is_none() {
            return failure("service goes on when the fault is gone", "it does not start");
        }
        self.apply(&Op::Request(super::op::Mode::Strict, 1))?;
        self.apply(&Op::Write)?;
        self.look()?;
        self.stop_and_ship()?;
        let files = self.objects();
        self.check_end(&files, depth)?;
        // All of it is durable by now.
        self.disk.lose_power();
        let all = self.disk.files(Path::new(STORE));
        if let Some((path, _)) =
            all.iter().find(|(path, (_, protected))| *protected && !files.contains_key(*path))
        {
            return failure("nothing comes back that nobody can remove", path.display().to_string());
        }
        let left = self.objects();
        if let Some((path, _)) = files.iter().find(|(path, file)| left.get(*path) != Some(file)) {
            return failure("what is in the store is durable", path.display().to_string());
        }
        self.start()?;
        self.stop_and_ship()?;
        let files = self.objects();
        let lines = self.check_end(&files, depth)?;
        self.check_spool()?;
        let gaps = lines.iter().filter(|line| line.windows(13).any(|at| at == b"\"kind\":\"gap\",")).count();
        Ok(Tale {
            steps: self.disk.steps(),
            boots: self.model.boots.len(),
            power_losses: self.power_losses,
            records: lines.len(),
            gaps,
        })
    }

    /// The store's files, but for those that were never finished.
    fn objects(&self) -> Files {
        let mut files = self.disk.files(Path::new(STORE));
        files.retain(|path, _| !super::disk::name_of(path).starts_with(".incoming-"));
        files
    }

    /// All is shipped, and nothing failed since the start: nothing is left in the spool.
    fn check_spool(&self) -> Result<(), Failure> {
        for path in self.disk.files(Path::new(SPOOL)).keys() {
            if !matches!(super::disk::name_of(path), "lock" | "state" | "watermark") {
                return failure("the spool is empty when all is shipped", path.display().to_string());
            }
        }
        Ok(())
    }

    fn stop_and_ship(&mut self) -> Result<(), Failure> {
        self.stop()?;
        let ending = self.model.boots.last().map(|boot| boot.ending);
        if ending != Some(Ending::Stopped) {
            return failure("a healthy gateway stops", format!("{ending:?}"));
        }
        Ok(())
    }

    /// All is shipped: the store alone holds the whole log, and the spool nothing that waits.
    fn check_end(&mut self, files: &Files, depth: Depth) -> Result<Vec<read::Line>, Failure> {
        let lines = read::stored(files).or_else(|error| failure("the store can be read", error))?;
        check::check(&self.model, &lines)?;
        self.remember_checkpoints()?;
        check_tree(files, &lines)?;
        let is_spool_lost = self.model.boots.iter().any(|boot| boot.spool_lost);
        // A boot that dies in between is made up for by the next, which needs the spool to know.
        if let Some((path, _)) = files.iter().find(|(_, (_, protected))| !protected && !is_spool_lost) {
            return failure("what is in the store is protected", path.display().to_string());
        }
        if depth == Depth::Full {
            verify::verify(files, clock::now().unwrap_or_default(), is_spool_lost)?;
        }
        Ok(lines)
    }
}

fn ending(crash: Crash) -> Ending {
    match crash {
        Crash::Killed => Ending::Killed,
        Crash::PowerLost => Ending::PowerLost,
    }
}

/// Each checkpoint signs a beginning of the log.
fn check_tree(files: &Files, lines: &[read::Line]) -> Result<(), Failure> {
    let mut tree = CompactRange::new(0);
    let mut size = 0;
    for (name, bytes) in read::checkpoints(files) {
        let keys = [key().verifier_key().clone()];
        let log = LOG.parse().expect("a log's name");
        let checkpoint = Checkpoint::parse_and_verify(&bytes, &log, &keys);
        let checkpoint = checkpoint.or_else(|error| failure("a checkpoint is signed", error.to_string()))?;
        let Some(next) = lines.get(size..checkpoint.size.0 as usize) else {
            return failure(
                "the tree never changes its past",
                format!("checkpoint {name} is not of this log"),
            );
        };
        next.iter().for_each(|line| tree.push(leaf_hash(line)));
        size = checkpoint.size.0 as usize;
        if tree.root().ok() != Some(checkpoint.root) {
            return failure(
                "the tree never changes its past",
                format!("checkpoint {name} signs another root"),
            );
        }
    }
    Ok(())
}
