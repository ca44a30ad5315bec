//! Access rules in the hub: what the registry says of who may be shown what, where everybody who shows telemetry reads it
//! without asking the registry. What the rules themselves mean is the crate `muster-policy`.
//!
//! ```text
//!  registry ──tells──▶ Known ◀──view── API, queries over MQTT
//!                        ▲ ▲
//!       telemetry, ingest┘ └──live── the routers' sieves
//! ```

mod asking;
mod denials;
mod known;
mod live;

pub use asking::NotShown;
pub use denials::{Counted, Denial, Tell, What};
pub use known::{Known, OfTenant};
pub use live::sieves;

use crate::telemetry::AttributesOf;

/// What is known of a device where its telemetry comes in.
pub fn attributes(known: Known) -> AttributesOf {
    std::sync::Arc::new(move |tenant, device| known.attributes(tenant, device))
}
