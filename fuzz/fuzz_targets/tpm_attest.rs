//! A TpmsAttest as a device sends it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use muster_tpm::wire::TpmsAttest;

fuzz_target!(|bytes: &[u8]| {
    let _ = TpmsAttest::parse(bytes);
});
