//! The whole writing half on a simulated disk, against a model: faults, kills, power losses, in any order.
//!
//! [`op`] says what can happen; [`world`] lets it happen to the real recovery, writer, shipper and store
//! ([`gateway`]) on a disk in memory ([`disk`]), on one thread and with a time of its own ([`clock`]), and asks the
//! [`model`] after each event. [`seeds`] plays many runs, each named by a number and the same on every machine;
//! [`mutations`] leaves each durable step out in turn, and asks whether a run then fails.
//!
//! Not modelled: threads (loom tries the ring's orders, and tests with real processes the rest), a disk that lies about
//! a sync, bytes that rot, a sector that is written in part where 64 bytes are overwritten in place, the durability of
//! a file's mode, and the signing key's file.

mod chance;
mod check;
pub(crate) mod clock;
mod disk;
mod gateway;
mod model;
mod mutations;
mod op;
mod read;
mod seeds;
mod verify;
mod world;
