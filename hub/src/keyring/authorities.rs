//! The files of the authorities: a certificate and a sealed key for each, and for each further generation of one. Not for
//! deciding when there is another generation: that is an operator's command.

use rustls::pki_types::CertificateDer;

use crate::{
    authority::{Authority, PemFileError, Role, TrustBundle, pem_certificates},
    config::Layout,
    keyring::{KeyringError, pem},
    private_file,
    vault::Vault,
};
use muster_trust::limits::GENERATIONS_MAX;

/// The certificates of the authorities, read and checked against their root. Those that the first version did not have
/// may be missing.
pub(crate) fn read_trust(layout: &Layout) -> Result<TrustBundle, KeyringError> {
    let root = read_certificate(layout, Role::Root, 1)?;
    let mut below = Vec::new();
    for role in Role::INTERMEDIATES {
        if Role::LATER.contains(&role) && !exists(layout, role, 1) {
            continue;
        }
        for generation in 1..=newest(layout, role) {
            below.push((role, read_certificate(layout, role, generation)?));
        }
    }
    TrustBundle::new(root, below).map_err(|(role, why)| KeyringError::Bundle { role, why })
}

/// The newest authority of a role, with its private key.
pub(crate) fn open_authority(layout: &Layout, vault: &Vault, role: Role) -> Result<Authority, KeyringError> {
    open_generation(layout, vault, role, newest(layout, role))
}

/// Every authority below the root with its private key, the older of a role first: the older ones still sign their
/// revocation lists.
pub(crate) fn open_authorities(layout: &Layout, vault: &Vault) -> Result<Vec<Authority>, KeyringError> {
    let mut open = Vec::new();
    for role in Role::INTERMEDIATES {
        if Role::LATER.contains(&role) && !exists(layout, role, 1) {
            continue;
        }
        for generation in 1..=newest(layout, role) {
            open.push(open_generation(layout, vault, role, generation)?);
        }
    }
    Ok(open)
}

/// Writes an authority to its new files. The certificate is written last: without it the authority is not there.
pub(crate) fn create_authority(
    layout: &Layout,
    vault: &Vault,
    authority: &Authority,
) -> Result<(), KeyringError> {
    let (role, generation) = (authority.role(), authority.generation());
    let (certificate, key) =
        (layout.generation_certificate(role, generation), layout.generation_key(role, generation));
    // A key without its certificate is what a crash left.
    vault.replace_secret(&key, &secret_name(role, generation), &authority.private_key_pkcs8())?;
    let text = pem(&[authority.certificate()]);
    private_file::create_public(&certificate, text.as_bytes()).map_err(KeyringError::Write)
}

/// Makes the authorities that an installation of the first version lacks, when the root's key is here. Gives those that
/// are still missing.
pub(crate) fn complete(layout: &Layout, vault: &Vault, now_s: u64) -> Result<Vec<Role>, KeyringError> {
    let missing: Vec<Role> = Role::LATER.into_iter().filter(|role| !exists(layout, *role, 1)).collect();
    if missing.is_empty() || layout.authority_key(Role::Root).symlink_metadata().is_err() {
        return Ok(missing);
    }
    let root = open_authority(layout, vault, Role::Root)?;
    for role in missing {
        create_authority(layout, vault, &root.new_intermediate(role, now_s)?)?;
        tracing::info!(%role, "made an authority that the last version did not have");
    }
    Ok(Vec::new())
}

/// The number of the newest generation of a role; 1 when there is none.
pub(crate) fn newest(layout: &Layout, role: Role) -> u32 {
    (2..=GENERATIONS_MAX).take_while(|generation| exists(layout, role, *generation)).last().unwrap_or(1)
}

fn exists(layout: &Layout, role: Role, generation: u32) -> bool {
    layout.generation_certificate(role, generation).symlink_metadata().is_ok()
}

fn open_generation(
    layout: &Layout,
    vault: &Vault,
    role: Role,
    generation: u32,
) -> Result<Authority, KeyringError> {
    let key = vault.read_secret(&layout.generation_key(role, generation), &secret_name(role, generation))?;
    Ok(Authority::from_stored(role, read_certificate(layout, role, generation)?, &key)?)
}

/// The name of an authority's key in the vault.
fn secret_name(role: Role, generation: u32) -> String {
    if generation == 1 { role.as_str().to_owned() } else { format!("{role}-{generation}") }
}

fn read_certificate(
    layout: &Layout,
    role: Role,
    generation: u32,
) -> Result<CertificateDer<'static>, KeyringError> {
    let path = layout.generation_certificate(role, generation);
    let first = pem_certificates(&path)?.into_iter().next();
    Ok(first.ok_or(PemFileError::Empty { path })?)
}
