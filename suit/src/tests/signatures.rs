//! COSE, byte for byte: one algorithm, one form, and no header that could change what is meant.

use muster_schemas::cbor::{InvalidCbor, Writer};

use super::world::*;
use crate::{
    cose::{Signed, sign1, sign1_detached, with_signatures},
    *,
};

const MAX: usize = 1_000;

/// A `COSE_Sign1` with these headers.
fn sign1_with(protected: &[u8], unprotected: &[(i64, &[u8])], signature: &[u8]) -> Vec<u8> {
    let mut w = Writer::default();
    w.tag(18).array(4).bytes(protected).map(unprotected.len());
    for (label, value) in unprotected {
        w.integer(*label).bytes(value);
    }
    w.bytes(b"payload").bytes(signature);
    w.into_bytes()
}

#[test]
fn only_es256_is_read_and_only_the_name_of_a_key_may_stand_unprotected() {
    let es256 = [0xa1, 1, 0x26];
    let read = |protected: &[u8], unprotected: &[(i64, &[u8])], signature: &[u8]| {
        Signed::decode(&sign1_with(protected, unprotected, signature), MAX).map(|signed| signed.signatures())
    };
    assert_eq!(read(&es256, &[], &[7; 64]), Ok(1));
    assert_eq!(read(&es256, &[(4, b"key 1")], &[7; 64]), Ok(1));
    for label in [1, 2, 5, 33, -1] {
        assert_eq!(read(&es256, &[(label, b"x")], &[7; 64]), Err(InvalidCose::Unprotected(label.into())));
    }
    let two = read(&es256, &[(4, b"a"), (5, b"b")], &[7; 64]);
    assert!(matches!(two, Err(InvalidCose::Cbor(InvalidCbor::TooMany { .. }))));
    // ES384, EdDSA, none at all, and ES256 with another header beside it.
    for protected in [&[0xa1, 1, 0x38, 0x22][..], &[0xa1, 1, 0x27], &[], &[0xa0], &[0xa2, 1, 0x26, 2, 0x80]] {
        assert_eq!(read(protected, &[], &[7; 64]), Err(InvalidCose::Header));
    }
    for length in [0, 63, 65, 70] {
        assert!(read(&es256, &[], &vec![7; length]).is_err(), "{length} bytes");
    }
}

#[test]
fn several_signatures_are_one_or_more_each_of_es256() {
    let keys = [key(), key()];
    let signatures: Vec<_> =
        keys.iter().map(|key| cose::sign_several(b"payload", key).expect("signed")).collect();
    let bytes = with_signatures(b"payload", &signatures);
    let signed = Signed::decode(&bytes, MAX).expect("signed");
    let publics = [keys[0].public(), keys[1].public()];
    assert_eq!(signed.signers(None, &publics), publics);
    assert_eq!(Signed::decode(&with_signatures(b"payload", &[]), MAX), Err(InvalidCose::NoSignature));
    let many = with_signatures(b"payload", &vec![signatures[0]; limits::SIGNATURES_MAX + 1]);
    assert!(matches!(Signed::decode(&many, MAX), Err(InvalidCose::Cbor(InvalidCbor::TooMany { .. }))));
    assert!(Signed::decode(&bytes, 3).is_err(), "longer than its place allows");
    // Header of the body: bytes that are signed, and none are allowed.
    let mut with_body = Writer::default();
    with_body.tag(98).array(4).bytes(&[0xa0]).map(0).bytes(b"payload").array(0);
    assert_eq!(Signed::decode(&with_body.into_bytes(), MAX), Err(InvalidCose::Header));
}

#[test]
fn a_signature_of_one_kind_is_none_of_the_other() {
    let key = key();
    // The same key over the same payload: what it signs says which kind it is.
    let several = cose::sign_several(b"payload", &key).expect("signed");
    let as_one = sign1_with(&[0xa1, 1, 0x26], &[], &several);
    assert!(Signed::decode(&as_one, MAX).expect("read").signers(None, &[key.public()]).is_empty());
}

#[test]
fn a_payload_is_inside_or_outside_and_not_both() {
    let key = key();
    let keys = [key.public()];
    let inside = sign1(b"payload", &key).expect("signed");
    let inside = Signed::decode(&inside, MAX).expect("read");
    assert_eq!(inside.signers(None, &keys), keys);
    assert!(inside.signers(Some(b"payload"), &keys).is_empty());
    let outside = sign1_detached(b"payload", &key).expect("signed");
    let outside = Signed::decode(&outside, MAX).expect("read");
    assert_eq!(outside.signers(Some(b"payload"), &keys), keys);
    assert!(outside.signers(Some(b"another"), &keys).is_empty());
    assert!(outside.signers(None, &keys).is_empty());
}

#[test]
fn keys_are_points_of_p_256_and_nothing_else() {
    let key = key();
    let point = *key.public().as_point();
    assert_eq!(PublicKey::from_point(&point).as_ref(), Ok(key.public()));
    let mut off = point;
    off[64] ^= 1;
    assert_eq!(PublicKey::from_point(&off), Err(InvalidKey::NotOnCurve));
    let mut compressed = point;
    compressed[0] = 2;
    assert_eq!(PublicKey::from_point(&compressed), Err(InvalidKey::NotOnCurve));
    for bytes in [&[][..], &point[1..], &[0; 65]] {
        assert_eq!(PublicKey::from_point(bytes), Err(InvalidKey::NotOnCurve));
    }
    let pem = key.to_pem().expect("PEM");
    assert_eq!(SoftKey::from_pem(pem.as_bytes()).expect("the key").public(), key.public());
    assert_eq!(PublicKey::from_pem(pem.as_bytes()), Err(InvalidKey::Private));
    assert_eq!(PublicKey::from_pem(key.public().to_pem().as_bytes()).as_ref(), Ok(key.public()));
    let public = SoftKey::from_pem(key.public().to_pem().as_bytes());
    assert_eq!(public.expect_err("public"), InvalidKey::Public);
    assert_eq!(
        SoftKey::from_pem(b"no key").expect_err("none"),
        InvalidKey::NotPem { expected: "PRIVATE KEY" }
    );
    let long = vec![b'x'; limits::KEY_FILE_BYTES_MAX + 1];
    assert_eq!(PublicKey::from_pem(&long), Err(InvalidKey::TooLong));
}
