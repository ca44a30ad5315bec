//! What is taken in of a device's telemetry, reading by reading, before it is acknowledged; and which devices say more or
//! less than they usually do. Not for who may publish where: that is the router's, and was asked before.
//!
//! Pure: no clock, no log, no socket. Time and randomness come in by the door.
//!
//! ```text
//!  payload ──▶ senml::read ──▶ each record: form, time, unit, schema, series ──▶ Outcome::{Fit, Partly, Unfit}
//!  counts  ──▶ Pace::tick  ──▶ Odd::{Silent, Flood, Back}
//! ```

mod bounds;
mod fault;
pub mod limits;
mod pace;

mod rules;
mod screen;
mod series;

pub use bounds::Bounds;
pub use fault::{Class, Fault, Refused};

pub use pace::{Odd, Pace, Seen};
pub use rules::{InvalidRules, Rules};
pub use screen::{Outcome, screen};
pub use series::Series;
