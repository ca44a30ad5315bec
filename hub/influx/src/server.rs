//! Where a server is and what is shown there: an address without a path, an organisation, and a token for each tenant.

use std::{fmt, net::IpAddr};

use reqwest::{Certificate, Url};
use zeroize::Zeroizing;

use crate::limits::{NAME_BYTES_MAX, TOKEN_BYTES_MAX};

/// A server, checked.
#[derive(Debug, Clone)]
pub struct Server {
    pub(crate) url: Url,
    pub(crate) org: String,
    pub(crate) authorities: Vec<Certificate>,
}

/// Why a server cannot be written to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidServer {
    /// It is no URL of the kinds that are understood.
    #[error(
        "read {0:?}: write https://, the host, and the port if it is not 443, as in https://influx.example:8086"
    )]
    Url(String),
    /// There is something behind the port, or before the host.
    #[error("take an address with a path, a query or a user in it: write https://, host and port alone")]
    Path,
    /// The token and the readings would go over a network as they are.
    #[error(
        "send tokens to {0} without TLS: write https://, or allow it where nobody else is on that network"
    )]
    Plain(String),
    /// An organisation or bucket without a name, or with one that is too long.
    #[error("take a name of no or more than {NAME_BYTES_MAX} bytes, or with characters that do not print")]
    Name,
    /// The authorities are no certificates.
    #[error("read the authorities: they are no certificates in PEM")]
    Authorities,
}

impl Server {
    /// A server at `url` and an organisation there. Without `authorities` the system's are trusted; with them, these too.
    /// `plain` are the hosts to which tokens may go without TLS, besides this machine.
    ///
    /// # Errors
    /// The address or the name is none, or the authorities are not readable.
    pub fn new(
        url: &str,
        org: &str,
        authorities: Option<&[u8]>,
        plain: &[String],
    ) -> Result<Self, InvalidServer> {
        let unreadable = || InvalidServer::Url(url.to_owned());
        let parsed = Url::parse(url).map_err(|_| unreadable())?;
        let host = parsed.host_str().filter(|host| !host.is_empty()).ok_or_else(unreadable)?;
        match parsed.scheme() {
            "https" => {}
            "http" if is_here(host) || plain.iter().any(|known| known == host) => {}
            "http" => return Err(InvalidServer::Plain(host.to_owned())),
            _ => return Err(unreadable()),
        }
        let bare = parsed.path() == "/" && parsed.query().is_none() && parsed.fragment().is_none();
        if !bare || !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(InvalidServer::Path);
        }
        let authorities = match authorities {
            Some(pem) => pem_certificates(pem).ok_or(InvalidServer::Authorities)?,
            None => Vec::new(),
        };
        Ok(Self { org: name(org)?.to_owned(), url: parsed, authorities })
    }

    /// Its address.
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// The organisation.
    pub fn org(&self) -> &str {
        &self.org
    }
}

/// The name of an organisation or a bucket.
///
/// # Errors
/// It is empty, too long, or does not print.
pub fn name(name: &str) -> Result<&str, InvalidServer> {
    let fits = !name.trim().is_empty() && name.len() <= NAME_BYTES_MAX && !name.chars().any(char::is_control);
    if fits { Ok(name) } else { Err(InvalidServer::Name) }
}

/// Whether a host is this machine.
fn is_here(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// One certificate or several; none if one of them is not readable.
fn pem_certificates(pem: &[u8]) -> Option<Vec<Certificate>> {
    const END: &str = "-----END CERTIFICATE-----";
    let text = str::from_utf8(pem).ok()?;
    let blocks = text.split_inclusive(END).filter(|block| block.contains("-----BEGIN CERTIFICATE-----"));
    let certificates: Option<Vec<_>> =
        blocks.map(|block| Certificate::from_pem(block.as_bytes()).ok()).collect();
    certificates.filter(|certificates| !certificates.is_empty())
}

/// What shows a server that a tenant's points may come. Never printed, and wiped when it goes.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Zeroizing<String>);

impl Token {
    /// The token in a file; white space around it does not count.
    ///
    /// # Errors
    /// There is none, or one that no server gives.
    pub fn parse(text: &str) -> Result<Self, InvalidToken> {
        let token = text.trim();
        if token.is_empty()
            || token.len() > TOKEN_BYTES_MAX
            || !token.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err(InvalidToken);
        }
        Ok(Self(Zeroizing::new(token.to_owned())))
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// A text that is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("read a token: it is one word of at most {TOKEN_BYTES_MAX} characters")]
pub struct InvalidToken;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_tokens_do_not_leave_this_machine_in_the_clear() {
        let hosts = ["influx.example".to_owned()];
        let wrong =
            |url: &str, plain| Server::new(url, "plant", None, if plain { &hosts } else { &[] }).map(|_| ());
        for url in [
            "https://influx.example",
            "https://[2001:db8::1]:8086",
            "http://127.0.0.1:8086",
            "http://[::1]:1",
        ] {
            assert_eq!(wrong(url, false), Ok(()), "{url}");
        }
        assert_eq!(
            wrong("http://influx.example:8086", false),
            Err(InvalidServer::Plain("influx.example".to_owned()))
        );
        assert_eq!(wrong("http://influx.example:8086", true), Ok(()));
        for url in ["https://h/influx", "https://h/?a=b", "https://ann@h", "https://ann:x@h", "https://h/#x"]
        {
            assert_eq!(wrong(url, true), Err(InvalidServer::Path), "{url}");
        }
        for url in ["", "influx.example:8086", "ftp://h", "https://", "///", "https://h:port"] {
            assert_eq!(wrong(url, true), Err(InvalidServer::Url(url.to_owned())), "{url}");
        }
    }

    #[test]
    fn names_tokens_and_authorities_are_looked_at_once() {
        assert_eq!(name(""), Err(InvalidServer::Name));
        assert_eq!(name("a\nb"), Err(InvalidServer::Name));
        assert_eq!(name("my bucket"), Ok("my bucket"));
        assert_eq!(Token::parse(" abc==\n").map(|token| token.expose().to_owned()), Ok("abc==".to_owned()));
        for text in ["", "two words", "line\r\nHeader: x", "ü", &"x".repeat(TOKEN_BYTES_MAX + 1)] {
            assert_eq!(Token::parse(text), Err(InvalidToken), "{text:?}");
        }
        assert_eq!(format!("{:?}", Token::parse("abc")), "Ok(Token)");
        let server = Server::new("https://h", "o", Some(b"no certificate"), &[]);
        assert_eq!(server.map(|_| ()), Err(InvalidServer::Authorities));
    }
}
