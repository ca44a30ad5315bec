//! Questions over MQTT: what an app asks its hub on topics of its own session, with a response topic and correlation data
//! (MQTT 5 §4.10). Nothing of it is routed: the answer goes to the session that asked, whoever subscribes to what.
//!
//! ```text
//!   app ── PUBLISH $muster/query/range, response topic R, correlation data C, JSON ──▶ hub
//!       ◀── PUBLISH R, correlation data C, user property muster-status, JSON ─────────
//! ```

/// What all topics of questions begin with.
pub const TOPICS: &str = "$muster/query/";

/// The user property of an answer that says how it went, as HTTP would: `200`, or the status of a refusal, whose payload is
/// then an [`ErrorBody`](crate::api::ErrorBody).
pub const STATUS_PROPERTY: &str = "muster-status";
