//! Telemetry as devices send it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use muster_schemas::senml::Pack;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(pack) = Pack::parse(bytes) {
        let _ = pack.resolve(1_800_000_000.0);
    }
});
