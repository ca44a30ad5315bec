//! The little DER this crate writes: a key's SubjectPublicKeyInfo, whose hash names a chip, and an ECDSA signature.
//! And the one length it reads: where a certificate ends in a TPM's padded storage.

use crate::wire::{Curve, PublicKey, TpmtPublic};

/// rsaEncryption with NULL parameters (RFC 3279 §2.3.1).
const RSA_ALGORITHM: &[u8] =
    &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
/// id-ecPublicKey with prime256v1 (RFC 5480 §2.1).
const P256_ALGORITHM: &[u8] = &[
    0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07,
];
/// id-ecPublicKey with secp384r1.
const P384_ALGORITHM: &[u8] = &[
    0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00,
    0x22,
];
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
pub(crate) const SEQUENCE: u8 = 0x30;

/// The key's SubjectPublicKeyInfo in DER: always this form, however the key's certificate spells it.
/// None when a coordinate is longer than the curve allows, which `TpmtPublic::parse` refuses.
pub fn spki_der(public: &TpmtPublic) -> Option<Vec<u8>> {
    let (algorithm, key) = match &public.key {
        PublicKey::Rsa { exponent, modulus, .. } => {
            let exponent = rsa_exponent(*exponent).to_be_bytes();
            let numbers = [integer(modulus), integer(&exponent)].concat();
            (RSA_ALGORITHM, value(SEQUENCE, &numbers))
        }
        PublicKey::Ecc { curve: Curve::P256, .. } => (P256_ALGORITHM, public.sec1()?),
        PublicKey::Ecc { curve: Curve::P384, .. } => (P384_ALGORITHM, public.sec1()?),
    };
    let bits = [&[0u8], key.as_slice()].concat();
    Some(value(SEQUENCE, &[algorithm, &value(BIT_STRING, &bits)].concat()))
}

/// The SubjectPublicKeyInfo of a P-256 point.
pub fn p256_spki_der(sec1: &[u8; 65]) -> Vec<u8> {
    let bits = [&[0u8], sec1.as_slice()].concat();
    value(SEQUENCE, &[P256_ALGORITHM, &value(BIT_STRING, &bits)].concat())
}

/// The public exponent a TPM means: it writes 0 for 65,537.
pub(crate) fn rsa_exponent(written: u32) -> u32 {
    if written == 0 { 65_537 } else { written }
}

/// An ECDSA signature in DER (RFC 3279 §2.2.3) from big-endian halves of any padding.
pub fn ecdsa_der(r: &[u8], s: &[u8]) -> Vec<u8> {
    value(SEQUENCE, &[integer(r), integer(s)].concat())
}

/// The certificate at the start of `stored`: vendors pad a TPM's storage with zeros or ones. None when it does not
/// begin with a DER sequence that ends within.
pub fn cut_certificate(stored: &[u8]) -> Option<&[u8]> {
    let (len, header) = match stored {
        [SEQUENCE, short, ..] if *short < 0x80 => (usize::from(*short), 2),
        [SEQUENCE, 0x81, len, ..] => (usize::from(*len), 3),
        [SEQUENCE, 0x82, high, low, ..] => (usize::from(u16::from_be_bytes([*high, *low])), 4),
        _ => return None,
    };
    stored.get(..header + len)
}

fn integer(big_endian: &[u8]) -> Vec<u8> {
    let first = big_endian.iter().position(|byte| *byte != 0).unwrap_or(big_endian.len());
    let digits = big_endian.get(first..).unwrap_or_default();
    match digits.first() {
        Some(high) if *high < 0x80 => value(INTEGER, digits),
        _ => value(INTEGER, &[&[0u8], digits].concat()),
    }
}

/// A DER value with a definite length of up to 65,535 bytes, far above anything written here.
pub(crate) fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut der = vec![tag];
    match u16::try_from(content.len()).unwrap_or(u16::MAX).to_be_bytes() {
        [0, short] if short < 0x80 => der.push(short),
        [0, len] => der.extend([0x81, len]),
        [high, low] => der.extend([0x82, high, low]),
    }
    der.extend_from_slice(content);
    der
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_with_a_high_bit_gets_a_zero_and_padding_is_dropped() {
        assert_eq!(ecdsa_der(&[0, 0, 0x7f], &[0x80]), [0x30, 7, 2, 1, 0x7f, 2, 2, 0, 0x80]);
        assert_eq!(ecdsa_der(&[], &[0]), [0x30, 6, 2, 1, 0, 2, 1, 0]);
    }

    #[test]
    fn a_padded_certificate_is_cut_at_its_length() {
        assert_eq!(cut_certificate(&[0x30, 2, 5, 0, 0xff, 0xff]), Some(&[0x30u8, 2, 5, 0][..]));
        assert_eq!(cut_certificate(&[0x30, 0x82, 0x01, 0x00, 0]), None);
        assert_eq!(cut_certificate(&[0xff; 8]), None);
        assert_eq!(cut_certificate(&[]), None);
    }
}
