use std::sync::Arc;

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _};
use x509_parser::{
    extensions::ParsedExtension,
    prelude::{CertificateRevocationList, FromDer as _},
};

use super::List;
use crate::{
    authority::{Authority, PublicKey, Role, Serial},
    registry::{Revocation, RevocationReason},
};

/// 2026-02-01.
const NOW_S: u64 = 1_769_904_000;

fn row(authority: Role, serial: [u8; 16], reason: RevocationReason) -> Arc<Revocation> {
    Arc::new(Revocation {
        authority,
        serial: Serial::from(serial),
        not_after_s: NOW_S + 60,
        revoked_at_s: NOW_S,
        reason,
        invalid_since_s: Some(NOW_S - 3_600),
        principal: "spiffe://muster.example/t/acme/device/pump-7".parse().expect("principal"),
    })
}

fn device_authority() -> Authority {
    let root = Authority::new_root(&"muster.example".parse().expect("domain"), NOW_S).expect("root");
    root.new_intermediate(Role::Device, NOW_S).expect("authority")
}

#[test]
fn a_list_says_what_was_revoked_since_when_and_why() {
    let authority = device_authority();
    let rows = [
        row(Role::Device, [0x41; 16], RevocationReason::KeyCompromise),
        row(Role::Client, [0x42; 16], RevocationReason::KeyCompromise),
    ];
    let list = List::sign(&authority, &rows, 7, NOW_S).expect("signed");
    assert_eq!(list.name(), "device");
    assert!(list.pem().starts_with("-----BEGIN X509 CRL-----\n"));
    let (rest, parsed) = CertificateRevocationList::from_der(&list.der).expect("DER");
    assert!(rest.is_empty());
    assert_eq!(parsed.crl_number().map(ToString::to_string), Some("7".to_owned()));
    assert_eq!(parsed.last_update().timestamp(), i64::try_from(NOW_S).expect("in range"));
    let revoked: Vec<_> = parsed.iter_revoked_certificates().collect();
    let [entry] = revoked.as_slice() else { panic!("one of this authority") };
    assert_eq!(entry.raw_serial(), [0x41; 16]);
    assert_eq!(entry.reason_code().map(|(_, code)| code.0), Some(RevocationReason::KeyCompromise.code()));
    let since = entry.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::InvalidityDate(date) => Some(date.timestamp()),
        _ => None,
    });
    assert_eq!(since, i64::try_from(NOW_S - 3_600).ok(), "the compromise date");
}

#[test]
fn an_authority_that_follows_another_has_a_list_of_its_own_name() {
    let root = Authority::new_root(&"muster.example".parse().expect("domain"), NOW_S).expect("root");
    let second = root.new_generation(Role::Device, 2, NOW_S).expect("authority");
    let list = List::sign(&second, &[], 1, NOW_S).expect("signed");
    assert_eq!((list.name(), list.generation), ("device-2".to_owned(), 2));
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("key");
    assert!(PublicKey::from_sec1(key.der_bytes()).is_ok());
}
