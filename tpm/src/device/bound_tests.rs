//! Bound keys in a real TPM implementation. Without swtpm the tests pass, except where `MUSTER_REQUIRE_SWTPM=1`.

use std::sync::Mutex;

use p256::ecdsa::{Signature as P256Signature, SigningKey, signature::Signer as _};
use tss_esapi::{
    constants::tss::{TPM2_RH_NULL, TPM2_ST_VERIFIED},
    tss2_esys::TPMT_TK_VERIFIED,
};

use super::*;
use crate::{
    keys::Slot,
    manufacture::endorse_simulated,
    manufacturer::SimulatedManufacturer,
    policy::pcr_policy,
    soft::sec1_of,
    swtpm::{self, Swtpm},
};

const CLASS: &str = "pump-mk2";
const SELECTION: [u8; 3] = [0, 7, 9];

/// Who approves firmware, and what it has staged on a device.
struct Offline {
    key: SigningKey,
    staged: Arc<Mutex<Vec<ApprovedPolicy>>>,
}

impl Offline {
    fn new() -> Self {
        Self { key: SigningKey::from_slice(&[7; 32]).unwrap(), staged: Arc::default() }
    }

    fn authority(&self) -> FirmwareAuthority {
        FirmwareAuthority::new(sec1_of(self.key.verifying_key()))
    }

    /// Approves what a boot with these measurements into register 9 leads to, and stages it.
    fn stages(&self, class: &str, release: &str, measured: &[[u8; 32]]) {
        let nine = measured.iter().fold([0; 32], |value, digest| sha256(&[&value, digest]));
        let digest = pcr_digest(&[[0; 32], [0; 32], nine]);
        let policy = ApprovedPolicy::approve(class, release, &SELECTION, digest, |message| {
            let signature: P256Signature = self.key.sign(message);
            signature.to_bytes().as_slice().try_into().ok()
        });
        self.staged.lock().unwrap().push(policy.unwrap());
    }

    fn binding(&self) -> FirmwareBinding {
        let staged = Arc::clone(&self.staged);
        let policies = Arc::new(move || staged.lock().unwrap().clone());
        FirmwareBinding { authority: self.authority(), class: CLASS.to_owned(), policies }
    }

    /// A chip just booted, whose identity keys are bound.
    fn chip(&self, tpm: &Swtpm) -> Chip {
        let mut chip = Chip::open(&tpm.tcti()).unwrap().bound(Some(self.binding()));
        let manufacturer = SimulatedManufacturer::well_known().unwrap();
        endorse_simulated(&mut chip, &manufacturer).unwrap();
        if chip.ldevid_public(Slot::A).unwrap().is_none() {
            chip.create_ldevid(Slot::A).unwrap();
        }
        chip
    }
}

fn swtpm_is_here() -> bool {
    let is_here = swtpm::available();
    assert!(is_here || std::env::var_os("MUSTER_REQUIRE_SWTPM").is_none(), "swtpm is required");
    is_here
}

fn signs(chip: &mut Chip) -> bool {
    match chip.sign(Slot::A, &[5; 32]) {
        Ok(_) => true,
        Err(KeyError::Unapproved { .. }) => false,
        Err(other) => panic!("it failed otherwise: {other}"),
    }
}

const RELEASE_1: [[u8; 32]; 2] = [[1; 32], [2; 32]];
const RELEASE_2: [[u8; 32]; 2] = [[1; 32], [3; 32]];

fn boots(chip: &mut Chip, measured: &[[u8; 32]]) {
    measured.iter().for_each(|digest| chip.extend(9, digest).unwrap());
}

#[test]
fn a_bound_key_signs_after_the_boot_that_was_approved_and_after_no_other() {
    if !swtpm_is_here() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut tpm = Swtpm::start(dir.path()).unwrap();
    let offline = Offline::new();
    offline.stages(CLASS, "1", &RELEASE_1);
    let mut chip = offline.chip(&tpm);
    assert!(!signs(&mut chip), "before the boot was measured");
    boots(&mut chip, &RELEASE_1);
    // More often than there are places for sessions and keys: each is given back, whatever came of it.
    assert!((0..8).all(|_| signs(&mut chip)));
    chip.extend(9, &[9; 32]).unwrap();
    assert!((0..8).all(|_| !signs(&mut chip)), "something else was loaded since");

    // The next release: refused before it is staged, good after. The first is good still.
    drop(chip);
    tpm.power_cycle().unwrap();
    let mut chip = offline.chip(&tpm);
    boots(&mut chip, &RELEASE_2);
    assert!(!signs(&mut chip));
    offline.stages(CLASS, "2", &RELEASE_2);
    assert!(signs(&mut chip));
    drop(chip);
    tpm.power_cycle().unwrap();
    let mut chip = offline.chip(&tpm);
    boots(&mut chip, &RELEASE_1);
    assert!(signs(&mut chip));
}

#[test]
fn a_bound_key_does_not_sign_for_a_password_another_class_or_another_authority() {
    if !swtpm_is_here() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let tpm = Swtpm::start(dir.path()).unwrap();
    let offline = Offline::new();
    let mut chip = offline.chip(&tpm);
    boots(&mut chip, &RELEASE_1);
    assert!(!signs(&mut chip), "nothing is staged");
    offline.stages("pump-mk3", "1", &RELEASE_1);
    assert!(!signs(&mut chip), "approved for another class");
    let other = Offline { key: SigningKey::from_slice(&[8; 32]).unwrap(), staged: offline.staged.clone() };
    other.stages(CLASS, "1", &RELEASE_1);
    assert!(!signs(&mut chip), "approved by another authority");
    // A program that leaves our looking out asks the TPM itself: with the other authority's approval, and with none.
    let forged = offline.staged.lock().unwrap().last().cloned().unwrap();
    let mut session_of = |binding: &FirmwareBinding| {
        chip.with_policy(binding, &forged, &mut |_: &mut Context, _| Ok(())).unwrap_err().to_string()
    };
    assert!(session_of(&offline.binding()).contains("VerifySignature"));
    let binding = other.binding();
    let outcome =
        chip.with_policy(&binding, &forged, &mut |context: &mut Context, session| sign(context, session));
    assert!(outcome.is_err(), "its policy is not the key's");
    assert!(sign(&mut chip.context, AuthSession::Password).is_err(), "nor is a password");
    let mut free = Chip::open(&tpm.tcti()).map(|chip| chip.bound(None));
    assert!(free.as_mut().map_or(true, |chip| chip.sign(Slot::A, &[5; 32]).is_err()));
    offline.stages(CLASS, "1", &RELEASE_1);
    assert!(signs(&mut chip));
}

/// Signs with the key in slot A, as any program on the device could.
fn sign(context: &mut Context, session: AuthSession) -> Result<(), KeyError> {
    use tss_esapi::{
        constants::tss::TPM2_ST_HASHCHECK,
        handles::{PersistentTpmHandle, TpmHandle},
        structures::{HashcheckTicket, SignatureScheme},
        tss2_esys::TPMT_TK_HASHCHECK,
    };
    let failed = failed("Sign");
    let handle = PersistentTpmHandle::new(0x8100_0100).map_err(&failed)?;
    let key = context
        .execute_without_session(|c| c.tr_from_tpm_public(TpmHandle::Persistent(handle)))
        .map_err(&failed)?;
    let ticket =
        TPMT_TK_HASHCHECK { tag: TPM2_ST_HASHCHECK, hierarchy: TPM2_RH_NULL, digest: Default::default() };
    let ticket = HashcheckTicket::try_from(ticket).map_err(&failed)?;
    let digest = Digest::try_from([5; 32].as_slice()).map_err(&failed)?;
    context
        .execute_with_session(Some(session), |c| c.sign(key.into(), digest, SignatureScheme::Null, ticket))
        .map(drop)
        .map_err(&failed)
}

#[test]
fn the_attestation_key_certifies_a_bound_key_whatever_booted() {
    if !swtpm_is_here() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let tpm = Swtpm::start(dir.path()).unwrap();
    let offline = Offline::new();
    let mut chip = offline.chip(&tpm);
    assert!(!signs(&mut chip));
    chip.certify(Slot::A, &[1; 32]).unwrap();
    let public = chip.ldevid_public(Slot::A).unwrap().unwrap();
    let public = crate::wire::TpmtPublic::parse(&public).unwrap();
    assert!(crate::policy::is_bound(&public, &offline.authority(), CLASS));
}

#[test]
fn our_policies_are_what_a_trial_session_computes() {
    if !swtpm_is_here() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let tpm = Swtpm::start(dir.path()).unwrap();
    let offline = Offline::new();
    let mut chip = offline.chip(&tpm);
    let context = &mut chip.context;
    let (cipher, hash) = (SymmetricDefinition::AES_128_CFB, HashingAlgorithm::Sha256);
    let trial =
        context.start_auth_session(None, None, None, SessionType::Trial, cipher, hash).unwrap().unwrap();
    let trial = PolicySession::try_from(trial).unwrap();
    let digest = Digest::try_from([5; 32].as_slice()).unwrap();
    context.policy_pcr(trial, digest, registers(&SELECTION).unwrap()).unwrap();
    let computed = context.policy_get_digest(trial).unwrap();
    assert_eq!(computed.as_slice(), pcr_policy(&SELECTION, &[5; 32]));

    context.policy_restart(trial).unwrap();
    let ticket =
        TPMT_TK_VERIFIED { tag: TPM2_ST_VERIFIED, hierarchy: TPM2_RH_NULL, digest: Default::default() };
    let ticket = VerifiedTicket::try_from(ticket).unwrap();
    let name = Name::try_from(offline.authority().name()).unwrap();
    let reference = Nonce::try_from(class_reference(CLASS).as_slice()).unwrap();
    context.policy_authorize(trial, computed, reference, &name, ticket).unwrap();
    let computed = context.policy_get_digest(trial).unwrap();
    assert_eq!(computed.as_slice(), offline.authority().auth_policy(CLASS));
}
