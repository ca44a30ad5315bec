//! A TpmtPublic as a device sends it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use muster_tpm::wire::TpmtPublic;

fuzz_target!(|bytes: &[u8]| {
    let _ = TpmtPublic::parse(bytes);
});
