//! What identity keys of this device are bound to: who approves its firmware, and the approvals that are staged here. They
//! are read at each signature, so that the next release is approved before it boots, and nothing has to be restarted.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use muster_tpm::{
    device::FirmwareBinding,
    keys::KeyError,
    policy::{ApprovedPolicy, FirmwareAuthority, point_of_spki},
};
use rustls::pki_types::{SubjectPublicKeyInfoDer, pem::PemObject as _};
use tracing::warn;

use crate::limits::{APPROVAL_BYTES_MAX, APPROVAL_FILES_MAX, APPROVALS_MAX, AUTHORITY_BYTES_MAX};

/// How the name of a staged approval ends.
const APPROVAL: &str = "cbor";

/// `[firmware_bound]`: the identity key signs only under approved firmware.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirmwareBound {
    /// `authority`: the file with the public key of who approves, P-256, in PEM.
    pub authority: PathBuf,
    /// `class`: the class of devices that is approved for; the model when absent.
    pub class: String,
    /// `policies`: the folder where approvals are staged; `approved` in the state folder when absent.
    pub policies: PathBuf,
}

impl FirmwareBound {
    /// Reads the authority's key.
    ///
    /// # Errors
    /// There is none.
    pub fn binding(self) -> Result<FirmwareBinding, KeyError> {
        let Self { authority, class, policies } = self;
        let invalid = |why: String| KeyError::Invalid { what: "firmware_bound.authority", why };
        let pem = read(&authority, AUTHORITY_BYTES_MAX)
            .ok_or_else(|| invalid(format!("{} cannot be read", authority.display())))?;
        let der = SubjectPublicKeyInfoDer::from_pem_slice(&pem).ok();
        let point = der.and_then(|der| point_of_spki(&der));
        let point =
            point.ok_or_else(|| invalid(format!("{} is no public key of P-256", authority.display())))?;
        let policies = Arc::new(move || staged(&policies));
        Ok(FirmwareBinding { authority: FirmwareAuthority::new(point), class, policies })
    }
}

/// The newest approvals in a folder. What is none is told and passed by; who signed them the TPM looks at.
fn staged(folder: &Path) -> Vec<ApprovedPolicy> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<(Option<SystemTime>, PathBuf)> = entries
        .take(APPROVAL_FILES_MAX)
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == APPROVAL))
        .map(|path| (fs::metadata(&path).and_then(|file| file.modified()).ok(), path))
        .collect();
    files.sort_by(|one, other| other.cmp(one));
    files.truncate(APPROVALS_MAX);
    let mut staged = Vec::with_capacity(files.len());
    for (_, file) in files {
        let read = read(&file, APPROVAL_BYTES_MAX).map(|bytes| ApprovedPolicy::decode(&bytes));
        match read {
            Some(Ok(policy)) => staged.push(policy),
            Some(Err(error)) => warn!(file = %file.display(), %error, "a staged approval is none"),
            None => warn!(file = %file.display(), "a staged approval cannot be read"),
        }
    }
    staged
}

fn read(path: &Path, bytes_max: u64) -> Option<Vec<u8>> {
    let is_short = fs::metadata(path).ok()?.len() <= bytes_max;
    is_short.then(|| fs::read(path).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_approval_is_passed_by() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(staged(&folder.path().join("not-there")), []);
        let approval =
            ApprovedPolicy::approve("pump", "1", &[0], [1; 32], |_| Some([2; 64])).expect("approved");
        fs::write(folder.path().join("1.cbor"), approval.encode()).expect("written");
        fs::write(folder.path().join("2.cbor"), b"nonsense").expect("written");
        fs::write(folder.path().join("3.cbor"), vec![0; 5_000]).expect("written");
        fs::write(folder.path().join("notes.txt"), b"").expect("written");
        assert_eq!(staged(folder.path()), [approval]);
    }

    #[test]
    fn an_authority_is_a_public_key_of_p_256() {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = folder.path().join("fw.pub.pem");
        let bound =
            FirmwareBound { authority: authority.clone(), class: "pump".into(), policies: PathBuf::new() };
        assert!(bound.clone().binding().is_err());
        fs::write(&authority, "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
            .expect("written");
        assert!(bound.binding().is_err());
    }
}
