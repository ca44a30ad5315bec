//! MQTT over WebSocket (MQTT 5 §6, RFC 6455), behind TLS: the upgrade of HTTP, frames, and the stream of bytes within.
//!
//! Frames are taken apart where they were read, so a connection keeps nothing of a frame but where it is in it, and a
//! frame may be of any size. No extension is offered. For streaming within a frame there is no library that we found: the
//! known ones collect whole messages first, and need a bound on them that some clients would reach.

mod frames;
pub(crate) mod limits;
#[cfg(test)]
mod script;
mod stream;
mod upgrade;

pub(crate) use stream::WebSocket;
pub(crate) use upgrade::upgrade;
