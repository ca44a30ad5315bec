//! Bytes that are no report: refused, and never a panic.

use proptest::prelude::*;

use super::world::*;
use crate::*;

fn all(format: Format, body: &[u8]) {
    let action = action();
    for client in [Client::Swupdate, Client::Rauc, Client::Unknown] {
        if let Ok(said) = read_feedback(format, body) {
            let _ = feedback(&target(client, Some(&action)), id(7), said.clone());
            let _ = cancel_feedback(&target(client, Some(&action)), id(7), said);
        }
    }
    let _ =
        (read_config_data(format, body), read_confirmation(format, body), read_state_version(format, body));
}

#[test]
fn deep_bodies_are_refused_and_not_followed() {
    for depth in [100, 1_000, 20_000] {
        let json = format!(r#"{{"status":{{"execution":"closed"}},"x":{}"#, "[".repeat(depth));
        all(Format::Json, json.as_bytes());
        let within = format!(r#"{{"data":{{"x":{}"#, r#"{"a":"#.repeat(depth));
        all(Format::Json, within.as_bytes());
        for (head, byte) in
            [(&[0xa1_u8, 0x61, b'x'][..], 0x81_u8), (&[0xa1, 0x64, b'd', b'a', b't', b'a'], 0x9f)]
        {
            let mut cbor = head.to_vec();
            cbor.resize(head.len() + depth, byte);
            all(Format::Cbor, &cbor);
        }
    }
}

#[test]
fn a_report_in_cbor_means_what_it_means_in_json() {
    let body = r#"{"id":7,"status":{"execution":"closed","result":{"finished":"failure","progress":{"cnt":1,"of":2}},
        "code":-5,"details":["a","b"],"unknown":{"x":[1,null]}},"time":"x"}"#;
    let value: serde_json::Value = serde_json::from_str(body).unwrap();
    let cbor = cbor4ii::serde::to_vec(Vec::new(), &value).unwrap();
    assert_eq!(read_feedback(Format::Cbor, &cbor).unwrap(), said(body));
    let attributes = br#"{"mode":"remove","data":{"a":null,"b":1,"c":[1,2],"d":"x"}}"#;
    let value: serde_json::Value = serde_json::from_slice(attributes).unwrap();
    let cbor = cbor4ii::serde::to_vec(Vec::new(), &value).unwrap();
    assert_eq!(read_config_data(Format::Cbor, &cbor), read_config_data(Format::Json, attributes));
    for length in 0..cbor.len() {
        assert!(read_config_data(Format::Cbor, &cbor[..length]).is_err(), "{length}");
    }
}

#[test]
fn a_report_in_cbor_of_indefinite_length_is_read_too() {
    // {_ "status": {_ "execution": "closed", "details": [_ "x"]}}
    let mut cbor = vec![0xbf, 0x66];
    cbor.extend_from_slice(b"status");
    cbor.extend_from_slice(&[0xbf, 0x69]);
    cbor.extend_from_slice(b"execution");
    cbor.extend_from_slice(b"\x66closed\x67details\x9f\x61x\xff\xff\xff");
    assert_eq!(read_feedback(Format::Cbor, &cbor).unwrap().details, ["x"]);
}

#[test]
fn what_the_fuzzer_begins_with_is_read_as_its_name_says() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/ddi");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).expect("the corpus is there").flatten() {
        let (name, seed) = (entry.file_name(), std::fs::read(entry.path()).unwrap());
        let read =
            [Format::Json, Format::Cbor].into_iter().any(|format| read_feedback(format, &seed).is_ok());
        assert_eq!(read, name.to_string_lossy().starts_with("valid-"), "{}", name.display());
        for length in 0..=seed.len() {
            all(Format::Json, &seed[..length]);
            all(Format::Cbor, &seed[..length]);
        }
        seen += 1;
    }
    assert!(seen >= 12);
}

proptest! {
    #[test]
    fn no_bytes_are_a_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        all(Format::Json, &body);
        all(Format::Cbor, &body);
    }

    #[test]
    fn nor_are_reports_in_which_something_was_changed(at in 0_usize..140, byte in any::<u8>(), cbor in any::<bool>()) {
        let json = br#"{"id":7,"status":{"execution":"closed","details":["a"],
            "result":{"finished":"failure","progress":{"cnt":1,"of":2}}}}"#;
        let value: serde_json::Value = serde_json::from_slice(json).unwrap();
        let mut body = if cbor { cbor4ii::serde::to_vec(Vec::new(), &value).unwrap() } else { json.to_vec() };
        let at = at % body.len();
        body[at] = byte;
        all(if cbor { Format::Cbor } else { Format::Json }, &body);
    }

    #[test]
    fn no_path_and_no_header_is_a_panic(path in "\\PC{0,80}", header in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = Route::parse(Verb::Get, &path);
        let _ = Route::parse(Verb::Get, &format!("/acme/controller/v1/pump-7/softwaremodules/1/artifacts/{path}"));
        let _ = (Format::of_accept(Some(&header)), Format::of_content(Some(&header)), Credential::parse(&header));
    }
}
