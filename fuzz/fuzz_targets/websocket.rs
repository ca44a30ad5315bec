//! Whatever a browser, or who says to be one, sends: the request for an upgrade, and frames.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../broker/src/websocket/mod.rs"]
mod websocket;

#[path = "../../broker/src/websocket/script.rs"]
mod script;

fuzz_target!(|bytes: &[u8]| {
    script::run(bytes);
});
