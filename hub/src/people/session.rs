//! Sessions of people who logged in with a hardware key, and the challenges before that. Both are texts that the hub signs
//! with a key it makes when it starts and never writes: nothing is stored, and a restart ends them. A session is good for a
//! quarter of an hour; whether its user and the key it began with may still act is asked of the registry at each request.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use aws_lc_rs::{
    hmac::{self, HMAC_SHA256},
    rand,
};
use data_encoding::BASE64URL_NOPAD;
use muster_schemas::Principal;

use super::{Evidence, Proof, Provider, Unproved};
use crate::limits::{
    SESSION_LIFE_S, WEBAUTHN_CHALLENGE_LIFE_S, WEBAUTHN_CHALLENGES_USED_MAX, WEBAUTHN_SESSION_BYTES_MAX,
};

/// What sessions begin with, so that nobody takes them for another's token.
const PREFIX: &str = "mst1.";
const NONCE_BYTES: usize = 16;
const TAG_BYTES: usize = 32;

/// What a challenge is for: the answer to one sort is none to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To make a key.
    Register,
    /// To log in.
    Login,
}

/// The hub gave no such challenge, or it ended or was answered before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the challenge is not one that this hub gave for this a moment ago, or it was answered before")]
pub struct InvalidChallenge;

/// Makes sessions and challenges, and knows them again.
pub struct Sessions {
    key: hmac::Key,
    /// Challenges that were answered well, until they end: each is good for one answer.
    used: Mutex<BTreeMap<Vec<u8>, u64>>,
}

impl Sessions {
    /// With a new key. None, if the system has no randomness.
    pub fn new() -> Option<Self> {
        let mut key = zeroize::Zeroizing::new([0; 32]);
        rand::fill(key.as_mut_slice()).ok()?;
        Some(Self { key: hmac::Key::new(HMAC_SHA256, key.as_slice()), used: Mutex::default() })
    }

    /// A challenge for one subject: who is to have a key, or who wants to log in. None, if there is no randomness.
    pub fn challenge(&self, now_s: u64, purpose: Purpose, subject: &str) -> Option<Vec<u8>> {
        let mut challenge = vec![0; NONCE_BYTES];
        rand::fill(&mut challenge).ok()?;
        challenge.extend_from_slice(&now_s.saturating_add(WEBAUTHN_CHALLENGE_LIFE_S).to_be_bytes());
        let tag = self.tag(purpose, subject, &challenge);
        challenge.extend_from_slice(tag.as_ref());
        Some(challenge)
    }

    /// Takes a challenge back, once, after its answer was found to be good.
    ///
    /// # Errors
    /// It is none of ours, for another purpose or subject, has ended or was taken back before.
    pub fn take_back(
        &self,
        now_s: u64,
        purpose: Purpose,
        subject: &str,
        challenge: &[u8],
    ) -> Result<(), InvalidChallenge> {
        let (said, tag) = challenge.split_at_checked(NONCE_BYTES + 8).ok_or(InvalidChallenge)?;
        let ends_s = said.last_chunk::<8>().copied().map(u64::from_be_bytes).ok_or(InvalidChallenge)?;
        let input = input(purpose, subject, said);
        hmac::verify(&self.key, &input, tag).map_err(|_| InvalidChallenge)?;
        if ends_s < now_s {
            return Err(InvalidChallenge);
        }
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.retain(|_, ends_s| *ends_s >= now_s);
        // Only those who have a key get one in here, so that nobody else can fill it.
        if used.len() >= WEBAUTHN_CHALLENGES_USED_MAX || used.insert(said.to_vec(), ends_s).is_some() {
            return Err(InvalidChallenge);
        }
        Ok(())
    }

    /// An id for a key of somebody who has none, so that nobody learns who has: the same each time.
    pub fn key_of_nobody(&self, subject: &str) -> Vec<u8> {
        hmac::sign(&self.key, &[b"nobody\0", subject.as_bytes()].concat()).as_ref().to_vec()
    }

    /// A session of this user, who logged in with this key, and when it ends.
    pub fn open(&self, now_s: u64, principal: &Principal, key_hash: [u8; 32]) -> (String, u64) {
        let ends_s = now_s.saturating_add(SESSION_LIFE_S);
        let mut said = ends_s.to_be_bytes().to_vec();
        said.extend_from_slice(&key_hash);
        said.extend_from_slice(principal.to_string().as_bytes());
        let tag = hmac::sign(&self.key, &[b"session\0", said.as_slice()].concat());
        said.extend_from_slice(tag.as_ref());
        (format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&said)), ends_s)
    }

    fn opened(&self, now_s: u64, text: &str) -> Result<Proof, Unproved> {
        let wrong = |why: &str| Unproved {
            code: "session_refused",
            why: why.to_owned(),
            next: "log in again with the hardware key",
        };
        let malformed = || wrong("the session is not one that this hub opened since it started");
        if text.len() > WEBAUTHN_SESSION_BYTES_MAX {
            return Err(malformed());
        }
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| malformed())?;
        let length = bytes.len().checked_sub(TAG_BYTES).ok_or_else(malformed)?;
        let (said, tag) = bytes.split_at_checked(length).ok_or_else(malformed)?;
        hmac::verify(&self.key, &[b"session\0", said].concat(), tag).map_err(|_| malformed())?;
        let (ends_s, said) = said.split_first_chunk::<8>().ok_or_else(malformed)?;
        let (key_hash, principal) = said.split_first_chunk::<32>().ok_or_else(malformed)?;
        if u64::from_be_bytes(*ends_s) <= now_s {
            return Err(wrong("the session has ended"));
        }
        let principal = std::str::from_utf8(principal).ok().and_then(|uri| uri.parse().ok());
        Ok(Proof::Key { principal: principal.ok_or_else(malformed)?, key_hash: *key_hash })
    }

    fn tag(&self, purpose: Purpose, subject: &str, said: &[u8]) -> hmac::Tag {
        hmac::sign(&self.key, &input(purpose, subject, said))
    }
}

fn input(purpose: Purpose, subject: &str, said: &[u8]) -> Vec<u8> {
    let purpose: &[u8] = match purpose {
        Purpose::Register => b"register\0",
        Purpose::Login => b"login\0",
    };
    [purpose, said, subject.as_bytes()].concat()
}

impl Provider for Sessions {
    fn prove(&self, now_s: u64, evidence: &Evidence<'_>) -> Option<Result<Proof, Unproved>> {
        let session = evidence.bearer?.strip_prefix(PREFIX)?;
        Some(self.opened(now_s, session))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_S: u64 = 1_760_000_000;

    fn ann() -> Principal {
        "spiffe://muster.example/t/acme/user/ann".parse().expect("a principal")
    }

    #[test]
    fn a_session_ends_after_a_quarter_of_an_hour_and_cannot_be_made_by_others() {
        let (ours, theirs) = (Sessions::new().expect("a key"), Sessions::new().expect("a key"));
        let (token, ends_s) = ours.open(NOW_S, &ann(), [7; 32]);
        assert!(ends_s <= NOW_S + 900);
        let prove = |sessions: &Sessions, now_s, bearer: &str| {
            sessions.prove(now_s, &Evidence { leaf: None, bearer: Some(bearer) })
        };
        assert_eq!(prove(&ours, NOW_S, &token), Some(Ok(Proof::Key { principal: ann(), key_hash: [7; 32] })));
        assert!(prove(&ours, ends_s, &token).expect("ours").expect_err("ended").why.contains("ended"));
        assert!(prove(&theirs, NOW_S, &token).expect("read").is_err(), "of another hub, or before a restart");
        assert_eq!(prove(&ours, NOW_S, "eyJh.eyJp.sig"), None, "somebody else's token");
        for at in PREFIX.len()..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("text");
            assert!(prove(&ours, NOW_S, &changed).expect("read").is_err(), "{at}");
        }
    }

    #[test]
    fn a_challenge_is_answered_once_in_time_and_for_what_it_was_given() {
        let ours = Sessions::new().expect("a key");
        let given = || ours.challenge(NOW_S, Purpose::Login, "acme/ann").expect("a challenge");
        let take =
            |now_s, purpose, subject, challenge: &[u8]| ours.take_back(now_s, purpose, subject, challenge);
        let challenge = given();
        assert_eq!(take(NOW_S, Purpose::Register, "acme/ann", &challenge), Err(InvalidChallenge));
        assert_eq!(take(NOW_S, Purpose::Login, "acme/bob", &challenge), Err(InvalidChallenge));
        assert_eq!(take(NOW_S + 121, Purpose::Login, "acme/ann", &challenge), Err(InvalidChallenge));
        assert_eq!(take(NOW_S, Purpose::Login, "acme/ann", &challenge), Ok(()));
        assert_eq!(take(NOW_S, Purpose::Login, "acme/ann", &challenge), Err(InvalidChallenge), "replayed");
        for wrong in [&b""[..], &[0; 24], &[0; 56]] {
            assert_eq!(take(NOW_S, Purpose::Login, "acme/ann", wrong), Err(InvalidChallenge));
        }
    }
}
