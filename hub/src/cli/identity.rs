//! Who calls the hub: a directory with `cert.pem`, `key.pem`, `ca.pem` and `hub.toml`.

use std::path::Path;

use rustls::{
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};
use serde::Deserialize;
use zeroize::Zeroizing;

use muster_schemas::Principal;

use super::{Complaint, Exit};
use crate::{
    authority::{own_principal, pem_certificates},
    limits::{CONFIG_BYTES_MAX, SECRET_BYTES_MAX},
    private_file, tls,
};

/// Where the hub answers when nothing says otherwise.
const API_DEFAULT: &str = "https://localhost:8443";
/// The port of MQTT when nothing says otherwise.
const MQTT_PORT_DEFAULT: u16 = 8883;

/// `hub.toml`: where an identity finds its hub.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct HubFile {
    api: Option<String>,
    mqtt: Option<String>,
    /// Whose identity it is, where the certificate was pinned and does not say.
    principal: Option<String>,
}

/// An identity, read and checked: certificate and key belong together.
pub(super) struct Identity {
    /// Whose it is.
    pub(super) principal: Principal,
    /// The certificate, and the authority that signed it.
    pub(super) chain: Vec<CertificateDer<'static>>,
    /// The private key, PEM.
    pub(super) key_pem: Zeroizing<Vec<u8>>,
    /// The root that the hub's certificate must lead to.
    pub(super) roots: Vec<CertificateDer<'static>>,
    /// Where the API answers, without a slash at the end.
    pub(super) api: String,
    /// Where MQTT answers, host and port.
    pub(super) mqtt: (String, u16),
}

impl Identity {
    pub(super) fn read(dir: &Path, api: Option<&str>) -> Result<Self, Complaint> {
        let wrong = |why: String| {
            Complaint::new(
                Exit::Usage,
                format!("use the identity in {}", dir.display()),
                why,
                "name the directory that `muster init` or `muster app create` made: --identity <dir>",
            )
        };
        let failed = |error: &dyn std::error::Error| match error.source() {
            Some(source) => wrong(format!("failed to {error}: {source}")),
            None => wrong(format!("failed to {error}")),
        };
        let chain = pem_certificates(&dir.join("cert.pem")).map_err(|error| failed(&error))?;
        let roots = pem_certificates(&dir.join("ca.pem")).map_err(|error| failed(&error))?;
        let key_pem =
            private_file::read(&dir.join("key.pem"), SECRET_BYTES_MAX).map_err(|error| failed(&error))?;
        let leaf = chain.first().ok_or_else(|| wrong("cert.pem is empty".to_owned()))?;
        let key = PrivateKeyDer::from_pem_slice(&key_pem)
            .map_err(|_| wrong("key.pem holds no private key".to_owned()))?;
        CertifiedKey::from_der(chain.clone(), key, &tls::provider())
            .map_err(|_| wrong("cert.pem and key.pem do not belong together".to_owned()))?;

        let hub = read_hub_file(&dir.join("hub.toml")).map_err(wrong)?;
        let principal = match &hub.principal {
            Some(uri) => uri.parse().map_err(|error| wrong(format!("hub.toml: principal {error}")))?,
            None => own_principal(leaf).map_err(|error| wrong(format!("cert.pem: {error}")))?,
        };
        let api = api.map(str::to_owned).or(hub.api).unwrap_or_else(|| API_DEFAULT.to_owned());
        let api = api.trim_end_matches('/').to_owned();
        let host = api.strip_prefix("https://").and_then(|rest| rest.split('/').next());
        let host =
            host.ok_or_else(|| wrong(format!("{api:?} is not an address that begins with https://")))?;
        let mqtt = match &hub.mqtt {
            Some(text) => {
                host_port(text).ok_or_else(|| wrong(format!("{text:?} is not of the form host:port")))?
            }
            None => (host_port(host).map_or_else(|| bare(host), |(host, _)| host), MQTT_PORT_DEFAULT),
        };
        Ok(Self { principal, chain, key_pem, roots, api, mqtt })
    }
}

/// Host and port of a text such as `localhost:8883` or `[::1]:8883`.
pub(super) fn host_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    (!host.is_empty()).then_some((bare(host), port.parse().ok()?))
}

/// A host without the brackets of an IPv6 address.
fn bare(host: &str) -> String {
    host.trim_start_matches('[').trim_end_matches(']').to_owned()
}

fn read_hub_file(path: &Path) -> Result<HubFile, String> {
    if path.symlink_metadata().is_err() {
        return Ok(HubFile::default());
    }
    let bytes = private_file::read_public(path, CONFIG_BYTES_MAX)
        .map_err(|error| format!("hub.toml: failed to {error}"))?;
    let text = String::from_utf8(bytes).map_err(|_| "hub.toml is not UTF-8 text".to_owned())?;
    toml::from_str(&text).map_err(|error| format!("hub.toml: {}", error.message()))
}

/// The text of `hub.toml` for an identity that calls this hub. An IPv6 address goes in brackets.
pub(crate) fn hub_file(api: &str, (host, port): (&str, u16)) -> String {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    format!("# Where this identity finds its hub.\napi = \"{api}\"\nmqtt = \"{host}:{port}\"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_port_are_taken_apart() {
        assert_eq!(host_port("localhost:8883"), Some(("localhost".to_owned(), 8883)));
        assert_eq!(host_port("[::1]:1"), Some(("::1".to_owned(), 1)));
        for wrong in ["localhost", ":1", "localhost:", "localhost:65536"] {
            assert_eq!(host_port(wrong), None, "{wrong}");
        }
    }
}
