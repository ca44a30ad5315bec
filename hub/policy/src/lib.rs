//! Access rules over principals, data items and time: Cedar policies, asked for a view of history or of live topics.
//! Not for admission: who comes in at all is the registry's.
//!
//! ```text
//!   text ──▶ Policies ──▶ Rules ──view──▶ View ──▶ History::scan      one decision for items that look alike
//!            validated      │ ──live──▶ Live ──▶ sessions of the bus  good until something changes
//!                           │ ──explain──▶ which policy, or which one fell short of what
//! ```
//!
//! ```
//! # use std::sync::Arc;
//! # use muster_policy::{Policies, Rules};
//! let text = include_str!("../examples/officers.cedar");
//! let policies = Policies::parse(text).expect("valid");
//! assert_eq!(policies.names().collect::<Vec<_>>(), ["officers-after-a-month", "administrators"]);
//! let rules = Rules::new("acme".parse().expect("id"), Some(Arc::new(policies)));
//! assert!(!rules.are_open());
//! ```

mod asking;
mod dataset;
mod est;
mod explain;
mod fault;
mod lens;
pub mod limits;
mod names;
mod policies;
mod reader;
mod rules;
mod schema;
mod sight;

pub use asking::{Decision, NO_POLICY};
pub use dataset::DataSet;
pub use explain::{Explanation, Shortfall};
pub use fault::Fault;
pub use lens::{Hidden, Tally};
pub use names::{InvalidAttributes, check_attributes, check_name, is_attribute_name};
pub use policies::Policies;
pub use reader::Reader;
pub use rules::{Live, OPEN, OUTSIDE, Rules};
pub use schema::{Action, GRANT, WALL};

#[cfg(test)]
mod tests;
