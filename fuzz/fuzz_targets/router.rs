//! Everything that sessions, the disk and the clock can do to a router, in any order.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../broker/routing/tests/suite/script.rs"]
mod script;

fuzz_target!(|bytes: &[u8]| {
    script::run(bytes);
});
