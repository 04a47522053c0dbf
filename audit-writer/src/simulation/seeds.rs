//! Runs by their seeds: the same seed is the same run, on every machine.

use std::fmt::Write as _;
use std::panic::AssertUnwindSafe;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::check::Failure;
use super::disk::Step;
use super::op::{Diet, Run, runs};
use super::world::{Depth, Tale, play};

/// Set to a number, it is the one seed that is run, with more words.
const VARIABLE: &str = "SEALGATE_SEED";

/// The run of a seed, as proptest's own tree: it can be made simpler.
fn tree(seed: u64, diet: Diet) -> impl ValueTree<Value = Run> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8] = diet as u8;
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), random);
    runs(diet).new_tree(&mut runner).expect("nothing is filtered")
}

/// Plays a run; a panic is a failure as well.
fn try_play(run: &Run, mutation: Option<Step>, depth: Depth) -> Result<Tale, Failure> {
    let _timers = super::gateway::timers();
    std::panic::catch_unwind(AssertUnwindSafe(|| play(run, mutation, depth))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(Failure { check: "nothing panics", message: text.unwrap_or_default() })
    })
}

/// Plays the run of a seed.
pub(super) fn play_seed(
    seed: u64,
    diet: Diet,
    mutation: Option<Step>,
    depth: Depth,
) -> Result<Tale, Failure> {
    try_play(&tree(seed, diet).current(), mutation, depth)
}

/// Makes the run of a seed that fails as simple as it can be, and tells it.
fn explain(seed: u64, diet: Diet, failure: &Failure, depth: Depth) -> String {
    let mut tree = tree(seed, diet);
    let (mut simplest, mut last) = (tree.current(), failure.clone());
    let mut turns = 0;
    while turns < 3000 {
        turns += 1;
        match try_play(&tree.current(), None, depth) {
            Err(failure) if failure.check == last.check => {
                (simplest, last) = (tree.current(), failure);
                if !tree.simplify() {
                    break;
                }
            }
            _ => {
                if !tree.complicate() {
                    break;
                }
            }
        }
    }
    let mut text = format!(
        "seed {seed} ({diet:?}): {}: {}\nagain: {VARIABLE}={seed} cargo test -p audit-writer --lib simulation\n",
        failure.check, failure.message
    );
    let _ = writeln!(text, "the simplest run that fails so: {}\n{simplest:#?}", last.message);
    text
}

/// Plays the runs of many seeds, on two threads; panics at the first that fails.
fn play_all(seeds: std::ops::Range<u64>, diet: Diet, full_each: u64) -> Totals {
    let only: Option<u64> = std::env::var(VARIABLE).ok().and_then(|seed| seed.parse().ok());
    let seeds = only.map_or(seeds, |seed| seed..seed + 1);
    let threads = 2;
    let results = std::thread::scope(|scope| {
        let play = |first: u64| {
            let seeds = seeds.clone();
            move || {
                let mut totals = Totals::default();
                for seed in (seeds.start + first..seeds.end).step_by(threads as usize) {
                    let depth =
                        if seed % full_each == 0 || only.is_some() { Depth::Full } else { Depth::Light };
                    match play_seed(seed, diet, None, depth) {
                        Ok(tale) => totals.add(&tale),
                        Err(failure) => return Err((seed, explain(seed, diet, &failure, depth))),
                    }
                }
                Ok(totals)
            }
        };
        let handles: Vec<_> = (0..threads).map(|first| scope.spawn(play(first))).collect();
        handles.into_iter().map(|handle| handle.join().expect("failures are caught")).collect::<Vec<_>>()
    });
    let mut totals = Totals::default();
    let mut failures = Vec::new();
    for result in results {
        match result {
            Ok(of_thread) => totals.merge(&of_thread),
            Err(failure) => failures.push(failure),
        }
    }
    failures.sort();
    if let Some((_, text)) = failures.first() {
        panic!("{text}");
    }
    totals
}

/// What many runs were.
#[derive(Debug, Default)]
struct Totals {
    runs: usize,
    boots: usize,
    power_losses: usize,
    records: usize,
    gaps: usize,
}

impl Totals {
    fn add(&mut self, tale: &Tale) {
        self.runs += 1;
        self.boots += tale.boots;
        self.power_losses += tale.power_losses;
        self.records += tale.records;
        self.gaps += tale.gaps;
    }

    fn merge(&mut self, other: &Totals) {
        self.runs += other.runs;
        self.boots += other.boots;
        self.power_losses += other.power_losses;
        self.records += other.records;
        self.gaps += other.gaps;
    }
}

#[test]
fn whatever_happens_what_is_lost_is_declared_and_the_past_stays() {
    let totals = play_all(0..2000, Diet::Everything, 10);
    println!("{totals:?}");
}

#[test]
fn after_ten_thousand_power_losses_what_was_durable_is_there() {
    let totals = play_all(0..10_000, Diet::PowerLoss, 20);
    println!("{totals:?}");
}
