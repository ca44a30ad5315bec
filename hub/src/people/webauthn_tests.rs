//! A software authenticator: it makes keys, counts, and signs what it is told to, right or wrong.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use serde_json::json;

use super::*;

const CHALLENGE: &[u8] = b"sixteen bytes or more of chance";
const PRESENT_AND_VERIFIED: u8 = USER_PRESENT | USER_VERIFIED;

struct Authenticator {
    key: EcdsaKeyPair,
}

/// An answer to a login.
struct Answer {
    client_json: Vec<u8>,
    authenticator: Vec<u8>,
    signature: Vec<u8>,
}

fn party() -> RelyingParty {
    RelyingParty { id: "hub.example".to_owned(), origins: vec!["https://hub.example:8443".to_owned()] }
}

fn client(ceremony: &str, challenge: &[u8], origin: &str, cross_origin: bool) -> Vec<u8> {
    let challenge = BASE64URL_NOPAD.encode(challenge);
    json!({ "type": ceremony, "challenge": challenge, "origin": origin, "crossOrigin": cross_origin })
        .to_string()
        .into_bytes()
}

fn said(rp_id: &str, flags: u8, counter: u32) -> Vec<u8> {
    [digest(&SHA256, rp_id.as_bytes()).as_ref(), &[flags], &counter.to_be_bytes()].concat()
}

impl Authenticator {
    fn new() -> Self {
        Self { key: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("a key") }
    }

    fn point(&self) -> &[u8] {
        self.key.public_key().as_ref()
    }

    fn public(&self) -> PublicKey {
        PublicKey::from_sec1(self.point()).expect("a point")
    }

    fn cose(&self, alg: u8) -> Vec<u8> {
        let (x, y) = (&self.point()[1..33], &self.point()[33..]);
        [&[0xa5, 0x01, 0x02, 0x03, alg, 0x20, 0x01, 0x21, 0x58, 0x20][..], x, &[0x22, 0x58, 0x20], y].concat()
    }

    fn attested(&self, flags: u8, alg: u8) -> Vec<u8> {
        let id = [7; 32];
        [said("hub.example", flags | ATTESTED, 0), vec![0; 16], vec![0, 32], id.to_vec(), self.cose(alg)]
            .concat()
    }

    fn statement(authenticator: &[u8]) -> Vec<u8> {
        let length = u16::try_from(authenticator.len()).expect("short").to_be_bytes();
        [b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x59".as_slice(), &length, authenticator].concat()
    }

    fn sign(&self, client_json: Vec<u8>, authenticator: Vec<u8>) -> Answer {
        let signed = [authenticator.as_slice(), digest(&SHA256, &client_json).as_ref()].concat();
        let signature = self.key.sign(&SystemRandom::new(), &signed).expect("signed").as_ref().to_vec();
        Answer { client_json, authenticator, signature }
    }

    fn login(&self, counter: u32) -> Answer {
        let client_json = client("webauthn.get", CHALLENGE, "https://hub.example:8443", false);
        self.sign(client_json, said("hub.example", PRESENT_AND_VERIFIED, counter))
    }
}

fn check(answer: &Answer, key: &PublicKey) -> Result<u32, InvalidAnswer> {
    let Answer { client_json, authenticator, signature } = answer;
    party().check_signed(CHALLENGE, key, Assertion { client_json, authenticator, signature })
}

#[test]
fn a_key_is_made_and_logs_in() {
    let authenticator = Authenticator::new();
    let client_json = client("webauthn.create", CHALLENGE, "https://hub.example:8443", false);
    let statement = Authenticator::statement(&authenticator.attested(PRESENT_AND_VERIFIED, 0x26));
    let made = party().check_made(CHALLENGE, &client_json, &statement).expect("made");
    assert_eq!((made.credential_id, made.counter), (vec![7; 32], 0));
    assert_eq!(made.public_key, authenticator.public());
    assert_eq!(check(&authenticator.login(41), &made.public_key), Ok(41));
}

#[test]
fn a_page_of_another_origin_gets_nowhere() {
    let authenticator = Authenticator::new();
    for (origin, crossed) in [
        ("https://evil.example", false),
        ("https://hub.example", false),
        ("http://hub.example:8443", false),
        ("https://hub.example:8443.evil.example", false),
        ("https://hub.example:8443", true),
    ] {
        let answer = authenticator.sign(
            client("webauthn.get", CHALLENGE, origin, crossed),
            said("hub.example", PRESENT_AND_VERIFIED, 1),
        );
        assert_eq!(check(&answer, &authenticator.public()), Err(InvalidAnswer::Origin), "{origin}");
    }
    let answer = authenticator.sign(
        client("webauthn.get", CHALLENGE, "https://hub.example:8443", false),
        said("evil.example", PRESENT_AND_VERIFIED, 1),
    );
    assert_eq!(check(&answer, &authenticator.public()), Err(InvalidAnswer::RelyingParty));
}

#[test]
fn an_answer_to_another_challenge_or_ceremony_is_refused() {
    let authenticator = Authenticator::new();
    let origin = "https://hub.example:8443";
    for (ceremony, challenge, why) in [
        ("webauthn.get", &b"of yesterday"[..], InvalidAnswer::Challenge),
        ("webauthn.create", CHALLENGE, InvalidAnswer::Ceremony),
        ("payment.get", CHALLENGE, InvalidAnswer::Ceremony),
    ] {
        let client_json = client(ceremony, challenge, origin, false);
        let answer = authenticator.sign(client_json, said("hub.example", PRESENT_AND_VERIFIED, 1));
        assert_eq!(check(&answer, &authenticator.public()), Err(why));
    }
}

#[test]
fn a_key_that_did_not_see_its_user_or_can_be_copied_is_refused() {
    let authenticator = Authenticator::new();
    for (flags, why) in [
        (0, InvalidAnswer::User),
        (USER_PRESENT, InvalidAnswer::User),
        (USER_VERIFIED, InvalidAnswer::User),
        (PRESENT_AND_VERIFIED | BACKUP_ELIGIBLE, InvalidAnswer::Copied),
    ] {
        let client_json = client("webauthn.get", CHALLENGE, "https://hub.example:8443", false);
        let answer = authenticator.sign(client_json, said("hub.example", flags, 1));
        assert_eq!(check(&answer, &authenticator.public()), Err(why), "{flags:#x}");
        let client_json = client("webauthn.create", CHALLENGE, "https://hub.example:8443", false);
        let statement = Authenticator::statement(&authenticator.attested(flags, 0x26));
        assert_eq!(party().check_made(CHALLENGE, &client_json, &statement), Err(why), "{flags:#x}");
    }
}

#[test]
fn the_answer_of_another_key_and_a_changed_one_are_refused() {
    let (authenticator, other) = (Authenticator::new(), Authenticator::new());
    assert_eq!(check(&other.login(1), &authenticator.public()), Err(InvalidAnswer::Signature));
    let mut counted = authenticator.login(1);
    counted.authenticator[36] = 9;
    assert_eq!(check(&counted, &authenticator.public()), Err(InvalidAnswer::Signature));
    let mut spaced = authenticator.login(1);
    spaced.client_json.push(b' ');
    assert_eq!(check(&spaced, &authenticator.public()), Err(InvalidAnswer::Signature));
}

#[test]
fn what_is_cut_or_of_another_algorithm_makes_no_key() {
    let authenticator = Authenticator::new();
    let client_json = client("webauthn.create", CHALLENGE, "https://hub.example:8443", false);
    let made = |statement: &[u8]| party().check_made(CHALLENGE, &client_json, statement);
    for alg in [0x27, 0x07, 0x00] {
        let statement = Authenticator::statement(&authenticator.attested(PRESENT_AND_VERIFIED, alg));
        assert_eq!(made(&statement), Err(InvalidAnswer::Algorithm), "{alg:#x}");
    }
    let whole = Authenticator::statement(&authenticator.attested(PRESENT_AND_VERIFIED, 0x26));
    assert!(made(&whole).is_ok());
    for length in 0..whole.len() {
        assert!(made(&whole[..length]).is_err(), "{length}");
    }
    let attested = authenticator.attested(PRESENT_AND_VERIFIED, 0x26);
    for length in 0..attested.len() {
        assert!(made(&Authenticator::statement(&attested[..length])).is_err(), "{length}");
    }
    assert!(made(&[whole, vec![0]].concat()).is_err());
}
