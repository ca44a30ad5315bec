//! Hardware keys (W3C Web Authentication, level 2): what an authenticator answers, checked. Only what this hub uses of it:
//! keys on P-256 with ECDSA and SHA-256, the user verified by PIN or finger, no attestation, and no key that its maker
//! copies to other devices. Pure: the ceremony's state is in the challenge, and what is stored is the registry's.

use aws_lc_rs::{
    digest::{SHA256, digest},
    signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey},
};
use data_encoding::BASE64URL_NOPAD;
use muster_schemas::cbor::Reader;
use serde::Deserialize;

use crate::{
    authority::PublicKey,
    limits::{WEBAUTHN_CREDENTIAL_ID_BYTES_MAX, WEBAUTHN_STATEMENT_BYTES_MAX},
};

const USER_PRESENT: u8 = 0x01;
const USER_VERIFIED: u8 = 0x04;
const BACKUP_ELIGIBLE: u8 = 0x08;
const ATTESTED: u8 = 0x40;
const EXTENSIONS: u8 = 0x80;

/// Where the ceremonies take place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelyingParty {
    /// The name that keys are made for: a host name, without scheme and port.
    pub id: String,
    /// The pages that may ask for them.
    pub origins: Vec<String>,
}

/// A key as it was made, to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadeKey {
    /// What the authenticator knows it by.
    pub credential_id: Vec<u8>,
    /// The public key.
    pub public_key: PublicKey,
    /// How often it had signed.
    pub counter: u32,
}

/// What an authenticator answers that is asked to sign.
#[derive(Debug, Clone, Copy)]
pub struct Assertion<'a> {
    /// What the browser says it was asked, JSON.
    pub client_json: &'a [u8],
    /// What the authenticator says.
    pub authenticator: &'a [u8],
    /// Its signature over both.
    pub signature: &'a [u8],
}

/// Why an answer is not good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAnswer {
    /// Not of the form that the standard gives it.
    #[error("the answer is malformed")]
    Form,
    /// An answer to another sort of question.
    #[error("the answer belongs to another ceremony")]
    Ceremony,
    /// An answer to another question.
    #[error("the answer is to another challenge")]
    Challenge,
    /// The page was not ours, or within another's.
    #[error("the page that asked is not one of this hub's")]
    Origin,
    /// The key is for another name.
    #[error("the key was made for another name than this hub's")]
    RelyingParty,
    /// Nobody touched the key.
    #[error("the key did not see its user, by touch and by PIN or finger")]
    User,
    /// A key that exists in several places.
    #[error("the key can be copied to other devices; use one that stays in its hardware")]
    Copied,
    /// An algorithm or curve that is not accepted.
    #[error("the key is not one for ECDSA on P-256 with SHA-256 (ES256)")]
    Algorithm,
    /// The signature does not hold.
    #[error("the signature does not hold")]
    Signature,
}

#[derive(Deserialize)]
struct ClientJson {
    #[serde(rename = "type")]
    ceremony: String,
    challenge: String,
    origin: String,
    #[serde(default, rename = "crossOrigin")]
    cross_origin: bool,
}

/// What the authenticator says, before what comes after it in a registration.
struct Said<'a> {
    counter: u32,
    rest: &'a [u8],
    flags: u8,
}

impl RelyingParty {
    /// Checks the answer to a registration (§7.1): the key to store.
    ///
    /// # Errors
    /// The first thing that is not as it should be.
    pub fn check_made(
        &self,
        challenge: &[u8],
        client_json: &[u8],
        statement: &[u8],
    ) -> Result<MadeKey, InvalidAnswer> {
        self.check_client(client_json, "webauthn.create", challenge)?;
        let mut reader = Reader::tolerant(statement);
        let mut pairs = reader.map(3).map_err(|_| InvalidAnswer::Form)?;
        let mut authenticator = None;
        while reader.more(&mut pairs).map_err(|_| InvalidAnswer::Form)? {
            match reader.text(16).map_err(|_| InvalidAnswer::Form)? {
                "authData" => {
                    let bytes = reader.bytes(WEBAUTHN_STATEMENT_BYTES_MAX);
                    authenticator = Some(bytes.map_err(|_| InvalidAnswer::Form)?);
                }
                // Who made the key is not asked, so what its maker says of it is passed by.
                "fmt" | "attStmt" => reader.skip().map_err(|_| InvalidAnswer::Form)?,
                _ => return Err(InvalidAnswer::Form),
            }
        }
        reader.finish().map_err(|_| InvalidAnswer::Form)?;
        let said = self.check_said(authenticator.ok_or(InvalidAnswer::Form)?)?;
        if said.flags & ATTESTED == 0 {
            return Err(InvalidAnswer::Form);
        }
        let (credential_id, rest) = credential_id(said.rest).ok_or(InvalidAnswer::Form)?;
        let mut reader = Reader::tolerant(rest);
        let public_key = cose_key(&mut reader)?;
        if said.flags & EXTENSIONS != 0 {
            reader.skip().map_err(|_| InvalidAnswer::Form)?;
        }
        reader.finish().map_err(|_| InvalidAnswer::Form)?;
        Ok(MadeKey { credential_id: credential_id.to_vec(), public_key, counter: said.counter })
    }

    /// Checks the answer to a login (§7.2): how often the key has signed. Whether that may be is for who stores it.
    ///
    /// # Errors
    /// The first thing that is not as it should be.
    pub fn check_signed(
        &self,
        challenge: &[u8],
        key: &PublicKey,
        assertion: Assertion<'_>,
    ) -> Result<u32, InvalidAnswer> {
        let Assertion { client_json, authenticator, signature } = assertion;
        self.check_client(client_json, "webauthn.get", challenge)?;
        let said = self.check_said(authenticator)?;
        if said.flags & ATTESTED != 0 || (said.rest.is_empty() == (said.flags & EXTENSIONS != 0)) {
            return Err(InvalidAnswer::Form);
        }
        let signed = [authenticator, digest(&SHA256, client_json).as_ref()].concat();
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key.sec1())
            .verify(&signed, signature)
            .map_err(|_| InvalidAnswer::Signature)?;
        Ok(said.counter)
    }

    fn check_client(&self, json: &[u8], ceremony: &str, challenge: &[u8]) -> Result<(), InvalidAnswer> {
        let client: ClientJson = serde_json::from_slice(json).map_err(|_| InvalidAnswer::Form)?;
        if client.ceremony != ceremony {
            return Err(InvalidAnswer::Ceremony);
        }
        if client.challenge != BASE64URL_NOPAD.encode(challenge) {
            return Err(InvalidAnswer::Challenge);
        }
        if client.cross_origin || !self.origins.contains(&client.origin) {
            return Err(InvalidAnswer::Origin);
        }
        Ok(())
    }

    fn check_said<'a>(&self, authenticator: &'a [u8]) -> Result<Said<'a>, InvalidAnswer> {
        let (name, rest) = authenticator.split_first_chunk::<32>().ok_or(InvalidAnswer::Form)?;
        let (&[flags], rest) = rest.split_first_chunk::<1>().ok_or(InvalidAnswer::Form)?;
        let (counter, rest) = rest.split_first_chunk::<4>().ok_or(InvalidAnswer::Form)?;
        if name != digest(&SHA256, self.id.as_bytes()).as_ref() {
            return Err(InvalidAnswer::RelyingParty);
        }
        if flags & USER_PRESENT == 0 || flags & USER_VERIFIED == 0 {
            return Err(InvalidAnswer::User);
        }
        if flags & BACKUP_ELIGIBLE != 0 {
            return Err(InvalidAnswer::Copied);
        }
        Ok(Said { counter: u32::from_be_bytes(*counter), rest, flags })
    }
}

/// The credential id that follows the authenticator's model, and what follows that.
fn credential_id(attested: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_model, rest) = attested.split_first_chunk::<16>()?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let length = usize::from(u16::from_be_bytes(*length));
    if length == 0 || length > WEBAUTHN_CREDENTIAL_ID_BYTES_MAX {
        return None;
    }
    rest.split_at_checked(length)
}

/// A key in COSE (RFC 9053 §7.1): kty 2, alg -7, crv 1, x, y, and nothing else.
fn cose_key(reader: &mut Reader<'_>) -> Result<PublicKey, InvalidAnswer> {
    let form = |_| InvalidAnswer::Form;
    let mut pairs = reader.map(16).map_err(form)?;
    let (mut x, mut y, mut right) = ([0; 32], [0; 32], 0_u8);
    while reader.more(&mut pairs).map_err(form)? {
        match reader.integer().map_err(form)? {
            1 if reader.integer() == Ok(2) => right |= 1,
            3 if reader.integer() == Ok(-7) => right |= 2,
            -1 if reader.integer() == Ok(1) => right |= 4,
            -2 => (x, right) = (reader.array_of_bytes().map_err(|_| InvalidAnswer::Algorithm)?, right | 8),
            -3 => (y, right) = (reader.array_of_bytes().map_err(|_| InvalidAnswer::Algorithm)?, right | 16),
            _ => return Err(InvalidAnswer::Algorithm),
        }
    }
    if right != 31 {
        return Err(InvalidAnswer::Algorithm);
    }
    let point = [[4].as_slice(), &x, &y].concat();
    PublicKey::from_sec1(&point).map_err(|_| InvalidAnswer::Algorithm)
}

#[cfg(test)]
#[path = "webauthn_tests.rs"]
mod tests;
