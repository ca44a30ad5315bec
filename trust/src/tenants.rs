//! The tenants that a hub may serve: a capability within its certificate, in an extension of ours.
//!
//! ```text
//! Tenants ::= SEQUENCE SIZE (1..128) OF UTF8String      -- a tenant each, or one "*" for all of them
//! ```
//!
//! Not further SAN URIs, because exactly one names the principal. Not critical, because clients that are not ours
//! refuse what they do not know; ours demand it.

use std::{collections::BTreeSet, fmt, str::FromStr};

use muster_schemas::TenantId;
use rustls::pki_types::CertificateDer;

use crate::{
    InvalidLeaf,
    leaf::parse,
    limits::TENANTS_NAMED_MAX,
    profile::{TENANTS_OID, is_oid},
};

/// Stands for all tenants.
const ALL: &str = "*";
/// Tags of DER.
const SEQUENCE: u8 = 0x30;
const UTF8_STRING: u8 = 0x0c;

/// Which tenants a hub may serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tenants {
    /// Every one.
    All,
    /// These, and no other.
    Named(BTreeSet<TenantId>),
}

/// Why something names no tenants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTenants {
    /// It names none, or more than a certificate may.
    #[error("names no tenant, or more than {TENANTS_NAMED_MAX}")]
    Count,
    /// One of them is no tenant.
    #[error("names something that is no tenant; write `*` alone for all of them")]
    Tenant,
    /// It is not the structure it should be.
    #[error("is malformed")]
    Malformed,
}

impl Tenants {
    /// Whether this tenant is among them.
    pub fn cover(&self, tenant: &TenantId) -> bool {
        match self {
            Self::All => true,
            Self::Named(named) => named.contains(tenant),
        }
    }

    /// The value of the extension, DER.
    pub fn to_der(&self) -> Vec<u8> {
        let mut inner = Vec::new();
        for name in self.names() {
            element(UTF8_STRING, name.as_bytes(), &mut inner);
        }
        let mut outer = Vec::new();
        element(SEQUENCE, &inner, &mut outer);
        outer
    }

    /// Reads the value of the extension.
    pub fn from_der(der: &[u8]) -> Result<Self, InvalidTenants> {
        let (tag, mut inner, rest) = read(der).ok_or(InvalidTenants::Malformed)?;
        if tag != SEQUENCE || !rest.is_empty() {
            return Err(InvalidTenants::Malformed);
        }
        let mut names = Vec::new();
        while !inner.is_empty() {
            let (tag, name, rest) = read(inner).ok_or(InvalidTenants::Malformed)?;
            if tag != UTF8_STRING {
                return Err(InvalidTenants::Malformed);
            }
            if names.len() == TENANTS_NAMED_MAX {
                return Err(InvalidTenants::Count);
            }
            names.push(std::str::from_utf8(name).map_err(|_| InvalidTenants::Malformed)?);
            inner = rest;
        }
        Self::of_names(names.into_iter())
    }

    /// What a verified certificate of a hub says; nothing, when it was issued by the first version.
    ///
    /// # Errors
    /// The certificate or its extension is malformed.
    pub fn of_certificate(der: &CertificateDer<'_>) -> Result<Option<Self>, InvalidLeaf> {
        let certificate = parse(der)?;
        let mut found = certificate
            .extensions()
            .iter()
            .filter(|extension| is_oid(extension.oid.as_bytes(), &TENANTS_OID));
        let Some(extension) = found.next() else { return Ok(None) };
        if found.next().is_some() {
            return Err(InvalidTenants::Malformed.into());
        }
        Ok(Some(Self::from_der(extension.value)?))
    }

    /// Names, as in the certificate and in the configuration.
    pub fn of_names<'a>(names: impl Iterator<Item = &'a str>) -> Result<Self, InvalidTenants> {
        let names: Vec<&str> = names.collect();
        match names.as_slice() {
            [] => Err(InvalidTenants::Count),
            [ALL] => Ok(Self::All),
            several if several.len() > TENANTS_NAMED_MAX => Err(InvalidTenants::Count),
            several => {
                let named = several.iter().map(|name| name.parse().map_err(|_| InvalidTenants::Tenant));
                Ok(Self::Named(named.collect::<Result<_, _>>()?))
            }
        }
    }

    /// What stands in the certificate.
    pub fn names(&self) -> Vec<&str> {
        match self {
            Self::All => vec![ALL],
            Self::Named(named) => named.iter().map(TenantId::as_str).collect(),
        }
    }
}

impl fmt::Display for Tenants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().join(","))
    }
}

impl FromStr for Tenants {
    type Err = InvalidTenants;
    fn from_str(text: &str) -> Result<Self, InvalidTenants> {
        Self::of_names(text.split(',').map(str::trim))
    }
}

/// Appends an element. Its length has at most two bytes: 128 tenants of 63 characters are less than 64 KiB.
fn element(tag: u8, content: &[u8], out: &mut Vec<u8>) {
    let [high, low] = u16::try_from(content.len()).unwrap_or(u16::MAX).to_be_bytes();
    out.push(tag);
    match (high, low) {
        (0, 0..=0x7f) => out.push(low),
        (0, _) => out.extend([0x81, low]),
        _ => out.extend([0x82, high, low]),
    }
    out.extend(content);
}

/// The tag and content of the first element, and what follows it. Only the shortest form of a length is read.
fn read(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81 => match rest.split_first()? {
            (low @ 0x80.., rest) => (usize::from(*low), rest),
            _ => return None,
        },
        0x82 => match rest.split_first_chunk::<2>()? {
            ([high, low], rest) if *high > 0 => (usize::from(u16::from_be_bytes([*high, *low])), rest),
            _ => return None,
        },
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenants_survive_the_trip_through_a_certificate() {
        let many: String = (0..TENANTS_NAMED_MAX).map(|n| format!("tenant-{n:050},")).collect();
        for text in ["*", "acme", "acme,globex", many.trim_end_matches(',')] {
            let tenants: Tenants = text.parse().expect(text);
            assert_eq!(Tenants::from_der(&tenants.to_der()), Ok(tenants.clone()));
            assert_eq!(tenants.to_string().parse(), Ok(tenants));
        }
    }

    #[test]
    fn a_capability_covers_the_tenants_it_names_and_no_others() {
        let id = |text: &str| text.parse::<TenantId>().expect("tenant");
        let some: Tenants = "acme,globex".parse().expect("tenants");
        assert!(some.cover(&id("acme")) && some.cover(&id("globex")));
        assert!(!some.cover(&id("acm")) && !some.cover(&id("umbrella")));
        assert!(Tenants::All.cover(&id("umbrella")));
    }

    #[test]
    fn what_names_no_tenants_is_refused() {
        for text in ["", "*,acme", "acme,*", "acme,,globex", "../acme", "a\0b"] {
            assert!(text.parse::<Tenants>().is_err(), "{text:?} was accepted");
        }
        let whole = "acme,globex".parse::<Tenants>().expect("tenants").to_der();
        for cut in 0..whole.len() {
            assert!(Tenants::from_der(&whole[..cut]).is_err(), "cut at {cut}");
        }
        assert!(Tenants::from_der(&[whole.as_slice(), &[0]].concat()).is_err(), "something follows");
        assert!(Tenants::from_der(&[SEQUENCE, 0x81, 3, UTF8_STRING, 1, b'*']).is_err(), "a long length");
        assert!(Tenants::from_der(&[SEQUENCE, 3, 4, 1, b'*']).is_err(), "not text");
    }
}
