//! Keys as files that `openssl` makes and reads: SubjectPublicKeyInfo and PKCS #8 in PEM (RFC 7468).

use data_encoding::BASE64;
use zeroize::Zeroizing;

/// Characters in a line of PEM (RFC 7468 §2).
const PEM_LINE: usize = 64;

/// SubjectPublicKeyInfo up to the point of P-256 (RFC 5480): uncompressed, 65 bytes.
pub(crate) const P256_PUBLIC: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// SubjectPublicKeyInfo up to the key of X25519 (RFC 8410): 32 bytes.
pub(crate) const X25519_PUBLIC: &[u8] =
    &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x6e, 0x03, 0x21, 0x00];
/// PKCS #8 up to the key of X25519 (RFC 8410 §7): 32 bytes.
pub(crate) const X25519_PRIVATE: &[u8] =
    &[0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x6e, 0x04, 0x22, 0x04, 0x20];

/// DER in PEM.
pub(crate) fn encode(label: &str, der: &[u8]) -> Zeroizing<String> {
    let text = Zeroizing::new(BASE64.encode(der));
    // All of it at once, so that no half of a private key stays behind where the text grew.
    let mut pem =
        Zeroizing::new(String::with_capacity(text.len() + text.len() / PEM_LINE + 2 * label.len() + 64));
    pem.push_str("-----BEGIN ");
    pem.push_str(label);
    pem.push_str("-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, further) = rest.split_at(rest.len().min(PEM_LINE));
        pem.push_str(line);
        pem.push('\n');
        rest = further;
    }
    pem.push_str("-----END ");
    pem.push_str(label);
    pem.push_str("-----\n");
    pem
}
