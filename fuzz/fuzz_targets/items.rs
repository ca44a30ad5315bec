//! Blocks of telemetry, and what devices send before it is in one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use muster_items::{
    block::{Block, decode_place},
    judge::judge,
};

fuzz_target!(|bytes: &[u8]| {
    let _ = judge(bytes, 1_800_000_000.0, |_, _| {});
    let _ = decode_place(bytes);
    if let Ok(block) = Block::open(bytes.to_vec()) {
        let _ = block.times_us();
        for heading in block.headings() {
            let _ = block.column(heading);
        }
        let _ = block.read(|_| true);
        let _ = block.is_whole();
    }
});
