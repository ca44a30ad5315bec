//! Identity keys that sign only while the registers are as their firmware authority has approved. The TPM refuses, not we:
//! here a session is brought to the state that the policy describes, if it can be.

use std::{fmt, sync::Arc};

use tss_esapi::{
    Context,
    constants::SessionType,
    handles::{KeyHandle, ObjectHandle, SessionHandle},
    interface_types::{
        algorithm::HashingAlgorithm,
        resource_handles::Hierarchy,
        session_handles::{AuthSession, PolicySession},
    },
    structures::{Digest, Name, Nonce, Public, Signature, SymmetricDefinition, VerifiedTicket},
    traits::UnMarshall,
};

use super::chip::{Chip, failed, registers};
use crate::{
    keys::{DeviceKeys as _, KeyError},
    name::sha256,
    policy::{ApprovedPolicy, FirmwareAuthority, class_reference, pcr_digest},
    wire::{Hash, TpmtSignature},
};

/// What identity keys of this device are bound to.
#[derive(Clone)]
pub struct FirmwareBinding {
    /// Who approves firmware.
    pub authority: FirmwareAuthority,
    /// For which class of devices.
    pub class: String,
    /// The approvals at hand, at the moment of asking: that of this release, and of the next before it is booted.
    pub policies: Arc<dyn Fn() -> Vec<ApprovedPolicy> + Send + Sync>,
}

impl FirmwareBinding {
    /// The policy of identity keys.
    pub fn auth_policy(&self) -> [u8; 32] {
        self.authority.auth_policy(&self.class)
    }
}

impl fmt::Debug for FirmwareBinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FirmwareBinding").field("class", &self.class).finish_non_exhaustive()
    }
}

impl Chip {
    /// Binds the identity keys that are made from now on, and lets those that are bound sign with these approvals.
    #[must_use]
    pub fn bound(mut self, binding: Option<FirmwareBinding>) -> Self {
        self.binding = binding;
        self
    }

    /// Runs `work` with a session in which a bound key may sign. Of several approvals the one that fits the registers is
    /// tried first, and then the others, so that it is the TPM that says no.
    pub(super) fn with_approval<T>(
        &mut self,
        mut work: impl FnMut(&mut Context, AuthSession) -> Result<T, KeyError>,
    ) -> Result<T, KeyError> {
        let Some(binding) = self.binding.clone() else {
            return Err(KeyError::Unapproved { why: "no firmware authority is configured".to_owned() });
        };
        let mut policies = (binding.policies)();
        policies
            .retain(|policy| policy.class() == binding.class && policy.verify(&binding.authority).is_ok());
        let mut fits = Vec::with_capacity(policies.len());
        for policy in policies {
            let values = self.pcrs(policy.selection())?;
            fits.push((pcr_digest(&values) != *policy.pcr_digest(), policy));
        }
        fits.sort_by_key(|(is_other, _)| *is_other);
        let mut refused =
            KeyError::Unapproved { why: format!("no approval for {} is staged here", binding.class) };
        for (_, policy) in fits {
            match self.with_policy(&binding, &policy, &mut work) {
                Err(KeyError::Tpm { operation: operation @ "PolicyAuthorize", cause }) => {
                    let why =
                        format!("the registers are not those of {}: {operation}: {cause}", policy.release());
                    refused = KeyError::Unapproved { why };
                }
                outcome => return outcome,
            }
        }
        Err(refused)
    }

    fn with_policy<T>(
        &mut self,
        binding: &FirmwareBinding,
        policy: &ApprovedPolicy,
        work: &mut impl FnMut(&mut Context, AuthSession) -> Result<T, KeyError>,
    ) -> Result<T, KeyError> {
        let (name, ticket) = self.verified(&binding.authority, policy)?;
        let selection = registers(policy.selection())?;
        let start = failed("StartAuthSession");
        let (cipher, hash) = (SymmetricDefinition::AES_128_CFB, HashingAlgorithm::Sha256);
        let session = self
            .context
            .execute_without_session(|c| {
                c.start_auth_session(None, None, None, SessionType::Policy, cipher, hash)
            })
            .map_err(&start)?;
        let Some(session) = session else {
            return Err(KeyError::Tpm { operation: "StartAuthSession", cause: "no session".to_owned() });
        };
        // From here on every way out flushes the session: a TPM has three places for them.
        let satisfied = || -> Result<T, KeyError> {
            let authorize = failed("PolicyAuthorize");
            let policy_session = PolicySession::try_from(session).map_err(&authorize)?;
            // Of the registers as they are: an empty digest compares nothing.
            self.context
                .execute_without_session(|c| c.policy_pcr(policy_session, Digest::default(), selection))
                .map_err(failed("PolicyPCR"))?;
            let approved = Digest::try_from(policy.approved().as_slice()).map_err(&authorize)?;
            let reference =
                Nonce::try_from(class_reference(&binding.class).as_slice()).map_err(&authorize)?;
            self.context
                .execute_without_session(|c| {
                    c.policy_authorize(policy_session, approved, reference, &name, ticket)
                })
                .map_err(&authorize)?;
            work(&mut self.context, session)
        };
        let outcome = satisfied();
        let handle = ObjectHandle::from(SessionHandle::from(session));
        let flushed = self.context.flush_context(handle).map_err(failed("FlushContext"));
        outcome.and_then(|value| flushed.map(|()| value))
    }

    /// Has the TPM look at the authority's signature. Its ticket is good in the owner's hierarchy.
    fn verified(
        &mut self,
        authority: &FirmwareAuthority,
        policy: &ApprovedPolicy,
    ) -> Result<(Name, VerifiedTicket), KeyError> {
        let verify = failed("VerifySignature");
        let public = Public::unmarshall(&authority.public().marshal()).map_err(&verify)?;
        let (r, s) = policy.signature().split_at(32);
        let signature = TpmtSignature { hash: Hash::Sha256, r: r.to_vec(), s: s.to_vec() }.marshal();
        let signature = Signature::unmarshall(&signature).map_err(&verify)?;
        let digest = Digest::try_from(sha256(&[&policy.message()]).as_slice()).map_err(&verify)?;
        let key: KeyHandle = self
            .context
            .execute_without_session(|c| c.load_external_public(public, Hierarchy::Owner))
            .map_err(failed("LoadExternal"))?;
        let ticket = self.context.execute_without_session(|c| c.verify_signature(key, digest, signature));
        let flushed = self.context.flush_context(key.into()).map_err(failed("FlushContext"));
        let name = Name::try_from(authority.name()).map_err(&verify)?;
        let ticket = ticket.map_err(&verify)?;
        flushed.map(|()| (name, ticket))
    }
}

#[cfg(test)]
#[path = "bound_tests.rs"]
mod tests;
