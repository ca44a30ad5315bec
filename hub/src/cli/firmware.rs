//! Approving firmware, and saying whose approvals count. To approve needs no hub: the key lies offline.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use data_encoding::HEXLOWER_PERMISSIVE;
use rcgen::{KeyPair, SigningKey as _};

use muster_schemas::api::{FirmwareApproval, FirmwareAuthority, NewFirmwareAuthority};
use muster_tpm::policy::{ApprovedPolicy, fixed_signature, pcr_digest};

use super::{Call, Common, Complaint, Exit, OfTenant, Output, World, table, time::shown_s};
use crate::{limits::PEM_BYTES_MAX, private_file};

#[derive(Debug, Subcommand)]
pub(super) enum Firmware {
    /// Say whose approvals count for a class of devices.
    #[command(subcommand)]
    Authority(Authorities),
    /// Give an approval to the hub, for devices of its class that lack it: they ask for it when they cannot connect.
    Publish {
        #[command(flatten)]
        of: OfTenant,
        /// The file that `muster firmware approve` wrote.
        file: PathBuf,
    },
    /// Approve the firmware that leads to these registers, with a key of this machine. Needs no hub.
    Approve(Approve),
}

#[derive(Debug, Subcommand)]
pub(super) enum Authorities {
    /// Add one: devices of the class enrol and renew only with an identity key that is bound to it.
    Add(Named),
    /// List those of a tenant.
    List {
        #[command(flatten)]
        of: OfTenant,
    },
    /// Take one away. A class without one demands nothing.
    Remove(Named),
}

#[derive(Debug, Args)]
pub(super) struct Named {
    #[command(flatten)]
    of: OfTenant,
    /// The class: the model that its devices enrol as.
    #[arg(long)]
    class: String,
    /// A file with the public key, P-256, PEM (`openssl pkey -in offline.pem -pubout`).
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct Approve {
    /// A file with the authority's private key, P-256, PKCS #8 PEM.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The class of devices.
    #[arg(long)]
    class: String,
    /// What the release is called, for people.
    #[arg(long)]
    release: String,
    /// A file with the registers after the boot of this release: lines such as `7: 65caf8…`, as `tpm2_pcrread
    /// sha256:0,7,9` prints them. Registers 0 to 15.
    #[arg(long, value_name = "FILE")]
    pcrs: PathBuf,
    /// The file to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub(super) fn firmware(command: Firmware, common: &Common, world: &mut World<'_>) -> Result<Exit, Complaint> {
    match command {
        Firmware::Authority(command) => authority(command, &mut Call::new(common, world)?),
        Firmware::Publish { of, file } => publish(of, &file, &mut Call::new(common, world)?),
        Firmware::Approve(approve) => self::approve(&approve, world),
    }
}

fn publish(of: OfTenant, file: &Path, call: &mut Call<'_>) -> Result<Exit, Complaint> {
    let tenant = call.tenant(of.tenant)?;
    let bytes = private_file::read_public(file, PEM_BYTES_MAX).map_err(|error| {
        Complaint::new(Exit::Failure, "publish it", error.to_string(), "name another file")
    })?;
    let body = FirmwareApproval { approval: HEXLOWER_PERMISSIVE.encode(&bytes) };
    let path = format!("/api/v1/tenants/{tenant}/firmware/approvals");
    let kept: FirmwareApproval = call.hub.post("publish an approval of firmware", &path, &body)?;
    if call.output == Output::Json {
        return call.json(&kept);
    }
    writeln!(call.out, "{}: devices of its class that lack it will get it", file.display())?;
    Ok(Exit::Ok)
}

fn authority(command: Authorities, call: &mut Call<'_>) -> Result<Exit, Complaint> {
    let found: Vec<FirmwareAuthority> = match command {
        Authorities::Add(named) => vec![named.send("add a firmware authority", "", call)?],
        Authorities::Remove(named) => vec![named.send("remove a firmware authority", "/remove", call)?],
        Authorities::List { of } => {
            let tenant = call.tenant(of.tenant)?;
            let path = format!("/api/v1/tenants/{tenant}/firmware/authorities");
            call.hub.get(&format!("list the firmware authorities of {tenant}"), &path, &[])?
        }
    };
    if call.output == Output::Json {
        return call.json(&found);
    }
    let rows: Vec<_> =
        found.into_iter().map(|row| [row.class, row.fingerprint, shown_s(row.added_at_s)]).collect();
    let none = "no firmware authorities: devices of all classes enrol with any identity key";
    table::write(call.out, ["CLASS", "AUTHORITY", "ADDED"], &rows, none)?;
    Ok(Exit::Ok)
}

impl Named {
    fn send(self, what: &str, to: &str, call: &Call<'_>) -> Result<FirmwareAuthority, Complaint> {
        let tenant = call.tenant(self.of.tenant)?;
        let path = format!("/api/v1/tenants/{tenant}/firmware/authorities{to}");
        let key_pem = fs::read_to_string(&self.key).map_err(|error| unread(&self.key, &error))?;
        call.hub.post(what, &path, &NewFirmwareAuthority { class: self.class, key_pem })
    }
}

fn approve(approve: &Approve, world: &mut World<'_>) -> Result<Exit, Complaint> {
    let Approve { key, class, release, pcrs, out } = approve;
    let what = format!("approve {release} for the class {class}");
    let failed = |why: String, next: &str| Complaint::new(Exit::Failure, what.clone(), why, next);
    let pem = private_file::read(key, PEM_BYTES_MAX)
        .map_err(|error| failed(error.to_string(), "give the authority's private key"))?;
    let pem = std::str::from_utf8(&pem).unwrap_or_default();
    let signer = KeyPair::from_pem(pem)
        .map_err(|error| failed(error.to_string(), "give a P-256 key in PKCS #8 PEM"))?;
    let text = fs::read_to_string(pcrs).map_err(|error| unread(pcrs, &error))?;
    let registers = registers(&text).ok_or_else(|| {
        failed(
            format!("{} holds no registers", pcrs.display()),
            "give lines of a register and its SHA-256 value, each once, as tpm2_pcrread prints them",
        )
    })?;
    let (selection, values): (Vec<u8>, Vec<[u8; 32]>) = registers.into_iter().unzip();
    let sign = |message: &[u8]| fixed_signature(&signer.sign(message).ok()?);
    let policy = ApprovedPolicy::approve(class, release, &selection, pcr_digest(&values), sign)
        .map_err(|error| failed(format!("failed to {error}"), "change what it says"))?;
    let mut file = fs::OpenOptions::new();
    let mut file = file.write(true).create_new(true).open(out).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            let why = format!("{} is there", out.display());
            Complaint::new(Exit::Exists, what.clone(), why, "name another file with --out")
        }
        _ => unread(out, &error),
    })?;
    std::io::Write::write_all(&mut file, &policy.encode())?;
    writeln!(world.out, "{}: {release} is approved for {class}, registers {selection:?}", out.display())?;
    Ok(Exit::Ok)
}

fn unread(path: &Path, error: &std::io::Error) -> Complaint {
    let what = format!("use {}", path.display());
    Complaint::new(Exit::Failure, what, error.to_string(), "name another file, or change its permissions")
}

/// Registers and their values, ascending; nothing if a line is none, or there is none, or one is there twice.
fn registers(text: &str) -> Option<Vec<(u8, [u8; 32])>> {
    let mut found = std::collections::BTreeMap::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.ends_with(':')) {
        let (index, value) = line.split_once(':')?;
        let value = value.trim();
        let value = value.strip_prefix("0x").or_else(|| value.strip_prefix("0X")).unwrap_or(value);
        let value = HEXLOWER_PERMISSIVE.decode(value.as_bytes()).ok()?.try_into().ok()?;
        if found.insert(index.trim().parse().ok()?, value).is_some() {
            return None;
        }
    }
    (!found.is_empty()).then(|| found.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_are_read_as_tpm2_pcrread_prints_them() {
        let zeros = "0".repeat(64);
        let text = format!("  sha256:\n    7 : 0x{}\n    0 : 0x{zeros}\n", "AB".repeat(32));
        assert_eq!(registers(&text), Some(vec![(0, [0; 32]), (7, [0xab; 32])]));
        assert_eq!(registers(&format!("9: {zeros}")), Some(vec![(9, [0; 32])]));
        for wrong in
            ["", "sha256:", "9 00", "9: 00", &format!("9: {zeros}\n9: {zeros}"), &format!("x: {zeros}")]
        {
            assert_eq!(registers(wrong), None, "{wrong}");
        }
    }
}
