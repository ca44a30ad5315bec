//! The core of one tenant's router: subscriptions, retained messages, access lists, and which acknowledgement waits for
//! the disk. Not for sockets, sessions, clocks or storage: whoever owns those feeds it [`Input`]s and carries out
//! [`Effect`]s, in order.
//!
//! ```text
//!  Join, Leave, Subscribe,        ┌────────┐   Deliver, Published, Subscribed, ...
//!  Unsubscribe, Publish     ────▶ │        │ ────▶  to sessions
//!                                 │ Router │
//!  Committed, CommitFailed  ────▶ │        │ ────▶  to the log
//!                                 └────────┘   Append, KeepRetained, ForgetRetained
//!                                  ▲      │
//!                                  └──────┘ Continue: more to do, after others had their turn
//! ```
//!
//! ```
//! use std::sync::Arc;
//!
//! use muster_routing::{Access, Effect, Input, Request, Router, RouterOptions, SubscriberId};
//! use muster_schemas::{Kind, Message, Publisher, Qos};
//!
//! let mut router = Router::new(RouterOptions::default());
//! let mut effects = Vec::new();
//! let app = SubscriberId(1);
//! let publisher = Publisher { kind: Kind::App, id: "dashboard".parse()? };
//! router.handle(0, Input::Join { subscriber: app, publisher, access: Arc::new(Access::app()) }, &mut effects);
//! let wish = Request { filter: "alerts/#".parse()?, options: Default::default(), subscription_id: None };
//! router.handle(0, Input::Subscribe { subscriber: app, ticket: 1, filters: vec![wish] }, &mut effects);
//! let message = Message {
//!     topic: "alerts/high".parse()?,
//!     qos: Qos::AtMostOnce,
//!     retain: false,
//!     payload: "water".into(),
//!     properties: None,
//! };
//! router.handle(0, Input::Publish { subscriber: app, ticket: None, message: Arc::new(message) }, &mut effects);
//! assert!(matches!(effects[0], Effect::Subscribed { to, ticket: 1, .. } if to == app));
//! assert!(matches!(effects[1], Effect::Deliver { to, .. } if to == app));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod access;
mod children;
mod commit;
mod durable;
mod effect;
mod fanout;
mod groups;
mod held;
mod index;
mod input;
pub mod limits;
mod numbers;
mod recent;
mod refusal;
mod replays;
mod retained;
mod router;
mod subscription;
#[cfg(test)]
mod tests;
mod usage;

pub use access::{Access, Denial, Rule};
pub use durable::{Attached, InvalidRow, Record, RestoreError, SessionKey, Wanted, Will};
pub use effect::{Delivery, Effect, Outcome, Wish};
pub use index::{Index, Match, Matches};
pub use input::{Input, Request};
pub use limits::{Limits, PrincipalLimits, is_device};

pub use muster_schemas::{RetainHandling, SubscriptionOptions};
pub use numbers::{NumberHasher, SubscriberMap};
pub use refusal::Refusal;
pub use retained::{Cursor, Previous, Retained, RetainedMessage};
pub use router::{Restoring, Router, RouterOptions};
pub use subscription::{SubscriberId, Subscription};
