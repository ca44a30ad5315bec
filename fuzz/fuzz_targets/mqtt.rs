//! Bytes from a client, through decoder and session.
#![no_main]

use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use muster_mqtt::{Connection, Effects, PacketLimits, SessionOptions};

fuzz_target!(|bytes: &[u8]| {
    let now = Instant::now();
    let mut connection = Connection::new(PacketLimits::default(), SessionOptions::default(), now);
    connection.receive(now, bytes, &mut Effects::default());
});
