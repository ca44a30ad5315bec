//! Makes the trust object. Who signs it has a key that lives as long as this call: nothing of it is kept, and a hub that is
//! stolen later can sign nothing with it. The software authority entitles each such key for as long as its object holds.

use std::{collections::BTreeSet, sync::Arc};

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use muster_schemas::{
    Kind, Principal,
    limits::TRUST_REVOKED_MAX,
    trust::{SignedTrust, Trust},
};
use muster_trust::TRUST_SIGNER;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _, SigningKey as _};

use crate::{
    authority::{Authority, AuthorityError, PublicKey, Role, TrustBundle},
    limits::LIST_VALIDITY_S,
    registry::Revocation,
};

/// Signs what is revoked of hubs, relays and authorities. Above the bound those that end first are left out, and said.
///
/// # Errors
/// The authority or the library refuses.
pub fn sign_trust(
    software: &Authority,
    trust: &TrustBundle,
    revocations: &[Arc<Revocation>],
    version: u64,
    now_s: u64,
) -> Result<Bytes, AuthorityError> {
    let concerns = |row: &&Arc<Revocation>| matches!(row.authority, Role::Root | Role::Server | Role::Relay);
    let mut rows: Vec<_> = revocations.iter().filter(concerns).collect();
    if rows.len() > TRUST_REVOKED_MAX {
        tracing::error!(
            revoked = rows.len(),
            bound = TRUST_REVOKED_MAX,
            "the trust object cannot name all revoked hubs and relays: those that end first are left out"
        );
        rows.sort_by_key(|row| std::cmp::Reverse(row.not_after_s));
        rows.truncate(TRUST_REVOKED_MAX);
    }
    let revoked: BTreeSet<[u8; 16]> = rows.into_iter().map(|row| *row.serial.as_bytes()).collect();
    let mut root_sha256 = [0; 32];
    root_sha256.copy_from_slice(digest(&SHA256, trust.root()).as_ref());
    let authorities = trust.authorities().into_iter();
    let body = Trust {
        trust_domain: trust.trust_domain().clone(),
        version,
        created_s: now_s,
        expires_s: now_s.saturating_add(LIST_VALIDITY_S),
        root_sha256,
        authorities: authorities
            .map(|(role, _, certificate, _)| (role.as_str().to_owned(), certificate.to_vec()))
            .collect(),
        revoked: revoked.into_iter().collect(),
    }
    .encode();

    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let public = PublicKey::from_sec1(key.der_bytes()).map_err(|_| AuthorityError::Random)?;
    let signer = Principal {
        trust_domain: trust.trust_domain().clone(),
        tenant: Principal::operator_tenant(),
        kind: Kind::Software,
        id: TRUST_SIGNER.parse().unwrap_or_else(|_| unreachable!("the constant is a label")),
    };
    let issued = software.issue_trust_signer(&public, &signer, now_s, LIST_VALIDITY_S)?;
    let signature = key.sign(&SignedTrust::signed_bytes(&body))?;
    let chain = vec![issued.certificate.to_vec(), software.certificate().to_vec()];
    Ok(SignedTrust { body, chain, signature }.encode().into())
}
