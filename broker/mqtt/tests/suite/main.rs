//! The crate seen from outside, as one program: vectors of the standard, the codec's properties, the fuzz corpus.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

mod codec;
mod corpus;
mod malformed;
mod script;
mod stub;
#[expect(dead_code, reason = "some of what a vector says is for a whole broker only")]
#[path = "../../../../tests/vectors/vector.rs"]
mod vector;
mod vectors;
