//! The three parsers see bytes of strangers first: nothing panics, and what is accepted has exactly one form.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;

use muster_tpm::{
    endorsement::EndorsementRoots,
    name::name,
    soft::signing_public,
    templates::EkTemplate,
    wire::{Attributes, MalformedStructure, TpmsAttest, TpmtPublic, TpmtSignature},
};
use proptest::prelude::*;

/// Everything that takes foreign bytes. What parses must marshal to the same bytes, or a name could be of another key.
fn feed(bytes: &[u8]) {
    if let Ok(public) = TpmtPublic::parse(bytes) {
        assert_eq!(public.marshal(), bytes);
        assert!(muster_tpm::spki::spki_der(&public).is_some());
        let _ = public.p256_sec1();
    }
    if let Ok(statement) = TpmsAttest::parse(bytes) {
        // A bitmap may come in any length up to four bytes and is written in three or four.
        assert_eq!(TpmsAttest::parse(&statement.marshal()), Ok(statement));
    }
    if let Ok(signature) = TpmtSignature::parse(bytes) {
        assert_eq!(signature.marshal(), bytes);
        let _ = (signature.p256_fixed(), signature.der());
    }
    let _ = name(bytes);
    let _ = muster_tpm::spki::cut_certificate(bytes);
}

fn seeds() -> Vec<(String, Vec<u8>)> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let mut seeds = Vec::new();
    for parser in ["tpm_public", "tpm_attest", "tpm_signature"] {
        for entry in std::fs::read_dir(corpus.join(parser)).unwrap() {
            let path = entry.unwrap().path();
            seeds.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
    seeds.sort();
    assert!(seeds.len() > 10);
    seeds
}

#[test]
fn the_corpus_never_panics() {
    for (_, seed) in seeds() {
        feed(&seed);
        for cut in 0..seed.len() {
            feed(&seed[..cut]);
        }
        for at in 0..seed.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut changed = seed.clone();
                changed[at] ^= flip;
                feed(&changed);
            }
        }
    }
}

#[test]
fn a_trailing_byte_is_refused_by_every_parser() {
    let mut accepted = 0;
    for (path, mut seed) in seeds() {
        let parse: fn(&[u8]) -> Result<(), MalformedStructure> = if path.contains("tpm_public") {
            |bytes| TpmtPublic::parse(bytes).map(drop)
        } else if path.contains("tpm_attest") {
            |bytes| TpmsAttest::parse(bytes).map(drop)
        } else {
            |bytes| TpmtSignature::parse(bytes).map(drop)
        };
        if parse(&seed).is_ok() {
            accepted += 1;
            seed.push(0);
            assert_eq!(parse(&seed), Err(MalformedStructure::Trailing { count: 1 }), "{path}");
        }
    }
    assert!(accepted >= 9);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        feed(&bytes);
    }

    /// Bytes that get past the first fields of a public area.
    #[test]
    fn plausible_publics_never_panic(
        rsa in any::<bool>(), hash in 0xau16..0xd, attributes in any::<u32>(),
        rest in proptest::collection::vec(prop_oneof![Just(0u8), Just(0x10), Just(0x20), any::<u8>()], 0..200),
    ) {
        let mut bytes = if rsa { vec![0, 1] } else { vec![0, 0x23] };
        bytes.extend(hash.to_be_bytes());
        bytes.extend(attributes.to_be_bytes());
        bytes.extend([0, 0, 0, 0x10, 0, 0x10]);
        bytes.extend(rest);
        feed(&bytes);
    }

    /// Strangers' certificates reach webpki and x509-parser.
    #[test]
    fn arbitrary_certificates_never_panic(
        certificate in proptest::collection::vec(any::<u8>(), 0..300),
        chain in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..100), 0..3),
    ) {
        let roots = EndorsementRoots::default();
        let mut sequence = vec![0x30, 0x82];
        sequence.extend(u16::try_from(certificate.len()).unwrap().to_be_bytes());
        sequence.extend(&certificate);
        for certificate in [&certificate, &sequence] {
            prop_assert!(roots.verify(certificate, &chain, &EkTemplate::P256.template(), 0).is_err());
        }
    }

    #[test]
    fn a_signing_key_survives_its_parser(attributes in any::<u32>(), scalar in 1u8..255) {
        let key = p256::ecdsa::SigningKey::from_slice(&[scalar; 32]).unwrap();
        let public = signing_public(Attributes(attributes), key.verifying_key());
        prop_assert_eq!(TpmtPublic::parse(&public.marshal()), Ok(public));
    }
}
