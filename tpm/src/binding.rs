//! What ties evidence to one challenge, one TLS channel and one signing request. Both ends compute these.

use crate::name::sha256;

const ENROL_LABEL: &[u8] = b"muster-enroll-v1\0";
const ATTEST_LABEL: &[u8] = b"muster-attest-v1\0";
const ACTIVATE_LABEL: &[u8] = b"muster-activate-v1\0";

/// What the device has its TPM sign along in certify and quote: SHA-256 of the label, the hub's nonce, the TLS
/// exporter of this very connection, and the SHA-256 of the signing request.
pub fn qualifying_data(nonce: &[u8; 32], exporter: &[u8; 32], csr: &[u8]) -> [u8; 32] {
    qualifying_data_of_hash(nonce, exporter, &csr_hash(csr))
}

/// The same, for a hub that kept only the hash of the signing request.
pub fn qualifying_data_of_hash(nonce: &[u8; 32], exporter: &[u8; 32], csr_hash: &[u8; 32]) -> [u8; 32] {
    sha256(&[ENROL_LABEL, nonce, exporter, csr_hash])
}

/// What the TPM signs along in a quote for a session that is open: SHA-256 of the label, the hub's nonce, and the TLS
/// exporter of this very connection.
pub fn session_data(nonce: &[u8; 32], exporter: &[u8; 32]) -> [u8; 32] {
    sha256(&[ATTEST_LABEL, nonce, exporter])
}

/// What a device answers to show that its TPM opened the credential, without sending the secret itself.
pub fn activation_proof(secret: &[u8], nonce: &[u8; 32]) -> [u8; 32] {
    sha256(&[ACTIVATE_LABEL, secret, nonce])
}

/// SHA-256 of a signing request in DER.
pub fn csr_hash(csr: &[u8]) -> [u8; 32] {
    sha256(&[csr])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_input_changes_the_binding() {
        let base = qualifying_data(&[1; 32], &[2; 32], b"csr");
        assert_ne!(base, qualifying_data(&[9; 32], &[2; 32], b"csr"));
        assert_ne!(base, qualifying_data(&[1; 32], &[9; 32], b"csr"));
        assert_ne!(base, qualifying_data(&[1; 32], &[2; 32], b"other"));
        assert_ne!(base, activation_proof(&[2; 32], &[1; 32]));
        let session = session_data(&[1; 32], &[2; 32]);
        assert_ne!(session, session_data(&[9; 32], &[2; 32]));
        assert_ne!(session, session_data(&[1; 32], &[9; 32]));
        assert_ne!(session, qualifying_data_of_hash(&[1; 32], &[2; 32], &[0; 32]));
    }

    #[test]
    fn the_bindings_have_known_answers() {
        let hex = |bytes: [u8; 32]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(
            hex(qualifying_data(&[1; 32], &[2; 32], b"csr")),
            "c60de93d12ae5ed0784aaae3b15280a1903f9e5f9cab4964a8fde3c6e975529f"
        );
        assert_eq!(
            hex(activation_proof(&[3; 32], &[1; 32])),
            "a2f77d811e71738aacf16b262d33c615d40f3d064ddd60a8043019b82476be75"
        );
        assert_eq!(
            hex(session_data(&[1; 32], &[2; 32])),
            "3bcc5074a06ddd2aca583d713e01d815443fd3fce60250b8fcdbdf76158b5c81"
        );
    }
}
