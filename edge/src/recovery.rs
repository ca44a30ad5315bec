//! The way back of a device whose identity key does not sign, because what it booted is not approved, or the approval is not
//! here: it asks the hub, without a certificate, for the approvals of its class. What comes is staged if the device's own
//! authority signed it, and nothing else is believed.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use data_encoding::HEXLOWER;
use muster_schemas::enrolment::{DeviceFrame, HubFrame, Quarantined, Recover};
use muster_tpm::{
    device::TpmThread,
    policy::{ApprovedPolicy, FirmwareAuthority},
};
use rustls::ClientConfig;
use tracing::{debug, info, warn};

use crate::{
    enrolment::{AttemptError, ask_once},
    hub::Hub,
};

/// Where to ask, and where to stage what comes.
#[derive(Debug, Clone)]
pub struct Recovery {
    /// The hub.
    pub hub: Hub,
    /// How to speak TLS without a certificate.
    pub config: Arc<ClientConfig>,
    /// The keys.
    pub tpm: TpmThread,
    /// Whose approvals count.
    pub authority: FirmwareAuthority,
    /// For which class.
    pub class: String,
    /// The folder of approvals.
    pub folder: PathBuf,
}

impl Recovery {
    /// Asks once, and tells what came of it. It is asked again with the next attempt that the key does not sign for, whose
    /// pauses are those of every attempt.
    pub async fn ask(&self) {
        match self.approvals().await {
            Ok(HubFrame::Quarantined(Quarantined { approvals, .. })) => {
                let staged = approvals
                    .iter()
                    .filter(|file| stage(&self.folder, &self.authority, &self.class, file))
                    .count();
                info!(
                    offered = approvals.len(),
                    staged, "quarantined; the hub gives approvals of firmware and nothing else"
                );
            }
            Ok(HubFrame::Refused(refused)) => {
                warn!(code = %refused.code, detail = refused.detail, "the hub knows no way back for this device");
            }
            Ok(_) => warn!("the hub answers with what is no way back"),
            Err(error) => debug!(%error, "failed to ask for a way back"),
        }
    }

    async fn approvals(&self) -> Result<HubFrame, AttemptError> {
        let recover = self
            .tpm
            .acall(|keys| {
                Ok(Recover {
                    ek_certificate: keys.ek_certificate()?.unwrap_or_default(),
                    ek_chain: Vec::new(),
                    ek_public: keys.ek_public()?,
                })
            })
            .await?;
        ask_once(&self.hub, Arc::clone(&self.config), &DeviceFrame::Recover(recover)).await
    }
}

/// Stages an approval under a name that follows from it. True if it is new here, and of this authority for this class.
fn stage(folder: &Path, authority: &FirmwareAuthority, class: &str, file: &[u8]) -> bool {
    let policy = ApprovedPolicy::decode(file).ok();
    let ours = policy.filter(|policy| policy.class() == class && policy.verify(authority).is_ok());
    let Some(policy) = ours else {
        warn!("the hub offers an approval that this device's authority did not sign");
        return false;
    };
    let approved = HEXLOWER.encode(&policy.approved());
    let path = folder.join(format!("hub-{}.cbor", approved.get(..32).unwrap_or_default()));
    if path.exists() {
        return false;
    }
    let write = || -> io::Result<()> {
        fs::create_dir_all(folder)?;
        // Whole or not at all: it may be read at the same moment.
        let part = path.with_extension("part");
        fs::write(&part, file)?;
        fs::rename(part, &path)
    };
    write().inspect_err(|error| warn!(%error, "an approval cannot be staged")).is_ok()
}

#[cfg(test)]
mod tests {
    use muster_tpm::{
        manufacturer::SimulatedManufacturer, policy::fixed_signature, soft::SimulatedSoftwareKeys,
    };

    use super::*;

    #[test]
    fn only_what_our_own_authority_signed_is_staged() {
        let manufacturer = SimulatedManufacturer::well_known().expect("a manufacturer");
        let keys = SimulatedSoftwareKeys::new(&[3; 32], &manufacturer).expect("soft keys");
        let signer = keys.stolen_ak().clone();
        let mut sec1 = [0; 65];
        sec1.copy_from_slice(signer.verifying_key().to_sec1_point(false).as_bytes());
        let approve = |class: &str, by_us: bool| {
            ApprovedPolicy::approve(class, "1", &[0], [1; 32], |message| {
                use muster_tpm::soft::p256_sign;
                let signature = p256_sign(&signer, message);
                if by_us { fixed_signature(&signature) } else { Some([7; 64]) }
            })
            .expect("approved")
            .encode()
        };
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path().join("approved");
        let authority = FirmwareAuthority::new(sec1);
        let stage = |file: &[u8]| stage(&folder, &authority, "pump", file);
        assert!(!stage(b"nonsense"));
        assert!(!stage(&approve("pump", false)), "somebody else's");
        assert!(!stage(&approve("valve", true)), "another class's");
        assert!(stage(&approve("pump", true)));
        assert!(!stage(&approve("pump", true)), "it is here already");
        assert_eq!(fs::read_dir(&folder).expect("a folder").count(), 1);
    }
}
