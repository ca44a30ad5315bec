//! Where the hub listens: the section `[listeners]`.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use muster_schemas::{DeviceId, Kind, Principal, TenantId, TrustDomain};

use super::reader::{ConfigError, Section};
use crate::limits::ORIGINS_MAX;

/// Where the hub listens. Port 0 takes a free one; the `ready` line says which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listeners {
    /// MQTT and enrolment over TLS.
    pub mqtt_tls: SocketAddr,
    /// MQTT over WebSocket over TLS; off unless the section is there.
    pub mqtt_wss: Option<MqttWss>,
    /// MQTT without TLS, for a lab; off unless the section is there.
    pub mqtt_plain: Option<MqttPlain>,
    /// MQTT for processes on this machine; off unless the section is there.
    pub mqtt_unix: Option<MqttUnix>,
    /// The HTTPS API.
    pub https: SocketAddr,
}

/// MQTT over WebSocket over TLS, with certificates as over TLS alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MqttWss {
    /// Where.
    pub bind: SocketAddr,
    /// Whose pages a browser may connect from, such as `https://dashboard.example`; those of this very host and port need
    /// not be listed. At most 64.
    pub origins: Vec<String>,
}

/// MQTT without TLS and without certificates: whoever reaches it is one app of one tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MqttPlain {
    /// Where.
    pub bind: SocketAddr,
    /// Whose bus it leads to, and as whom.
    pub app: LocalApp,
}

/// MQTT over a socket in the file system: whoever may open it is one app of one tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MqttUnix {
    /// Where.
    pub path: PathBuf,
    /// Who may open it: 0600 its owner, 0660 its group as well, 0666 every process on this machine.
    pub mode: u32,
    /// Whose bus it leads to, and as whom.
    pub app: LocalApp,
}

/// The app that everybody is who comes in without a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalApp {
    /// The tenant.
    pub tenant: TenantId,
    /// The id of the app; it need not be registered.
    pub id: DeviceId,
}

impl LocalApp {
    /// It as a principal of this installation.
    pub fn principal(&self, trust_domain: &TrustDomain) -> Principal {
        let (trust_domain, tenant, id) = (trust_domain.clone(), self.tenant.clone(), self.id.clone());
        Principal { trust_domain, tenant, kind: Kind::App, id }
    }
}

impl Listeners {
    /// Takes the section.
    pub(super) fn read(mut listeners: Section<'_>, beside: &Path) -> Result<Self, ConfigError> {
        let mqtt_tls = bound(&mut listeners, "mqtt_tls", 8883)?;
        let https = bound(&mut listeners, "https", 8443)?;
        let mqtt_wss = match listeners.optional_section("mqtt_wss")? {
            Some(mut section) => {
                let wss = MqttWss { bind: bind(&mut section, 8084)?, origins: origins(&mut section)? };
                section.finish()?;
                Some(wss)
            }
            None => None,
        };
        let mqtt_plain = match listeners.optional_section("mqtt_plain")? {
            Some(mut section) => {
                let plain =
                    MqttPlain { bind: bind(&mut section, 1883)?, app: local_app(&mut section, "plain")? };
                section.finish()?;
                Some(plain)
            }
            None => None,
        };
        let mqtt_unix = match listeners.optional_section("mqtt_unix")? {
            Some(mut section) => {
                let path = section.text("path")?.unwrap_or_else(|| "mqtt.sock".to_owned());
                let mode = mode(&mut section)?;
                let unix = MqttUnix { path: beside.join(path), mode, app: local_app(&mut section, "local")? };
                section.finish()?;
                Some(unix)
            }
            None => None,
        };
        let mut taken: Vec<(&str, SocketAddr)> = vec![("mqtt_tls", mqtt_tls)];
        let others = [
            ("https", Some(https)),
            ("mqtt_wss", mqtt_wss.as_ref().map(|wss| wss.bind)),
            ("mqtt_plain", mqtt_plain.as_ref().map(|plain| plain.bind)),
        ];
        for (key, address) in others {
            let Some(address) = address else { continue };
            if let Some((other, _)) = taken.iter().find(|(_, a)| *a == address && address.port() != 0) {
                return Err(listeners.wrong(key, &format!("an address that listeners.{other} does not have")));
            }
            taken.push((key, address));
        }
        listeners.finish()?;
        Ok(Self { mqtt_tls, mqtt_wss, mqtt_plain, mqtt_unix, https })
    }

    /// Every address of the network, with its section.
    pub fn addresses(&self) -> Vec<(&'static str, SocketAddr)> {
        let wss = self.mqtt_wss.as_ref().map(|wss| ("mqtt_wss", wss.bind));
        let plain = self.mqtt_plain.as_ref().map(|plain| ("mqtt_plain", plain.bind));
        [("mqtt_tls", self.mqtt_tls), ("https", self.https)].into_iter().chain(wss).chain(plain).collect()
    }

    /// The tenants that are named, each with its section.
    pub fn tenants(&self) -> impl Iterator<Item = (&'static str, &TenantId)> {
        let plain = self.mqtt_plain.as_ref().map(|plain| ("mqtt_plain", &plain.app.tenant));
        let unix = self.mqtt_unix.as_ref().map(|unix| ("mqtt_unix", &unix.app.tenant));
        plain.into_iter().chain(unix)
    }
}

fn bound(listeners: &mut Section<'_>, name: &'static str, port: u16) -> Result<SocketAddr, ConfigError> {
    let mut listener = listeners.section(name)?;
    let address = bind(&mut listener, port)?;
    listener.finish()?;
    Ok(address)
}

fn bind(listener: &mut Section<'_>, port: u16) -> Result<SocketAddr, ConfigError> {
    let address = listener.parsed("bind", &format!("an address and a port, such as \"127.0.0.1:{port}\""))?;
    Ok(address.unwrap_or(SocketAddr::from(([127, 0, 0, 1], port))))
}

fn origins(listener: &mut Section<'_>) -> Result<Vec<String>, ConfigError> {
    let origins = listener.texts("origins")?.unwrap_or_default();
    let is_origin = |origin: &String| {
        let rest = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
        rest.is_some_and(|host| !host.is_empty() && !host.contains(['/', ' ', '*']))
    };
    if origins.len() > ORIGINS_MAX || !origins.iter().all(is_origin) {
        return Err(listener.wrong("origins", "at most 64 of the form \"https://dashboard.example\""));
    }
    Ok(origins)
}

fn local_app(listener: &mut Section<'_>, id: &'static str) -> Result<LocalApp, ConfigError> {
    let tenant = listener.required("tenant", "the id of a tenant, such as \"acme\"")?;
    let named = listener.parsed("app", "1 to 64 of a-z, 0-9 and '-'")?;
    let id = match named {
        Some(id) => id,
        None => id.parse().unwrap_or_else(|_| unreachable!("the constant is a label")),
    };
    Ok(LocalApp { tenant, id })
}

fn mode(listener: &mut Section<'_>) -> Result<u32, ConfigError> {
    match listener.text("mode")?.as_deref() {
        None | Some("0600") => Ok(0o600),
        Some("0660") => Ok(0o660),
        Some("0666") => Ok(0o666),
        Some(_) => Err(listener.wrong("mode", "\"0600\", \"0660\" or \"0666\"")),
    }
}
