//! The keys of this device, opened on a thread of their own.

use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use muster_schemas::enrolment::{Attestation, Event};
use muster_tpm::{
    device::{Chip, TpmThread},
    keys::{DeviceKeys, KeyError, Slot},
    manufacturer::SimulatedManufacturer,
    soft::SimulatedSoftwareKeys,
};
use toml::{Table, Value};
use tracing::warn;

use crate::{
    config::TpmChoice,
    firmware_bound::FirmwareBound,
    measure::{Measure, log_for, measure},
    state::StateDir,
};

/// Which simulated keys are in the slots: two counters, and no key.
const SLOTS: &str = "simulated-slots.toml";

/// Opens the keys that the configuration names, and measures what it names; nothing, when all that is wanted is a look.
///
/// # Errors
/// The TPM is not there, or this user may not use it.
pub fn open(
    choice: &TpmChoice,
    measured: Option<&Measure>,
    bound: Option<FirmwareBound>,
    state: &Arc<StateDir>,
) -> Result<TpmThread, KeyError> {
    let binding = bound.map(FirmwareBound::binding).transpose()?;
    let (measured, kept) = (measured.cloned(), Arc::clone(state));
    let begin = move |keys| match measured {
        Some(measured) => Ok(Box::new(MeasuredKeys::begin(keys, &kept, &measured)?) as Box<dyn DeviceKeys>),
        None => Ok(keys),
    };
    match choice {
        TpmChoice::Tcti(tcti) => {
            let tcti = tcti.clone();
            TpmThread::start(move || begin(Box::new(Chip::open(&tcti)?.bound(binding))))
        }
        TpmChoice::SimulatedSoftwareKey if binding.is_some() => {
            let why = "keys in plain memory sign under any firmware; configure a TPM".to_owned();
            Err(KeyError::Invalid { what: "firmware_bound", why })
        }
        TpmChoice::SimulatedSoftwareKey => {
            warn!("the keys are simulated in software: they protect nothing");
            let keys = SimulatedChip::open(Arc::clone(state))?;
            TpmThread::start(move || begin(Box::new(keys)))
        }
    }
}

/// Keys, and the log of what was measured into their registers.
struct MeasuredKeys {
    keys: Box<dyn DeviceKeys>,
    events: Vec<Event>,
}

impl MeasuredKeys {
    fn begin(mut keys: Box<dyn DeviceKeys>, state: &StateDir, choice: &Measure) -> Result<Self, KeyError> {
        let events = measure(keys.as_mut(), state, choice)?;
        Ok(Self { keys, events })
    }
}

/// Simulated keys that follow from this machine and the place of the state, so that they are the same after a restart
/// without a key on the disk. NOT A REAL TPM.
struct SimulatedChip {
    keys: SimulatedSoftwareKeys,
    state: Arc<StateDir>,
}

impl SimulatedChip {
    fn open(state: Arc<StateDir>) -> Result<Self, KeyError> {
        let failed = |why: String| KeyError::Invalid { what: "the simulated keys", why };
        let mut digest = Context::new(&SHA256);
        digest.update(b"muster-edge simulated software key\0");
        // A machine without an id still has the place.
        digest.update(std::fs::read("/etc/machine-id").unwrap_or_default().as_slice());
        let place = state.path().canonicalize().map_err(|error| failed(error.to_string()))?;
        digest.update(place.as_os_str().as_encoded_bytes());
        let mut seed = [0; 32];
        seed.copy_from_slice(digest.finish().as_ref());
        let manufacturer = SimulatedManufacturer::well_known()?;
        let slots = read_slots(&state).map_err(|error| failed(error.to_string()))?;
        let keys = SimulatedSoftwareKeys::new(&seed, &manufacturer)?.with_slots(slots);
        Ok(Self { keys, state })
    }

    fn keep_slots(&self) -> Result<(), KeyError> {
        let named = ["a", "b"].into_iter().zip(self.keys.slots());
        let lines = named.filter_map(|(name, counter)| Some(format!("{name} = {}\n", counter?)));
        let kept = self.state.write(SLOTS, lines.collect::<String>().as_bytes());
        kept.map_err(|error| KeyError::Invalid { what: "the simulated keys", why: error.to_string() })
    }
}

fn read_slots(state: &StateDir) -> Result<[Option<u32>; 2], crate::state::StateError> {
    let table: Table = state.read(SLOTS)?.and_then(|text| text.parse().ok()).unwrap_or_default();
    let counter =
        |name| table.get(name).and_then(Value::as_integer).and_then(|counter| u32::try_from(counter).ok());
    Ok([counter("a"), counter("b")])
}

impl DeviceKeys for SimulatedChip {
    fn class_hint(&self) -> &'static str {
        self.keys.class_hint()
    }

    fn ek_certificate(&mut self) -> Result<Option<Vec<u8>>, KeyError> {
        self.keys.ek_certificate()
    }

    fn ek_public(&mut self) -> Result<Vec<u8>, KeyError> {
        self.keys.ek_public()
    }

    fn ak_public(&mut self) -> Result<Vec<u8>, KeyError> {
        self.keys.ak_public()
    }

    fn create_ldevid(&mut self, slot: Slot) -> Result<Vec<u8>, KeyError> {
        let public = self.keys.create_ldevid(slot)?;
        self.keep_slots()?;
        Ok(public)
    }

    fn ldevid_public(&mut self, slot: Slot) -> Result<Option<Vec<u8>>, KeyError> {
        self.keys.ldevid_public(slot)
    }

    fn evict_ldevid(&mut self, slot: Slot) -> Result<(), KeyError> {
        self.keys.evict_ldevid(slot)?;
        self.keep_slots()
    }

    fn sign(&mut self, slot: Slot, digest: &[u8; 32]) -> Result<Vec<u8>, KeyError> {
        self.keys.sign(slot, digest)
    }

    fn activate(&mut self, credential_blob: &[u8], encrypted_secret: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.keys.activate(credential_blob, encrypted_secret)
    }

    fn certify(&mut self, slot: Slot, qualifying_data: &[u8; 32]) -> Result<Attestation, KeyError> {
        self.keys.certify(slot, qualifying_data)
    }

    fn quote(&mut self, selection: &[u8], qualifying_data: &[u8; 32]) -> Result<Attestation, KeyError> {
        self.keys.quote(selection, qualifying_data)
    }

    fn pcrs(&mut self, selection: &[u8]) -> Result<Vec<[u8; 32]>, KeyError> {
        self.keys.pcrs(selection)
    }

    fn extend(&mut self, pcr: u8, digest: &[u8; 32]) -> Result<(), KeyError> {
        self.keys.extend(pcr, digest)
    }
}

impl DeviceKeys for MeasuredKeys {
    fn class_hint(&self) -> &'static str {
        self.keys.class_hint()
    }

    fn ek_certificate(&mut self) -> Result<Option<Vec<u8>>, KeyError> {
        self.keys.ek_certificate()
    }

    fn ek_chain(&mut self) -> Result<Vec<Vec<u8>>, KeyError> {
        self.keys.ek_chain()
    }

    fn ek_public(&mut self) -> Result<Vec<u8>, KeyError> {
        self.keys.ek_public()
    }

    fn ak_public(&mut self) -> Result<Vec<u8>, KeyError> {
        self.keys.ak_public()
    }

    fn create_ldevid(&mut self, slot: Slot) -> Result<Vec<u8>, KeyError> {
        self.keys.create_ldevid(slot)
    }

    fn ldevid_public(&mut self, slot: Slot) -> Result<Option<Vec<u8>>, KeyError> {
        self.keys.ldevid_public(slot)
    }

    fn evict_ldevid(&mut self, slot: Slot) -> Result<(), KeyError> {
        self.keys.evict_ldevid(slot)
    }

    fn sign(&mut self, slot: Slot, digest: &[u8; 32]) -> Result<Vec<u8>, KeyError> {
        self.keys.sign(slot, digest)
    }

    fn activate(&mut self, credential_blob: &[u8], encrypted_secret: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.keys.activate(credential_blob, encrypted_secret)
    }

    fn certify(&mut self, slot: Slot, qualifying_data: &[u8; 32]) -> Result<Attestation, KeyError> {
        self.keys.certify(slot, qualifying_data)
    }

    fn quote(&mut self, selection: &[u8], qualifying_data: &[u8; 32]) -> Result<Attestation, KeyError> {
        self.keys.quote(selection, qualifying_data)
    }

    fn pcrs(&mut self, selection: &[u8]) -> Result<Vec<[u8; 32]>, KeyError> {
        self.keys.pcrs(selection)
    }

    fn extend(&mut self, pcr: u8, digest: &[u8; 32]) -> Result<(), KeyError> {
        self.keys.extend(pcr, digest)
    }
    fn event_log(&mut self, selection: &[u8]) -> Result<Vec<Event>, KeyError> {
        log_for(self.keys.as_mut(), &self.events, selection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simulated_keys_are_the_same_after_a_restart_and_others_elsewhere() {
        let folders = [tempfile::tempdir().expect("folder"), tempfile::tempdir().expect("folder")];
        let open_in = |folder: &tempfile::TempDir| {
            let state = Arc::new(StateDir::open(folder.path()).expect("state"));
            open(&TpmChoice::SimulatedSoftwareKey, None, None, &state).expect("keys")
        };
        let first = {
            let tpm = open_in(&folders[0]);
            tpm.call(|keys| keys.create_ldevid(Slot::B)).expect("a key");
            tpm.call(|keys| {
                Ok((keys.ek_public()?, keys.ldevid_public(Slot::A)?, keys.ldevid_public(Slot::B)?))
            })
        };
        // The thread of the first lets go of the folder a moment after its last handle.
        let again = loop {
            match StateDir::open(folders[0].path()) {
                Ok(state) => {
                    break open(&TpmChoice::SimulatedSoftwareKey, None, None, &Arc::new(state))
                        .expect("keys");
                }
                Err(_) => std::thread::yield_now(),
            }
        };
        let second = again
            .call(|keys| Ok((keys.ek_public()?, keys.ldevid_public(Slot::A)?, keys.ldevid_public(Slot::B)?)));
        assert_eq!(first, second);
        assert!(second.expect("keys").2.is_some());
        let other = open_in(&folders[1]).call(|keys| keys.ek_public()).expect("keys");
        assert_ne!(first.expect("keys").0, other);
    }
}
