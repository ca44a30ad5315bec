use proptest::prelude::*;

use super::*;
use crate::enrolment::{RenewChallenge, frame_length, samples};

fn body(frame: &[u8]) -> &[u8] {
    let (prefix, body) = frame.split_first_chunk().expect("a prefix");
    assert_eq!(frame_length(*prefix), Ok(body.len()));
    body
}

#[test]
fn every_frame_survives_the_wire() {
    for frame in samples::device_frames() {
        assert_eq!(DeviceFrame::decode(body(&frame.encode())), Ok(frame));
    }
    for frame in samples::hub_frames() {
        assert_eq!(HubFrame::decode(body(&frame.encode())), Ok(frame));
    }
}

#[test]
fn the_largest_frames_fit_the_bound() {
    for frame in samples::largest_device_frames() {
        assert_eq!(DeviceFrame::decode(body(&frame.encode())), Ok(frame));
    }
}

#[test]
fn a_frame_of_the_other_side_is_not_expected() {
    for frame in samples::device_frames() {
        assert!(matches!(HubFrame::decode(body(&frame.encode())), Err(InvalidFrame::UnknownType(1..=5))));
    }
    for frame in samples::hub_frames() {
        assert!(matches!(
            DeviceFrame::decode(body(&frame.encode())),
            Err(InvalidFrame::UnknownType(16..=21))
        ));
    }
}

#[test]
fn no_frame_is_cut_short_and_none_goes_on() {
    for frame in samples::device_frames() {
        let encoded = frame.encode();
        let body = body(&encoded);
        for length in 0..body.len() {
            assert!(DeviceFrame::decode(&body[..length]).is_err(), "{length} of {} bytes", body.len());
        }
        let longer = [body, &[0]].concat();
        assert_eq!(
            DeviceFrame::decode(&longer),
            Err(InvalidFrame::Cbor { key: None, cause: InvalidCbor::Trailing { bytes: 1 } })
        );
    }
    assert_eq!(DeviceFrame::decode(&vec![0; ENROLMENT_FRAME_BYTES_MAX + 1]), Err(InvalidFrame::TooLong));
}

#[test]
fn a_missing_an_unknown_and_a_long_field_are_told_apart() {
    let refused = |bytes: &[u8]| DeviceFrame::decode(bytes).expect_err("refused");
    assert_eq!(
        refused(&[0xa2, 0, 3, 1, 0x40]),
        InvalidFrame::Cbor { key: Some(1), cause: InvalidCbor::MissingKey { key: 2 } }
    );
    assert_eq!(
        refused(&[0xa5, 0, 3, 1, 0x40, 2, 0x40, 3, 0x60, 4, 0]),
        InvalidFrame::Cbor { key: Some(4), cause: InvalidCbor::UnknownKey { key: 4 } }
    );
    assert_eq!(
        refused(&[0xa4, 0, 3, 1, 0x19, 0x03, 0x01]),
        InvalidFrame::Cbor {
            key: Some(1),
            cause: InvalidCbor::WrongType { expected: "a byte string", found: crate::cbor::Major::Unsigned }
        }
    );
    assert_eq!(
        refused(&[0xa4, 0, 3, 1, 0x59, 0x03, 0x01]),
        InvalidFrame::Cbor { key: Some(1), cause: InvalidCbor::TooLong { found: 769, max: 768 } }
    );
    assert_eq!(refused(&[0xa1, 0, 9]), InvalidFrame::UnknownType(9));
    assert_eq!(
        refused(&[0xa4, 0, 3, 1, 0x40, 2, 0x40, 3, 0x61, 0x1b]).to_string(),
        "has a control character in the text of key 3"
    );
    assert_eq!(refused(&[0xa2, 0, 3, 1, 0x40]).to_string(), "lacks the key 2 (key 1)");
}

#[test]
fn pcrs_are_selected_in_order() {
    let decode = |selection: &[u8]| {
        let (session, nonce) = ([7; 16], [8; 32]);
        let challenge = RenewChallenge { session, nonce, pcr_selection: selection.to_vec() };
        HubFrame::decode(body(&HubFrame::RenewChallenge(challenge).encode()))
    };
    assert!(decode(&[0, 7, 23]).is_ok());
    assert!(decode(&[]).is_ok());
    for selection in [&[1, 0][..], &[1, 1], &[24]] {
        assert_eq!(decode(selection), Err(InvalidFrame::PcrSelection), "{selection:?}");
    }
}

#[test]
fn the_detail_of_a_refusal_is_made_presentable() {
    let refused =
        Refused { code: RefusalCode::ClaimUsed, detail: format!("a\u{1b}[2J\n{}", "ü".repeat(400)) };
    let decoded = HubFrame::decode(body(&HubFrame::Refused(refused).encode())).expect("a frame");
    let HubFrame::Refused(Refused { code, detail }) = decoded else { panic!("{decoded:?} is no refusal") };
    assert_eq!(code, RefusalCode::ClaimUsed);
    assert!(detail.starts_with("a [2J ü"), "{detail}");
    assert!(detail.len() <= ENROLMENT_DETAIL_BYTES_MAX);
    assert_eq!(HubFrame::decode(&[0xa3, 0, 20, 1, 0x18, 99, 2, 0x60]), Err(InvalidFrame::UnknownRefusal(99)));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        let _ = DeviceFrame::decode(&bytes);
        let _ = HubFrame::decode(&bytes);
    }

    #[test]
    fn what_is_accepted_has_one_form(
        which in 0_usize..10, place in any::<proptest::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut frames: Vec<Vec<u8>> = samples::device_frames().iter().map(DeviceFrame::encode).collect();
        frames.extend(samples::hub_frames().iter().map(HubFrame::encode));
        let mut mutated = body(&frames[which % frames.len()]).to_vec();
        let place = place.index(mutated.len());
        mutated[place] = byte;
        if let Ok(frame) = DeviceFrame::decode(&mutated) {
            let again = frame.encode();
            prop_assert_eq!(body(&again), &mutated[..]);
        }
        if let Ok(frame) = HubFrame::decode(&mutated) {
            let again = frame.encode();
            prop_assert_eq!(body(&again), &mutated[..]);
        }
    }
}
