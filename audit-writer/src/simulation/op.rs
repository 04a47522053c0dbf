//! What can happen to a gateway and its disk, in any order.

use proptest::prelude::*;

use super::disk::{Armed, Condition, Fault, Moment, Operation};

/// How a request is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Buffered,
    Strict,
    BestEffort,
    Stream,
}

/// How a process ends that is not stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crash {
    Killed,
    PowerLost,
}

/// The tree that a condition is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tree {
    Spool,
    Store,
}

/// One event.
#[derive(Clone, Debug)]
pub(super) enum Op {
    /// A request is received and, where there is room, served. The bytes are those of its path.
    Request(Mode, u16),
    /// One of the requests in flight ends.
    End(u8),
    /// The writer's thread goes round.
    Write,
    /// The shipper's thread goes round.
    Ship,
    /// Time passes, milliseconds.
    Wait(u16),
    /// Some operation to come will fail.
    Fault(Armed),
    /// Something is wrong with a file system from now on.
    Condition(Tree, Condition),
    /// Nothing is wrong any more.
    Heal,
    /// A second gateway is started on the same spool.
    Second,
    /// Somebody removes the spool.
    DeleteSpool,
    /// The process ends, now.
    CrashNow(Crash),
    /// The process ends at that operation on the disk, be it in a start or in a stop.
    CrashAt(Crash, u8, Moment),
    /// SIGTERM.
    Stop,
}

/// A whole run.
#[derive(Clone, Debug)]
pub(super) struct Run {
    /// What the disk's chance is made of.
    pub(super) seed: u64,
    /// Slots of the ring.
    pub(super) slots: usize,
    /// Raw bytes after which a segment is sealed.
    pub(super) segment_bytes: u64,
    /// A heartbeat at each of the writer's rounds, or none.
    pub(super) heartbeats: bool,
    pub(super) ops: Vec<Op>,
}

/// What a run is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Diet {
    /// Everything.
    Everything,
    /// A healthy disk, and power that goes, mostly.
    PowerLoss,
}

fn requests() -> impl Strategy<Value = Op> {
    let mode = prop_oneof![
        4 => Just(Mode::Buffered),
        2 => Just(Mode::Strict),
        1 => Just(Mode::BestEffort),
        2 => Just(Mode::Stream),
    ];
    (mode, 0u16..400).prop_map(|(mode, bytes)| Op::Request(mode, bytes))
}

fn crashes(power: u32, kill: u32) -> impl Strategy<Value = Op> {
    let crash = prop_oneof![power => Just(Crash::PowerLost), kill => Just(Crash::Killed)].boxed();
    let moment = prop_oneof![Just(Moment::Before), Just(Moment::During), Just(Moment::After),];
    prop_oneof![
        1 => crash.clone().prop_map(Op::CrashNow),
        3 => (crash, 0u8..40, moment).prop_map(|(crash, at, moment)| Op::CrashAt(crash, at, moment)),
    ]
}

fn faults() -> impl Strategy<Value = Op> {
    let on = prop_oneof![
        2 => Just(None),
        3 => Just(Some(Operation::Append)),
        3 => Just(Some(Operation::Sync)),
        1 => Just(Some(Operation::SyncDir)),
        1 => Just(Some(Operation::Rename)),
        1 => Just(Some(Operation::Link)),
        1 => Just(Some(Operation::Create)),
        1 => Just(Some(Operation::Remove)),
        1 => Just(Some(Operation::Truncate)),
        1 => Just(Some(Operation::Overwrite)),
    ];
    let fault = prop_oneof![
        3 => Just(Fault::Io),
        2 => Just(Fault::NoSpace),
        1 => Just(Fault::AnswerLost),
        1 => Just(Fault::Panic),
    ];
    (fault, on, 0usize..12, 1usize..4)
        .prop_map(|(fault, on, skip, times)| Op::Fault(Armed { fault, on, skip, times }))
}

fn conditions() -> impl Strategy<Value = Op> {
    let spool = prop_oneof![Just(Condition::ReadOnly), Just(Condition::Full), Just(Condition::Broken)];
    let store = prop_oneof![
        Just(Condition::ReadOnly),
        Just(Condition::Full),
        Just(Condition::Broken),
        Just(Condition::Away)
    ];
    prop_oneof![
        spool.prop_map(|condition| Op::Condition(Tree::Spool, condition)),
        store.prop_map(|condition| Op::Condition(Tree::Store, condition)),
    ]
}

fn ops(diet: Diet) -> BoxedStrategy<Op> {
    match diet {
        Diet::Everything => prop_oneof![
            16 => requests(),
            12 => any::<u8>().prop_map(Op::End),
            16 => Just(Op::Write),
            8 => Just(Op::Ship),
            2 => (0u16..500).prop_map(Op::Wait),
            4 => faults(),
            2 => conditions(),
            4 => Just(Op::Heal),
            1 => Just(Op::Second),
            1 => Just(Op::DeleteSpool),
            4 => crashes(1, 1),
            2 => Just(Op::Stop),
        ]
        .boxed(),
        Diet::PowerLoss => prop_oneof![
            10 => requests(),
            8 => any::<u8>().prop_map(Op::End),
            14 => Just(Op::Write),
            8 => Just(Op::Ship),
            1 => (0u16..500).prop_map(Op::Wait),
            1 => faults(),
            6 => crashes(4, 1),
            2 => Just(Op::Stop),
        ]
        .boxed(),
    }
}

/// Any run.
pub(super) fn runs(diet: Diet) -> impl Strategy<Value = Run> {
    let segment_bytes = prop_oneof![Just(1u64), Just(1500), Just(4000), Just(1 << 30)];
    let shape = (any::<u64>(), 2usize..12, segment_bytes, prop::bool::weighted(0.2));
    (shape, prop::collection::vec(ops(diet), 1..40)).prop_map(
        |((seed, slots, segment_bytes, heartbeats), ops)| Run { seed, slots, segment_bytes, heartbeats, ops },
    )
}
