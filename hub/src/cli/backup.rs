//! Backups: a running hub makes them; keys are made, and backups listed, checked and pruned wherever the place can be
//! reached.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, Subcommand, ValueEnum};
use muster_backup::{
    Keep, Listed, Nowhere, Opened, Place, Repository, Signer, choose, forget, list, prune, survey,
};
use muster_broker::store::{Store, StoreKeys, StoreOptions};
use muster_schemas::{
    TenantId,
    api::{BackupMade, BackupState, NewBackup},
};
use muster_seal::{Kem, Opener};
use serde_json::json;

use super::{Call, Common, Complaint, Exit, Output, World, local, table, time::shown_s};
use crate::{
    backup::{self, BackupFailure, open_place, opener},
    causes::causes,
    config::Config,
    limits::BACKUP_LOOK_MS,
    private_file,
    root_key::RootSource,
};

#[derive(Debug, Subcommand)]
pub(super) enum Backups {
    /// Make the key of a recipient: <NAME>.key.pem, which is kept far from the hub, and <NAME>.pub.pem, which the hub gets.
    Keygen {
        /// What both files are called, up to their endings.
        #[arg(default_value = "backup", value_name = "NAME")]
        name: PathBuf,
        /// Which kind of key.
        #[arg(long, value_enum, default_value_t = KeyKind::P256)]
        kind: KeyKind,
    },
    /// Have the running hub make a backup, and wait until it is made.
    Run {
        /// Go on although somebody else's mark is there, or the newest backup is not the one that the hub made last.
        #[arg(long)]
        force: bool,
        /// Make it here, of a hub that does not run. Needs the configuration and the passphrase.
        #[arg(long)]
        offline: bool,
    },
    /// List the backups at a place. Needs no key; with one, says what is in them.
    List {
        #[command(flatten)]
        at: At,
        /// The private key of a recipient.
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
    },
    /// Check backups: without a key that all is there, as long as it was, signed and in order; with one, all of it.
    Verify {
        #[command(flatten)]
        at: At,
        /// The private key of a recipient.
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        /// Only this backup.
        #[arg(long)]
        number: Option<u64>,
        /// Who has to have signed, as `muster backup run` printed it [default: what the place itself says].
        #[arg(long, value_name = "HEX")]
        signer: Option<Signer>,
        /// There was a backup of this number: if the newest has a lower one, somebody took some away.
        #[arg(long, value_name = "NUMBER")]
        expect: Option<u64>,
    },
    /// Take backups away that are not to be kept, and what only they rest on.
    Prune(Prune),
    /// Take a tenant's keys out of all backups: nothing in them can be read of it again. On the machine of the hub.
    Forget {
        #[command(flatten)]
        at: At,
        /// The tenant.
        #[arg(long, short)]
        tenant: TenantId,
    },
    /// Seal the storage root key for somebody who keeps it. No backup has it, and none is of use without it.
    Escrow {
        /// The public key of whoever keeps it; not that of a recipient of backups.
        #[arg(long, value_name = "FILE")]
        recipient: PathBuf,
        /// The file to make.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

/// Where the backups lie.
#[derive(Debug, Args)]
pub(super) struct At {
    /// A directory, or s3://bucket/prefix?endpoint=https://host [default: backup.place of the configuration].
    #[arg(long, value_name = "PLACE")]
    place: Option<String>,
    /// The credentials of an object store [default: as the configuration says, or AWS_ACCESS_KEY_ID and
    /// AWS_SECRET_ACCESS_KEY].
    #[arg(long, value_name = "FILE")]
    credentials: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Prune {
    #[command(flatten)]
    at: At,
    /// Keep so many of the newest.
    #[arg(long, default_value_t = 1, value_name = "COUNT")]
    keep_last: usize,
    /// Keep the last one of each of so many days.
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    keep_daily: usize,
    /// Keep the last one of each of so many weeks.
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    keep_weekly: usize,
    /// Keep the last one of each of so many months.
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    keep_monthly: usize,
    /// Only say what would go.
    #[arg(long)]
    dry_run: bool,
    /// Go on although somebody else's mark is there.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum KeyKind {
    /// P-256, with AES-256-GCM throughout.
    P256,
    /// X25519; the content keys are sealed with ChaCha20-Poly1305, all else with AES-256-GCM.
    X25519,
}

impl At {
    /// Opens the place, and says what it is called.
    pub(super) fn open(&self, config: &Path, world: &World<'_>) -> Result<Box<dyn Place>, Complaint> {
        let what = "find the backups";
        let (address, credentials) = match &self.place {
            Some(place) => (place.clone(), self.credentials.clone()),
            None => {
                let config = Config::read(config, world.environment.clone(), &[])
                    .map_err(|error| local::invalid(what, &error))?;
                let settings = config.backup.ok_or_else(|| failed(what, &BackupFailure::NotConfigured))?;
                (settings.place, self.credentials.clone().or(settings.credentials_file))
            }
        };
        let variables = |name: &str| {
            world.environment.iter().find(|(found, _)| found == name).map(|(_, value)| value.clone())
        };
        open_place(&address, credentials.as_deref(), &variables).map_err(|error| failed(what, &error))
    }
}

pub(super) fn failed(what: &str, error: &BackupFailure) -> Complaint {
    use muster_backup::BackupError;
    let (exit, next) = match error {
        BackupFailure::NotConfigured => (Exit::Usage, "name the place: --place, or set backup.place"),
        BackupFailure::NotEmpty { .. } => (Exit::Exists, "choose another directory: --dir <dir>"),
        BackupFailure::Damaged { .. } => {
            (Exit::Failure, "take another backup (--number), or what is whole of this one (--damaged)")
        }
        BackupFailure::Backup(BackupError::WrongKey { .. }) => {
            (Exit::Refused, "use the key of a recipient: --key")
        }
        BackupFailure::Backup(BackupError::Forged { .. }) => {
            (Exit::Refused, "take another backup, and find out who can write to the place")
        }
        BackupFailure::Store(muster_broker::store::StoreError::Locked { .. }) => {
            (Exit::Failure, "stop the hub first")
        }
        _ => (Exit::Failure, ""),
    };
    Complaint::new(exit, what, format!("failed to {}", causes(error)), next)
}

pub(super) fn backups(command: Backups, common: &Common, world: &mut World<'_>) -> Result<Exit, Complaint> {
    let config = &common.config;
    match command {
        Backups::Keygen { name, kind } => keygen(&name, kind, common.output, world),
        Backups::Run { force, offline: false } => run(force, &mut Call::new(common, world)?),
        Backups::Run { force, offline: true } => {
            let what = "make a backup";
            let (config, keys) = keys(what, config, world)?;
            let made = offline(&config, &keys, force, world).map_err(|error| failed(what, &error))?;
            print(&made, common.output, world.out)
        }
        Backups::List { at, key } => {
            let what = "list the backups";
            let place = at.open(config, world)?;
            show(&*place, key.as_deref(), common.output, world).map_err(|error| failed(what, &error))
        }
        Backups::Verify { at, key, number, signer, expect } => {
            let place = at.open(config, world)?;
            let asked = Asked { key: key.as_deref(), number, signer, expect };
            verify(&*place, &asked, common.output, world)
                .map_err(|error| failed("verify the backups", &error))
        }
        Backups::Prune(command) => {
            let place = command.at.open(config, world)?;
            pruned(&*place, &command, common.output, world)
                .map_err(|error| failed("prune the backups", &error))
        }
        Backups::Forget { at, tenant } => {
            let what = format!("take the keys of {tenant} out of the backups");
            let place = at.open(config, world)?;
            let (_, keys) = keys(&what, config, world)?;
            let forgotten = forgotten(&*place, &keys, &tenant).map_err(|error| failed(&what, &error))?;
            writeln!(
                world.out,
                "{forgotten} pieces with keys of {tenant} are gone from {}; what is left of it there cannot be read",
                place.shown()
            )?;
            Ok(Exit::Ok)
        }
        Backups::Escrow { recipient, out } => {
            let what = "seal the storage root key";
            let (_, keys) = keys(what, config, world)?;
            backup::escrow(&keys, &recipient, &out).map_err(|error| failed(what, &error))?;
            writeln!(
                world.out,
                "{} has the storage root key, sealed; keep it apart from the backups, and the passphrase too. Make another \
                 after `muster key rotate root`",
                out.display()
            )?;
            Ok(Exit::Ok)
        }
    }
}

/// The configuration of this machine's hub, and what opens its store.
pub(super) fn keys(what: &str, config: &Path, world: &World<'_>) -> Result<(Config, StoreKeys), Complaint> {
    let config =
        Config::read(config, world.environment.clone(), &[]).map_err(|error| local::invalid(what, &error))?;
    let keys = RootSource::new(&config).keys();
    let keys = keys.map_err(|error| failed(what, &BackupFailure::RootKey(error)))?;
    Ok((config, keys))
}

fn keygen(name: &Path, kind: KeyKind, output: Output, world: &mut World<'_>) -> Result<Exit, Complaint> {
    let what = "make a key for backups";
    let kem = if kind == KeyKind::P256 { Kem::P256 } else { Kem::X25519 };
    let wrong = |why: String| Complaint::new(Exit::Failure, what, why, "");
    let key = Opener::generate(kem).map_err(|error| wrong(error.to_string()))?;
    let pem = key.to_pem().map_err(|error| wrong(error.to_string()))?;
    let named = |ending: &str| {
        let mut path = name.as_os_str().to_owned();
        path.push(ending);
        PathBuf::from(path)
    };
    let (private, public) = (named(".key.pem"), named(".pub.pem"));
    for (path, text, is_private) in
        [(&private, pem.as_str(), true), (&public, key.recipient().to_pem().as_str(), false)]
    {
        let create = if is_private { private_file::create } else { private_file::create_public };
        create(path, text.as_bytes()).map_err(|error| {
            let exit = match error.kind() {
                std::io::ErrorKind::AlreadyExists => Exit::Exists,
                _ => Exit::Failure,
            };
            Complaint::new(exit, what, format!("failed to write {}: {error}", path.display()), "name another")
        })?;
    }
    let id = key.recipient().id();
    match output {
        Output::Json => {
            let made = json!({ "id": id.to_string(), "key": private, "public": public });
            writeln!(world.out, "{made}")?;
        }
        Output::Table => {
            writeln!(world.out, "key {id}")?;
            writeln!(
                world.out,
                "{}: opens backups; keep it, and a copy, away from the hub",
                private.display()
            )?;
            writeln!(world.out, "{}: for backup.recipients of the hub's configuration", public.display())?;
        }
    }
    Ok(Exit::Ok)
}

fn run(force: bool, call: &mut Call<'_>) -> Result<Exit, Complaint> {
    let what = "make a backup";
    let mut state: BackupState = call.hub.post(what, "/api/v1/backups", &NewBackup { force })?;
    loop {
        match state {
            BackupState::Made(made) => return print(&made, call.output, call.out),
            BackupState::Running { .. } => {}
            BackupState::Failed { why, .. } => {
                return Err(Complaint::new(Exit::Failure, what, why, "see the hub's log"));
            }
            BackupState::None => {
                let why = "the hub was started anew meanwhile";
                return Err(Complaint::new(Exit::Failure, what, why, "run it again"));
            }
        }
        pause();
        state = call.hub.get(what, "/api/v1/backups/current", &[])?;
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the command line waits for a hub that says how it goes when asked"
)]
fn pause() {
    std::thread::sleep(Duration::from_millis(BACKUP_LOOK_MS));
}

fn offline(
    config: &Config,
    keys: &StoreKeys,
    force: bool,
    world: &World<'_>,
) -> Result<BackupMade, BackupFailure> {
    let store = Store::open(&config.layout().store(), keys.root(), StoreOptions::default())?;
    let variables = |name: &str| {
        world.environment.iter().find(|(found, _)| found == name).map(|(_, value)| value.clone())
    };
    let made = backup::make_offline(&store, config, &variables, world.now_ms, force);
    store.close();
    made
}

fn print(made: &BackupMade, output: Output, out: &mut dyn std::io::Write) -> Result<Exit, Complaint> {
    if output == Output::Json {
        let text = serde_json::to_string(made).map_err(std::io::Error::other)?;
        writeln!(out, "{text}")?;
        return Ok(Exit::Ok);
    }
    let BackupMade { place, number, made_at_ms, signer, rows, bytes, pieces, pieces_new, bytes_written } =
        made;
    writeln!(out, "backup {number} of {}, at {place}", shown_s(made_at_ms / 1_000))?;
    writeln!(out, "{rows} rows, {bytes} bytes, in {pieces} pieces, of which {pieces_new} are new")?;
    writeln!(out, "{bytes_written} bytes written")?;
    writeln!(out, "signer {signer}")?;
    Ok(Exit::Ok)
}

fn show(
    place: &dyn Place,
    key: Option<&Path>,
    output: Output,
    world: &mut World<'_>,
) -> Result<Exit, BackupFailure> {
    let repository = Repository::open(place)?;
    let signer = told(&repository, None)?;
    let key = key.map(opener).transpose()?;
    let mut rows = Vec::new();
    for listed in list(place)? {
        let Listed { number, made_at_ms, .. } = listed;
        let mut row = [number.to_string(), shown_s(made_at_ms / 1_000), String::new(), String::new()];
        if let Some(key) = &key {
            let opened = Opened::open(place, &repository, listed, key, &signer)?;
            let manifest = opened.manifest();
            let tenants = manifest.tenants.iter().filter(|tenant| !tenant.tenant.is_empty());
            let tenants: Vec<_> = tenants.map(|tenant| tenant.tenant.as_str()).collect();
            row[2] = manifest.tables.iter().map(|table| table.rows).sum::<u64>().to_string();
            row[3] = tenants.join(" ");
        }
        rows.push(row);
    }
    let io = |source| BackupFailure::Io { what: "write to", path: PathBuf::from("the output"), source };
    if output == Output::Json {
        for [number, made_at, rows, tenants] in rows {
            let tenants: Vec<&str> = tenants.split_whitespace().collect();
            let shown = json!({ "number": number.parse::<u64>().ok(), "made_at": made_at,
                "rows": rows.parse::<u64>().ok(), "tenants": tenants });
            writeln!(world.out, "{shown}").map_err(io)?;
        }
        return Ok(Exit::Ok);
    }
    let empty = "no backups yet: muster backup run";
    table::write(world.out, ["NUMBER", "MADE", "ROWS", "TENANTS"], &rows, empty).map_err(io)?;
    Ok(Exit::Ok)
}

/// Who signs: whom we are told, or else whom the place says, which proves nothing about the place.
fn told(repository: &Repository, signer: Option<Signer>) -> Result<Signer, BackupFailure> {
    match signer {
        Some(signer) => Ok(signer),
        None => repository.signer.parse().map_err(|_| BackupFailure::File {
            path: PathBuf::from("muster-backup.json"),
            why: "names no signer".to_owned(),
        }),
    }
}

/// What is to be verified, and against what.
struct Asked<'a> {
    key: Option<&'a Path>,
    number: Option<u64>,
    signer: Option<Signer>,
    expect: Option<u64>,
}

fn verify(
    place: &dyn Place,
    asked: &Asked<'_>,
    output: Output,
    world: &mut World<'_>,
) -> Result<Exit, BackupFailure> {
    let io = |source| BackupFailure::Io { what: "write to", path: PathBuf::from("the output"), source };
    let repository = Repository::open(place)?;
    let signer = told(&repository, asked.signer)?;
    let key = asked.key.map(opener).transpose()?;
    let survey = survey(place, asked.number, &signer)?;
    let mut wrong = survey.forged;
    let newest = choose(place, None)?.number;
    if let Some(expected) = asked.expect.filter(|expected| *expected > newest) {
        wrong.push(format!("the newest backup is number {newest}, and there was a number {expected}"));
    }
    let mut checked = Vec::new();
    for (listed, mut found) in survey.backups {
        if let Some(key) = &key {
            match Opened::open(place, &repository, listed, key, &signer) {
                Ok(mut opened) => found = opened.read(&|_| true, &mut Nowhere)?,
                Err(error @ muster_backup::BackupError::WrongKey { .. }) => return Err(error.into()),
                Err(error) => wrong.push(error.to_string()),
            }
        }
        wrong.extend(found.damages.iter().map(|damage| format!("backup {}: {damage}", listed.number)));
        if found.damages_untold > 0 {
            wrong.push(format!("backup {}: {} more pieces", listed.number, found.damages_untold));
        }
        checked.push((listed, found));
    }
    let exit = if wrong.is_empty() { Exit::Ok } else { Exit::Failure };
    if output == Output::Json {
        let backups: Vec<_> = checked
            .iter()
            .map(|(listed, found)| {
                json!({ "number": listed.number, "pieces": found.pieces, "rows": found.rows,
                    "whole": found.is_whole() })
            })
            .collect();
        let told = json!({ "backups": backups, "wrong": wrong, "opened": key.is_some(),
            "signer": signer.to_string(), "signer_told": asked.signer.is_some() });
        writeln!(world.out, "{told}").map_err(io)?;
        return Ok(exit);
    }
    for (listed, found) in &checked {
        let state = if found.is_whole() { "whole" } else { "DAMAGED" };
        let read = if key.is_some() { format!(", {} rows read", found.rows) } else { String::new() };
        writeln!(world.out, "backup {}: {state}, {} pieces{read}", listed.number, found.pieces)
            .map_err(io)?;
    }
    for why in &wrong {
        writeln!(world.out, "{}", table::printable(why)).map_err(io)?;
    }
    if key.is_none() {
        writeln!(world.out, "looked at from outside; with --key all of it is opened and read").map_err(io)?;
    }
    if asked.signer.is_none() {
        writeln!(world.out, "signed by {signer}, as the place itself says; with --signer that is checked")
            .map_err(io)?;
    }
    Ok(exit)
}

fn pruned(
    place: &dyn Place,
    command: &Prune,
    output: Output,
    world: &mut World<'_>,
) -> Result<Exit, BackupFailure> {
    let keep = Keep {
        last: command.keep_last,
        daily: command.keep_daily,
        weekly: command.keep_weekly,
        monthly: command.keep_monthly,
    };
    let pruned = prune(place, &keep, world.now_ms, command.force, command.dry_run)?;
    let io = |source| BackupFailure::Io { what: "write to", path: PathBuf::from("the output"), source };
    let numbers = |listed: &[Listed]| listed.iter().map(|listed| listed.number).collect::<Vec<_>>();
    if output == Output::Json {
        let told = json!({ "removed": numbers(&pruned.removed), "kept": numbers(&pruned.kept),
            "objects": pruned.objects, "bytes": pruned.bytes, "dry": command.dry_run });
        writeln!(world.out, "{told}").map_err(io)?;
        return Ok(Exit::Ok);
    }
    let would = if command.dry_run { "would be " } else { "" };
    let (removed, kept) = (pruned.removed.len(), pruned.kept.len());
    writeln!(
        world.out,
        "{removed} backups {would}removed, {kept} kept; {} pieces, {} bytes {would}freed",
        pruned.objects, pruned.bytes
    )
    .map_err(io)?;
    Ok(Exit::Ok)
}

fn forgotten(place: &dyn Place, keys: &StoreKeys, tenant: &TenantId) -> Result<u64, BackupFailure> {
    let hub = muster_backup::HubKey::derive(&keys.backup_seed())?;
    Ok(forget(place, &hub, &keys.handle(tenant))?)
}
