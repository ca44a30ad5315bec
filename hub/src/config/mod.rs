//! `muster.toml`: read once, checked, and typed from then on.
//!
//! ```toml
//! data_dir = "."                        # relative paths are relative to this file
//! trust_domain = "muster.example"
//! node = "hub"                          # this hub's id in its own certificate
//! passphrase_file = "passphrase"
//! server_names = ["localhost", "127.0.0.1"]
//! tpm_roots = [{ file = "tpm-roots/vendor.pem", class = "hardware" }]
//!
//! [listeners.mqtt_tls]
//! bind = "127.0.0.1:8883"
//!
//! [listeners.https]
//! bind = "127.0.0.1:8443"
//!
//! [listeners.mqtt_wss]                  # off unless the section is there
//! bind = "127.0.0.1:8084"
//! origins = ["https://dashboard.example"]
//!
//! [listeners.mqtt_plain]                # off unless the section is there
//! bind = "127.0.0.1:1883"
//! tenant = "acme"
//! app = "plain"
//!
//! [listeners.mqtt_unix]                 # off unless the section is there
//! path = "mqtt.sock"
//! mode = "0600"
//! tenant = "acme"
//! app = "local"
//!
//! [certificates]
//! device_validity_s = 604800
//! tenants = ["*"]                       # whom this hub may serve, in its own certificate
//!
//! [limits]
//! connections_max = 10000
//! packet_bytes_max = 1048576
//!
//! [quotas]                              # of each tenant; all keys are in docs/operations.md
//! connections_max = 500
//!
//! [quotas.device]                       # of each device of a tenant
//! messages_per_s_max = 100
//!
//! [quotas.tenants.acme]                 # of this tenant instead
//! connections_max = 5000
//!
//! [bus]
//! sys_interval_s = 10                   # how often tenants are told their numbers on $SYS/...; 0 is never
//!
//! [[oidc]]                              # an issuer of bearer tokens for the API; none unless there is such a section
//! issuer = "https://login.example"
//! audience = "muster"
//! jwks_file = "login.json"
//! tenants = ["acme"]
//! # tenant_claim = "tenant"             # needed where there are several tenants
//! # user_claim = "sub"
//! # users = ["auth0|1234 = ann"]        # where the claim is no id; nobody else is let in then
//!
//! [influx]                              # telemetry goes to an InfluxDB 2 as well; off unless the section is there
//! url = "https://influx.example:8086"
//! org = "plant"
//! tokens = "influx-tokens"              # a folder: the file `acme` holds the token of tenant acme, for the bucket acme
//!
//! [storage_key]                         # off unless the section is there: the key is in the vault
//! command = ["tpm2_unseal", "-c", "0x81010010"]
//! # timeout_s = 10
//! # previous_command = ["..."]          # what gives the key before, for the one start that replaces it
//!
//! [own_keys.acme]                       # where the hub asks for that tenant's own key when it starts
//! command = ["acme-kms", "unwrap"]
//!
//! [webauthn]                            # hardware keys for the API; off unless the section is there
//! rp_id = "hub.example"
//! origins = ["https://hub.example:8443"]
//!
//! [backup]                              # what `muster backup run` needs; off unless the section is there
//! place = "/mnt/backups/hub"            # or "s3://bucket/prefix?endpoint=https://host&region=name"
//! recipients = ["backup.pub.pem"]       # made by `muster backup keygen`
//! # credentials_file = "s3.keys"        # key id and secret key, a line each
//! ```
//!
//! Over the file come variables such as `MUSTER__LISTENERS__HTTPS__BIND`, and over these the flag
//! `--set listeners.https.bind=127.0.0.1:0`. A key that nobody knows is an error, wherever it stands.

mod backup;
mod influx;
mod key_commands;
mod layout;
mod listeners;
mod oidc;
mod quotas;
mod reader;
mod webauthn;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::pki_types::ServerName;

use muster_broker::TenantQuotas;
use muster_schemas::{DeviceId, TrustDomain};
use muster_tpm::endorsement::TpmClass;
use muster_trust::Tenants;

use crate::{
    influx::Influx,
    limits::{
        CONFIG_BYTES_MAX, CONNECTIONS_MAX, CONNECTIONS_MAX_MAX, DEVICE_VALIDITY_S, DEVICE_VALIDITY_S_MAX,
        DEVICE_VALIDITY_S_MIN, PACKET_BYTES_MAX, PACKET_BYTES_MAX_MAX, PACKET_BYTES_MAX_MIN,
        SERVER_NAMES_MAX, SYS_INTERVAL_S, SYS_INTERVAL_S_MAX, TPM_ROOTS_MAX,
    },
    people::{Issuer, RelyingParty},
    private_file::{self, PrivateFileError},
    screening::TenantBounds,
};

pub use backup::Backup;
pub use key_commands::KeyCommands;
pub use layout::Layout;
pub use listeners::{Listeners, LocalApp, MqttPlain, MqttUnix, MqttWss};
pub use reader::{ConfigError, Origin};
use reader::{Reader, Section};

/// What the hub is told, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file it was read from.
    pub path: PathBuf,
    /// Where everything of this hub lies.
    pub data_dir: PathBuf,
    /// The name of this installation in every certificate.
    pub trust_domain: TrustDomain,
    /// This hub's id in its own certificate.
    pub node: DeviceId,
    /// The file with the passphrase of the vault.
    pub passphrase_file: PathBuf,
    /// The names and addresses under which clients find this hub, 1 to 32.
    pub server_names: Vec<ServerName<'static>>,
    /// Whom to believe about a TPM.
    pub tpm_roots: Vec<TpmRoot>,
    /// Files of revocation lists (CRLs) of TPM manufacturers, PEM or DER.
    pub tpm_crls: Vec<PathBuf>,
    /// Where it listens.
    pub listeners: Listeners,
    /// How long certificates live.
    pub certificates: Certificates,
    /// Bounds that differ from hub to hub.
    pub limits: Limits,
    /// What tenants may have and do.
    pub quotas: TenantQuotas,
    /// How many streams and names of readings they may have.
    pub telemetry_bounds: Arc<TenantBounds>,
    /// How the bus behaves.
    pub bus: Bus,
    /// Whose bearer tokens are believed.
    pub oidc: Vec<Issuer>,
    /// Where hardware keys may be used; none, unless it is said.
    pub webauthn: Option<RelyingParty>,
    /// Where telemetry is sent as well; nowhere, unless it is said.
    pub influx: Option<Influx>,
    /// Where keys come from that the hub does not keep itself.
    pub key_commands: KeyCommands,
    /// Where backups go, if the hub makes any.
    pub backup: Option<Backup>,
}

/// A file of certificates of TPM manufacturers, and what kind of TPM they vouch for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TpmRoot {
    /// A PEM file with one or more roots.
    pub file: PathBuf,
    /// What these roots vouch for.
    pub class: TpmClass,
}

/// How long certificates live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificates {
    /// A device's, in seconds, 60 to 90 days.
    pub device_validity_s: u64,
    /// The tenants that the hub's own certificate entitles it to; devices of others refuse it.
    pub tenants: Tenants,
}

/// Bounds that differ from hub to hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most connections at a time, 1 to 1,000,000.
    pub connections_max: usize,
    /// Largest MQTT packet, in bytes, 1 KiB to 256 MiB.
    pub packet_bytes_max: usize,
}

/// How the bus behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bus {
    /// Seconds between two times that a tenant is told its numbers on `$SYS/...`, 0 to 3,600; 0 is never.
    pub sys_interval_s: u64,
}

impl Config {
    /// Reads a file, and what the environment and the flags say over it. `environment` is every variable of the process;
    /// those that do not start with `MUSTER__` are passed by. `flags` are texts of the form `section.key=value`.
    pub fn read(
        path: &Path,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: &[String],
    ) -> Result<Self, ConfigError> {
        let file = private_file::read_public(path, CONFIG_BYTES_MAX);
        let text = match file.map(String::from_utf8) {
            Ok(Ok(text)) => text,
            Ok(Err(_)) => return Err(ConfigError::NotText { path: path.to_owned() }),
            Err(PrivateFileError::Read { source, .. }) => {
                return Err(ConfigError::Read { path: path.to_owned(), source });
            }
            Err(_) => {
                return Err(ConfigError::TooLarge { path: path.to_owned(), bytes_max: CONFIG_BYTES_MAX });
            }
        };
        Self::parse(path, &text, environment, flags)
    }

    /// What [`Config::read`] does with the text of the file.
    pub fn parse(
        path: &Path,
        text: &str,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: &[String],
    ) -> Result<Self, ConfigError> {
        let reader = Reader::new(path, text, environment, flags)?;
        let beside = path.parent().map(Path::to_owned).unwrap_or_default();
        let mut top = reader.top();
        let data_dir = beside.join(top.text("data_dir")?.unwrap_or_else(|| ".".to_owned()));
        // Without the dots that would stand in every message.
        let data_dir: PathBuf = data_dir.components().collect();
        let trust_domain =
            top.required("trust_domain", "a lower-case DNS name, such as \"muster.example\"")?;
        let node = top.parsed("node", "1 to 64 of a-z, 0-9 and '-'")?;
        let passphrase_file = top.text("passphrase_file")?.unwrap_or_else(|| "passphrase".to_owned());
        let server_names = server_names(&mut top)?;
        let tpm_roots = tpm_roots(&mut top, &beside)?;
        let tpm_crls = top.texts("tpm_crls")?.unwrap_or_default();
        if tpm_crls.len() > TPM_ROOTS_MAX {
            return Err(top.wrong("tpm_crls", "at most 256 files"));
        }

        let listeners = Listeners::read(top.section("listeners")?, &beside)?;

        let mut certificates = top.section("certificates")?;
        let device_validity_s = certificates.number(
            "device_validity_s",
            DEVICE_VALIDITY_S,
            DEVICE_VALIDITY_S_MIN..=DEVICE_VALIDITY_S_MAX,
        )?;
        let tenants = match certificates.texts("tenants")? {
            Some(names) => Tenants::of_names(names.iter().map(String::as_str))
                .map_err(|_| certificates.wrong("tenants", "1 to 128 tenants, or \"*\" alone for all"))?,
            None => Tenants::All,
        };
        certificates.finish()?;

        let mut limits = top.section("limits")?;
        let connections_max = limits.size("connections_max", CONNECTIONS_MAX, 1..=CONNECTIONS_MAX_MAX)?;
        let packet_bytes_max =
            limits.size("packet_bytes_max", PACKET_BYTES_MAX, PACKET_BYTES_MAX_MIN..=PACKET_BYTES_MAX_MAX)?;
        limits.finish()?;

        let (quotas, telemetry_bounds) = quotas::read(top.section("quotas")?)?;

        let mut bus = top.section("bus")?;
        let sys_interval_s = bus.number("sys_interval_s", SYS_INTERVAL_S, 0..=SYS_INTERVAL_S_MAX)?;
        bus.finish()?;

        let oidc = oidc::read(&mut top, &beside)?;
        let webauthn = webauthn::read(&mut top)?;
        let influx = influx::read(&mut top, &beside)?;
        let key_commands = key_commands::read(&mut top)?;
        let backup = backup::read(&mut top, &beside)?;

        top.finish()?;
        Ok(Self {
            path: path.to_owned(),
            passphrase_file: beside.join(passphrase_file),
            data_dir,
            trust_domain,
            node: match node {
                Some(node) => node,
                None => "hub".parse().unwrap_or_else(|_| unreachable!("the constant is a label")),
            },
            server_names,
            tpm_roots,
            tpm_crls: tpm_crls.into_iter().map(|file| beside.join(file)).collect(),
            listeners,
            certificates: Certificates { device_validity_s, tenants },
            limits: Limits { connections_max, packet_bytes_max },
            quotas,
            telemetry_bounds: Arc::new(telemetry_bounds),
            bus: Bus { sys_interval_s },
            oidc,
            webauthn,
            influx,
            key_commands,
            backup,
        })
    }

    /// Where each file lies.
    pub fn layout(&self) -> Layout {
        Layout::new(&self.data_dir)
    }
}

/// The classes of TPM, for the text of an error.
const CLASSES: &str = "\"hardware\", \"firmware\", \"virtual\" or \"simulated\"";

fn server_names(top: &mut Section<'_>) -> Result<Vec<ServerName<'static>>, ConfigError> {
    const WANTED: &str = "a list of 1 to 32 DNS names and addresses, such as [\"localhost\", \"127.0.0.1\"]";
    let Some(texts) = top.texts("server_names")? else {
        return Err(top.missing("server_names", WANTED));
    };
    if texts.is_empty() || texts.len() > SERVER_NAMES_MAX {
        return Err(top.wrong("server_names", WANTED));
    }
    let names = texts.into_iter().map(ServerName::try_from);
    names.collect::<Result<_, _>>().map_err(|_| top.wrong("server_names", WANTED))
}

fn tpm_roots(top: &mut Section<'_>, beside: &Path) -> Result<Vec<TpmRoot>, ConfigError> {
    let entries = top.sections("tpm_roots")?;
    if entries.len() > TPM_ROOTS_MAX {
        return Err(top.wrong("tpm_roots", "at most 256 entries"));
    }
    let mut roots = Vec::with_capacity(entries.len());
    for mut entry in entries {
        let file: String = entry.required("file", "the path of a PEM file")?;
        let class = entry.required("class", CLASSES)?;
        entry.finish()?;
        roots.push(TpmRoot { file: beside.join(file), class });
    }
    Ok(roots)
}

#[cfg(test)]
mod tests;
