//! Answers that others computed: structures, names and signatures by libtpms, credentials by an independent
//! implementation of TPM 2.0 Part 1, 24 (Python's `cryptography`).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use data_encoding::HEXLOWER;
use muster_tpm::{
    credential::{Randomness, make_credential},
    name::name,
    templates::{EkTemplate, follows_ek_template},
    wire::{Attested, PublicKey, TpmsAttest, TpmtPublic, TpmtSignature},
};

const EK_P256: &[u8] = include_bytes!("../../fuzz/corpus/tpm_public/ek-p256");
const EK_P384: &[u8] = include_bytes!("../../fuzz/corpus/tpm_public/ek-p384");
const EK_RSA: &[u8] = include_bytes!("../../fuzz/corpus/tpm_public/ek-rsa-2048");
const AK: &[u8] = include_bytes!("../../fuzz/corpus/tpm_public/ak-p256");
const LDEVID: &[u8] = include_bytes!("../../fuzz/corpus/tpm_public/ldevid-p256");

fn hex(text: &str) -> Vec<u8> {
    HEXLOWER.decode(text.as_bytes()).unwrap()
}

#[test]
fn names_are_what_a_tpm_computes() {
    let names = [
        (EK_P256, "000b4d78f8c77c8e87439df2e4443f4494a2ecf6d87690e94ab233def3d98297e058"),
        (EK_RSA, "000b76bdd03233adf8648bbabfa2df0cc08f153e9f0200c17616e3a158993375100c"),
        (
            EK_P384,
            "000cc0167ca140b1784ecb0aeee3c0429994a05cd697524aabf29c1fac0468d946e3aaa0a2b0b3acb0c2053df3a4e9ea0197",
        ),
        (AK, "000b38418397686dd70e14a1c5cc4b4bb74fb7b0fccf16808b0b3d351928aa9e4f6a"),
        (LDEVID, "000bf576b76dcb1d190749977a62791553f48af0bccd78080548a91040ae2e327871"),
    ];
    for (public, expected) in names {
        assert_eq!(HEXLOWER.encode(&name(public).unwrap()), expected);
    }
}

#[test]
fn a_tpms_structures_marshal_back_to_their_bytes() {
    for public in [EK_P256, EK_P384, EK_RSA, AK, LDEVID] {
        assert_eq!(TpmtPublic::parse(public).unwrap().marshal(), public);
    }
    for endorsement_key in [EK_P256, EK_P384, EK_RSA] {
        assert!(follows_ek_template(&TpmtPublic::parse(endorsement_key).unwrap()));
    }
}

#[test]
fn a_tpms_statements_verify_and_say_what_was_asked() {
    let ak = TpmtPublic::parse(AK).unwrap().p256_sec1().unwrap();
    let statements: [(&[u8], &[u8]); 2] = [
        (
            include_bytes!("../../fuzz/corpus/tpm_attest/certify"),
            include_bytes!("../../fuzz/corpus/tpm_signature/certify"),
        ),
        (
            include_bytes!("../../fuzz/corpus/tpm_attest/quote"),
            include_bytes!("../../fuzz/corpus/tpm_signature/quote"),
        ),
    ];
    for (attest, signature) in statements {
        let parsed = TpmtSignature::parse(signature).unwrap();
        assert_eq!(parsed.marshal(), signature);
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, ak);
        key.verify(attest, &parsed.p256_fixed().unwrap()).unwrap();
        let statement = TpmsAttest::parse(attest).unwrap();
        assert_eq!(statement.marshal(), attest);
        match statement.attested {
            Attested::Certify { name: certified, .. } => assert_eq!(certified, name(LDEVID).unwrap()),
            Attested::Quote { selection, .. } => {
                assert_eq!(statement.extra_data, [1, 2, 3, 4, 5]);
                assert_eq!(selection.len(), 1);
                assert_eq!(selection[0].registers, [0, 7, 9]);
            }
        }
    }
}

struct Counting(u8);

impl Randomness for Counting {
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.0 += 1;
            *byte = self.0;
        }
    }
}

fn endorsement_key(template: EkTemplate, new_x: &str, new_y: &str) -> TpmtPublic {
    let mut public = template.template();
    let PublicKey::Ecc { x, y, .. } = &mut public.key else { unreachable!() };
    (*x, *y) = (hex(new_x), hex(new_y));
    public
}

/// The endorsement keys' private scalars are 0x07 repeated, the ephemeral ones 01 02 03 ….
#[test]
fn credentials_are_made_as_part_1_says() {
    let object_name: Vec<u8> = [0x00, 0x0b].into_iter().chain(0..32).collect();
    let p256 = endorsement_key(
        EkTemplate::P256,
        "1e18532fd4754c02f3041d9c75ceb33b83ffd81ac7ce4fe882ccb1c98bc5896e",
        "a46c311c4e2ff40dd96a3653e6e45445d32dfe486eced75c7a90c6a18881c0a3",
    );
    let credential = make_credential(&p256, &object_name, &[5; 32], &mut Counting(0)).unwrap();
    assert_eq!(
        HEXLOWER.encode(&credential.credential_blob),
        "00207659ad441159cb072eeb7f70a0fb72948da837efad1807f0aec5e95bae09eb2d30f9f4b9f47a6298faf1b637f0a8d214\
         fae4a89f6280e33c711fdbc367812e5b1633"
    );
    assert_eq!(
        HEXLOWER.encode(&credential.encrypted_secret),
        "0020515c3d6eb9e396b904d3feca7f54fdcd0cc1e997bf375dca515ad0a6c3b4035f00204536be3a50f318fbf9a5475902a2\
         21502bef0d57e08c53b2cc0a56f17d9f9354"
    );
    let p384 = endorsement_key(
        EkTemplate::P384,
        "b01bfc4a2d7fe2095e6627cc5caf9abd153d5b551fe7f6da615da9d1bfd101e8d191e85902c0a34eaa3a16e666880b73",
        "059f658c4d6a6e57c0959de80109b0fa6b56bd63d1d5701a93d15322f2267a15526641c60cd07c912a6df58aa993d89b",
    );
    let credential = make_credential(&p384, &object_name, &[5; 32], &mut Counting(0)).unwrap();
    assert_eq!(
        HEXLOWER.encode(&credential.credential_blob),
        "003053afdcbecef9a46af6ac0cd10473123771ca316a416e7822ba45f9188aac8fee5de57bdc9678bc46fd6f6870b0a20552\
         0047b16b70ade9b1a442393053ba61b617f7a7f3e27d2350f253bc937e35a4968b38"
    );
    assert_eq!(
        HEXLOWER.encode(&credential.encrypted_secret),
        "0030c76f2283dda95cd49b0ed9e733d2904474e37216f124e13d2c9ab4cf01021c49ad9cabb3d0b97499aef2f0ab313fa028\
         003026bc1f83451b5c8962a75caff73588d4400a6296436154fb343c393e91048a6c7bcbadc83cd8a5f26feae883156f92a1"
    );
}

#[test]
fn a_key_off_its_curve_gets_no_credential() {
    let ek = endorsement_key(EkTemplate::P256, &"01".repeat(32), &"02".repeat(32));
    assert!(make_credential(&ek, &[0; 34], &[5; 32], &mut Counting(0)).is_err());
    let signing = TpmtPublic::parse(AK).unwrap();
    assert!(make_credential(&signing, &[0; 34], &[5; 32], &mut Counting(0)).is_err());
}
