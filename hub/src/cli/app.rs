//! Creating an app: its private key is made here and never leaves this machine; the hub sees a signing request.

use std::{
    io,
    path::{Path, PathBuf},
};

use clap::Subcommand;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, pem::PemObject as _};
use serde::Serialize;
use zeroize::Zeroizing;

use muster_schemas::{
    DeviceId, TenantId,
    api::{App, NewApp},
};

use super::{
    Call, Complaint, Exit, Output,
    identity::{host_port, hub_file},
    life,
};
use crate::{private_file, tls};

#[derive(Debug, Subcommand)]
pub(super) enum Apps {
    /// Create an app, and write its key, its certificate and what else it needs into a directory.
    Create {
        /// The tenant it belongs to.
        #[arg(long, short)]
        tenant: TenantId,
        /// Its id within the tenant: 1 to 64 of a-z, 0-9 and '-'.
        app: DeviceId,
        /// Give an app that exists a new key and certificate; the ones it has end at once.
        #[arg(long)]
        replace: bool,
        /// The directory to write to [default: <TENANT>-<APP>].
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// Where MQTT answers, host and port [default: `mqtt` in hub.toml of the identity].
        #[arg(long, value_name = "HOST:PORT", value_parser = mqtt)]
        mqtt: Option<(String, u16)>,
    },
    #[command(flatten)]
    Life(life::AppLife),
}

/// What was made, for a program.
#[derive(Serialize)]
struct Created<'a> {
    tenant: &'a TenantId,
    app: &'a DeviceId,
    directory: String,
    subscribe: &'a str,
}

pub(super) fn app(command: Apps, call: &mut Call<'_>) -> Result<Exit, Complaint> {
    let (tenant, app, replace, out, mqtt) = match command {
        Apps::Create { tenant, app, replace, out, mqtt } => (tenant, app, replace, out, mqtt),
        Apps::Life(command) => return life::app(command, call),
    };
    let what = format!("create the app {app} of {tenant}");
    let dir = out.unwrap_or_else(|| PathBuf::from(format!("{tenant}-{app}")));
    for name in ["key.pem", "cert.pem", "ca.pem", "hub.toml"] {
        if dir.join(name).symlink_metadata().is_ok() {
            let why =
                format!("{} is already there, and nothing is ever overwritten", dir.join(name).display());
            return Err(Complaint::new(Exit::Exists, what, why, "choose another directory: --out <dir>"));
        }
    }
    let failed = |path: &Path, error: io::Error| {
        let why = format!("failed to write {}: {error}", path.display());
        Complaint::new(Exit::Failure, what.clone(), why, "choose another directory: --out <dir>")
    };
    private_file::create_directory(&dir).map_err(|error| failed(&dir, error))?;

    // The key is on the disk before the hub knows of the app: a crash in between leaves no app without a key.
    let key = new_key(&what)?;
    let key_path = dir.join("key.pem");
    let key_pem = Zeroizing::new(key.serialize_pem());
    private_file::create(&key_path, key_pem.as_bytes()).map_err(|error| failed(&key_path, error))?;
    let signed = signing_request(&app, &key, &what).and_then(|csr_pem| {
        request(&tenant, &NewApp { app: app.clone(), csr_pem, replace }, &key, &what, call)
    });
    let created = signed.inspect_err(|_| {
        // Nothing was made, so nothing stays. What cannot be removed is a key that opens nothing.
        let _ = std::fs::remove_file(&key_path);
        let _ = std::fs::remove_dir(&dir);
    })?;

    let mqtt = mqtt.unwrap_or_else(|| call.identity.mqtt.clone());
    let hub = hub_file(call.hub.api(), (&mqtt.0, mqtt.1));
    for (name, contents) in
        [("cert.pem", &created.certificate_pem), ("ca.pem", &created.ca_pem), ("hub.toml", &hub)]
    {
        let path = dir.join(name);
        private_file::create_public(&path, contents.as_bytes()).map_err(|error| failed(&path, error))?;
    }

    let subscribe = subscribe_line(&dir, &mqtt);
    if call.output == Output::Json {
        let directory = dir.display().to_string();
        return call.json(&Created { tenant: &tenant, app: &app, directory, subscribe: &subscribe });
    }
    writeln!(
        call.out,
        "Created the app {app} of {tenant}: key.pem, cert.pem, ca.pem and hub.toml in {}.",
        dir.display()
    )?;
    writeln!(
        call.out,
        "The private key was made here; the hub has not seen it. Subscribe with:\n\n{subscribe}"
    )?;
    Ok(Exit::Ok)
}

fn new_key(what: &str) -> Result<KeyPair, Complaint> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|error| {
        Complaint::new(Exit::Failure, what, format!("failed to make a key: {error}"), "try again")
    })
}

/// What stands for the key where the key itself must not go.
fn signing_request(app: &DeviceId, key: &KeyPair, what: &str) -> Result<String, Complaint> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, app.as_str());
    let csr_pem = params.serialize_request(key).and_then(|csr| csr.pem());
    csr_pem.map_err(|error| {
        Complaint::new(Exit::Failure, what, format!("failed to make a signing request: {error}"), "try again")
    })
}

/// Has the hub sign the key, and makes sure that it signed this one.
fn request(
    tenant: &TenantId,
    body: &NewApp,
    key: &KeyPair,
    what: &str,
    call: &Call<'_>,
) -> Result<App, Complaint> {
    let odd =
        |why: &str| Complaint::new(Exit::Failure, what, why, "use a muster of the same version as the hub");
    let created: App = call.hub.post(what, &format!("/api/v1/tenants/{tenant}/apps"), body)?;
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(created.certificate_pem.as_bytes()).collect();
    let chain = chain.map_err(|_| odd("the hub's answer holds no certificate"))?;
    let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    rustls::sign::CertifiedKey::from_der(chain, key, &tls::provider())
        .map_err(|_| odd("the hub's answer is not a certificate for the key that was sent"))?;
    CertificateDer::from_pem_slice(created.ca_pem.as_bytes())
        .map_err(|_| odd("the hub's answer holds no root certificate"))?;
    Ok(created)
}

/// The line that works when it is copied.
fn subscribe_line(dir: &Path, (host, port): &(String, u16)) -> String {
    let file = |name: &str| quoted(&dir.join(name).display().to_string());
    format!(
        "mosquitto_sub -h {host} -p {port} --cafile {} --cert {} --key {} -t 'devices/+/telemetry/#' -v",
        file("ca.pem"),
        file("cert.pem"),
        file("key.pem"),
    )
}

/// A word of a shell, in quotes when it needs them.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%".contains(c);
    if word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

fn mqtt(text: &str) -> Result<(String, u16), String> {
    host_port(text).ok_or_else(|| format!("{text:?} is not of the form host:port"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_to_subscribe_can_be_copied_as_it_is() {
        assert_eq!(
            subscribe_line(Path::new("acme-app"), &("localhost".to_owned(), 8883)),
            "mosquitto_sub -h localhost -p 8883 --cafile acme-app/ca.pem --cert acme-app/cert.pem \
             --key acme-app/key.pem -t 'devices/+/telemetry/#' -v"
        );
        assert_eq!(quoted("my app's"), r"'my app'\''s'");
    }
}
