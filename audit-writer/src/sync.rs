//! The atomics of the ring's protocols, in one place: `tests/loom_ring.rs` compiles the same files with loom's, which
//! try every order that the memory model allows.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
