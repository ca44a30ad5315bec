//! Simulated chips: a swtpm per device, endorsed by the manufacturer that everybody knows is none.

use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use muster_tpm::{
    device::{
        Chip as Tpm,
        manufacture::endorse_simulated,
        swtpm::{Swtpm, SwtpmError},
    },
    keys::{DeviceKeys as _, KeyError},
    manufacturer::SimulatedManufacturer,
};

/// Why there is no chip.
#[derive(Debug, thiserror::Error)]
pub enum ChipError {
    /// swtpm did not start.
    #[error(transparent)]
    Swtpm(#[from] SwtpmError),
    /// It does not do what a TPM does.
    #[error("failed to endorse the simulated TPM: {0}")]
    Keys(#[from] KeyError),
}

/// A TPM of its own for one device, at a loopback address of its own.
pub struct Chip {
    swtpm: Swtpm,
}

impl Chip {
    /// Makes a new chip with fresh seeds and an endorsement certificate of `manufacturer`.
    ///
    /// # Errors
    /// swtpm is not installed or did not start, or refused what a manufacturer does to a chip.
    pub fn manufacture(manufacturer: &SimulatedManufacturer, folder: &Path) -> Result<Self, ChipError> {
        let swtpm = Swtpm::start(folder)?;
        endorse_simulated(&mut Tpm::open(&swtpm.tcti())?, manufacturer)?;
        Ok(Self { swtpm })
    }

    /// Powers on a chip that somebody else manufactured, whose state is in `folder`.
    ///
    /// # Errors
    /// swtpm is not installed or did not start.
    pub fn power_on(folder: &Path) -> Result<Self, ChipError> {
        Ok(Self { swtpm: Swtpm::start(folder)? })
    }

    /// Measures something into a register, as a boot does. Not while somebody else is connected to the chip.
    ///
    /// # Errors
    /// The chip fails.
    pub fn measure(&self, pcr: u8, digest: &[u8; 32]) -> Result<(), ChipError> {
        Ok(Tpm::open(&self.swtpm.tcti())?.extend(pcr, digest)?)
    }

    /// The values of these registers, ascending. Not while somebody else is connected to the chip.
    ///
    /// # Errors
    /// The chip fails.
    pub fn registers(&self, selection: &[u8]) -> Result<Vec<[u8; 32]>, ChipError> {
        Ok(Tpm::open(&self.swtpm.tcti())?.pcrs(selection)?)
    }

    /// Cuts its power and puts it back: registers at zero.
    ///
    /// # Errors
    /// It does not come back.
    pub fn power_cycle(&mut self) -> Result<(), ChipError> {
        Ok(self.swtpm.power_cycle()?)
    }

    /// How the edge agent reaches it.
    pub fn tcti(&self) -> String {
        self.swtpm.tcti()
    }
}

/// Writes the manufacturer's root certificate where a hub finds it.
///
/// # Errors
/// The file cannot be written.
pub fn publish_root(manufacturer: &SimulatedManufacturer, folder: &Path) -> std::io::Result<PathBuf> {
    let path = folder.join("not-a-real-tpm.pem");
    let base64 = BASE64.encode(manufacturer.root_certificate());
    let lines: Vec<&str> =
        base64.as_bytes().chunks(64).filter_map(|line| str::from_utf8(line).ok()).collect();
    let pem = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"));
    std::fs::write(&path, pem)?;
    Ok(path)
}
