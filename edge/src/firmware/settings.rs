//! `[firmware]`: what this device is to manifests, where its slots are, and what makes a new image a good one.

use std::{path::PathBuf, time::Duration};

use muster_schemas::firmware::Uuid;
use muster_slots::{
    slot::{Layout, Place, Slot},
    updater::Health,
};

/// Where slots and records lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SlotPlaces {
    /// `slots`: everything in one folder.
    Folder(PathBuf),
    /// `devices` and `records`: two block devices, and a folder for the records.
    Devices {
        /// Slot A.
        a: PathBuf,
        /// Slot B.
        b: PathBuf,
        /// The folder.
        records: PathBuf,
    },
}

/// What the agent is told of firmware.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirmwareSettings {
    /// `vendor`: the maker's domain, as SUIT's vendor id.
    pub vendor: Uuid,
    /// `class`: the class below it, as SUIT's class id; the model when absent.
    pub class: Uuid,
    /// `root`: the file with the tenant's first root. Later ones travel with offers, and are kept.
    pub root: PathBuf,
    /// `slots`, or `devices` and `records`.
    pub places: SlotPlaces,
    /// `slot`: which one runs; the variable `MUSTER_SLOT` when absent.
    pub slot: Option<Slot>,
    /// `version_file`: where the image says which version it is; the variable `MUSTER_FIRMWARE_VERSION` when absent.
    pub version_file: Option<PathBuf>,
    /// `slot_bytes`: the longest image that fits a slot.
    pub slot_bytes: u64,
    /// `needs_connection`: whether a new image has to reach the hub before it stays.
    pub needs_connection: bool,
    /// `check`: the command of the health check, a program and its arguments; none when empty.
    pub check: Vec<String>,
    /// `trial_s`: how long a new image has to show that it is well.
    pub trial: Duration,
    /// `download_s`: how long an image may take to arrive.
    pub download: Duration,
    /// `reboot`: the command that starts the machine again; when empty the agent ends with exit code 75.
    pub reboot: Vec<String>,
}

impl FirmwareSettings {
    /// Where things lie.
    #[must_use]
    pub fn layout(&self) -> Layout {
        match &self.places {
            SlotPlaces::Folder(folder) => Layout::in_folder(folder),
            SlotPlaces::Devices { a, b, records } => {
                Layout { state: records.clone(), a: Place::Device(a.clone()), b: Place::Device(b.clone()) }
            }
        }
    }

    /// What makes a trial a success.
    #[must_use]
    pub fn health(&self) -> Health {
        Health {
            needs_connection: self.needs_connection,
            needs_command: !self.check.is_empty(),
            within_ms: u64::try_from(self.trial.as_millis()).unwrap_or(u64::MAX),
        }
    }
}
