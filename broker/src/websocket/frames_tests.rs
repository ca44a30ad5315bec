use proptest::prelude::*;

use super::*;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A frame as a client sends it.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    put_header(&mut out, first, payload.len());
    let mut bytes = out.to_vec();
    bytes[1] |= 0x80;
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// What is within `bytes` when they come in pieces of this length.
fn taken(unframer: &mut Unframer, bytes: &[u8], piece: usize) -> Result<Vec<u8>, Broken> {
    let mut payload = Vec::new();
    for piece in bytes.chunks(piece) {
        let mut piece = piece.to_vec();
        let kept = unframer.take(&mut piece)?;
        payload.extend(&piece[..kept]);
    }
    Ok(payload)
}

#[test]
fn payload_is_the_same_however_its_frames_and_its_bytes_are_cut() {
    let long = vec![7; 70_000];
    let mut wire = frame(0x82, b"whole");
    wire.extend(frame(0x02, b"in "));
    wire.extend(frame(0x89, b"are you there"));
    wire.extend(frame(0x00, b""));
    wire.extend(frame(0x80, b"parts"));
    wire.extend(frame(0x8a, b"yes"));
    wire.extend(frame(0x82, &long[..200]));
    wire.extend(frame(0x82, &long));
    for piece in [1, 2, 3, 5, 14, 1_000, wire.len()] {
        let mut unframer = Unframer::default();
        let payload = taken(&mut unframer, &wire, piece).expect("well formed");
        assert_eq!(payload, [b"wholein parts", &long[..200], &long[..]].concat());
        assert_eq!(unframer.ping().as_deref(), Some(&b"are you there"[..]));
        assert_eq!((unframer.is_pinged(), unframer.closed()), (false, None));
    }
}

#[test]
fn a_close_is_the_last_that_is_heard() {
    for (said, heard) in [
        (&b""[..], Some(CloseCode::Normal)),
        (b"\x03\xe8bye", Some(CloseCode::Peer(1000))),
        (b"\x03", None),
        (b"\x03\xed", None),
    ] {
        let mut unframer = Unframer::default();
        let wire = [frame(0x82, b"before"), frame(0x88, said), frame(0x82, b"after")].concat();
        let taken = taken(&mut unframer, &wire, wire.len());
        match heard {
            Some(code) => {
                assert_eq!(taken.expect("well formed"), b"before");
                assert_eq!(unframer.closed(), Some(code));
            }
            None => assert_eq!(taken.expect_err("refused").code, CloseCode::Protocol),
        }
    }
}

#[test]
fn what_breaks_the_rules_is_told_with_its_code() {
    let unmasked = vec![0x82, 0x01, b'x'];
    let long = |first: u8, length: &[u8]| {
        [&[first, if length.len() == 2 { 0xfe } else { 0xff }], length, &MASK].concat()
    };
    for (wire, code, what) in [
        (frame(0x81, b"text"), CloseCode::Unsupported, "text"),
        (frame(0x01, b""), CloseCode::Unsupported, "text"),
        (unmasked, CloseCode::Protocol, "not masked"),
        (frame(0xc2, b""), CloseCode::Protocol, "reserved bit"),
        (frame(0x80, b""), CloseCode::Protocol, "continues nothing"),
        ([frame(0x02, b"a"), frame(0x82, b"b")].concat(), CloseCode::Protocol, "before the one before it"),
        (frame(0x83, b""), CloseCode::Protocol, "no known kind"),
        (frame(0x8b, b""), CloseCode::Protocol, "no known kind"),
        (frame(0x09, b""), CloseCode::Protocol, "in parts"),
        (frame(0x89, &[0; 126]), CloseCode::Protocol, "more than 125"),
        (long(0x82, &[0, 125]), CloseCode::Protocol, "length"),
        (long(0x82, &[0, 0, 0, 0, 0, 0, 255, 255]), CloseCode::Protocol, "length"),
        (long(0x82, &[255; 8]), CloseCode::Protocol, "length"),
    ] {
        // However it comes: padded, so that a header that lacks a mask is whole.
        let wire = [&wire[..], &[0; 14]].concat();
        for piece in [1, wire.len()] {
            let broken = taken(&mut Unframer::default(), &wire, piece).expect_err(what);
            assert_eq!(broken.code, code, "{what}");
            assert!(broken.what.contains(what), "{:?} does not say {what:?}", broken.what);
        }
    }
}

#[test]
fn what_we_send_is_what_the_standard_shows() {
    // RFC 6455 §5.7.
    let sent = |put: &dyn Fn(&mut BytesMut)| {
        let mut out = BytesMut::new();
        put(&mut out);
        out.to_vec()
    };
    assert_eq!(sent(&|out| put_pong(out, b"Hello")), [0x8a, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
    let parts = [vec![1; 200], vec![2; 100], vec![3; 100]];
    let slices: Vec<_> = parts.iter().map(|part| std::io::IoSlice::new(part)).collect();
    let binary = sent(&|out| put_binary(out, &slices, 256));
    assert_eq!(binary[..4], [0x82, 0x7e, 0x01, 0x00]);
    assert_eq!(binary[4..], [&[1; 200][..], &[2; 56]].concat());
    assert_eq!(sent(&|out| put_header(out, 0x82, 65_536)), [0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]);
    assert_eq!(sent(&|out| put_close(out, CloseCode::Unsupported)), [0x88, 0x02, 0x03, 0xeb]);
}

proptest! {
    #[test]
    fn nothing_from_the_wire_panics_or_makes_payload_of_nothing(
        bytes in proptest::collection::vec(any::<u8>(), 0..2_000),
        piece in 1_usize..100,
    ) {
        let mut unframer = Unframer::default();
        for piece in bytes.chunks(piece) {
            let mut piece = piece.to_vec();
            match unframer.take(&mut piece) {
                Ok(kept) => prop_assert!(kept <= piece.len()),
                Err(_) => return Ok(()),
            }
        }
    }
}
