//! Revocation lists (RFC 5280 §5), one for each authority: for stock clients, and for the hub's own TLS. Pure, and slow with
//! a long list: it is called where it holds up nobody.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use rcgen::{
    CertificateRevocationListParams, KeyIdMethod, RevocationReason as Reason, RevokedCertParams,
    SerialNumber, date_time_ymd,
};

use crate::{
    authority::{Authority, AuthorityError, Role},
    limits::LIST_VALIDITY_S,
    registry::{Revocation, RevocationReason},
};

/// The list of one authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// Whose.
    pub role: Role,
    /// Which of its role.
    pub generation: u32,
    /// As it was signed, DER.
    pub der: Bytes,
}

impl List {
    /// The name of the authority, as in file names and addresses: `device`, `device-2`.
    pub fn name(&self) -> String {
        match self.generation {
            1 => self.role.as_str().to_owned(),
            later => format!("{}-{later}", self.role),
        }
    }

    /// The list of `authority` from the rows of all of them. The rows do not tell generations of a role apart, and need
    /// not: serial numbers are drawn from 126 bits.
    ///
    /// # Errors
    /// The library refuses.
    pub fn sign(
        authority: &Authority,
        revocations: &[Arc<Revocation>],
        number: u64,
        now_s: u64,
    ) -> Result<Self, AuthorityError> {
        let at = |seconds: u64| date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
        let revoked = revocations.iter().filter(|row| row.authority == authority.role());
        let revoked_certs = revoked
            .map(|row| RevokedCertParams {
                serial_number: SerialNumber::from_slice(row.serial.as_bytes()),
                revocation_time: at(row.revoked_at_s),
                reason_code: Some(reason(row.reason)),
                invalidity_date: row.invalid_since_s.map(at),
            })
            .collect();
        let params = CertificateRevocationListParams {
            this_update: at(now_s),
            next_update: at(now_s.saturating_add(LIST_VALIDITY_S)),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let der = Bytes::copy_from_slice(&authority.sign_list(&params)?);
        Ok(Self { role: authority.role(), generation: authority.generation(), der })
    }

    /// The list as PEM (RFC 7468 §5).
    pub fn pem(&self) -> String {
        crate::keyring::armoured("X509 CRL", &self.der)
    }
}

fn reason(reason: RevocationReason) -> Reason {
    match reason {
        RevocationReason::Unspecified => Reason::Unspecified,
        RevocationReason::KeyCompromise => Reason::KeyCompromise,
        RevocationReason::CaCompromise => Reason::CaCompromise,
        RevocationReason::AffiliationChanged => Reason::AffiliationChanged,
        RevocationReason::Superseded => Reason::Superseded,
        RevocationReason::CessationOfOperation => Reason::CessationOfOperation,
        RevocationReason::PrivilegeWithdrawn => Reason::PrivilegeWithdrawn,
    }
}
