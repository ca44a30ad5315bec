//! What a hub holds once its vault is open: the authorities that it signs with, its own certificate, the storage root
//! key. The root's private key is not among them; only `muster init` and a new authority need it.

mod authorities;

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use muster_broker::store::SecretKey;
use muster_schemas::{Kind, Principal, TrustDomain};
use muster_trust::limits::GENERATIONS_MAX;

use crate::{
    authority::{
        Authority, AuthorityError, InvalidPublicKey, Leaf, PemFileError, PublicKey, Role, Tenants,
        TrustBundle, pem_certificates,
    },
    config::{Config, Layout},
    limits::SERVER_VALIDITY_S,
    private_file,
    tls::ServerIdentity,
    vault::{Passphrase, Vault, VaultError},
};

pub(crate) use authorities::{create_authority, open_authorities, open_authority, read_trust};

/// The name of the storage root key in the vault.
const STORAGE_KEY_NAME: &str = "storage";
/// The name of the hub's own private key in the vault.
const SERVER_KEY_NAME: &str = "server";
/// Length of the storage root key, in bytes.
const STORAGE_KEY_BYTES: usize = 32;

/// Why the keys of a hub could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The passphrase, the vault or a secret in it.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// A certificate file.
    #[error(transparent)]
    Certificate(#[from] PemFileError),
    /// An authority.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The authorities belong to another trust domain than the configuration names.
    #[error(
        "use these authorities: they are of {theirs}, and the configuration says trust_domain = \"{ours}\""
    )]
    TrustDomain {
        /// What the configuration says.
        ours: TrustDomain,
        /// What the authorities say.
        theirs: TrustDomain,
    },
    /// The certificates of the authorities do not belong together.
    #[error("trust the {role} authority: {why}")]
    Bundle {
        /// Which authority.
        role: Role,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The storage root key has a wrong length; the file is not what it should be.
    #[error("use the storage root key: it does not have {STORAGE_KEY_BYTES} bytes; restore it from a backup")]
    StorageKey,
    /// There are as many generations of an authority as are trusted at one time.
    #[error("make another {0} authority: there are {GENERATIONS_MAX} already")]
    Generations(Role),
    /// A new certificate could not be written.
    #[error("write a certificate")]
    Write(#[source] std::io::Error),
    /// A key that was made just now is not one; a broken invariant of ours.
    #[error("make a key")]
    Key(#[from] InvalidPublicKey),
}

/// The open keys of a hub.
pub struct Keyring {
    /// The certificates that trust is built from.
    pub trust: TrustBundle,
    /// Every authority below the root that is here, the older of a role first.
    pub authorities: Vec<Authority>,
    /// Signs devices.
    pub device: Authority,
    /// Signs apps and users.
    pub client: Authority,
    /// What the hub presents to its peers.
    pub server: ServerIdentity,
    /// What the hub's own certificate says.
    pub server_leaf: Leaf,
}

impl Keyring {
    /// Opens the vault and what it protects. Issues the hub's own certificate anew when it is in the last third of its
    /// life, or when names or node changed in the configuration. `now_s` is Unix seconds.
    pub fn open(config: &Config, now_s: u64) -> Result<Self, KeyringError> {
        let layout = config.layout();
        let vault = Vault::open(&layout.vault(), &Passphrase::read(&config.passphrase_file)?)?;
        let missing = authorities::complete(&layout, &vault, now_s)?;
        if !missing.is_empty() {
            let missing: Vec<&str> = missing.iter().map(|role| role.as_str()).collect();
            tracing::warn!(
                missing = missing.join(" "),
                next = "put authorities/root.key back for one start; it makes them",
                "authorities are missing; devices are not told of revoked hubs, and no relay or software is certified"
            );
        }
        let trust = read_trust(&layout)?;
        if *trust.trust_domain() != config.trust_domain {
            return Err(KeyringError::TrustDomain {
                ours: config.trust_domain.clone(),
                theirs: trust.trust_domain().clone(),
            });
        }
        let stored = stored_server(&layout, &vault, &trust);
        let (server, server_leaf) = match stored.filter(|stored| stored.still_serves(config, now_s)) {
            Some(StoredServer { identity, leaf, .. }) => (identity, leaf),
            None => {
                let authority = open_authority(&layout, &vault, Role::Server)?;
                let (server, leaf) = issue_server(&authority, config, now_s)?;
                store_server(&layout, &vault, &server)?;
                (server, leaf)
            }
        };
        Ok(Self {
            authorities: open_authorities(&layout, &vault)?,
            device: open_authority(&layout, &vault, Role::Device)?,
            client: open_authority(&layout, &vault, Role::Client)?,
            trust,
            server,
            server_leaf,
        })
    }
}

/// Puts a new authority beside the newest of its role, and gives its number. The hub signs with it when it reads its keys
/// anew; until then the old one does, and both are trusted from then on.
///
/// # Errors
/// The root's key is not here, or there are enough of them.
pub fn rotate(config: &Config, role: Role, now_s: u64) -> Result<u32, KeyringError> {
    let layout = config.layout();
    let vault = Vault::open(&layout.vault(), &Passphrase::read(&config.passphrase_file)?)?;
    let generation = authorities::newest(&layout, role) + 1;
    if generation > GENERATIONS_MAX {
        return Err(KeyringError::Generations(role));
    }
    let root = open_authority(&layout, &vault, Role::Root)?;
    create_authority(&layout, &vault, &root.new_generation(role, generation, now_s)?)?;
    Ok(generation)
}

/// Issues the hub's own certificate anew, with another key, however good the present one looks.
///
/// # Errors
/// The server authority is not here, or the files cannot be written.
pub(crate) fn renew_server(config: &Config, now_s: u64) -> Result<(), KeyringError> {
    let layout = config.layout();
    let vault = Vault::open(&layout.vault(), &Passphrase::read(&config.passphrase_file)?)?;
    let authority = open_authority(&layout, &vault, Role::Server)?;
    let (server, _) = issue_server(&authority, config, now_s)?;
    store_server(&layout, &vault, &server)
}

/// The name of a hub in its certificate.
pub fn node_principal(config: &Config) -> Principal {
    Principal {
        trust_domain: config.trust_domain.clone(),
        tenant: Principal::operator_tenant(),
        kind: Kind::Node,
        id: config.node.clone(),
    }
}

/// Draws the storage root key and writes it to its new file.
pub(crate) fn create_storage_key(layout: &Layout, vault: &Vault) -> Result<(), KeyringError> {
    let mut key = Zeroizing::new([0; STORAGE_KEY_BYTES]);
    aws_lc_rs::rand::fill(key.as_mut_slice()).map_err(|_| AuthorityError::Random)?;
    Ok(vault.create_secret(&layout.storage_key(), STORAGE_KEY_NAME, key.as_slice())?)
}

/// Writes a storage root key that there was before to its new file.
pub(crate) fn put_storage_key(
    layout: &Layout,
    vault: &Vault,
    key: &[u8; STORAGE_KEY_BYTES],
) -> Result<(), KeyringError> {
    Ok(vault.create_secret(&layout.storage_key(), STORAGE_KEY_NAME, key)?)
}

/// The storage root key.
pub(crate) fn open_storage_key(layout: &Layout, vault: &Vault) -> Result<SecretKey, KeyringError> {
    let stored = vault.read_secret(&layout.storage_key(), STORAGE_KEY_NAME)?;
    SecretKey::copy_of(&stored).ok_or(KeyringError::StorageKey)
}

/// Writes the storage root key that is about to take the present one's place.
pub(crate) fn create_next_storage_key(
    layout: &Layout,
    vault: &Vault,
    key: &[u8; STORAGE_KEY_BYTES],
) -> Result<(), KeyringError> {
    Ok(vault.create_secret(&layout.next_storage_key(), STORAGE_KEY_NAME, key)?)
}

/// What [`create_next_storage_key`] wrote.
pub(crate) fn open_next_storage_key(layout: &Layout, vault: &Vault) -> Result<SecretKey, KeyringError> {
    let stored = vault.read_secret(&layout.next_storage_key(), STORAGE_KEY_NAME)?;
    SecretKey::copy_of(&stored).ok_or(KeyringError::StorageKey)
}

/// A new key and certificate for the hub, with the server authority's certificate behind it.
pub(crate) fn issue_server(
    authority: &Authority,
    config: &Config,
    now_s: u64,
) -> Result<(ServerIdentity, Leaf), KeyringError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(AuthorityError::Library)?;
    let public = PublicKey::from_sec1(key.der_bytes())?;
    let served = (config.server_names.as_slice(), &config.certificates.tenants);
    let issued =
        authority.issue_server(&public, &node_principal(config), served, now_s, SERVER_VALIDITY_S)?;
    let chain = vec![issued.certificate, authority.certificate()];
    Ok((ServerIdentity { chain, key: PrivatePkcs8KeyDer::from(key.serialize_der()).into() }, issued.leaf))
}

/// Puts the hub's own key and certificate in their places. A crash between the two leaves a pair that does not belong
/// together, which [`stored_server`] sees; the next start issues another.
pub(crate) fn store_server(
    layout: &Layout,
    vault: &Vault,
    server: &ServerIdentity,
) -> Result<(), KeyringError> {
    vault.replace_secret(&layout.server_key(), SERVER_KEY_NAME, server.key.secret_der())?;
    private_file::replace(&layout.server_certificate(), pem(&server.chain).as_bytes(), false)
        .map_err(KeyringError::Write)
}

/// The hub's own key and certificate as they lie on disk.
pub(crate) struct StoredServer {
    /// What the hub would present.
    pub(crate) identity: ServerIdentity,
    /// What its certificate says.
    pub(crate) leaf: Leaf,
    /// Whom it entitles the hub to serve; nothing in one of the first version.
    tenants: Option<Tenants>,
    /// Whether the present server authority signed it, and not one that it followed.
    newest: bool,
}

impl StoredServer {
    /// Whether the certificate says what the configuration says, and is not in the last third of its life.
    pub(crate) fn still_serves(&self, config: &Config, now_s: u64) -> bool {
        let leaf = &self.leaf;
        let third = leaf.not_after_s.saturating_sub(leaf.not_before_s) / 3;
        self.newest
            && leaf.is_valid_at(now_s)
            && now_s < leaf.not_after_s.saturating_sub(third)
            && leaf.principal == node_principal(config)
            && leaf.server_names == config.server_names
            && self.tenants.as_ref() == Some(&config.certificates.tenants)
    }
}

/// The hub's own key and certificate as stored; nothing when they are not there or do not belong together.
pub(crate) fn stored_server(layout: &Layout, vault: &Vault, trust: &TrustBundle) -> Option<StoredServer> {
    let chain = pem_certificates(&layout.server_certificate()).ok()?;
    let key = vault.read_secret(&layout.server_key(), SERVER_KEY_NAME).ok()?;
    let certificate = chain.first()?;
    let leaf = trust.leaf(certificate).ok()?;
    let tenants = Tenants::of_certificate(certificate).ok()?;
    let (role, signer) = trust.signer(certificate)?;
    let newest = trust.authority(Role::Server)? == signer;
    let pair = KeyPair::try_from(&PrivatePkcs8KeyDer::from(key.as_slice())).ok()?;
    let ours = PublicKey::from_sec1(pair.der_bytes()).ok()?.spki_sha256() == leaf.spki_sha256;
    let key = PrivatePkcs8KeyDer::from(key.to_vec()).into();
    let identity = ServerIdentity { chain, key };
    (role == Role::Server && ours).then_some(StoredServer { identity, leaf, tenants, newest })
}

/// Certificates as PEM, one after the other.
pub fn pem(certificates: &[CertificateDer<'_>]) -> String {
    certificates.iter().map(|certificate| armoured("CERTIFICATE", certificate)).collect()
}

/// DER as PEM, with this label (RFC 7468).
pub(crate) fn armoured(label: &str, der: &[u8]) -> String {
    let base64 = data_encoding::BASE64.encode(der);
    let mut text = String::with_capacity(base64.len() + base64.len() / 64 + 64);
    text.push_str("-----BEGIN ");
    text.push_str(label);
    text.push_str("-----\n");
    // Lines of 64 characters (RFC 7468 §2).
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at_checked(64).unwrap_or((rest, ""));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}

#[cfg(test)]
mod tests;
