//! A sealed payload, as an app gets it from whoever holds the bus.
#![no_main]

use libfuzzer_sys::fuzz_target;
use muster_seal::Sealed;

fuzz_target!(|bytes: &[u8]| {
    let _ = Sealed::decode(bytes).map(|read| assert_eq!(read.encode(), bytes));
});
