//! Reading history for those who ask: on threads that may block, a few at a time, and to a pipe where the answer is long.
//! What is asked, and how it is worked out, is `muster_exports`; who may be shown what is the API's `view`.
//!
//! ```text
//!  API, MQTT ──▶ Readers ──▶ a thread: History ──▶ page of JSON
//!                               └──▶ a thread: History ──▶ Pipe ──▶ pieces ──▶ HTTP body
//! ```

pub mod limits;
mod pipe;
mod readers;

pub use pipe::{Part, Piece, Pipe};
pub use readers::{Busy, Readers};
