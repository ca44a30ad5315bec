//! What clients of hawkBit send: paths, headers and bodies, in JSON and in CBOR.
#![no_main]

use libfuzzer_sys::fuzz_target;
use muster_ddi::{
    Credential, Format, Route, Verb, read_config_data, read_confirmation, read_feedback, read_state_version,
};

fuzz_target!(|bytes: &[u8]| {
    for format in [Format::Json, Format::Cbor] {
        if let Ok(said) = read_feedback(format, bytes) {
            assert!(said.details.len() <= muster_ddi::limits::DETAILS_MAX);
            assert!(said.details.iter().all(|line| line.len() <= muster_ddi::limits::DETAIL_BYTES_MAX));
        }
        if let Ok(said) = read_config_data(format, bytes) {
            assert!(said.attributes.len() <= muster_ddi::limits::ATTRIBUTES_MAX);
        }
        let _ = (read_confirmation(format, bytes), read_state_version(format, bytes));
    }
    let _ = (Credential::parse(bytes), Format::of_accept(Some(bytes)), Format::of_content(Some(bytes)));
    if let Ok(text) = str::from_utf8(bytes) {
        let _ = Route::parse(Verb::Get, text);
        let _ = Route::parse(Verb::Get, &format!("/acme/controller/v1/pump-7/{text}"));
    }
});
