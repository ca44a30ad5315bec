//! Conformance as data: the numbered statements of both MQTT standards, what covers each, and the vectors on the wire.
//!
//! `docs/conformance.md` is written from it; `make conformance` writes it anew.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod authentication;
mod evidence;
mod hub;
mod page;
mod socket;
mod statements;
#[expect(dead_code, reason = "some of what a vector says is for the bare core only")]
#[path = "../vectors/vector.rs"]
mod vector;
mod vectors;
mod websocket;
mod wire;

use std::path::{Path, PathBuf};

/// The root of the checkout.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ stands in the root").to_owned()
}
