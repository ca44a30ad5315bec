//! `muster init`: everything a hub needs on its first day, in one new directory. It never overwrites: a second run says
//! what is already there.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _};
use rustls::pki_types::ServerName;
use zeroize::Zeroizing;

use muster_schemas::{Kind, Principal, TrustDomain};
use muster_tpm::endorsement::TpmClass;

use crate::{
    authority::{Authority, AuthorityError, Leaf, PemFileError, PublicKey, Role, pem_certificates},
    cli::hub_file,
    config::{Config, ConfigError, Layout},
    keyring::{self, KeyringError, pem},
    limits::CLIENT_VALIDITY_S,
    private_file,
    registry::{Certificate, Client, ClientKind, RegistryError, State, register_first},
    root_key::{RootKeyError, RootSource},
    vault::{Passphrase, Vault, VaultError},
};

/// The port that the configuration offers for MQTT over WebSocket.
const WSS_PORT: u16 = 8084;

/// What a person may choose.
#[derive(Debug, Clone)]
pub struct Options {
    /// The data directory to make.
    pub dir: PathBuf,
    /// The name of the installation in every certificate.
    pub trust_domain: TrustDomain,
    /// The names and addresses under which clients will find the hub; the first is what the operator's commands use.
    pub server_names: Vec<ServerName<'static>>,
    /// The address to listen on.
    pub bind: IpAddr,
    /// The port for MQTT and enrolment over TLS; 0 takes a free one at each start.
    pub mqtt_port: u16,
    /// The port of the HTTPS API; 0 takes a free one at each start.
    pub https_port: u16,
    /// A passphrase file kept elsewhere; made when absent, like the default one in the directory.
    pub passphrase_file: Option<PathBuf>,
    /// PEM files with roots of TPM manufacturers, copied into the directory.
    pub tpm_roots: Vec<(TpmClass, PathBuf)>,
}

/// What was made, for a person to read.
#[derive(Debug, Clone)]
pub struct Made {
    /// Each file or directory, and what it is.
    pub files: Vec<(PathBuf, &'static str)>,
    /// The configuration, which the next command names.
    pub config: PathBuf,
}

/// Why there is no new hub.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The store could not be opened: most often because the hub is running.
    #[error("open the store; stop the hub first")]
    Store(#[from] RootKeyError),
    /// The registry did not take the operator.
    #[error("register the operator")]
    Registry(#[from] RegistryError),
    /// Something of an earlier run is there.
    #[error("make a hub in this directory: {path} is already there, and nothing is ever overwritten")]
    AlreadyThere {
        /// What is there.
        path: PathBuf,
    },
    /// The file system said no.
    #[error("write {path}")]
    Write {
        /// Which file or directory.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// The passphrase or the vault.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// An authority or the hub's own certificate.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// A file of TPM manufacturers' roots.
    #[error(transparent)]
    TpmRoot(#[from] PemFileError),
    /// What was chosen does not make a valid configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// Makes the directory and all that is in it. The configuration is written last: while it is absent, nothing starts.
pub fn init(options: &Options, now_s: u64) -> Result<Made, InitError> {
    let layout = Layout::new(&options.dir);
    let passphrase_file = options.passphrase_file.clone().unwrap_or_else(|| layout.passphrase());
    for path in
        [layout.config(), layout.vault(), layout.authorities(), layout.storage_key(), layout.operator()]
    {
        if path.symlink_metadata().is_ok() {
            return Err(InitError::AlreadyThere { path });
        }
    }
    // Everything that a person may have got wrong is found before anything is written.
    let text = config_text(options);
    let config = Config::parse(&layout.config(), &text, [], &[])?;
    for (_, file) in &options.tpm_roots {
        pem_certificates(file)?;
    }

    let mut made = Made { files: Vec::new(), config: layout.config() };
    for directory in
        [layout.data_dir().to_owned(), layout.authorities(), layout.tpm_roots(), layout.operator()]
    {
        private_file::create_directory(&directory).map_err(failed(&directory))?;
    }
    let passphrase = match passphrase_file.symlink_metadata() {
        Ok(_) => Passphrase::read(&passphrase_file)?,
        Err(_) => {
            let passphrase = Passphrase::generate()?;
            passphrase.create(&passphrase_file)?;
            made.files.push((
                passphrase_file,
                "opens the vault: keep a copy elsewhere, without it nothing can be read",
            ));
            passphrase
        }
    };
    let vault = Vault::create(&layout.vault(), &passphrase)?;
    made.files.push((layout.vault(), "the vault key, sealed under the passphrase"));
    keyring::create_storage_key(&layout, &vault)?;
    made.files.push((layout.storage_key(), "the key above every tenant's key, sealed"));

    let root = Authority::new_root(&options.trust_domain, now_s).map_err(KeyringError::from)?;
    keyring::create_authority(&layout, &vault, &root)?;
    for role in Role::INTERMEDIATES {
        let authority = root.new_intermediate(role, now_s).map_err(KeyringError::from)?;
        keyring::create_authority(&layout, &vault, &authority)?;
        match role {
            Role::Server => {
                let (server, _) = keyring::issue_server(&authority, &config, now_s)?;
                keyring::store_server(&layout, &vault, &server)?;
            }
            Role::Client => {
                let leaf = create_operator(&layout, options, &root, &authority, now_s)?;
                register_operator(&config, &leaf)?;
            }
            Role::Root | Role::Device | Role::Relay | Role::Software => {}
        }
    }
    made.files.push((
        layout.authorities(),
        "root, server, device, relay, client and software authorities; their keys are sealed",
    ));
    made.files.push((layout.authority_certificate(Role::Root), "the root that devices and apps pin"));
    made.files.push((layout.server_certificate(), "the hub's own certificate; its key is sealed beside it"));
    made.files
        .push((layout.operator(), "your identity for the command line: cert.pem, key.pem, ca.pem, hub.toml"));

    for (index, (class, file)) in options.tpm_roots.iter().enumerate() {
        let copy = layout.data_dir().join(tpm_root_file(*class, index));
        let certificates = pem(&pem_certificates(file)?);
        private_file::create_public(&copy, certificates.as_bytes()).map_err(failed(&copy))?;
    }
    made.files.push((layout.tpm_roots(), "certificates of TPM manufacturers, listed under tpm_roots"));

    private_file::create_public(&layout.config(), text.as_bytes()).map_err(failed(&layout.config()))?;
    made.files.push((layout.config(), "the configuration"));
    Ok(made)
}

/// Makes a new key and certificate for the operator, in place of the old ones. A crash in between leaves a pair that does
/// not belong together, which the command line says; it is then run again.
pub fn renew_operator(config: &Config, now_s: u64) -> Result<Leaf, InitError> {
    let layout = config.layout();
    let vault = Vault::open(&layout.vault(), &Passphrase::read(&config.passphrase_file)?)?;
    let client = keyring::open_authority(&layout, &vault, Role::Client)?;
    let (key, chain, leaf) = issue_operator(&client, now_s)?;
    register_operator(config, &leaf)?;
    let (key_file, chain_file) = (layout.operator().join("key.pem"), layout.operator().join("cert.pem"));
    private_file::replace(&key_file, key.as_bytes(), true).map_err(failed(&key_file))?;
    private_file::replace(&chain_file, chain.as_bytes(), false).map_err(failed(&chain_file))?;
    Ok(leaf)
}

/// The first operator's identity, and where the hub answers.
fn create_operator(
    layout: &Layout,
    options: &Options,
    root: &Authority,
    client: &Authority,
    now_s: u64,
) -> Result<Leaf, InitError> {
    let (key, chain, leaf) = issue_operator(client, now_s)?;
    let ca = pem(&[root.certificate()]);
    let name = options.server_names.first().map(|name| name.to_str().into_owned()).unwrap_or_default();
    let host = if name.contains(':') { format!("[{name}]") } else { name.clone() };
    let hub = hub_file(&format!("https://{host}:{}", options.https_port), (&name, options.mqtt_port));
    let dir = layout.operator();
    let write = |file: &str, contents: &str, private: bool| {
        let path = dir.join(file);
        let create = if private { private_file::create } else { private_file::create_public };
        create(&path, contents.as_bytes()).map_err(failed(&path))
    };
    write("cert.pem", &chain, false)?;
    write("key.pem", &key, true)?;
    write("ca.pem", &ca, false)?;
    write("hub.toml", &hub, false)?;
    Ok(leaf)
}

/// Tells the registry of the operator's certificate, in place of an earlier one. The hub must not be running.
fn register_operator(config: &Config, leaf: &Leaf) -> Result<(), InitError> {
    // A root key that is about to take another's place waits for the hub.
    let store = RootSource::new(config).open()?.store;
    let operator = Client {
        tenant: leaf.principal.tenant.clone(),
        kind: ClientKind::User,
        id: leaf.principal.id.clone(),
        certificate: Certificate::of(leaf),
        pinned: None,
        state: State::Active,
    };
    let registered = register_first(&store, vec![operator]);
    store.close();
    Ok(registered?)
}

/// A new key for the operator and its certificate with the client authority's behind it, both PEM.
fn issue_operator(client: &Authority, now_s: u64) -> Result<(Zeroizing<String>, String, Leaf), KeyringError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(AuthorityError::Library)?;
    let public = PublicKey::from_sec1(key.der_bytes())?;
    let principal = Principal {
        trust_domain: client.trust_domain().clone(),
        tenant: Principal::operator_tenant(),
        kind: Kind::User,
        id: "operator".parse().unwrap_or_else(|_| unreachable!("the constant is a label")),
    };
    let issued = client.issue_client(&public, &principal, now_s, CLIENT_VALIDITY_S)?;
    let chain = pem(&[issued.certificate, client.certificate()]);
    Ok((Zeroizing::new(key.serialize_pem()), chain, issued.leaf))
}

fn config_text(options: &Options) -> String {
    let names: Vec<String> = options.server_names.iter().map(|name| quoted(&name.to_str())).collect();
    let roots: Vec<String> = options
        .tpm_roots
        .iter()
        .enumerate()
        .map(|(index, (class, _))| {
            let file = quoted(&tpm_root_file(*class, index));
            format!("    {{ file = {file}, class = \"{class}\" }},\n")
        })
        .collect();
    let roots = if roots.is_empty() { "[]".to_owned() } else { format!("[\n{}]", roots.concat()) };
    let passphrase = match &options.passphrase_file {
        Some(path) => absolute(path).to_string_lossy().into_owned(),
        None => "passphrase".to_owned(),
    };
    format!(
        "# The configuration of a muster hub. Relative paths are relative to this file.\n\
         # Check it with: muster check --config <this file>\n\
         data_dir = \".\"\n\
         # The name of this installation in every certificate. It cannot be changed afterwards.\n\
         trust_domain = {trust_domain}\n\
         # Opens the vault. Better kept on another disk than this directory.\n\
         passphrase_file = {passphrase}\n\
         # The names and addresses under which clients find this hub; its certificate follows them at the next start.\n\
         server_names = [{names}]\n\
         # Whom to believe about a TPM: PEM files, and what they vouch for (hardware, firmware, virtual, simulated).\n\
         tpm_roots = {roots}\n\
         \n\
         # MQTT and enrolment.\n\
         [listeners.mqtt_tls]\n\
         bind = \"{mqtt}\"\n\
         \n\
         # API, health, metrics.\n\
         [listeners.https]\n\
         bind = \"{https}\"\n\
         \n\
         # MQTT over WebSocket, with certificates as well. Off until the signs are taken away.\n\
         # [listeners.mqtt_wss]\n\
         # bind = \"{wss}\"\n",
        trust_domain = quoted(options.trust_domain.as_str()),
        passphrase = quoted(&passphrase),
        names = names.join(", "),
        mqtt = SocketAddr::new(options.bind, options.mqtt_port),
        https = SocketAddr::new(options.bind, options.https_port),
        wss = SocketAddr::new(options.bind, WSS_PORT),
    )
}

fn tpm_root_file(class: TpmClass, index: usize) -> String {
    format!("tpm-roots/{class}-{}.pem", index + 1)
}

/// A JSON string is a TOML basic string.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> InitError {
    let path = path.to_owned();
    move |source| InitError::Write { path, source }
}
