//! `muster check`: looks at everything a hub needs before it starts, and changes nothing.

use std::{os::unix::fs::MetadataExt as _, path::Path};

use muster_schemas::TenantId;
use x509_parser::prelude::{CertificateRevocationList, FromDer as _, X509Certificate};

use crate::{
    authority::{Role, own_principal, pem_certificates, revocation_lists},
    backup::{BackupFailure, open_place, recipient},
    causes::causes,
    config::{Config, Layout, LocalApp, MqttPlain, MqttUnix},
    influx::roster,
    keyring,
    limits::{DAY_S, EXPIRY_WARNING_DAYS, INFLUX_TENANTS_MAX, SECRET_BYTES_MAX},
    private_file,
    vault::{Passphrase, Vault},
};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// As it should be.
    Ok,
    /// The hub starts, and something wants attention.
    Warning,
    /// The hub does not start, or does not do its work.
    Error,
}

impl Severity {
    /// The word in a report.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What was looked at.
    pub what: String,
    /// What was found.
    pub why: String,
    /// What to do about it; empty when there is nothing to do.
    pub next: String,
}

struct Report {
    now_s: u64,
    findings: Vec<Finding>,
}

/// Looks at all files of a configuration that was read. `now_s` is Unix seconds.
pub fn check(config: &Config, now_s: u64) -> Vec<Finding> {
    let mut report = Report { now_s, findings: Vec::new() };
    let layout = config.layout();
    report.add(Severity::Ok, &shown(&config.path), "every key is known and valid", "");
    report.data_dir(&layout);
    report.names(config);
    report.open_doors(config);
    report.vault(config, &layout);
    report.operator(&layout);
    report.tpm_roots(config);
    report.tpm_crls(config);
    report.backup(config);
    report.influx(config);
    report.findings
}

/// A configuration that could not be read, as a finding.
pub fn unreadable(path: &Path, why: &str) -> Finding {
    Finding {
        severity: Severity::Error,
        what: shown(path),
        why: format!("failed to {why}"),
        next: "mend it, name another with --config, or make a hub: muster init".to_owned(),
    }
}

impl Report {
    fn add(&mut self, severity: Severity, what: &str, why: &str, next: &str) {
        let (what, why, next) = (what.to_owned(), why.to_owned(), next.to_owned());
        self.findings.push(Finding { severity, what, why, next });
    }

    fn data_dir(&mut self, layout: &Layout) {
        let path = layout.data_dir();
        match std::fs::metadata(path) {
            Err(error) => {
                self.add(
                    Severity::Error,
                    &shown(path),
                    &error.to_string(),
                    "run: muster init --dir <directory>",
                );
            }
            Ok(found) if found.mode() & 0o022 != 0 => {
                let next = format!("run: chmod go-w {}", path.display());
                self.add(Severity::Error, &shown(path), "others may put files there", &next);
            }
            Ok(_) => self.add(Severity::Ok, &shown(path), "only its owner may change it", ""),
        }
    }

    fn names(&mut self, config: &Config) {
        let local = |name: &rustls::pki_types::ServerName<'_>| {
            let name = name.to_str();
            name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        };
        let addresses = config.listeners.addresses();
        let open = addresses.iter().any(|(_, bind)| !bind.ip().is_loopback());
        if open && config.server_names.iter().all(local) {
            self.add(
                Severity::Warning,
                "server_names",
                "the hub listens to the network, and its certificate names this machine only",
                "add the name under which devices and apps find it to server_names",
            );
        }
    }

    /// Ways in that ask for no certificate.
    fn open_doors(&mut self, config: &Config) {
        if let Some(MqttPlain { bind, app: LocalApp { tenant, id } }) = &config.listeners.mqtt_plain {
            let why = format!("no TLS and no certificates: whoever reaches {bind} is app {id} of {tenant}");
            let next = "keep it to a lab, and take the section out of the configuration elsewhere";
            self.add(Severity::Warning, "listeners.mqtt_plain", &why, next);
        }
        if let Some(MqttUnix { path, mode, app: LocalApp { tenant, id } }) = &config.listeners.mqtt_unix {
            let (who, severity, next) = match mode {
                0o600 => ("its owner", Severity::Ok, ""),
                0o660 => ("its owner and group", Severity::Ok, ""),
                _ => ("every process on this machine", Severity::Warning, "say mode = \"0660\" or \"0600\""),
            };
            let why =
                format!("no certificates: {who} may open {} and is app {id} of {tenant}", path.display());
            self.add(severity, "listeners.mqtt_unix", &why, next);
        }
    }

    fn vault(&mut self, config: &Config, layout: &Layout) {
        let trust = match keyring::read_trust(layout) {
            Ok(trust) => Some(trust),
            Err(error) => {
                let next = "restore the directory `authorities` from a backup";
                self.add(Severity::Error, "authorities", &format!("failed to {}", causes(&error)), next);
                None
            }
        };
        if let Some(trust) = &trust
            && *trust.trust_domain() != config.trust_domain
        {
            let why =
                format!("the authorities are of {}, not of {}", trust.trust_domain(), config.trust_domain);
            self.add(Severity::Error, "trust_domain", &why, "set trust_domain to what the authorities say");
        }
        let opened = Passphrase::read(&config.passphrase_file).and_then(|p| Vault::open(&layout.vault(), &p));
        let vault = match opened {
            Ok(vault) => vault,
            Err(error) => {
                let next = "put the right passphrase into passphrase_file, readable by its owner only";
                self.add(Severity::Error, "vault", &format!("failed to {}", causes(&error)), next);
                return;
            }
        };
        self.add(Severity::Ok, &shown(&layout.vault()), "the passphrase opens it", "");
        for role in Role::ALL {
            if Role::LATER.contains(&role) && layout.authority_certificate(role).symlink_metadata().is_err() {
                let next = "put authorities/root.key back for one start of the hub; it makes it";
                self.add(Severity::Warning, &format!("{role} authority"), "it is missing", next);
                continue;
            }
            match keyring::open_authority(layout, &vault, role) {
                Ok(authority) => {
                    let next = "make a new authority under the root before then";
                    self.expiry(&format!("{role} authority"), authority.not_after_s(), next);
                }
                Err(error) => {
                    let next = "restore its two files in `authorities` from a backup";
                    self.add(
                        Severity::Error,
                        &format!("{role} authority"),
                        &format!("failed to {}", causes(&error)),
                        next,
                    );
                }
            }
        }
        match keyring::open_storage_key(layout, &vault) {
            Err(_) if config.key_commands.storage_key.is_some() => {
                let why = "a program gives it; it is asked when the hub starts";
                self.add(Severity::Ok, "storage key", why, "");
            }
            Ok(_) => self.add(Severity::Ok, &shown(&layout.storage_key()), "the vault opens it", ""),
            Err(error) => {
                let next = "restore it from a backup: without it no stored data can be read";
                self.add(Severity::Error, "storage key", &format!("failed to {}", causes(&error)), next);
            }
        }
        let Some(trust) = trust else { return };
        let what = shown(&layout.server_certificate());
        match keyring::stored_server(layout, &vault, &trust) {
            Some(stored) if stored.still_serves(config, self.now_s) => {
                self.expiry(
                    &what,
                    stored.leaf.not_after_s,
                    "restart the hub: it issues its certificate anew",
                );
            }
            Some(_) => {
                let why = "its names or its life differ from what the configuration wants";
                self.add(Severity::Warning, &what, why, "nothing: the next start issues it anew");
            }
            None => {
                let why = "certificate and key are not there or do not belong together";
                self.add(Severity::Warning, &what, why, "nothing: the next start issues it anew");
            }
        }
    }

    fn operator(&mut self, layout: &Layout) {
        let dir = layout.operator();
        if !dir.exists() {
            return;
        }
        if let Err(error) = private_file::read(&dir.join("key.pem"), SECRET_BYTES_MAX) {
            let next = "put the operator's key back, readable by its owner only";
            self.add(Severity::Error, &shown(&dir), &format!("failed to {}", causes(&error)), next);
        }
        let path = dir.join("cert.pem");
        match pem_certificates(&path).ok().and_then(|chain| chain.into_iter().next()) {
            Some(leaf) if own_principal(&leaf).is_ok() => {
                let end = end_of_life(&leaf).unwrap_or(0);
                self.expiry(&shown(&path), end, "run: muster operator renew");
            }
            _ => self.add(
                Severity::Error,
                &shown(&path),
                "it is not a certificate of ours",
                "restore it from a backup",
            ),
        }
    }

    fn tpm_roots(&mut self, config: &Config) {
        if config.tpm_roots.is_empty() {
            let next = "put a PEM file of the TPM's manufacturer into tpm-roots, and list it under tpm_roots";
            self.add(Severity::Warning, "tpm_roots", "none is listed, so no TPM can prove itself", next);
        }
        for root in &config.tpm_roots {
            let what = shown(&root.file);
            match pem_certificates(&root.file) {
                Err(error) => {
                    let next = "put the PEM file back, or take it out of tpm_roots";
                    self.add(Severity::Error, &what, &format!("failed to {}", causes(&error)), next);
                }
                Ok(certificates) => {
                    let end = certificates.iter().filter_map(end_of_life).min();
                    self.expiry(&what, end.unwrap_or(0), "get the manufacturer's current roots");
                }
            }
        }
    }

    fn tpm_crls(&mut self, config: &Config) {
        for file in &config.tpm_crls {
            let what = shown(file);
            let found = revocation_lists(file).map_err(|error| causes(&error));
            let next_update = found.and_then(|lists| {
                let due =
                    lists.iter().map(|der| next_update(der).ok_or("it is no revocation list".to_owned()));
                Ok(due.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().min())
            });
            match next_update {
                Err(why) => {
                    self.add(Severity::Error, &what, &why, "put the list back, or take it out of tpm_crls")
                }
                Ok(end) => {
                    // It still counts: what was revoked stays revoked.
                    let end = end.filter(|end| *end <= self.now_s);
                    let (severity, state) = match end {
                        Some(end) => (Severity::Warning, format!("a newer one was due on {}", date(end))),
                        None => (Severity::Ok, "current".to_owned()),
                    };
                    self.add(
                        severity,
                        &what,
                        &state,
                        "get the manufacturer's current list, and start the hub again",
                    );
                }
            }
        }
    }

    /// Where backups go, and who opens them. An object store is not called: only what would be said to it is looked at.
    fn backup(&mut self, config: &Config) {
        let Some(settings) = &config.backup else { return };
        let (mut seen, mut twice) = (Vec::new(), false);
        for file in &settings.recipients {
            match recipient(file) {
                Ok(key) => {
                    twice |= seen.contains(&key);
                    seen.push(key);
                    self.add(Severity::Ok, &shown(file), "a public key, which backups are sealed to", "");
                }
                Err(error) => {
                    let next = "put it back, make one with `muster backup keygen`, or take it out of backup.recipients";
                    self.add(Severity::Error, &shown(file), &format!("failed to {}", causes(&error)), next);
                }
            }
        }
        if twice {
            let why = "the same key is listed twice: losing it loses both";
            self.add(Severity::Warning, "backup.recipients", why, "list the key of somebody else");
        }
        let environment = |name: &str| std::env::var(name).ok();
        if let Err(error) = open_place(&settings.place, settings.credentials_file.as_deref(), &environment) {
            // The hub's environment may be another than that of whoever looks.
            let severity = match error {
                BackupFailure::NoCredentials => Severity::Warning,
                _ => Severity::Error,
            };
            let next =
                "correct backup.place, or set backup.credentials_file to a file with both of them, mode 0600";
            self.add(severity, &settings.place, &format!("failed to {}", causes(&error)), next);
            return;
        }
        if muster_backup::S3::is_address(&settings.place) {
            let why = "there are credentials for it; whether they are taken shows with the first backup";
            self.add(Severity::Ok, &settings.place, why, "");
            return;
        }
        let (place, data_dir) = (Path::new(&settings.place), config.layout());
        match std::fs::metadata(place) {
            Ok(found) if !found.is_dir() => {
                let next = "name a directory in backup.place";
                self.add(Severity::Error, &settings.place, "it is no directory", next);
            }
            Ok(_) if place.starts_with(data_dir.data_dir()) => {
                let why = "it is within the directory that it is a backup of: what takes one takes both";
                self.add(Severity::Warning, &settings.place, why, "name another disk in backup.place");
            }
            Ok(_) => self.add(Severity::Ok, &settings.place, "the directory is there", ""),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.add(Severity::Ok, &settings.place, "the first backup makes the directory", "");
            }
            Err(error) => {
                let next = "let the user that runs the hub into it, or name another in backup.place";
                self.add(Severity::Error, &settings.place, &error.to_string(), next);
            }
        }
    }

    /// Whose telemetry is sent to InfluxDB, as far as files say it. The server is not called.
    fn influx(&mut self, config: &Config) {
        let Some(influx) = &config.influx else { return };
        let what = shown(&influx.tokens);
        let next = "put each tenant's token into a file of its name, readable by the hub alone (mode 0600)";
        let names: Vec<_> = match std::fs::read_dir(&influx.tokens) {
            Ok(entries) => {
                entries.flatten().map(|entry| entry.file_name()).take(INFLUX_TENANTS_MAX).collect()
            }
            Err(error) => return self.add(Severity::Error, &what, &error.to_string(), next),
        };
        let mut tenants: Vec<TenantId> = Vec::new();
        for name in names {
            match name.to_str().and_then(|name| name.parse().ok()) {
                Some(tenant) => tenants.push(tenant),
                None => {
                    let file = shown(&influx.tokens.join(&name));
                    let why = "its name is the id of no tenant: nobody reads it";
                    self.add(Severity::Warning, &file, why, "name it as the tenant, or remove it");
                }
            }
        }
        tenants.sort();
        let roster = roster::read(influx, &tenants);
        if roster.is_empty() {
            self.add(Severity::Warning, &what, "no tenant has a token there: nothing is sent", next);
        }
        for (tenant, entry) in roster {
            let file = shown(&influx.tokens.join(tenant.as_str()));
            match entry {
                Ok(_) => {
                    let why = format!("a token, for the bucket {}", influx.bucket(&tenant));
                    self.add(Severity::Ok, &file, &why, "");
                }
                Err(why) => self.add(Severity::Error, &file, &why, "mend it: until then its telemetry waits"),
            }
        }
    }

    fn expiry(&mut self, what: &str, not_after_s: u64, next: &str) {
        let date = date(not_after_s);
        match not_after_s.saturating_sub(self.now_s) / DAY_S {
            _ if not_after_s <= self.now_s => {
                self.add(Severity::Error, what, &format!("it expired on {date}"), next);
            }
            days if days < EXPIRY_WARNING_DAYS => {
                self.add(Severity::Warning, what, &format!("it expires on {date}, in {days} days"), next);
            }
            _ => self.add(Severity::Ok, what, &format!("valid until {date}"), ""),
        }
    }
}

fn end_of_life(certificate: &rustls::pki_types::CertificateDer<'_>) -> Option<u64> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    u64::try_from(parsed.validity().not_after.timestamp()).ok()
}

/// When a revocation list's next one is due, Unix seconds, if it says; none if it is no list.
fn next_update(der: &[u8]) -> Option<Option<u64>> {
    let (_, list) = CertificateRevocationList::from_der(der).ok()?;
    Some(list.next_update().and_then(|next| u64::try_from(next.timestamp()).ok()))
}

fn date(unix_s: u64) -> String {
    let instant = i64::try_from(unix_s).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
    instant.map_or_else(|| unix_s.to_string(), |instant| instant.strftime("%Y-%m-%d").to_string())
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests;
