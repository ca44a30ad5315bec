//! What a leaf certificate says, as far as this agent needs it. That its chain holds is rustls' matter.

use muster_schemas::{InvalidPrincipal, Principal};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// Why a certificate is not a leaf of a Muster installation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLeaf {
    /// Not one certificate in DER.
    #[error("it is not one well-formed certificate")]
    Malformed,
    /// The SAN URI is missing, or there are several.
    #[error("it has {found} SAN URIs, and exactly one names who it speaks for")]
    Uris {
        /// How many.
        found: usize,
    },
    /// The SAN URI is not a principal.
    #[error("its SAN URI {0}")]
    Principal(InvalidPrincipal),
}

/// A leaf certificate, read once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Who it speaks for: its one SAN URI.
    pub principal: Principal,
    /// The bits of its public key; of a P-256 key the uncompressed point.
    pub public_key: Vec<u8>,
}

impl Leaf {
    /// Reads a certificate in DER.
    ///
    /// # Errors
    /// It is not one certificate with one principal.
    pub fn read(der: &[u8]) -> Result<Self, InvalidLeaf> {
        let Ok(([], certificate)) = X509Certificate::from_der(der) else {
            return Err(InvalidLeaf::Malformed);
        };
        let names = certificate.subject_alternative_name().map_err(|_| InvalidLeaf::Malformed)?;
        let names = names.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
        let uris: Vec<&str> = names
            .iter()
            .filter_map(|name| match name {
                GeneralName::URI(uri) => Some(*uri),
                _ => None,
            })
            .collect();
        let [uri] = uris.as_slice() else { return Err(InvalidLeaf::Uris { found: uris.len() }) };
        Ok(Self {
            principal: uri.parse().map_err(InvalidLeaf::Principal)?,
            public_key: certificate.public_key().subject_public_key.data.to_vec(),
        })
    }
}
