//! Real readings of this machine: what its kernel says in `/proc` and `/sys`. Each parser is a pure function on a
//! file's text; [`Machine`] reads the files, [`Schedule`] says when, [`Sensors`] is the actor around both.
//!
//! Not for sensors of a plant: those come over a bus of their own.

mod actor;
mod cpu;
mod disk;
mod machine;
mod memory;
mod network;
mod reading;
mod schedule;
mod thermal;

pub use actor::{Said, Sensors, SessionOpened};
pub use machine::Machine;
pub use reading::{Reading, time_s};
pub use schedule::{Due, Schedule};
