//! What a device judges before it believes it: an envelope to its images, a tenant's root, and what a hub signed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use muster_schemas::firmware::{Freshness, Offer, Uuid};
use muster_suit::{Envelope, Facts, RootDraft, carry_out, cose::Signed, limits};

fuzz_target!(|bytes: &[u8]| {
    let facts = Facts { vendor: Uuid([1; 16]), class: Uuid([2; 16]), unit: None, slot: Some(0), version: None };
    if let Ok(manifest) = Envelope::open(bytes).and_then(|envelope| envelope.manifest()) {
        let _ = carry_out(&manifest, &facts);
    }
    if let Ok(draft) = RootDraft::decode(bytes) {
        assert_eq!(RootDraft::decode(&draft.encode()).as_ref(), Ok(&draft));
    }
    if let Some(payload) = Signed::decode(bytes, limits::SIGNED_BYTES_MAX).ok().and_then(|signed| signed.payload) {
        let _ = Offer::decode(payload).map(|read| assert_eq!(read.encode(), payload));
        let _ = Freshness::decode(payload).map(|read| assert_eq!(read.encode(), payload));
    }
});
