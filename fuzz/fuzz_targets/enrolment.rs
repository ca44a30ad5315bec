//! Frames of muster-enroll/1, of either side.
#![no_main]

use libfuzzer_sys::fuzz_target;
use muster_schemas::enrolment::{DeviceFrame, HubFrame};

fuzz_target!(|bytes: &[u8]| {
    let _ = DeviceFrame::decode(bytes);
    let _ = HubFrame::decode(bytes);
});
