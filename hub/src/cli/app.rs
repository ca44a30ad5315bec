//! Creating an app or a user: its private key is made here and never leaves this machine; the hub sees a signing request.

use std::{
    io,
    path::{Path, PathBuf},
};

use clap::Args;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, pem::PemObject as _};
use serde::Serialize;
use zeroize::Zeroizing;

use muster_schemas::{
    DeviceId, TenantId,
    api::{App, NewApp, NewUser, User},
};

use super::{
    Call, Complaint, Exit, Output,
    identity::{host_port, hub_file},
};
use crate::{private_file, registry::ClientKind, tls};

/// What `create` takes, of an app and of a user.
#[derive(Debug, Args)]
pub(super) struct Creation {
    /// The tenant it belongs to.
    #[arg(long, short)]
    pub(super) tenant: TenantId,
    /// Its id within the tenant: 1 to 64 of a-z, 0-9 and '-'.
    pub(super) id: DeviceId,
    /// Give one that exists a new key and certificate; the ones it has end at once.
    #[arg(long)]
    pub(super) replace: bool,
    /// Register this certificate, which it made itself, instead of giving it one. The key stays where it is.
    #[arg(long, value_name = "FILE")]
    pub(super) pin: Option<PathBuf>,
    /// The directory to write to [default: <TENANT>-<ID>; with --pin nothing is written without it].
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// Where MQTT answers, host and port [default: `mqtt` in hub.toml of the identity].
    #[arg(long, value_name = "HOST:PORT", value_parser = mqtt)]
    pub(super) mqtt: Option<(String, u16)>,
}

/// What was made, for a program.
#[derive(Serialize)]
struct Created<'a> {
    tenant: &'a TenantId,
    #[serde(skip_serializing_if = "Option::is_none")]
    app: Option<&'a DeviceId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a DeviceId>,
    directory: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscribe: Option<&'a str>,
}

/// Creates an app or a user with a new key of its own, which stays here.
pub(super) fn create(kind: ClientKind, command: Creation, call: &mut Call<'_>) -> Result<Exit, Complaint> {
    let Creation { tenant, id, replace, pin: _, out, mqtt } = command;
    let what = format!("create the {} {id} of {tenant}", kind.kind());
    let dir = out.unwrap_or_else(|| PathBuf::from(format!("{tenant}-{id}")));
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
    let signed = signing_request(&id, &key, &what)
        .and_then(|csr_pem| request(kind, &tenant, &id, csr_pem, replace, &key, &what, call));
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

    let is_app = kind == ClientKind::App;
    let subscribe = subscribe_line(&dir, &mqtt);
    let subscribe = is_app.then_some(subscribe.as_str());
    if call.output == Output::Json {
        let (directory, app, user) =
            (dir.display().to_string(), is_app.then_some(&id), (!is_app).then_some(&id));
        return call.json(&Created { tenant: &tenant, app, user, directory, subscribe });
    }
    writeln!(
        call.out,
        "Created the {} {id} of {tenant}: key.pem, cert.pem, ca.pem and hub.toml in {}.",
        kind.kind(),
        dir.display()
    )?;
    writeln!(call.out, "The private key was made here; the hub has not seen it.")?;
    match subscribe {
        Some(line) => writeln!(call.out, "Subscribe with:\n\n{line}")?,
        None => writeln!(call.out, "Call the hub with:\n\nmuster --identity {} device list", dir.display())?,
    }
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

/// What the hub made.
struct Made {
    certificate_pem: String,
    ca_pem: String,
}

/// Has the hub sign the key, and makes sure that it signed this one.
#[expect(clippy::too_many_arguments, reason = "it is called once, with what its caller has at hand")]
fn request(
    kind: ClientKind,
    tenant: &TenantId,
    id: &DeviceId,
    csr_pem: String,
    replace: bool,
    key: &KeyPair,
    what: &str,
    call: &Call<'_>,
) -> Result<Made, Complaint> {
    let odd =
        |why: &str| Complaint::new(Exit::Failure, what, why, "use a muster of the same version as the hub");
    let created = match kind {
        ClientKind::App => {
            let body = NewApp { app: id.clone(), csr_pem, replace };
            let App { certificate_pem, ca_pem, .. } =
                call.hub.post(what, &format!("/api/v1/tenants/{tenant}/apps"), &body)?;
            Made { certificate_pem, ca_pem }
        }
        ClientKind::User => {
            let body = NewUser { user: id.clone(), csr_pem: Some(csr_pem), replace };
            let User { certificate_pem, ca_pem, .. } =
                call.hub.post(what, &format!("/api/v1/tenants/{tenant}/users"), &body)?;
            Made { certificate_pem: certificate_pem.unwrap_or_default(), ca_pem }
        }
    };
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
pub(super) fn subscribe_line(dir: &Path, (host, port): &(String, u16)) -> String {
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
