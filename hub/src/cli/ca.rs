//! Authorities and the certificates that they signed. To issue, list and revoke is asked of the hub; only a rotation works
//! on its machine, because it opens the root's key.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand, ValueEnum};

use muster_schemas::{
    DeviceId, TenantId,
    api::{IssuedCertificate, NewCertificate, RevokeCertificate},
};

use super::{
    Call, Common, Complaint, Exit, Output, World, local, table,
    time::{When, duration_s, shown_s},
};
use crate::{
    authority::Role,
    causes::causes,
    config::Config,
    keyring::{self, KeyringError},
    limits::{CSR_BYTES_MAX, PEM_BYTES_MAX},
    private_file,
};

#[derive(Debug, Subcommand)]
pub(super) enum Certificates {
    /// Issue a certificate for the key of a signing request. The key itself stays where it is.
    Issue(Issue),
    /// List the certificates that were issued and have not ended. Devices' are shown by `muster device`.
    List,
    /// Show one certificate.
    Show {
        /// Its serial number.
        serial: String,
    },
    /// Revoke a certificate; it is refused from the next handshake on, and its sessions are closed.
    Revoke {
        /// Its serial number.
        serial: String,
        /// Why: key-compromise, affiliation-changed, superseded, cessation-of-operation, privilege-withdrawn, or
        /// ca-compromise.
        #[arg(long)]
        reason: Option<String>,
        /// Since when its key may have been in other hands, such as 2026-02-01T00:00:00Z or 3d.
        #[arg(long, value_name = "WHEN")]
        since: Option<When>,
    },
    /// Put a new authority beside the present one, on the machine of the hub. The old one is trusted until it ends.
    Rotate {
        /// Which authority.
        authority: Below,
        #[command(flatten)]
        settings: local::Settings,
    },
    /// List the authorities of this machine's hub.
    Authorities {
        #[command(flatten)]
        settings: local::Settings,
    },
}

#[derive(Debug, Args)]
pub(super) struct Issue {
    /// What it is for.
    kind: Issuable,
    /// Its id within tenant and kind: 1 to 64 of a-z, 0-9 and '-'.
    id: DeviceId,
    /// The signing request (PKCS #10, PEM), such as `openssl req -new` makes; `-` reads standard input.
    #[arg(long, value_name = "FILE")]
    csr: PathBuf,
    /// The tenant it belongs to; a node has none, and neither has an operator of the hub.
    #[arg(long, short)]
    tenant: Option<TenantId>,
    /// A node's: the tenants that it may serve, with commas between them, or `*` for all.
    #[arg(long, value_name = "TENANT,…", value_delimiter = ',')]
    tenants: Vec<String>,
    /// A node's: a DNS name or address, for clients that are not ours; repeat it for more.
    #[arg(long = "server-name", value_name = "NAME")]
    names: Vec<String>,
    /// How long it lives, such as 12h or 90d; its kind's own time when left out.
    #[arg(long, value_name = "TIME", value_parser = duration_s)]
    expires_in: Option<u64>,
    /// Let it take the place of the one that the app, user or service has, which then ends at once.
    #[arg(long)]
    replace: bool,
    /// The file to write the certificate and its authority's to, PEM; standard output when left out.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// What may be issued on request. Devices enrol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Issuable {
    App,
    User,
    Service,
    Relay,
    Node,
    Software,
}

/// An authority below the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Below {
    Server,
    Device,
    Relay,
    Client,
    Software,
}

impl Below {
    fn role(self) -> Role {
        match self {
            Self::Server => Role::Server,
            Self::Device => Role::Device,
            Self::Relay => Role::Relay,
            Self::Client => Role::Client,
            Self::Software => Role::Software,
        }
    }
}

const CERTIFICATES: &str = "/api/v1/ca/certificates";

pub(super) fn ca(command: Certificates, common: &Common, world: &mut World<'_>) -> Result<Exit, Complaint> {
    match command {
        Certificates::Rotate { authority, settings } => rotate(authority.role(), common, &settings, world),
        Certificates::Authorities { settings } => authorities(common, &settings, world),
        Certificates::Issue(issue) => {
            let csr_pem = signing_request(&issue.csr, world)?;
            issued(issue, csr_pem, &mut Call::new(common, world)?)
        }
        Certificates::List => list(&mut Call::new(common, world)?),
        Certificates::Show { serial } => {
            let mut call = Call::new(common, world)?;
            let what = format!("show the certificate {serial}");
            let found = call.hub.get(&what, &format!("{CERTIFICATES}/{}", path_part(&serial)), &[])?;
            show(&found, &mut call)
        }
        Certificates::Revoke { serial, reason, since } => {
            let mut call = Call::new(common, world)?;
            let invalid_since_s = since.map(|since| since.unix_ms(call.now_ms) / 1_000);
            let body = RevokeCertificate { reason, invalid_since_s };
            let what = format!("revoke the certificate {serial}");
            let path = format!("{CERTIFICATES}/{}/revoke", path_part(&serial));
            let revoked = call.hub.post(&what, &path, &body)?;
            show(&revoked, &mut call)
        }
    }
}

/// A serial number as part of a path: whatever else was typed must not become another path.
fn path_part(serial: &str) -> String {
    serial.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase()
}

fn signing_request(file: &Path, world: &mut World<'_>) -> Result<String, Complaint> {
    let read = if file == Path::new("-") {
        let mut text = String::new();
        let most = u64::try_from(2 * CSR_BYTES_MAX).unwrap_or(u64::MAX);
        world.input.by_ref().take(most).read_to_string(&mut text).map(|_| text).map_err(|e| e.to_string())
    } else {
        private_file::read_public(file, PEM_BYTES_MAX)
            .map_err(|error| causes(&error))
            .and_then(|bytes| String::from_utf8(bytes).map_err(|error| error.to_string()))
    };
    read.map_err(|why| {
        let next = "make one: openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=x \
                    -keyout key.pem -out csr.pem";
        Complaint::new(Exit::Failure, format!("read the signing request {}", file.display()), why, next)
    })
}

fn issued(issue: Issue, csr_pem: String, call: &mut Call<'_>) -> Result<Exit, Complaint> {
    let Issue { kind, id, tenant, tenants, names, expires_in, replace, out, csr: _ } = issue;
    let kind = kind.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    let what = format!("issue a certificate for the {kind} {id}");
    let body = NewCertificate { kind, tenant, id, csr_pem, validity_s: expires_in, tenants, names, replace };
    let issued: IssuedCertificate = call.hub.post(&what, CERTIFICATES, &body)?;
    let pem = issued.certificate_pem.clone().unwrap_or_default();
    let Some(out) = out else {
        if call.output == Output::Json {
            return call.json(&issued);
        }
        write!(call.out, "{pem}")?;
        return Ok(Exit::Ok);
    };
    private_file::create_public(&out, pem.as_bytes()).map_err(|error| {
        let next = format!("it was issued all the same: revoke it with muster ca revoke {}", issued.serial);
        Complaint::new(Exit::Failure, format!("write {}", out.display()), error.to_string(), next)
    })?;
    show(&issued, call)
}

fn list(call: &mut Call<'_>) -> Result<Exit, Complaint> {
    let mut all: Vec<IssuedCertificate> = Vec::new();
    loop {
        let after = all.last().map(|last| ("after", last.serial.clone()));
        let page: Vec<IssuedCertificate> =
            call.hub.get("list the certificates", CERTIFICATES, after.as_slice())?;
        // They come in order; a page that goes back would have us ask for ever.
        if page.first().map(|c| &c.serial) <= all.last().map(|c| &c.serial) {
            break;
        }
        all.extend(page);
    }
    if call.output == Output::Json {
        return call.json(&all);
    }
    let rows: Vec<_> = all
        .into_iter()
        .map(|c| {
            let state = c.reason.map_or_else(|| "good".to_owned(), |reason| format!("revoked: {reason}"));
            [c.serial, c.principal, c.authority, state, shown_s(c.not_after_s)]
        })
        .collect();
    let head = ["SERIAL", "PRINCIPAL", "AUTHORITY", "STATE", "EXPIRES"];
    table::write(call.out, head, &rows, "no certificates yet: muster ca issue")?;
    Ok(Exit::Ok)
}

fn show(certificate: &IssuedCertificate, call: &mut Call<'_>) -> Result<Exit, Complaint> {
    if call.output == Output::Json {
        return call.json(certificate);
    }
    let revoked = certificate.revoked_at_s.map(|at| {
        format!("{}, {}", shown_s(at), certificate.reason.as_deref().unwrap_or("for no reason given"))
    });
    for (name, value) in [
        ("serial", Some(certificate.serial.clone())),
        ("principal", Some(certificate.principal.clone())),
        ("authority", Some(certificate.authority.clone())),
        ("may serve", certificate.tenants.clone()),
        ("issued", Some(shown_s(certificate.issued_at_s))),
        ("expires", Some(shown_s(certificate.not_after_s))),
        ("revoked", revoked),
    ] {
        if let Some(value) = value {
            writeln!(call.out, "{name:<12} {}", table::printable(&value))?;
        }
    }
    Ok(Exit::Ok)
}

fn rotate(
    role: Role,
    common: &Common,
    settings: &local::Settings,
    world: &mut World<'_>,
) -> Result<Exit, Complaint> {
    let what = format!("rotate the {role} authority");
    let config = read_config(&what, common, settings, world)?;
    let made = keyring::rotate(&config, role, world.now_ms / 1_000).map_err(|error| {
        let next = match &error {
            KeyringError::Generations(_) => "remove the files of the oldest one once it has ended",
            _ => "it needs authorities/root.key and the passphrase; see: muster check",
        };
        Complaint::new(Exit::Failure, what.clone(), format!("failed to {}", causes(&error)), next)
    })?;
    writeln!(
        world.out,
        "the {role} authority {made} signs from the hub's next SIGHUP on; those before it are trusted until they end\n\
         next: kill -HUP <the hub>, or `systemctl reload muster`"
    )?;
    Ok(Exit::Ok)
}

fn authorities(
    common: &Common,
    settings: &local::Settings,
    world: &mut World<'_>,
) -> Result<Exit, Complaint> {
    let what = "list the authorities";
    let config = read_config(what, common, settings, world)?;
    let trust = keyring::read_trust(&config.layout()).map_err(|error| {
        let why = format!("failed to {}", causes(&error));
        Complaint::new(Exit::Failure, what, why, "restore the directory `authorities` from a backup")
    })?;
    let rows: Vec<_> = trust
        .authorities()
        .into_iter()
        .map(|(role, generation, certificate, not_after_s)| {
            let serial = muster_trust::authority_of(&certificate).map(|read| read.serial.to_string());
            let signs = trust.authority(role).is_some_and(|newest| newest == certificate);
            let state = if signs { "signs" } else { "is trusted" };
            [
                role.to_string(),
                generation.to_string(),
                state.to_owned(),
                serial.unwrap_or_default(),
                shown_s(not_after_s),
            ]
        })
        .collect();
    if common.output == Output::Json {
        let text = serde_json::to_string(&rows).map_err(std::io::Error::other)?;
        writeln!(world.out, "{text}")?;
        return Ok(Exit::Ok);
    }
    table::write(world.out, ["AUTHORITY", "GENERATION", "STATE", "SERIAL", "EXPIRES"], &rows, "none")?;
    Ok(Exit::Ok)
}

fn read_config(
    what: &str,
    common: &Common,
    settings: &local::Settings,
    world: &World<'_>,
) -> Result<Config, Complaint> {
    Config::read(&common.config, world.environment.clone(), settings.as_flags())
        .map_err(|error| local::invalid(what, &error))
}
