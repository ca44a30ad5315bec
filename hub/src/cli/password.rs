//! Passwords of devices that can do nothing else. They are made or read here and hashed here; the hub gets the hash.

use std::io::Read as _;

use aws_lc_rs::rand;
use clap::Subcommand;
use data_encoding::BASE32_NOPAD;
use serde::Serialize;
use zeroize::Zeroizing;

use muster_schemas::{
    DeviceId,
    api::{LegacyDevice, NewPassword},
};

use super::{Call, Complaint, Exit, OfTenant, Output, table, time::shown_s};
use crate::{
    limits::{LEGACY_PASSWORD_BYTES_MAX, LEGACY_PASSWORD_BYTES_MIN},
    people::PasswordHash,
};

/// Randomness of a password that is made here, in bytes.
const MADE_BYTES: usize = 20;

#[derive(Debug, Subcommand)]
pub(super) enum Passwords {
    /// Give a device a new password, and print it this once.
    Set {
        #[command(flatten)]
        of: OfTenant,
        /// The device's id: 1 to 64 of a-z, 0-9 and '-'.
        device: DeviceId,
        /// Read the password from the input, up to the end of its first line, instead of making one.
        #[arg(long)]
        stdin: bool,
    },
    /// List the devices that have one.
    List {
        #[command(flatten)]
        of: OfTenant,
    },
    /// Remove a device that has one: its sessions end.
    Remove {
        #[command(flatten)]
        of: OfTenant,
        /// The device's id.
        device: DeviceId,
    },
}

/// What was set, for a program.
#[derive(Serialize)]
struct Set<'a> {
    device: &'a DeviceId,
    username: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<&'a str>,
}

pub(super) fn passwords(command: Passwords, call: &mut Call<'_>) -> Result<Exit, Complaint> {
    match command {
        Passwords::Set { of, device, stdin } => {
            let tenant = call.tenant(of.tenant)?;
            let what = format!("set a password for the device {device} of {tenant}");
            let failed = |why: &str| Complaint::new(Exit::Failure, &what, why, "try again");
            let (password, made) =
                if stdin { (read(&what, call)?, false) } else { (make().map_err(failed)?, true) };
            let hash =
                PasswordHash::new(password.as_bytes()).map_err(|_| failed("it could not be hashed"))?;
            let body = NewPassword { hash: hash.into() };
            let path = format!("/api/v1/tenants/{tenant}/legacy-devices/{device}");
            let set: LegacyDevice = call.hub.put(&what, &path, &body)?;
            let password = made.then_some(password.as_str());
            if call.output == Output::Json {
                return call.json(&Set { device: &set.device, username: &set.username, password });
            }
            writeln!(call.out, "username  {}", set.username)?;
            if let Some(password) = password {
                writeln!(call.out, "password  {password}")?;
                writeln!(
                    call.out,
                    "\nThe hub has a hash of it and nobody has it but you: it is not shown again."
                )?;
            }
            Ok(Exit::Ok)
        }
        Passwords::List { of } => {
            let tenant = call.tenant(of.tenant)?;
            let path = format!("/api/v1/tenants/{tenant}/legacy-devices");
            let what = format!("list the devices of {tenant} that have a password");
            let all: Vec<LegacyDevice> = call.hub.get(&what, &path, &[])?;
            show(&all, call)
        }
        Passwords::Remove { of, device } => {
            let tenant = call.tenant(of.tenant)?;
            let path = format!("/api/v1/tenants/{tenant}/legacy-devices/{device}");
            let what = format!("remove the device {device} of {tenant}");
            let gone: LegacyDevice = call.hub.delete(&what, &path)?;
            show(&[gone], call)
        }
    }
}

fn make() -> Result<Zeroizing<String>, &'static str> {
    let mut bits = Zeroizing::new([0; MADE_BYTES]);
    rand::fill(bits.as_mut_slice()).map_err(|_| "the random generator of the system failed")?;
    Ok(Zeroizing::new(BASE32_NOPAD.encode(bits.as_slice()).to_ascii_lowercase()))
}

fn read(what: &str, call: &mut Call<'_>) -> Result<Zeroizing<String>, Complaint> {
    let wrong = |why: String| {
        let next = "give a longer one on the first line of the input, or leave --stdin out to have one made";
        Complaint::new(Exit::Usage, what, why, next)
    };
    let mut text = Zeroizing::new(String::new());
    // One more than may be, and a line end, so that what is too long is seen to be.
    let bytes_max = u64::try_from(LEGACY_PASSWORD_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(2);
    let input = &mut *call.input;
    input.take(bytes_max).read_to_string(&mut text).map_err(|error| wrong(error.to_string()))?;
    let line = text.lines().next().unwrap_or_default();
    if !(LEGACY_PASSWORD_BYTES_MIN..=LEGACY_PASSWORD_BYTES_MAX).contains(&line.len()) {
        let why = format!("a password has {LEGACY_PASSWORD_BYTES_MIN} to {LEGACY_PASSWORD_BYTES_MAX} bytes");
        return Err(wrong(why));
    }
    Ok(Zeroizing::new(line.to_owned()))
}

fn show(all: &[LegacyDevice], call: &mut Call<'_>) -> Result<Exit, Complaint> {
    if call.output == Output::Json {
        return call.json(&all);
    }
    let rows: Vec<_> = all
        .iter()
        .map(|device| {
            [
                device.device.to_string(),
                device.username.clone(),
                device.state.to_string(),
                shown_s(device.created_at_s),
            ]
        })
        .collect();
    let head = ["DEVICE", "USERNAME", "STATE", "CREATED"];
    table::write(call.out, head, &rows, "no device has a password")?;
    Ok(Exit::Ok)
}
