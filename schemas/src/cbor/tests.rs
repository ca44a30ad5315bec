use cbor4ii::core::{dec::Decode, utils::SliceReader};
use proptest::prelude::*;

use super::*;

fn number(bytes: &[u8]) -> Result<f64, InvalidCbor> {
    Reader::strict(bytes).number()
}

#[test]
fn the_numbers_of_rfc_8949_appendix_a_are_read() {
    for (bytes, expected) in [
        (&[0x00][..], 0.0),
        (&[0x18, 0x64], 100.0),
        (&[0x1b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], 18_446_744_073_709_551_615.0),
        (&[0x3b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], -18_446_744_073_709_551_616.0),
        (&[0x39, 0x03, 0xe7], -1000.0),
        (&[0xf9, 0x3c, 0x00], 1.0),
        (&[0xf9, 0x3e, 0x00], 1.5),
        (&[0xf9, 0x7b, 0xff], 65_504.0),
        (&[0xf9, 0x00, 0x01], 5.960_464_477_539_063e-8),
        (&[0xf9, 0x04, 0x00], 0.000_061_035_156_25),
        (&[0xf9, 0xc4, 0x00], -4.0),
        (&[0xfa, 0x47, 0xc3, 0x50, 0x00], 100_000.0),
        (&[0xfb, 0x3f, 0xf1, 0x99, 0x99, 0x99, 0x99, 0x99, 0x9a], 1.1),
        // RFC 8949 §3.4.4: 273.15 as a decimal fraction.
        (&[0xc4, 0x82, 0x21, 0x19, 0x6a, 0xb3], 273.15),
    ] {
        assert_eq!(number(bytes), Ok(expected), "{bytes:02x?}");
    }
}

#[test]
fn a_number_is_finite() {
    for bytes in [
        &[0xf9, 0x7c, 0x00][..],
        &[0xf9, 0x7e, 0x00],
        &[0xf9, 0xfc, 0x00],
        &[0xfa, 0x7f, 0x80, 0, 0],
        &[0xfb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0],
        &[0xc4, 0x82, 0x19, 0x01, 0x35, 0x01],
        &[0xc4, 0x82, 0x1b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    ] {
        assert_eq!(number(bytes), Err(InvalidCbor::NotFinite), "{bytes:02x?}");
    }
}

#[test]
fn only_the_shortest_form_is_strict() {
    for bytes in [
        &[0x18, 0x17][..],
        &[0x19, 0x00, 0xff],
        &[0x1a, 0x00, 0x00, 0xff, 0xff],
        &[0x1b, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
    ] {
        assert_eq!(Reader::strict(bytes).unsigned(u64::MAX), Err(InvalidCbor::NotShortest), "{bytes:02x?}");
        assert!(Reader::tolerant(bytes).unsigned(u64::MAX).is_ok(), "{bytes:02x?}");
    }
    assert_eq!(Reader::strict(&[0x58, 0x01, 0x00]).bytes(9), Err(InvalidCbor::NotShortest));
    assert_eq!(Reader::strict(&[0x1c]).unsigned(9), Err(InvalidCbor::Reserved { head: 0x1c }));
    assert_eq!(Reader::tolerant(&[0x1f]).unsigned(9), Err(InvalidCbor::Reserved { head: 0x1f }));
}

#[test]
fn indefinite_lengths_are_only_for_tolerant_arrays_and_maps() {
    let array = [0x9f, 0x01, 0x02, 0xff];
    assert_eq!(Reader::strict(&array).array(9).map(drop), Err(InvalidCbor::Indefinite));
    assert_eq!(Reader::tolerant(&[0x5f, 0x40, 0xff]).bytes(9), Err(InvalidCbor::Indefinite));
    assert_eq!(Reader::tolerant(&[0x7f, 0x60, 0xff]).text(9), Err(InvalidCbor::Indefinite));

    let mut reader = Reader::tolerant(&array);
    let mut items = reader.array(2).expect("an array");
    let mut seen = vec![];
    while reader.more(&mut items).expect("two elements") {
        seen.push(reader.unsigned(9).expect("a number"));
    }
    assert_eq!(seen, [1, 2]);
    assert_eq!(reader.finish(), Ok(()));

    let mut reader = Reader::tolerant(&array);
    let mut items = reader.array(1).expect("an array");
    assert_eq!(reader.more(&mut items), Ok(true));
    reader.skip().expect("a number");
    assert_eq!(reader.more(&mut items), Err(InvalidCbor::TooMany { found: 2, max: 1 }));
}

#[test]
fn sizes_are_refused_before_they_are_believed() {
    let huge = [0x5b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    let found = 0x7fff_ffff_ffff_ffff;
    assert_eq!(Reader::strict(&huge).bytes(16), Err(InvalidCbor::TooLong { found, max: 16 }));
    assert_eq!(Reader::strict(&huge).bytes(usize::MAX), Err(InvalidCbor::Truncated));
    let mut huge_array = huge;
    huge_array[0] = 0x9b;
    assert_eq!(Reader::strict(&huge_array).array(16).map(drop), Err(InvalidCbor::TooMany { found, max: 16 }));
    assert_eq!(
        Reader::strict(&[0x42, 1, 2]).array_of_bytes::<3>(),
        Err(InvalidCbor::WrongSize { found: 2, expected: 3 })
    );
    assert_eq!(Reader::strict(&[0x43, 1, 2]).array_of_bytes::<3>(), Err(InvalidCbor::Truncated));
    assert_eq!(
        Reader::strict(&[0x18, 200]).unsigned(100),
        Err(InvalidCbor::TooLarge { found: 200, max: 100 })
    );
}

#[test]
fn nothing_is_skipped_deeper_than_the_bound() {
    let nest = |depth: usize| {
        let mut bytes = vec![0x81; depth - 1];
        bytes.push(0x00);
        bytes
    };
    assert_eq!(Reader::strict(&nest(CBOR_DEPTH_MAX)).skip(), Ok(()));
    assert_eq!(Reader::strict(&nest(CBOR_DEPTH_MAX + 1)).skip(), Err(InvalidCbor::TooDeep));
    assert_eq!(Reader::strict(&vec![0xc1; 1 << 20]).skip(), Err(InvalidCbor::TooDeep));
    assert_eq!(Reader::strict(&[0xff]).skip(), Err(InvalidCbor::Reserved { head: 0xff }));
    assert_eq!(Reader::strict(&[0xf8, 0x18]).skip(), Err(InvalidCbor::Reserved { head: 0xf8 }));
}

#[test]
fn keys_ascend_and_are_known() {
    let read = |bytes: &[u8]| {
        let mut reader = Reader::strict(bytes);
        let mut fields = reader.fields(4)?;
        fields.require(&mut reader, 0)?;
        let a = reader.unsigned(9)?;
        let b = if fields.optional(&mut reader, 3)? { Some(reader.unsigned(9)?) } else { None };
        fields.require(&mut reader, 5)?;
        let c = reader.unsigned(9)?;
        fields.end(&mut reader)?;
        reader.finish()?;
        Ok((a, b, c))
    };
    assert_eq!(read(&[0xa3, 0, 1, 3, 2, 5, 3]), Ok((1, Some(2), 3)));
    assert_eq!(read(&[0xa2, 0, 1, 5, 3]), Ok((1, None, 3)));
    assert_eq!(read(&[0xa2, 0, 1, 3, 2]), Err(InvalidCbor::MissingKey { key: 5 }));
    assert_eq!(read(&[0xa2, 0, 1, 7, 2]), Err(InvalidCbor::MissingKey { key: 5 }));
    assert_eq!(read(&[0xa3, 0, 1, 0, 1, 5, 3]), Err(InvalidCbor::KeyOrder { key: 0 }));
    assert_eq!(read(&[0xa3, 0, 1, 5, 3, 3, 2]), Err(InvalidCbor::KeyOrder { key: 3 }));
    assert_eq!(read(&[0xa3, 0, 1, 4, 1, 5, 3]), Err(InvalidCbor::UnknownKey { key: 4 }));
    assert_eq!(read(&[0xa3, 0, 1, 5, 3, 6, 3]), Err(InvalidCbor::UnknownKey { key: 6 }));
    assert_eq!(read(&[0xa2, 0, 1, 5, 3, 0]), Err(InvalidCbor::Trailing { bytes: 1 }));
    assert_eq!(read(&[0xa5]), Err(InvalidCbor::TooMany { found: 5, max: 4 }));
    assert_eq!(
        read(&[0xa1, 0x61, b'a', 0]).map(drop),
        Err(InvalidCbor::WrongType { expected: "an unsigned integer", found: Major::Text })
    );
}

proptest! {
    #[test]
    fn every_number_survives_and_other_decoders_read_it_too(bits in any::<u64>()) {
        let value = f64::from_bits(bits);
        prop_assume!(value.is_finite());
        let mut writer = Writer::default();
        writer.number(value);
        let bytes = writer.into_bytes();
        let read = number(&bytes);
        prop_assert_eq!(read.map(f64::to_bits), Ok(bits));
    }

    #[test]
    fn whole_numbers_are_written_as_integers(value in -(1_i64 << 53)..=(1_i64 << 53)) {
        let mut writer = Writer::default();
        #[expect(clippy::cast_precision_loss, reason = "the range is exact")]
        writer.number(value as f64);
        let bytes = writer.into_bytes();
        prop_assert_eq!(Reader::strict(&bytes).integer(), Ok(i128::from(value)));
        prop_assert_eq!(i64::decode(&mut SliceReader::new(&bytes)).ok(), Some(value));
    }

    #[test]
    fn a_strict_integer_has_one_form(bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
        if let Ok(value) = Reader::strict(&bytes).unsigned(u64::MAX) {
            let mut writer = Writer::default();
            writer.unsigned(value);
            prop_assert!(bytes.starts_with(&writer.into_bytes()));
        }
    }

    #[test]
    fn what_is_skipped_is_what_another_decoder_skips(
        // Without the simple values that nobody has assigned: well-formed, but the other decoder has no name for them.
        bytes in proptest::collection::vec(
            any::<u8>().prop_filter("assigned", |b| !matches!(b, 0xe0..=0xf3 | 0xf8)), 0..64),
    ) {
        if Reader::tolerant(&bytes).skip().is_ok() {
            let mut other = SliceReader::new(&bytes);
            prop_assert!(cbor4ii::core::dec::IgnoredAny::decode(&mut other).is_ok(), "{:02x?}", bytes);
        }
    }
}

#[test]
fn tags_nulls_and_the_bytes_that_were_passed_over() {
    let mut w = Writer::default();
    w.tag(107).array(2).null().bytes(b"ab");
    let bytes = w.into_bytes();
    assert_eq!(bytes, [0xd8, 0x6b, 0x82, 0xf6, 0x42, b'a', b'b']);
    let mut r = Reader::strict(&bytes);
    assert_eq!(r.tag(106), Err(InvalidCbor::WrongTag { found: 107, expected: 106 }));
    let mut r = Reader::strict(&bytes);
    r.tag(107).expect("the tag");
    r.tuple(2).expect("an array");
    r.null().expect("null");
    assert_eq!(r.raw(|r| r.bytes(9)), Ok((&[0x42, b'a', b'b'][..], &b"ab"[..])));
    assert_eq!(
        Reader::strict(&[0xf5])
            .null()
            .map_err(|e| e.to_string())
            .err()
            .as_deref()
            .map(|e| e.contains("null")),
        Some(true)
    );
}
