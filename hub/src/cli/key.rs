//! Keys: what there are, making them anew, bringing and withdrawing a tenant's own, and destroying all of a tenant's.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use data_encoding::HEXLOWER;
use zeroize::Zeroizing;

use muster_schemas::{
    TenantId,
    api::keys::{
        BringKey, KeyOrigin, Keys, RootKeyStatus, RotateKey, RotatedKey, SensitiveFields, SensitivePattern,
        Shred, ShredReport, SignedShredReport,
    },
};

use super::{Call, Common, Complaint, Exit, OfTenant, Output, World, table, time::shown_s};
use crate::{key_command::KEY_BYTES, limits::SECRET_BYTES_MAX, private_file};

#[derive(Debug, Subcommand)]
pub(super) enum KeyCommands {
    /// Show the keys of a tenant: their names and ages, never the keys.
    Show {
        #[command(flatten)]
        of: OfTenant,
    },
    /// Make a key anew.
    #[command(subcommand)]
    Rotate(Rotate),
    /// Draw a key for a tenant and write it to a new file that only you may read. Needs no hub.
    New {
        /// The file to write.
        file: PathBuf,
    },
    /// Put your tenant's own key above the hub's, or give back the one that you withdrew.
    Bring {
        #[command(flatten)]
        of: OfTenant,
        /// The file with the key, as `muster key new` writes it.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// Let the hub keep it, wrapped by its root key. Without this the hub forgets it when it stops.
        #[arg(long)]
        keep: bool,
    },
    /// Take your tenant's own key back: nothing of the tenant is read or stored until it is brought again.
    Withdraw {
        #[command(flatten)]
        of: OfTenant,
    },
    /// Show or set which fields of readings are sensitive.
    Sensitive(Sensitive),
}

#[derive(Debug, Subcommand)]
pub(super) enum Rotate {
    /// A tenant's key: its data keys are wrapped with another one, and nothing is sealed anew.
    Tenant {
        #[command(flatten)]
        of: OfTenant,
    },
    /// A tenant's data keys: what comes is sealed with others.
    Data {
        #[command(flatten)]
        of: OfTenant,
    },
    /// The storage root key, above all tenants' keys. For an operator.
    Root,
}

#[derive(Debug, Args)]
pub(super) struct Sensitive {
    #[command(flatten)]
    of: OfTenant,
    /// A pattern and its class, such as `crew/*=person`; given several times, all of them. Replaces those there are.
    #[arg(long, value_name = "STREAM/NAME=CLASS")]
    pattern: Vec<String>,
    /// A pattern of fields that are not sensitive, such as `climate/position`.
    #[arg(long, value_name = "STREAM/NAME")]
    exempt: Vec<String>,
    /// A class whose built-in rules are off: location, id, credential or person.
    #[arg(long, value_name = "CLASS")]
    off: Vec<String>,
    /// Set what is given here, also if that is nothing: the built-in rules alone.
    #[arg(long)]
    set: bool,
}

#[derive(Debug, Args)]
pub(super) struct ShredTenant {
    /// The tenant.
    tenant: TenantId,
    /// The tenant's id once more: there is no way back.
    #[arg(long, value_name = "TENANT")]
    confirm: TenantId,
    /// A directory to write the signed report to: report.json, report.sig, chain.pem.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(super) fn key(command: KeyCommands, common: &Common, world: &mut World<'_>) -> Result<Exit, Complaint> {
    if let KeyCommands::New { file } = command {
        return new(&file, world);
    }
    let call = &mut Call::new(common, world)?;
    match command {
        KeyCommands::New { .. } => Ok(Exit::Ok),
        KeyCommands::Show { of } => {
            let tenant = call.tenant(of.tenant)?;
            let what = format!("show the keys of {tenant}");
            let keys = call.hub.get(&what, &format!("/api/v1/tenants/{tenant}/keys"), &[])?;
            shown(keys, call)
        }
        KeyCommands::Rotate(Rotate::Root) => {
            let path = "/api/v1/keys/root/rotate";
            let status: RootKeyStatus = call.hub.post("replace the storage root key", path, &())?;
            if call.output == Output::Json {
                return call.json(&status);
            }
            writeln!(call.out, "storage root key: generation {} is in place", status.generation)?;
            Ok(Exit::Ok)
        }
        KeyCommands::Rotate(Rotate::Tenant { of }) => rotate(of, RotatedKey::Tenant, call),
        KeyCommands::Rotate(Rotate::Data { of }) => rotate(of, RotatedKey::Data, call),
        KeyCommands::Bring { of, key, keep } => bring(of, &key, keep, call),
        KeyCommands::Withdraw { of } => {
            let tenant = call.tenant(of.tenant)?;
            let path = format!("/api/v1/tenants/{tenant}/keys/withdraw");
            let keys = call.hub.post(&format!("withdraw the key of {tenant}"), &path, &())?;
            shown(keys, call)
        }
        KeyCommands::Sensitive(command) => sensitive(command, call),
    }
}

fn new(file: &Path, world: &mut World<'_>) -> Result<Exit, Complaint> {
    let failed = |why: String| {
        let what = format!("write a key to {}", file.display());
        Complaint::new(Exit::Failure, what, why, "name a new file in a directory that you may write to")
    };
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    aws_lc_rs::rand::fill(key.as_mut_slice())
        .map_err(|_| failed("there are no random numbers".to_owned()))?;
    let line = Zeroizing::new(format!("{}\n", Zeroizing::new(HEXLOWER.encode(key.as_slice())).as_str()));
    private_file::create(file, line.as_bytes()).map_err(|error| failed(error.to_string()))?;
    writeln!(
        world.out,
        "{}: keep it where the hub does not reach; without it nobody opens what it protects",
        file.display()
    )?;
    Ok(Exit::Ok)
}

fn rotate(of: OfTenant, key: RotatedKey, call: &mut Call<'_>) -> Result<Exit, Complaint> {
    let tenant = call.tenant(of.tenant)?;
    let path = format!("/api/v1/tenants/{tenant}/keys/rotate");
    let keys = call.hub.post(&format!("make a key of {tenant} anew"), &path, &RotateKey { key })?;
    shown(keys, call)
}

fn bring(of: OfTenant, file: &Path, keep: bool, call: &mut Call<'_>) -> Result<Exit, Complaint> {
    let tenant = call.tenant(of.tenant)?;
    let what = format!("bring a key of {tenant}");
    let read = private_file::read(file, SECRET_BYTES_MAX).map_err(|error| {
        Complaint::new(
            Exit::Failure,
            what.clone(),
            error.to_string(),
            "give the file that `muster key new` wrote",
        )
    })?;
    let key = String::from_utf8_lossy(&read).trim().to_owned();
    let path = format!("/api/v1/tenants/{tenant}/keys/bring");
    let keys = call.hub.post(&what, &path, &BringKey { key, keep })?;
    shown(keys, call)
}

fn shown(keys: Keys, call: &mut Call<'_>) -> Result<Exit, Complaint> {
    if call.output == Output::Json {
        return call.json(&keys);
    }
    let Keys { tenant, key_id, generation, made_at_s, origin, withdrawn, data_keys_stored, .. } = keys;
    let origin = match origin {
        KeyOrigin::Hub => "the hub's",
        KeyOrigin::Tenant => "its own, kept by the hub",
        KeyOrigin::TenantNotKept => "its own, not kept",
    };
    let made = if made_at_s > 0 { shown_s(made_at_s) } else { "with the tenant".to_owned() };
    let row = [
        tenant.to_string(),
        if withdrawn { "withdrawn".to_owned() } else { key_id },
        generation.to_string(),
        made,
        origin.to_owned(),
        data_keys_stored.to_string(),
    ];
    table::write(call.out, ["TENANT", "KEY", "GENERATION", "MADE", "WHOSE", "DATA KEYS"], &[row], "")?;
    Ok(Exit::Ok)
}

fn sensitive(command: Sensitive, call: &mut Call<'_>) -> Result<Exit, Complaint> {
    let Sensitive { of, pattern, exempt, off, set } = command;
    let tenant = call.tenant(of.tenant)?;
    let path = format!("/api/v1/tenants/{tenant}/sensitive");
    let is_change = set || !pattern.is_empty() || !exempt.is_empty() || !off.is_empty();
    let fields: SensitiveFields = if is_change {
        let what = format!("set the sensitive fields of {tenant}");
        let mut patterns = Vec::new();
        for text in pattern {
            let (fields, class) = text.rsplit_once('=').ok_or_else(|| {
                let why = format!("{text:?} names no class");
                Complaint::new(Exit::Usage, what.clone(), why, "write it as crew/*=person")
            })?;
            patterns.push(SensitivePattern { fields: fields.to_owned(), class: Some(class.to_owned()) });
        }
        patterns.extend(exempt.into_iter().map(|fields| SensitivePattern { fields, class: None }));
        call.hub.put(&what, &path, &SensitiveFields { off, patterns })?
    } else {
        call.hub.get(&format!("show the sensitive fields of {tenant}"), &path, &[])?
    };
    if call.output == Output::Json {
        return call.json(&fields);
    }
    let mut rows: Vec<_> =
        fields.off.into_iter().map(|class| ["built in".to_owned(), class, "off".to_owned()]).collect();
    rows.extend(fields.patterns.into_iter().map(|SensitivePattern { fields, class }| {
        let sealed = if class.is_some() { "sealed" } else { "not sensitive" };
        [fields, class.unwrap_or_default(), sealed.to_owned()]
    }));
    table::write(
        call.out,
        ["FIELDS", "CLASS", ""],
        &rows,
        "the built-in rules, and none of the tenant's own",
    )?;
    Ok(Exit::Ok)
}

pub(super) fn shred(command: ShredTenant, call: &mut Call<'_>) -> Result<Exit, Complaint> {
    let ShredTenant { tenant, confirm, out } = command;
    let what = format!("shred the tenant {tenant}");
    let path = format!("/api/v1/tenants/{tenant}/keys/shred");
    let signed: SignedShredReport = call.hub.post_patiently(&what, &path, &Shred { confirm })?;
    let failed = |why: String| {
        Complaint::new(Exit::Failure, what.clone(), why, "run it again: it repeats what can be")
    };
    if let Some(dir) = out {
        let signature = data_encoding::BASE64.decode(signed.signature.as_bytes());
        let signature = signature.map_err(|error| failed(error.to_string()))?;
        private_file::create_directory(&dir).map_err(|error| failed(error.to_string()))?;
        for (name, content) in [
            ("report.json", signed.report.as_bytes()),
            ("report.sig", signature.as_slice()),
            ("chain.pem", signed.chain.as_bytes()),
        ] {
            let written = private_file::replace(&dir.join(name), content, false);
            written.map_err(|error| failed(error.to_string()))?;
        }
    }
    let report: ShredReport =
        serde_json::from_str(&signed.report).map_err(|error| failed(error.to_string()))?;
    if call.output == Output::Json {
        call.json(&signed)?;
    } else {
        let rows: Vec<_> = report
            .destroyed
            .iter()
            .map(|key| [key.kind.clone(), key.epoch.to_string(), key.key_id.clone()])
            .collect();
        table::write(call.out, ["DESTROYED", "NUMBER", "KEY"], &rows, "no keys")?;
        writeln!(
            call.out,
            "searched {} files, {} bytes; sealed rows removed: {}; rows of the registry removed: {}; a sealed record \
             opens: {}",
            report.files_searched,
            report.bytes_searched,
            report.rows_removed,
            report.registry_rows_removed,
            if report.sample_opens { "YES" } else { "no" }
        )?;
    }
    if report.proved {
        return Ok(Exit::Ok);
    }
    Err(failed(format!("wrapped keys are still in {}", report.still_found_in.join(", "))))
}
