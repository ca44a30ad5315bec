//! Apps and users: with certificates of the hub, with certificates of their own that are pinned, and with none.

use std::path::Path;

use clap::Subcommand;

use muster_schemas::{
    DeviceId, Principal, TenantId,
    api::{NewUser, PinnedCertificate, Registered, User},
};

use super::{
    Call, Complaint, Exit, OfTenant, Output,
    app::{Creation, create},
    attributes, hub_file, life, table,
    time::shown_s,
};
use crate::{limits::CERTIFICATE_BYTES_MAX, private_file, registry::ClientKind};

#[derive(Debug, Subcommand)]
pub(super) enum Clients {
    /// Create one, and write its key, its certificate and what else it needs into a directory; or pin a certificate of its
    /// own.
    Create {
        #[command(flatten)]
        create: Creation,
        /// Create a user without a certificate, who shows who it is in another way.
        #[arg(long, conflicts_with_all = ["pin", "out", "mqtt"])]
        without_certificate: bool,
    },
    /// List them.
    List {
        #[command(flatten)]
        of: OfTenant,
    },
    /// Remove one: its sessions end, and it is not let in again.
    Remove {
        /// The tenant it belongs to.
        #[arg(long, short)]
        tenant: TenantId,
        /// Its id.
        id: DeviceId,
    },
    /// Say something of one for the tenant's access rules, as a user of the tenant.
    Set(attributes::Set),
    #[command(flatten)]
    Life(life::ClientLife),
}

pub(super) fn client(kind: ClientKind, command: Clients, call: &mut Call<'_>) -> Result<Exit, Complaint> {
    let many = match kind {
        ClientKind::App => "apps",
        ClientKind::User => "users",
        ClientKind::Service => "services",
    };
    match command {
        Clients::Life(command) => life::client(kind, many, command, call),
        Clients::Set(command) => attributes::set(many, command, call),
        Clients::Create { create: Creation { tenant, id, replace, .. }, without_certificate: true } => {
            let what = format!("create the {} {id} of {tenant}", kind.kind());
            if kind == ClientKind::App {
                let next = "leave --without-certificate out, or create a user";
                return Err(Complaint::new(Exit::Usage, what, "an app has a certificate", next));
            }
            let body = NewUser { user: id, csr_pem: None, replace };
            let made: User = call.hub.post(&what, &format!("/api/v1/tenants/{tenant}/users"), &body)?;
            if call.output == Output::Json {
                return call.json(&made);
            }
            writeln!(call.out, "Created the user {} of {tenant}, without a certificate.", made.user)?;
            Ok(Exit::Ok)
        }
        Clients::Create { create: command, .. } => match command.pin.clone() {
            Some(file) => pin(kind, command, &file, many, call),
            None => create(kind, command, call),
        },
        Clients::List { of } => {
            let tenant = call.tenant(of.tenant)?;
            let path = format!("/api/v1/tenants/{tenant}/{many}");
            let all: Vec<Registered> = call.hub.get(&format!("list the {many} of {tenant}"), &path, &[])?;
            show(&all, many, call)
        }
        Clients::Remove { tenant, id } => {
            let what = format!("remove the {} {id} of {tenant}", kind.kind());
            let gone: Registered =
                call.hub.delete(&what, &format!("/api/v1/tenants/{tenant}/{many}/{id}"))?;
            show(&[gone], many, call)
        }
    }
}

fn pin(
    kind: ClientKind,
    command: Creation,
    file: &Path,
    many: &str,
    call: &mut Call<'_>,
) -> Result<Exit, Complaint> {
    let Creation { tenant, id, replace, out, mqtt, .. } = command;
    let what = format!("pin a certificate for the {} {id} of {tenant}", kind.kind());
    let unread =
        |why: String| Complaint::new(Exit::Usage, &what, why, "name a PEM file with one certificate");
    let pem = private_file::read_public(file, 2 * CERTIFICATE_BYTES_MAX)
        .map_err(|error| unread(format!("failed to {error}")))?;
    let certificate_pem =
        String::from_utf8(pem).map_err(|_| unread(format!("{} is not text", file.display())))?;
    let path = format!("/api/v1/tenants/{tenant}/{many}/{id}/pinned");
    let body = PinnedCertificate { certificate_pem, replace };
    let pinned: Registered = call.hub.put(&what, &path, &body)?;
    if let Some(dir) = out {
        let trust_domain = call.identity.principal.trust_domain.clone();
        let principal = Principal { trust_domain, tenant, kind: kind.kind(), id };
        let mqtt = mqtt.unwrap_or_else(|| call.identity.mqtt.clone());
        let hub = hub_file(call.hub.api(), (&mqtt.0, mqtt.1)) + &format!("principal = \"{principal}\"\n");
        let failed = |error: &dyn std::fmt::Display| {
            let why = format!("failed to write to {}: {error}", dir.display());
            Complaint::new(Exit::Failure, &what, why, "choose another directory: --out <dir>")
        };
        private_file::create_directory(&dir).map_err(|error| failed(&error))?;
        for (name, text) in [("ca.pem", pinned.ca_pem.as_deref().unwrap_or_default()), ("hub.toml", &hub)] {
            private_file::create_public(&dir.join(name), text.as_bytes()).map_err(|error| failed(&error))?;
        }
        if call.output == Output::Table {
            writeln!(
                call.out,
                "Wrote ca.pem and hub.toml to {}; cert.pem and key.pem go beside them.",
                dir.display()
            )?;
        }
    }
    show(&[pinned], many, call)
}

fn show(all: &[Registered], many: &str, call: &mut Call<'_>) -> Result<Exit, Complaint> {
    if call.output == Output::Json {
        return call.json(&all);
    }
    let rows: Vec<_> = all
        .iter()
        .map(|client| {
            [
                client.id.to_string(),
                client.state.to_string(),
                client.certificate.clone(),
                client.certificate_expires_at_s.map_or_else(|| "-".to_owned(), shown_s),
                client.fingerprint.clone().unwrap_or_else(|| "-".to_owned()),
            ]
        })
        .collect();
    let head = ["ID", "STATE", "CERTIFICATE", "EXPIRES", "FINGERPRINT"];
    table::write(call.out, head, &rows, &format!("no {many} yet"))?;
    Ok(Exit::Ok)
}
