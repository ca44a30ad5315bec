//! A signed token (JWS compact serialization, RFC 7515; claims of RFC 7519) as issuers of identities give them: taken apart,
//! and its signature checked with a key of that issuer. Two algorithms and no others; which one is the key's to say, and
//! the token only has to agree.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::limits::{OIDC_KEYS_MAX, OIDC_TOKEN_BYTES_MAX};

/// Why a token is not what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidToken {
    /// Not three parts of base64url with JSON objects in the first two, or too long.
    #[error("the token is not a signed token (JWS compact serialization)")]
    Form,
    /// An algorithm that is not one of the two, or not that of the key; or an extension that must be understood.
    #[error("the token is not signed by ES256 or RS256 as its issuer's key says")]
    Algorithm,
    /// The issuer has no such key.
    #[error("the token is signed with a key that its issuer did not publish")]
    Key,
    /// The signature does not hold.
    #[error("the token's signature does not hold")]
    Signature,
}

/// A token whose signature was not looked at yet.
pub struct Token<'a> {
    header: Header,
    /// What it says. Not to be believed before [`Token::check`].
    claims: Map<String, Value>,
    signed: &'a str,
    signature: Vec<u8>,
}

#[derive(Debug, Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    crit: Option<Value>,
}

impl<'a> Token<'a> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// It is not of that form.
    pub fn parse(text: &'a str) -> Result<Self, InvalidToken> {
        if text.len() > OIDC_TOKEN_BYTES_MAX {
            return Err(InvalidToken::Form);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(InvalidToken::Form)?;
        let (header, claims) = signed.split_once('.').ok_or(InvalidToken::Form)?;
        let decode = |part: &str| BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| InvalidToken::Form);
        Ok(Self {
            header: serde_json::from_slice(&decode(header)?).map_err(|_| InvalidToken::Form)?,
            claims: serde_json::from_slice(&decode(claims)?).map_err(|_| InvalidToken::Form)?,
            signed,
            signature: decode(signature)?,
        })
    }

    /// Who says to have issued it. Only good for finding the keys to check it with.
    pub fn said_issuer(&self) -> Option<&str> {
        self.claims.get("iss").and_then(Value::as_str)
    }

    /// What it says, if one of these keys signed it.
    ///
    /// # Errors
    /// None did.
    pub fn check(self, keys: &IssuerKeys) -> Result<Map<String, Value>, InvalidToken> {
        if self.header.crit.is_some() {
            return Err(InvalidToken::Algorithm);
        }
        let key = keys.find(self.header.kid.as_deref()).ok_or(InvalidToken::Key)?;
        let holds = match (&key.key, self.header.alg.as_str()) {
            (PublicKey::P256(point), "ES256") => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
                .verify(self.signed.as_bytes(), &self.signature)
                .is_ok(),
            (PublicKey::Rsa { n, e }, "RS256") => RsaPublicKeyComponents { n, e }
                .verify(&RSA_PKCS1_2048_8192_SHA256, self.signed.as_bytes(), &self.signature)
                .is_ok(),
            _ => return Err(InvalidToken::Algorithm),
        };
        if holds { Ok(self.claims) } else { Err(InvalidToken::Signature) }
    }
}

/// The keys that an issuer published (JWK Set, RFC 7517). Keys for other things and of other sorts are passed by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerKeys(Vec<IssuerKey>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct IssuerKey {
    kid: Option<String>,
    key: PublicKey,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum PublicKey {
    P256(Vec<u8>),
    Rsa { n: Vec<u8>, e: Vec<u8> },
}

/// A text that is no set of keys, or one with none that tokens are checked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a JWK Set with 1 to {OIDC_KEYS_MAX} keys for ES256 or RS256")]
pub struct InvalidKeys;

#[derive(Deserialize)]
struct JwkSet {
    keys: Vec<Jwk>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default, rename = "use")]
    purpose: Option<String>,
    #[serde(default)]
    alg: Option<String>,
    #[serde(default)]
    crv: Option<String>,
    #[serde(default)]
    x: Option<String>,
    #[serde(default)]
    y: Option<String>,
    #[serde(default)]
    n: Option<String>,
    #[serde(default)]
    e: Option<String>,
}

impl IssuerKeys {
    /// The keys of a JWK Set.
    ///
    /// # Errors
    /// It is none, or has none that tokens are checked with.
    pub fn parse(json: &[u8]) -> Result<Self, InvalidKeys> {
        let JwkSet { keys } = serde_json::from_slice(json).map_err(|_| InvalidKeys)?;
        let keys: Vec<_> = keys.into_iter().filter_map(Jwk::key).collect();
        if keys.is_empty() || keys.len() > OIDC_KEYS_MAX {
            return Err(InvalidKeys);
        }
        Ok(Self(keys))
    }

    /// The key of that name. A token that names none fits only an issuer with a single key.
    fn find(&self, kid: Option<&str>) -> Option<&IssuerKey> {
        match (kid, self.0.as_slice()) {
            (Some(kid), keys) => keys.iter().find(|key| key.kid.as_deref() == Some(kid)),
            (None, [key]) => Some(key),
            (None, _) => None,
        }
    }
}

impl Jwk {
    fn key(self) -> Option<IssuerKey> {
        if self.purpose.is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        let bytes = |text: Option<String>| BASE64URL_NOPAD.decode(text?.as_bytes()).ok();
        let (key, alg) = match (self.kty.as_str(), self.crv.as_deref()) {
            ("EC", Some("P-256")) => {
                let (x, y) = (bytes(self.x)?, bytes(self.y)?);
                if x.len() != 32 || y.len() != 32 {
                    return None;
                }
                (PublicKey::P256([vec![4], x, y].concat()), "ES256")
            }
            ("RSA", _) => (PublicKey::Rsa { n: bytes(self.n)?, e: bytes(self.e)? }, "RS256"),
            _ => return None,
        };
        let agrees = self.alg.is_none_or(|said| said == alg);
        agrees.then_some(IssuerKey { kid: self.kid, key })
    }
}
