//! Trust objects: what travels, and what is signed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use muster_schemas::trust::{SignedTrust, Trust};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(signed) = SignedTrust::decode(bytes) {
        assert_eq!(signed.encode(), bytes);
        let _ = Trust::decode(&signed.body);
    }
    if let Ok(trust) = Trust::decode(bytes) {
        assert_eq!(trust.encode(), bytes);
    }
});
