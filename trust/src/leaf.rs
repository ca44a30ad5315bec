//! A leaf certificate, read once: who it speaks for, and what the registry compares.

use std::{fmt, net::IpAddr, str::FromStr};

use data_encoding::HEXLOWER;
use rustls::pki_types::{CertificateDer, ServerName};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use muster_schemas::{InvalidPrincipal, Kind, Principal, TrustDomain};

use crate::{
    InvalidTenants, Role,
    limits::{CERTIFICATE_BYTES_MAX, SERIAL_BYTES},
    profile::{Profile, is_oid, kind_oid},
};

/// The serial number of a certificate of ours: 16 bytes, shown as lower-case hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial([u8; SERIAL_BYTES]);

impl Serial {
    /// The bytes, big-endian.
    pub fn as_bytes(&self) -> &[u8; SERIAL_BYTES] {
        &self.0
    }
}

impl From<[u8; SERIAL_BYTES]> for Serial {
    fn from(bytes: [u8; SERIAL_BYTES]) -> Self {
        Self(bytes)
    }
}

impl FromStr for Serial {
    type Err = InvalidLeaf;
    fn from_str(text: &str) -> Result<Self, InvalidLeaf> {
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| InvalidLeaf::Serial)?;
        Ok(Self(bytes.try_into().map_err(|_| InvalidLeaf::Serial)?))
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Serial({self})")
    }
}

/// Why a certificate is not a leaf of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLeaf {
    /// Not one certificate in DER of at most 16 KiB.
    #[error("it is not one well-formed certificate")]
    Malformed,
    /// Signed by none of our authorities.
    #[error("its issuer is none of this installation's authorities")]
    UnknownIssuer,
    /// It may sign others.
    #[error("it is an authority, not a leaf")]
    Authority,
    /// The SAN URI is missing, or there are several.
    #[error("it has {found} SAN URIs, and exactly one names the principal")]
    Uris {
        /// How many.
        found: usize,
    },
    /// The SAN URI is not a principal.
    #[error("its SAN URI {0}")]
    Principal(InvalidPrincipal),
    /// A principal of another installation.
    #[error("its trust domain is {0}, not this installation's")]
    TrustDomain(TrustDomain),
    /// A kind that this authority does not sign.
    #[error("it speaks for a {kind}, which the {role} authority does not sign")]
    Kind {
        /// The issuer.
        role: Role,
        /// The kind it claims.
        kind: Kind,
    },
    /// Its extended key usages are not those of its kind.
    #[error("its extended key usages are not those of a {0}")]
    Usage(Kind),
    /// The tenants that its hub may serve cannot be read.
    #[error("its list of tenants {0}")]
    Tenants(#[from] InvalidTenants),
    /// Our serial numbers have 16 bytes.
    #[error("its serial number does not have {SERIAL_BYTES} bytes")]
    Serial,
    /// A life that begins or ends before 1970.
    #[error("its validity lies before 1970")]
    Validity,
}

/// What a leaf certificate says. That its chain holds is rustls' matter, and comes before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Who it speaks for: the one SAN URI.
    pub principal: Principal,
    /// Its serial number, which the registry compares.
    pub serial: Serial,
    /// SHA-256 of its SubjectPublicKeyInfo, which the registry compares.
    pub spki_sha256: [u8; 32],
    /// The start of its life, Unix seconds.
    pub not_before_s: u64,
    /// The end of its life, Unix seconds.
    pub not_after_s: u64,
    /// The authority that signed it.
    pub authority: Role,
    /// The DNS names and addresses that it serves under; none but in a hub's.
    pub server_names: Vec<ServerName<'static>>,
}

impl Leaf {
    /// Reads a certificate that the authority of this role signed.
    ///
    /// # Errors
    /// It is not one that this authority would sign.
    pub fn read_as(
        der: &CertificateDer<'_>,
        role: Role,
        trust_domain: &TrustDomain,
    ) -> Result<Self, InvalidLeaf> {
        let certificate = parse(der)?;
        if certificate.is_ca() {
            return Err(InvalidLeaf::Authority);
        }
        let principal = principal(&certificate)?;
        if principal.trust_domain != *trust_domain {
            return Err(InvalidLeaf::TrustDomain(principal.trust_domain));
        }
        if !role.issues(principal.kind) {
            return Err(InvalidLeaf::Kind { role, kind: principal.kind });
        }
        check_usages(&certificate, principal.kind)?;
        let serial: [u8; SERIAL_BYTES] =
            certificate.raw_serial().try_into().map_err(|_| InvalidLeaf::Serial)?;
        let (not_before_s, not_after_s) = validity(&certificate)?;
        Ok(Self {
            principal,
            serial: Serial(serial),
            spki_sha256: sha256(certificate.public_key().raw),
            not_before_s,
            not_after_s,
            authority: role,
            server_names: server_names(&certificate)?,
        })
    }

    /// Reads a certificate of somebody else that is pinned for `principal`: of what it says only its key and its life
    /// count. The fingerprint, cut to length, takes the place of the serial number.
    ///
    /// # Errors
    /// It is no certificate.
    pub fn read_pinned(
        der: &CertificateDer<'_>,
        fingerprint: [u8; 32],
        principal: Principal,
    ) -> Result<Self, InvalidLeaf> {
        let certificate = parse(der)?;
        let (not_before_s, not_after_s) = validity(&certificate)?;
        let mut serial = [0; SERIAL_BYTES];
        for (to, from) in serial.iter_mut().zip(fingerprint) {
            *to = from;
        }
        Ok(Self {
            principal,
            serial: Serial(serial),
            spki_sha256: sha256(certificate.public_key().raw),
            not_before_s,
            not_after_s,
            authority: Role::Client,
            server_names: Vec::new(),
        })
    }

    /// The start and end of any certificate's life, Unix seconds.
    ///
    /// # Errors
    /// It is no certificate.
    pub fn life_s(der: &CertificateDer<'_>) -> Result<(u64, u64), InvalidLeaf> {
        validity(&parse(der)?)
    }

    /// Whether the certificate is within its life.
    pub fn is_valid_at(&self, now_s: u64) -> bool {
        (self.not_before_s..=self.not_after_s).contains(&now_s)
    }

    /// When to renew: at half of its life (Unix seconds); the device adds its own jitter.
    pub fn half_life_s(&self) -> u64 {
        self.not_before_s + self.not_after_s.saturating_sub(self.not_before_s) / 2
    }
}

/// The usages of a kind are all there and no others, but for the kind's own in certificates of the first version.
fn check_usages(certificate: &X509Certificate<'_>, kind: Kind) -> Result<(), InvalidLeaf> {
    let wrong = || InvalidLeaf::Usage(kind);
    let usages = certificate.extended_key_usage().map_err(|_| InvalidLeaf::Malformed)?;
    let usages = usages.ok_or_else(wrong)?.value;
    let profile = Profile::of(kind);
    let standard = (usages.client_auth, usages.server_auth, usages.code_signing);
    if usages.any || standard != (profile.client_auth, profile.server_auth, profile.code_signing) {
        return Err(wrong());
    }
    let mut named = !profile.kind_usage_required;
    for usage in &usages.other {
        match Kind::ALL.into_iter().find(|kind| is_oid(usage.as_bytes(), &kind_oid(*kind))) {
            Some(named_kind) if named_kind == kind => named = true,
            Some(_) => return Err(wrong()),
            // Another usage of ours, such as that of the trust object's signer, or one of others.
            None => {}
        }
    }
    if named { Ok(()) } else { Err(wrong()) }
}

/// SHA-256.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref());
    out
}

/// One certificate and nothing after it.
pub(super) fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, InvalidLeaf> {
    if der.len() > CERTIFICATE_BYTES_MAX {
        return Err(InvalidLeaf::Malformed);
    }
    match X509Certificate::from_der(der.as_ref()) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(InvalidLeaf::Malformed),
    }
}

/// The start and end of a certificate's life, Unix seconds.
pub(super) fn validity(certificate: &X509Certificate<'_>) -> Result<(u64, u64), InvalidLeaf> {
    let validity = certificate.validity();
    let seconds = |instant: i64| u64::try_from(instant).map_err(|_| InvalidLeaf::Validity);
    Ok((seconds(validity.not_before.timestamp())?, seconds(validity.not_after.timestamp())?))
}

/// The SAN URIs of a certificate.
pub(super) fn uris<'a>(certificate: &'a X509Certificate<'_>) -> Result<Vec<&'a str>, InvalidLeaf> {
    let names = certificate.subject_alternative_name().map_err(|_| InvalidLeaf::Malformed)?;
    let names = names.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
    Ok(names
        .iter()
        .filter_map(|name| if let GeneralName::URI(uri) = name { Some(*uri) } else { None })
        .collect())
}

fn principal(certificate: &X509Certificate<'_>) -> Result<Principal, InvalidLeaf> {
    match uris(certificate)?.as_slice() {
        [uri] => uri.parse().map_err(InvalidLeaf::Principal),
        several => Err(InvalidLeaf::Uris { found: several.len() }),
    }
}

/// The DNS names and addresses of a certificate, in order: what a hub may be called.
fn server_names(certificate: &X509Certificate<'_>) -> Result<Vec<ServerName<'static>>, InvalidLeaf> {
    let names = certificate.subject_alternative_name().map_err(|_| InvalidLeaf::Malformed)?;
    let names = names.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
    names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(ServerName::try_from((*name).to_owned()).ok()),
            GeneralName::IPAddress(octets) => Some(address(octets).map(|a| ServerName::IpAddress(a.into()))),
            _ => None,
        })
        .collect::<Option<_>>()
        .ok_or(InvalidLeaf::Malformed)
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(octets)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from))
        .ok()
}

/// The principal of a certificate that one holds oneself, such as the command line's own: nothing else is checked.
///
/// # Errors
/// It is not one certificate with one principal.
pub fn own_principal(der: &CertificateDer<'_>) -> Result<Principal, InvalidLeaf> {
    principal(&parse(der)?)
}
