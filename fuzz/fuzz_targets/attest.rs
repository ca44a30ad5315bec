//! What is said in muster-attest, by either side.
#![no_main]

use libfuzzer_sys::fuzz_target;
use muster_schemas::attest::{Answer, Challenge, Outcome};

fuzz_target!(|bytes: &[u8]| {
    let _ = Challenge::decode(bytes).map(|read| assert_eq!(read.encode(), bytes));
    let _ = Answer::decode(bytes).map(|read| assert_eq!(read.encode(), bytes));
    let _ = Outcome::decode(bytes).map(|read| assert_eq!(read.encode(), bytes));
});
