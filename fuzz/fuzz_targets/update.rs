//! What hub and device say of an update over MQTT.
#![no_main]

use libfuzzer_sys::fuzz_target;
use muster_schemas::firmware::{Announcement, Block, Freshness, Get, Offer, Report};

fuzz_target!(|bytes: &[u8]| {
    let _ = Announcement::decode(bytes).map(|read| assert_eq!(read.encode(), bytes));
    let _ = Offer::decode(bytes).map(|read| assert_eq!(read.encode(), bytes));
    let _ = Freshness::decode(bytes).map(|read| assert_eq!(read.encode(), bytes));
    let _ = Block::decode(bytes).map(|read| assert_eq!(read.encode(), bytes));
    if let Ok(get) = Get::decode(bytes) {
        assert_eq!(get.encode(), bytes);
        assert!(get.offsets().count() <= 256);
    }
    // A reason that this end does not know is read as another, and so not written as it was.
    if let Ok(report) = Report::decode(bytes) {
        assert_eq!(Report::decode(&report.encode()).as_ref(), Ok(&report));
    }
});
