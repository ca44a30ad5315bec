//! Everything that can happen to an MQTT session, in any order, under the judges of the session's own tests.
#![no_main]

use std::time::Instant;

use libfuzzer_sys::fuzz_target;

#[path = "../../broker/mqtt/tests/suite/script.rs"]
mod script;

fuzz_target!(|bytes: &[u8]| {
    script::run(Instant::now(), bytes);
});
