//! Tokens of devices and gateways (`Authorization: TargetToken …`, `GatewayToken …`), as hawkBit's clients send them.
//! For devices that have no certificate; headers in which a proxy names a certificate (`X-Ssl-Client-Cn` and its
//! like) are not read anywhere: whoever reaches the socket could write them.

use std::fmt;

use subtle::ConstantTimeEq as _;

use crate::limits::{TARGET_TOKEN_CHARS, TOKEN_BYTES_MAX};

/// What stands in `Authorization`.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// One device's own.
    Target(Token),
    /// A tenant's: whoever has it speaks for each of its devices.
    Gateway(Token),
}

impl Credential {
    /// Reads the header; none if it is of another scheme, or no token. The name of a scheme may be written in any
    /// case (RFC 9110 §11.1).
    pub fn parse(header: &[u8]) -> Option<Self> {
        let header = str::from_utf8(header).ok()?;
        let (scheme, token) = header.trim().split_once(' ')?;
        let token = Token::parse(token.trim_start())?;
        match scheme {
            _ if scheme.eq_ignore_ascii_case("TargetToken") => Some(Self::Target(token)),
            _ if scheme.eq_ignore_ascii_case("GatewayToken") => Some(Self::Gateway(token)),
            _ => None,
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Target(_) => "TargetToken …",
            Self::Gateway(_) => "GatewayToken …",
        })
    }
}

/// A token. It is shown to nobody: not in a log, and not by `{:?}`.
#[derive(Clone, Eq)]
pub struct Token(String);

impl Token {
    /// 1 to 128 visible characters.
    pub fn parse(text: &str) -> Option<Self> {
        let fits =
            (1..=TOKEN_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| Self(text.to_owned()))
    }

    /// A new one of 32 letters and digits, from 16 random bytes.
    pub fn from_random(bytes: [u8; TARGET_TOKEN_CHARS / 2]) -> Self {
        Self(data_encoding::HEXLOWER.encode(&bytes))
    }

    /// For whoever hashes it, or shows it once to the person who made it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Token {
    /// Takes as long for one wrong character as for all.
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_as_hawkbits_clients_send_them() {
        let token = |text: &str| Token::parse(text).unwrap();
        assert_eq!(Credential::parse(b"TargetToken s3cr3t"), Some(Credential::Target(token("s3cr3t"))));
        assert_eq!(Credential::parse(b"GatewayToken gw99"), Some(Credential::Gateway(token("gw99"))));
        assert_eq!(Credential::parse(b" targettoken  x "), Some(Credential::Target(token("x"))));
        for other in
            [&b"Bearer x"[..], b"TargetToken", b"TargetToken ", b"TargetToken a b", b"TargetToken \xff", b""]
        {
            assert_eq!(Credential::parse(other), None, "{other:?}");
        }
        let long = format!("TargetToken {}", "x".repeat(TOKEN_BYTES_MAX + 1));
        assert_eq!(Credential::parse(long.as_bytes()), None);
        assert_ne!(token("s3cr3t"), token("s3cr3T"));
    }

    #[test]
    fn a_token_is_shown_to_nobody() {
        let credential = Credential::parse(b"TargetToken s3cr3t").unwrap();
        let Credential::Target(token) = &credential else { panic!("a target's") };
        assert!(!format!("{credential:?} {token:?}").contains("s3cr3t"));
    }

    #[test]
    fn a_new_token_is_32_letters_and_digits() {
        let token = Token::from_random([0xa5; 16]);
        assert_eq!(token.reveal().len(), TARGET_TOKEN_CHARS);
        assert!(token.reveal().bytes().all(|byte| byte.is_ascii_alphanumeric()));
    }
}
