//! Who a certificate speaks for: the one SAN URI of every certificate under the root.

use std::{fmt, str::FromStr, sync::Arc};

use crate::{DeviceId, InvalidId, TenantId, limits::TRUST_DOMAIN_BYTES_MAX};

/// The tenant of the hub itself: its nodes and its operators. No device, app or message belongs to it.
const OPERATOR: &str = "operator";

/// What a principal is. Each kind has its own authority, and each end accepts only the kinds its role demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A device that proved its TPM.
    Device,
    /// An edge gateway that forwards for devices behind it.
    Relay,
    /// A tenant's application.
    App,
    /// A person.
    User,
    /// A service of the hub, such as a telemetry sink.
    Service,
    /// A hub.
    Node,
    /// A software release.
    Software,
}

impl Kind {
    /// Every kind, in the order of the design.
    pub const ALL: [Self; 7] =
        [Self::Device, Self::Relay, Self::App, Self::User, Self::Service, Self::Node, Self::Software];

    /// The path segment that names the kind.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Relay => "relay",
            Self::App => "app",
            Self::User => "user",
            Self::Service => "service",
            Self::Node => "node",
            Self::Software => "software",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The name under which one installation's certificates are meaningful, such as `muster.example`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// The domain as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TrustDomain {
    type Err = InvalidPrincipal;
    fn from_str(text: &str) -> Result<Self, InvalidPrincipal> {
        let label = |l: &str| {
            !l.is_empty() && l.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        if text.len() > TRUST_DOMAIN_BYTES_MAX || !text.split('.').all(label) {
            return Err(InvalidPrincipal::TrustDomain);
        }
        Ok(Self(Arc::from(text)))
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a URI is not a principal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPrincipal {
    /// Not of the form `spiffe://<trust-domain>/t/<tenant>/<kind>/<id>`.
    #[error("is not of the form spiffe://<trust-domain>/t/<tenant>/<kind>/<id>")]
    Form,
    /// The trust domain is not a lower-case DNS name.
    #[error("has a trust domain that is not a lower-case DNS name")]
    TrustDomain,
    /// The kind is none of the known ones.
    #[error("names the unknown kind {0:?}")]
    Kind(String),
    /// The tenant segment is not a tenant id.
    #[error("has a tenant that {0}")]
    Tenant(InvalidId),
    /// The last segment is not an id.
    #[error("has an id that {0}")]
    Id(InvalidId),
}

/// Who a certificate speaks for: `spiffe://<trust-domain>/t/<tenant>/<kind>/<id>`, the shape of an X.509-SVID.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Principal {
    /// The installation that issued the certificate.
    pub trust_domain: TrustDomain,
    /// The tenant it belongs to; [`Principal::operator_tenant`] for the hub's own people and nodes.
    pub tenant: TenantId,
    /// What it is.
    pub kind: Kind,
    /// Which one.
    pub id: DeviceId,
}

impl Principal {
    /// The reserved tenant of the hub itself. A tenant of that name cannot be created.
    pub fn operator_tenant() -> TenantId {
        OPERATOR.parse().unwrap_or_else(|_: InvalidId| unreachable!("the constant is a label"))
    }

    /// Whether this is one of the hub's operators.
    pub fn is_operator(&self) -> bool {
        self.kind == Kind::User && self.tenant.as_str() == OPERATOR
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}/t/{}/{}/{}", self.trust_domain, self.tenant, self.kind, self.id)
    }
}

impl FromStr for Principal {
    type Err = InvalidPrincipal;
    fn from_str(uri: &str) -> Result<Self, InvalidPrincipal> {
        let path = uri.strip_prefix("spiffe://").ok_or(InvalidPrincipal::Form)?;
        let mut segments = path.split('/');
        let mut next = || segments.next().ok_or(InvalidPrincipal::Form);
        let (trust_domain, marker, tenant, kind, id) = (next()?, next()?, next()?, next()?, next()?);
        if marker != "t" || segments.next().is_some() {
            return Err(InvalidPrincipal::Form);
        }
        let known = |k: &Kind| k.as_str() == kind;
        Ok(Self {
            trust_domain: trust_domain.parse()?,
            tenant: tenant.parse().map_err(InvalidPrincipal::Tenant)?,
            kind: Kind::ALL.into_iter().find(known).ok_or_else(|| InvalidPrincipal::Kind(kind.to_owned()))?,
            id: id.parse().map_err(InvalidPrincipal::Id)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_principal_survives_the_trip_through_its_uri() {
        for kind in Kind::ALL {
            let uri = format!("spiffe://muster.example/t/acme/{kind}/pump-7");
            let principal: Principal = uri.parse().expect("well formed");
            assert_eq!(principal.kind, kind);
            assert_eq!(principal.to_string(), uri);
        }
    }

    #[test]
    fn anything_but_the_one_form_is_refused() {
        for uri in [
            "https://muster.example/t/acme/device/a",
            "spiffe://muster.example/t/acme/device",
            "spiffe://muster.example/t/acme/device/a/b",
            "spiffe://muster.example/x/acme/device/a",
            "spiffe://muster.example/t/acme/device/",
            "spiffe:///t/acme/device/a",
        ] {
            assert!(uri.parse::<Principal>().is_err(), "{uri} was accepted");
        }
    }
}
