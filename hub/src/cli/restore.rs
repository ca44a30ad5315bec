//! Restore: a hub into an empty directory, or one tenant into a hub that is stopped.

use std::path::PathBuf;

use clap::Args;
use muster_backup::{Damage, choose};
use muster_schemas::TenantId;
use serde_json::json;

use super::{
    Common, Complaint, Exit, Output, World,
    backup::{At, failed, keys},
    table,
    time::shown_s,
};
use crate::backup::{self, BackupFailure, Restored, TenantRestored, Wanted, opener};

#[derive(Debug, Args)]
pub(super) struct Restore {
    #[command(flatten)]
    at: At,
    /// The private key of a recipient.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Which backup [default: the newest].
    #[arg(long)]
    number: Option<u64>,
    /// Read and check all of it before anything is written.
    #[arg(long)]
    verify: bool,
    /// Take what is whole if some of it is damaged.
    #[arg(long)]
    damaged: bool,
    /// Put only this tenant back, into the stopped hub of --config; all others stay as they are.
    #[arg(long, short)]
    tenant: Option<TenantId>,
    /// The directory to make of the hub.
    #[arg(long, value_name = "DIR", required_unless_present = "tenant", conflicts_with = "tenant")]
    dir: Option<PathBuf>,
    /// The storage root key, as `muster backup escrow` sealed it.
    #[arg(long, value_name = "FILE", required_unless_present = "tenant", conflicts_with = "tenant")]
    root: Option<PathBuf>,
    /// The private key that opens --root.
    #[arg(long, value_name = "FILE", required_unless_present = "tenant", conflicts_with = "tenant")]
    root_key: Option<PathBuf>,
    /// A file with the passphrase that the hub had.
    #[arg(long, value_name = "FILE", required_unless_present = "tenant", conflicts_with = "tenant")]
    passphrase_file: Option<PathBuf>,
}

pub(super) fn restore(command: &Restore, common: &Common, world: &mut World<'_>) -> Result<Exit, Complaint> {
    let place = command.at.open(&common.config, world)?;
    let what = match &command.tenant {
        Some(tenant) => format!("restore the tenant {tenant}"),
        None => "restore the hub".to_owned(),
    };
    let wrong = |error: BackupFailure| failed(&what, &error);
    let opener = opener(&command.key).map_err(wrong)?;
    let listed = choose(&*place, command.number).map_err(|error| wrong(error.into()))?;
    let Restore { verify, damaged, .. } = *command;
    if let Some(tenant) = &command.tenant {
        let (config, keys) = keys(&what, &common.config, world)?;
        let wanted = Wanted { place: &*place, listed, opener: &opener, keys: &keys, verify, damaged };
        let restored = backup::restore_tenant(&wanted, &config, tenant).map_err(wrong)?;
        return told_tenant(tenant, &restored, common.output, world);
    }
    let (Some(dir), Some(root), Some(root_key), Some(passphrase)) =
        (&command.dir, &command.root, &command.root_key, &command.passphrase_file)
    else {
        let next = "see: muster restore --help";
        return Err(Complaint::new(Exit::Usage, what, "a directory and keys are missing", next));
    };
    let root_opener = backup::opener(root_key).map_err(wrong)?;
    let keys = backup::open_escrow(root, &root_opener).map_err(wrong)?;
    let wanted = Wanted { place: &*place, listed, opener: &opener, keys: &keys, verify, damaged };
    let restored = backup::restore(&wanted, dir, passphrase, world.now_ms / 1_000).map_err(wrong)?;
    told_hub(&restored, common.output, world)
}

fn told_hub(restored: &Restored, output: Output, world: &mut World<'_>) -> Result<Exit, Complaint> {
    let Restored { manifest, found, tenants, operator } = restored;
    if output == Output::Json {
        let tenants: Vec<_> = tenants
            .iter()
            .map(|(tenant, records, why)| json!({ "tenant": tenant, "records": records, "why": why }))
            .collect();
        let told = json!({ "number": manifest.number, "made_at_ms": manifest.made_at_ms, "rows": found.rows,
            "bytes": found.bytes, "lost": lost(&found.damages), "tenants": tenants, "config": operator });
        writeln!(world.out, "{told}")?;
        return Ok(Exit::Ok);
    }
    writeln!(
        world.out,
        "backup {} of {}: {} rows, {} bytes",
        manifest.number,
        shown_s(manifest.made_at_ms / 1_000),
        found.rows,
        found.bytes
    )?;
    tell_lost(&found.damages, world)?;
    for (tenant, records, why) in tenants {
        match why {
            None => writeln!(world.out, "tenant {tenant}: its keys open, {records} records in its log")?,
            Some(why) => writeln!(
                world.out,
                "tenant {tenant}: {records} records of its log, then: {}",
                table::printable(why)
            )?,
        }
    }
    match operator {
        Some(config) => writeln!(
            world.out,
            "the operator has a new key and certificate\n\nNext: muster serve --config {}",
            config.display()
        )?,
        None => writeln!(
            world.out,
            "the configuration was kept elsewhere: put it there, then muster operator renew and muster serve"
        )?,
    }
    Ok(Exit::Ok)
}

fn told_tenant(
    tenant: &TenantId,
    restored: &TenantRestored,
    output: Output,
    world: &mut World<'_>,
) -> Result<Exit, Complaint> {
    let TenantRestored { number, found, removed, rows, registry } = restored;
    if output == Output::Json {
        let told = json!({ "number": number, "tenant": tenant, "rows": rows, "removed": removed,
            "lost": lost(&found.damages), "registry_rows": registry.rows,
            "registry_removed": registry.removed, "elsewhere": registry.elsewhere });
        writeln!(world.out, "{told}")?;
        return Ok(Exit::Ok);
    }
    writeln!(world.out, "tenant {tenant} is as in backup {number}: {rows} rows in the place of {removed}")?;
    writeln!(world.out, "in the registry {} rows in the place of {}", registry.rows, registry.removed)?;
    if registry.elsewhere > 0 {
        writeln!(
            world.out,
            "{} rows were left out: what they are about belongs to another tenant by now",
            registry.elsewhere
        )?;
    }
    tell_lost(&found.damages, world)?;
    Ok(Exit::Ok)
}

fn lost(damages: &[Damage]) -> Vec<String> {
    damages.iter().map(Damage::to_string).collect()
}

fn tell_lost(damages: &[Damage], world: &mut World<'_>) -> Result<(), Complaint> {
    for damage in damages {
        writeln!(world.out, "LOST: {}", table::printable(&damage.to_string()))?;
    }
    Ok(())
}
