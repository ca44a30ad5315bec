//! What stands in a certificate of each kind, as a table. What each may be used for is in [`muster_trust::Profile`],
//! because every end compares it.

use std::{net::IpAddr, time::Duration};

use muster_trust::{Profile, TENANTS_OID, TRUST_SIGNING_OID, kind_oid};
use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyUsagePurpose, SanType, date_time_ymd, string::Ia5String,
};
use rustls::pki_types::ServerName;

use muster_schemas::{Kind, Principal};

use super::{AuthorityError, Role, Served, serial_number};
use crate::limits::{
    CERTIFICATE_TIME_S_MAX, CLIENT_VALIDITY_S, DEVICE_VALIDITY_S, NOT_BEFORE_SKEW_S, RELAY_VALIDITY_S,
    SERVER_VALIDITY_S, SERVICE_VALIDITY_S, SOFTWARE_VALIDITY_S,
};

/// How long a certificate of each kind lives when nothing else is asked for, in seconds, and what it may be asked for at
/// most. Each has one SAN URI, its principal; a hub's also has the names and addresses for clients that are not ours.
pub const PROFILES: [(Kind, u64, u64); 7] = [
    (Kind::Device, DEVICE_VALIDITY_S, crate::limits::DEVICE_VALIDITY_S_MAX),
    (Kind::Relay, RELAY_VALIDITY_S, CLIENT_VALIDITY_S),
    (Kind::App, CLIENT_VALIDITY_S, CLIENT_VALIDITY_S),
    (Kind::User, CLIENT_VALIDITY_S, CLIENT_VALIDITY_S),
    (Kind::Service, SERVICE_VALIDITY_S, SERVICE_VALIDITY_S),
    (Kind::Node, SERVER_VALIDITY_S, SERVER_VALIDITY_S),
    (Kind::Software, SOFTWARE_VALIDITY_S, SOFTWARE_VALIDITY_S),
];

/// What a leaf of a kind is for: its standard usages and its own.
fn leaf_usages(kind: Kind, signs_trust: bool) -> Vec<ExtendedKeyUsagePurpose> {
    let profile = Profile::of(kind);
    let mut usages = Vec::new();
    if profile.client_auth {
        usages.push(ExtendedKeyUsagePurpose::ClientAuth);
    }
    if profile.server_auth {
        usages.push(ExtendedKeyUsagePurpose::ServerAuth);
    }
    if profile.code_signing {
        usages.push(ExtendedKeyUsagePurpose::CodeSigning);
    }
    usages.push(ExtendedKeyUsagePurpose::Other(kind_oid(kind).to_vec()));
    if signs_trust {
        usages.push(ExtendedKeyUsagePurpose::Other(TRUST_SIGNING_OID.to_vec()));
    }
    usages
}

/// What an authority may pass on: the usages of all kinds that it signs. The root, being above all, has none.
pub(super) fn authority_usages(role: Role) -> Vec<ExtendedKeyUsagePurpose> {
    let mut usages = Vec::new();
    for kind in Kind::ALL.into_iter().filter(|kind| role.issues(*kind)) {
        for usage in leaf_usages(kind, kind == Kind::Software) {
            if !usages.contains(&usage) {
                usages.push(usage);
            }
        }
    }
    usages
}

/// The parameters of a leaf. Everything but the public key is ours: nothing is taken from a signing request.
pub(super) fn leaf_params(
    principal: &Principal,
    served: Served<'_>,
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
    params.extended_key_usages = leaf_usages(principal.kind, served.signs_trust);
    params.use_authority_key_identifier_extension = true;
    params.subject_alt_names = vec![SanType::URI(ascii(&principal.to_string())?)];
    for name in served.names {
        params.subject_alt_names.push(alternative_name(name)?);
    }
    if let Some(tenants) = served.tenants {
        params.custom_extensions = vec![CustomExtension::from_oid_content(&TENANTS_OID, tenants.to_der())];
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
