//! Whether each durable step is needed, and missed: every one that the runs show is left out in turn, and some run must
//! then fail. The list is made of what was seen, so that no step behind the seam can be forgotten.

use std::collections::BTreeMap;

use super::disk::Step;
use super::op::Diet;
use super::seeds::play_seed;
use super::world::Depth;

/// Runs that show which steps there are.
const SHOWN_BY: u64 = 300;
/// Runs of each diet in which a mutation must be found; without one, all of them pass.
const FOUND_WITHIN: u64 = 1000;

/// Steps that no power failure misses, and why they are done all the same.
const NOT_NEEDED: &[(&str, &str)] = &[
    ("recovery: SyncDir spool/ after create wal", "no record counts in a log whose name was not synced"),
    ("recovery: SyncDir spool/ after rename config", "the first group of the boot syncs the same directory"),
    ("recovery: SyncDir spool/ after rename state", "the first group of the boot syncs the same directory"),
    ("recovery: SyncDir store/ after make store/…", "each put syncs it again"),
    ("recovery: SyncDir store/ after remove store config temporary", PUT_AGAIN),
    ("recovery: SyncDir store/ after remove store segment temporary", PUT_AGAIN),
    (
        "recovery: SyncDir store/log/ after make store/log/checkpoints/",
        "the put of the checkpoint syncs it again",
    ),
    (
        "recovery: SyncDir store/log/ after make store/log/configs/",
        "the put of a configuration syncs it again",
    ),
    ("writer: Sync config temporary", CONFIG_AGAIN),
    ("writer: Rename config", CONFIG_AGAIN),
    ("writer: Remove config temporary", CONFIG_AGAIN),
    ("writer: SyncDir spool/ after rename config", CONFIG_AGAIN),
    ("writer: SyncDir spool/ after rename watermark", "after a power failure an older mark is as true"),
    ("shipper: Create sealed temporary", SEGMENT_AGAIN),
    ("shipper: Sync sealed temporary", SEGMENT_AGAIN),
    ("shipper: Rename sealed", SEGMENT_AGAIN),
    ("shipper: SyncDir spool/ after rename sealed", SEGMENT_AGAIN),
    ("shipper: Remove state temporary", "the writer removes it as well, and the shipper tries again"),
    (
        "shipper: SyncDir store/log/ after make store/log/segments/",
        "the put of the checkpoint syncs it before the commit",
    ),
    ("writer: Sync watermark temporary", "it narrows the gap that a power failure leaves"),
    ("writer: SyncDir spool/ after link sealed", "the state is synced there before the log is removed"),
];

/// Of a configuration that was removed from under the gateway.
const CONFIG_AGAIN: &str = "a deleted spool's configuration, made again in case it was not shipped";

/// Of an object that an earlier boot did not live to put.
const PUT_AGAIN: &str = "its own put syncs it again before it protects it";

/// Of a segment that was removed from the spool before it was in the store.
const SEGMENT_AGAIN: &str =
    "made again from the open file: nothing is promised of it before it is in the store";

#[test]
fn no_durable_step_can_be_left_out() {
    let mut steps: BTreeMap<Step, u64> = BTreeMap::new();
    for seed in 0..SHOWN_BY {
        for diet in [Diet::PowerLoss, Diet::Everything] {
            if let Ok(tale) = play_seed(seed, diet, None, Depth::Light) {
                tale.steps.into_iter().for_each(|(step, count)| *steps.entry(step).or_default() += count);
            }
        }
    }
    let mut missed = Vec::new();
    println!("{:<75} {:>5}  found by", "step that is left out", "runs");
    for step in steps.into_keys() {
        let name = step.to_string();
        if let Some((_, why)) = NOT_NEEDED.iter().find(|(step, _)| *step == name) {
            println!("{name:<75} {:>5}  not needed: {why}", "-");
            continue;
        }
        match find(step) {
            Some((runs, check)) => println!("{name:<75} {runs:>5}  {check}"),
            None => {
                println!("{name:<75} {:>5}  NOT FOUND", "-");
                missed.push(name);
            }
        }
    }
    assert!(missed.is_empty(), "nothing misses {missed:#?}");
}

/// After how many runs, and by which check, it is seen that a step is left out.
fn find(step: Step) -> Option<(u64, &'static str)> {
    let mut runs = 0;
    for seed in 0..FOUND_WITHIN {
        for diet in [Diet::PowerLoss, Diet::Everything] {
            runs += 1;
            if let Err(failure) = play_seed(seed, diet, Some(step), Depth::Light) {
                return Some((runs, failure.check));
            }
        }
    }
    None
}
