//! What stands in a leaf certificate of each role.

use std::{net::IpAddr, time::Duration};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, IsCa, KeyUsagePurpose, SanType, date_time_ymd,
    string::Ia5String,
};
use rustls::pki_types::ServerName;

use muster_schemas::Principal;

use super::{AuthorityError, Role, serial_number};
use crate::limits::{CERTIFICATE_TIME_S_MAX, NOT_BEFORE_SKEW_S};

/// The parameters of a leaf. Everything but the public key is ours: nothing is taken from a signing request.
pub(super) fn leaf_params(
    role: Role,
    principal: &Principal,
    names: &[ServerName<'static>],
    now_s: u64,
    not_after_s: u64,
) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::default();
    // For humans only; nothing of ours reads it.
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, principal.tenant.as_str());
    params.distinguished_name.push(DnType::CommonName, principal.id.as_str());
    set_validity(&mut params, now_s, not_after_s)?;
    params.serial_number = Some(serial_number()?);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = role.extended_key_usages();
    params.use_authority_key_identifier_extension = true;
    params.subject_alt_names = vec![SanType::URI(ascii(&principal.to_string())?)];
    for name in names {
        params.subject_alt_names.push(alternative_name(name)?);
    }
    Ok(params)
}

/// A text that certificates can carry in a name (IA5String).
pub(super) fn ascii(text: &str) -> Result<Ia5String, AuthorityError> {
    Ok(Ia5String::try_from(text)?)
}

fn alternative_name(name: &ServerName<'static>) -> Result<SanType, AuthorityError> {
    match name {
        ServerName::DnsName(name) => Ok(SanType::DnsName(ascii(name.as_ref())?)),
        ServerName::IpAddress(address) => Ok(SanType::IpAddress(IpAddr::from(*address))),
        other => Err(AuthorityError::ServerName(format!("{other:?}"))),
    }
}

/// Sets the life of a certificate, Unix seconds: from a little before now, because clocks of devices run slow.
pub(super) fn set_validity(
    params: &mut CertificateParams,
    now_s: u64,
    not_after_s: u64,
) -> Result<(), AuthorityError> {
    if now_s > not_after_s || not_after_s > CERTIFICATE_TIME_S_MAX {
        return Err(AuthorityError::Validity);
    }
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_secs(now_s.saturating_sub(NOT_BEFORE_SKEW_S));
    params.not_after = epoch + Duration::from_secs(not_after_s);
    Ok(())
}
