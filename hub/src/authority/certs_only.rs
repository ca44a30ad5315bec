//! Certificates in the wrapping that PKI protocols hand them over in: a PKCS #7 SignedData that signs nothing (RFC 5652
//! §5.1; RFC 8551 §3.8). It is written by hand: a few tags with lengths, and no parser.

use rustls::pki_types::CertificateDer;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// Context-specific, constructed, number 0: the content of a ContentInfo, and the certificates of a SignedData.
const CONTEXT_0: u8 = 0xa0;
/// id-signedData, 1.2.840.113549.1.7.2, DER.
const SIGNED_DATA: [u8; 11] = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
/// id-data, 1.2.840.113549.1.7.1, DER.
const DATA: [u8; 11] = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];
/// The version of a SignedData that holds nothing but X.509 certificates.
const VERSION_1: [u8; 3] = [0x02, 0x01, 0x01];

/// The certificates as a ContentInfo, DER.
pub fn certs_only(certificates: &[CertificateDer<'_>]) -> Vec<u8> {
    // A set is in the order of its encodings (X.690 §11.6).
    let mut sorted: Vec<&[u8]> = certificates.iter().map(AsRef::as_ref).collect();
    sorted.sort_unstable();
    let signed = [
        VERSION_1.to_vec(),
        tagged(SET, &[]),
        tagged(SEQUENCE, &DATA),
        tagged(CONTEXT_0, &sorted.concat()),
        tagged(SET, &[]),
    ];
    let signed = tagged(SEQUENCE, &signed.concat());
    tagged(SEQUENCE, &[SIGNED_DATA.as_slice(), &tagged(CONTEXT_0, &signed)].concat())
}

fn tagged(tag: u8, contents: &[u8]) -> Vec<u8> {
    let length = contents.len().to_be_bytes();
    let mut der = vec![tag];
    match contents.len() {
        short @ 0..0x80 => der.push(u8::try_from(short).unwrap_or(0)),
        _ => {
            let zeros = length.iter().take_while(|byte| **byte == 0).count();
            let length = length.get(zeros..).unwrap_or_default();
            der.push(0x80 | u8::try_from(length.len()).unwrap_or(0));
            der.extend_from_slice(length);
        }
    }
    der.extend_from_slice(contents);
    der
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_has_as_many_bytes_as_it_needs() {
        assert_eq!(tagged(SET, &[]), [0x31, 0]);
        assert_eq!(tagged(SET, &[7; 127])[..2], [0x31, 127]);
        assert_eq!(tagged(SET, &[7; 128])[..3], [0x31, 0x81, 128]);
        assert_eq!(tagged(SET, &[7; 300])[..4], [0x31, 0x82, 1, 44]);
    }

    #[test]
    fn nothing_in_the_wrapping_is_the_empty_signed_data() {
        let expected = "302506092a864886f70d010702a01830160201013100300b06092a864886f70d010701a0003100";
        assert_eq!(data_encoding::HEXLOWER.encode(&certs_only(&[])), expected);
    }
}
