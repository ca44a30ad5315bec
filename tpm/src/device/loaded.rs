//! Keys and sessions while they are loaded. A TPM has three places for each, so everything here is flushed on every
//! path, and what takes long to derive is used from where set-up persisted it.

use tss_esapi::{
    Context,
    constants::SessionType,
    handles::{AuthHandle, KeyHandle, ObjectHandle, PersistentTpmHandle, SessionHandle, TpmHandle},
    interface_types::{
        algorithm::HashingAlgorithm,
        resource_handles::Hierarchy,
        session_handles::{AuthSession, PolicySession},
    },
    structures::{Digest, DigestList, Nonce, Public, SymmetricDefinition},
    traits::{Marshall, UnMarshall},
};

use super::chip::{Chip, absent, failed};
use crate::{
    keys::KeyError,
    templates::{EkTemplate, POLICY_A_SHA384, POLICY_C_SHA384, attestation_key, follows_ek_template},
    wire::{Hash, TpmtPublic},
};

impl Chip {
    /// Derives a primary key, runs `work` with it, and flushes it whatever came out.
    pub(super) fn with_primary<T>(
        &mut self,
        hierarchy: Hierarchy,
        template: &TpmtPublic,
        work: impl FnOnce(&mut Self, KeyHandle, Vec<u8>) -> Result<T, KeyError>,
    ) -> Result<T, KeyError> {
        let create = failed("CreatePrimary");
        let template = Public::unmarshall(&template.marshal()).map_err(&create)?;
        let created = self
            .context
            .execute_with_session(Some(AuthSession::Password), |c| {
                c.create_primary(hierarchy, template, None, None, None, None)
            })
            .map_err(&create)?;
        let result = created
            .out_public
            .marshall()
            .map_err(&create)
            .and_then(|public| work(self, created.key_handle, public));
        let flushed = self.context.flush_context(created.key_handle.into()).map_err(failed("FlushContext"));
        result.and_then(|value| flushed.map(|()| value))
    }

    /// Runs `work` with the endorsement key: the persistent one if set-up left it there, for RSA takes long to derive.
    pub(super) fn with_ek<T>(
        &mut self,
        work: impl FnOnce(&mut Self, KeyHandle, Vec<u8>) -> Result<T, KeyError>,
    ) -> Result<T, KeyError> {
        let template = self.ek_template;
        if let Some((handle, public)) = self.persistent(template.persistent_handle())? {
            let right = TpmtPublic::parse(&public)
                .is_ok_and(|ek| follows_ek_template(&ek) && EkTemplate::of(&ek.key) == Some(template));
            if right {
                let result = work(self, handle, public);
                self.close(handle)?;
                return result;
            }
            self.close(handle)?;
        }
        self.with_primary(Hierarchy::Endorsement, &template.template(), work)
    }

    pub(super) fn with_ak<T>(
        &mut self,
        work: impl FnOnce(&mut Self, KeyHandle, Vec<u8>) -> Result<T, KeyError>,
    ) -> Result<T, KeyError> {
        self.with_primary(Hierarchy::Endorsement, &attestation_key(), work)
    }

    /// Runs `work` with a session that satisfies the endorsement key's policy, and flushes it whatever came out.
    pub(super) fn with_ek_policy<T>(
        &mut self,
        work: impl FnOnce(&mut Context, AuthSession) -> Result<T, KeyError>,
    ) -> Result<T, KeyError> {
        let start = failed("StartAuthSession");
        let hash = match self.ek_template.template().name_hash {
            Hash::Sha256 => HashingAlgorithm::Sha256,
            Hash::Sha384 => HashingAlgorithm::Sha384,
        };
        let cipher = SymmetricDefinition::AES_128_CFB;
        let session = self
            .context
            .execute_without_session(|c| {
                c.start_auth_session(None, None, None, SessionType::Policy, cipher, hash)
            })
            .map_err(&start)?;
        let Some(session) = session else {
            return Err(KeyError::Tpm { operation: "StartAuthSession", cause: "no session".to_owned() });
        };
        let result = self.satisfy_ek_policy(session).and_then(|()| work(&mut self.context, session));
        let handle = ObjectHandle::from(SessionHandle::from(session));
        let flushed = self.context.flush_context(handle).map_err(failed("FlushContext"));
        result.and_then(|value| flushed.map(|()| value))
    }

    fn satisfy_ek_policy(&mut self, session: AuthSession) -> Result<(), KeyError> {
        let secret = failed("PolicySecret");
        let policy = PolicySession::try_from(session).map_err(&secret)?;
        self.context
            .execute_with_session(Some(AuthSession::Password), |c| {
                let (nonce, cp_hash, reference) = (Nonce::default(), Digest::default(), Nonce::default());
                c.policy_secret(policy, AuthHandle::Endorsement, nonce, cp_hash, reference, None)
            })
            .map_err(&secret)?;
        if self.ek_template == EkTemplate::P384 {
            let either = failed("PolicyOR");
            let mut digests = DigestList::new();
            for digest in [POLICY_A_SHA384, POLICY_C_SHA384] {
                let digest = Digest::try_from(digest.as_slice()).map_err(&either)?;
                digests.add(digest).map_err(&either)?;
            }
            self.context.execute_without_session(|c| c.policy_or(policy, digests)).map_err(&either)?;
        }
        Ok(())
    }

    /// The key at a persistent handle and its public area, if there is one.
    pub(super) fn persistent(&mut self, handle: u32) -> Result<Option<(KeyHandle, Vec<u8>)>, KeyError> {
        let read = failed("ReadPublic");
        let handle = PersistentTpmHandle::new(handle).map_err(&read)?;
        let found =
            self.context.execute_without_session(|c| c.tr_from_tpm_public(TpmHandle::Persistent(handle)));
        let object = match found {
            Ok(object) => KeyHandle::from(object),
            Err(error) if absent(&error) => return Ok(None),
            Err(error) => return Err(read(error)),
        };
        let (public, _, _) =
            self.context.execute_without_session(|c| c.read_public(object)).map_err(&read)?;
        Ok(Some((object, public.marshall().map_err(&read)?)))
    }

    /// Forgets a persistent key on this side; it stays in the TPM.
    fn close(&mut self, handle: KeyHandle) -> Result<(), KeyError> {
        let mut object = ObjectHandle::from(handle);
        self.context.execute_without_session(|c| c.tr_close(&mut object)).map_err(failed("TR_Close"))
    }
}
