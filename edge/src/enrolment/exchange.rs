//! One exchange of `muster-enroll/1`, as the device sees it: the hub's frames in, ours out, with the TPM at hand. Pure
//! but for the TPM: no connection, no clock.

use muster_schemas::{
    DeviceId, Kind, TenantId,
    enrolment::{
        Begin, Challenge, DeviceFrame, Finish, HubFrame, Issued, Refused, RenewBegin, RenewChallenge,
        RenewFinish,
    },
    limits::{ENROLMENT_CERTIFICATE_BYTES_MAX, ENROLMENT_CHAIN_CERTIFICATES_MAX},
};
use muster_tpm::{
    binding::{activation_proof, qualifying_data},
    csr::signing_request,
    keys::{DeviceKeys, KeyError, Slot},
    verifier::{device_id, ek_hash},
    wire::{MalformedStructure, TpmtPublic},
};
use rustls::pki_types::CertificateDer;
use zeroize::Zeroizing;

use crate::{
    certificate::{InvalidLeaf, Leaf},
    introduction::Introduction,
};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// A first certificate.
    First {
        /// Where its key is or will be.
        slot: Slot,
        /// The code that ties an unknown chip to a tenant.
        claim: Option<String>,
        /// What this device is.
        model: String,
        /// What else it says of itself.
        introduction: Introduction,
    },
    /// The next certificate, for the key in this slot.
    Next {
        /// Where its key is or will be.
        slot: Slot,
    },
}

impl Request {
    /// Where the key of the certificate is.
    #[must_use]
    pub fn slot(&self) -> Slot {
        match self {
            Self::First { slot, .. } | Self::Next { slot } => *slot,
        }
    }
}

/// What to do next.
#[expect(clippy::large_enum_variant, reason = "an exchange has two of them in its life")]
#[derive(Debug)]
pub enum Step {
    /// Send this and wait for the hub.
    Send(DeviceFrame),
    /// It is over.
    End(Outcome),
}

/// How it ended, as the hub decided.
#[derive(Debug)]
pub enum Outcome {
    /// The certificate, checked to be ours.
    Issued(Box<Grant>),
    /// A person has to decide.
    Pending {
        /// Ask again after this many seconds.
        retry_after_s: u32,
    },
    /// No, and why.
    Refused(Refused),
}

/// A certificate that was issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Where its key is.
    pub slot: Slot,
    /// The leaf, then what ties it to the root.
    pub chain: Vec<CertificateDer<'static>>,
    /// This device.
    pub device: DeviceId,
    /// Its tenant.
    pub tenant: TenantId,
    /// Where to speak MQTT; empty means where it enrolled.
    pub mqtt_endpoint: String,
    /// Seconds after which to renew.
    pub renew_after_s: u64,
}

/// Why an exchange cannot go on: first what the hub did, then what the TPM did.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// A frame that has no place here.
    #[error("understand the hub: it sent a {found} where {wanted} was due")]
    Unexpected {
        /// What came.
        found: &'static str,
        /// What should have come.
        wanted: &'static str,
    },
    /// The certificate cannot be read.
    #[error("use the certificate that the hub issued: {0}")]
    Leaf(#[from] InvalidLeaf),
    /// The certificate is of another key or for somebody else.
    #[error("use the certificate that the hub issued: {0}")]
    Foreign(&'static str),
    /// The TPM.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The TPM showed something that is no public key.
    #[error("understand the TPM: {0}")]
    Structure(#[from] MalformedStructure),
}

/// An exchange that has begun.
#[derive(Debug)]
pub struct Exchange {
    slot: Slot,
    /// Whether this is a renewal, which has no credential to open.
    renewal: bool,
    /// 32 bytes exported from the TLS connection that it runs on.
    exporter: [u8; 32],
    csr: Vec<u8>,
    device: DeviceId,
    ldevid_sec1: [u8; 65],
    /// The hub's challenge has been answered.
    answered: bool,
}

/// This device's id, which follows from its chip.
///
/// # Errors
/// The TPM fails.
pub fn own_id(keys: &mut dyn DeviceKeys) -> Result<DeviceId, ExchangeError> {
    Ok(device_id(&own_hash(keys)?))
}

/// The hash of this device's endorsement key, which names its chip.
///
/// # Errors
/// The TPM fails.
pub fn own_hash(keys: &mut dyn DeviceKeys) -> Result<[u8; 32], ExchangeError> {
    Ok(ek_hash(&TpmtPublic::parse(&keys.ek_public()?)?))
}

/// The point of the key in a slot, if there is one.
///
/// # Errors
/// The TPM fails.
pub fn point_in(keys: &mut dyn DeviceKeys, slot: Slot) -> Result<Option<[u8; 65]>, ExchangeError> {
    let Some(public) = keys.ldevid_public(slot)? else { return Ok(None) };
    Ok(TpmtPublic::parse(&public)?.p256_sec1())
}

impl Exchange {
    /// Begins: gives the first frame. A key that is in the slot already is taken: it was made for a certificate that
    /// never came, and making keys wears a TPM out.
    ///
    /// # Errors
    /// The TPM fails.
    pub fn begin(
        keys: &mut dyn DeviceKeys,
        request: &Request,
        exporter: [u8; 32],
    ) -> Result<(Self, DeviceFrame), ExchangeError> {
        let slot = request.slot();
        let ldevid_public = match keys.ldevid_public(slot)? {
            Some(public) => public,
            None => keys.create_ldevid(slot)?,
        };
        let ldevid_sec1 = TpmtPublic::parse(&ldevid_public)?.p256_sec1().ok_or(KeyError::EmptySlot(slot))?;
        let csr = signing_request(keys, slot)?;
        let device = own_id(keys)?;
        let agent_version = env!("CARGO_PKG_VERSION").to_owned();
        let frame = match request {
            Request::First { claim, model, introduction, .. } => DeviceFrame::Begin(Begin {
                ek_certificate: keys.ek_certificate()?,
                ek_chain: match introduction.ek_chain.as_slice() {
                    [] => presentable(keys.ek_chain()?),
                    configured => configured.to_vec(),
                },
                ek_public: keys.ek_public()?,
                ak_public: keys.ak_public()?,
                ldevid_public,
                csr: csr.clone(),
                claim: claim.clone(),
                model: model.clone(),
                agent_version,
                serial_number: introduction.serial_number.clone(),
                mac: introduction.mac,
            }),
            Request::Next { .. } => {
                DeviceFrame::RenewBegin(RenewBegin { ldevid_public, csr: csr.clone(), agent_version })
            }
        };
        let renewal = matches!(request, Request::Next { .. });
        Ok((Self { slot, renewal, exporter, csr, device, ldevid_sec1, answered: false }, frame))
    }

    /// Answers a frame of the hub.
    ///
    /// # Errors
    /// The hub sent what has no place here, or the TPM fails.
    pub fn answer(&mut self, keys: &mut dyn DeviceKeys, frame: HubFrame) -> Result<Step, ExchangeError> {
        match frame {
            HubFrame::Challenge(challenge) if !self.renewal && !self.answered => {
                self.finish(keys, &challenge)
            }
            HubFrame::RenewChallenge(challenge) if self.renewal && !self.answered => {
                self.renew_finish(keys, &challenge)
            }
            HubFrame::Issued(issued) if self.answered => {
                Ok(Step::End(Outcome::Issued(Box::new(self.accept(issued)?))))
            }
            HubFrame::Pending(pending) => {
                Ok(Step::End(Outcome::Pending { retry_after_s: pending.retry_after_s }))
            }
            HubFrame::Refused(refused) => Ok(Step::End(Outcome::Refused(refused))),
            other => Err(ExchangeError::Unexpected { found: name_of(&other), wanted: self.wanted() }),
        }
    }

    fn finish(&mut self, keys: &mut dyn DeviceKeys, challenge: &Challenge) -> Result<Step, ExchangeError> {
        let secret = Zeroizing::new(keys.activate(&challenge.credential_blob, &challenge.encrypted_secret)?);
        let binding = qualifying_data(&challenge.nonce, &self.exporter, &self.csr);
        let finish = Finish {
            session: challenge.session,
            proof: activation_proof(&secret, &challenge.nonce),
            certify: keys.certify(self.slot, &binding)?,
            quote: keys.quote(&challenge.pcr_selection, &binding)?,
            pcrs: keys.pcrs(&challenge.pcr_selection)?,
            event_log: keys.event_log(&challenge.pcr_selection)?,
        };
        self.answered = true;
        Ok(Step::Send(DeviceFrame::Finish(finish)))
    }

    fn renew_finish(
        &mut self,
        keys: &mut dyn DeviceKeys,
        challenge: &RenewChallenge,
    ) -> Result<Step, ExchangeError> {
        let binding = qualifying_data(&challenge.nonce, &self.exporter, &self.csr);
        let finish = RenewFinish {
            session: challenge.session,
            certify: keys.certify(self.slot, &binding)?,
            quote: keys.quote(&challenge.pcr_selection, &binding)?,
            pcrs: keys.pcrs(&challenge.pcr_selection)?,
            event_log: keys.event_log(&challenge.pcr_selection)?,
        };
        self.answered = true;
        Ok(Step::Send(DeviceFrame::RenewFinish(finish)))
    }

    /// The certificate must be for our key and name us: one that does not would lock us out at the next connection.
    fn accept(&self, issued: Issued) -> Result<Grant, ExchangeError> {
        let leaf = Leaf::read(&issued.certificate)?;
        if leaf.public_key != self.ldevid_sec1 {
            return Err(ExchangeError::Foreign("it is for another key than the one in the TPM"));
        }
        if leaf.principal.kind != Kind::Device
            || leaf.principal.id != self.device
            || issued.device != self.device
        {
            return Err(ExchangeError::Foreign("it names another device"));
        }
        if leaf.principal.tenant != issued.tenant {
            return Err(ExchangeError::Foreign("it names another tenant than the hub says"));
        }
        let chain =
            std::iter::once(issued.certificate).chain(issued.chain).map(CertificateDer::from).collect();
        Ok(Grant {
            slot: self.slot,
            chain,
            device: issued.device,
            tenant: issued.tenant,
            mqtt_endpoint: issued.mqtt_endpoint,
            renew_after_s: issued.renew_after_s,
        })
    }

    fn wanted(&self) -> &'static str {
        match (self.answered, self.renewal) {
            (true, _) => "a certificate or a refusal",
            (false, false) => "a challenge",
            (false, true) => "a challenge for a renewal",
        }
    }
}

/// A chain from a TPM's storage, if a frame takes it: what does not fit helps nobody, and the hub says what is missing.
fn presentable(chain: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let fits = chain.iter().all(|der| der.len() <= ENROLMENT_CERTIFICATE_BYTES_MAX)
        && chain.len() <= ENROLMENT_CHAIN_CERTIFICATES_MAX;
    if fits { chain } else { Vec::new() }
}

fn name_of(frame: &HubFrame) -> &'static str {
    match frame {
        HubFrame::Challenge(_) => "challenge",
        HubFrame::RenewChallenge(_) => "challenge for a renewal",
        HubFrame::Issued(_) => "certificate",
        HubFrame::Pending(_) => "delay",
        HubFrame::Refused(_) => "refusal",
        HubFrame::Quarantined(_) => "way back",
    }
}

#[cfg(test)]
mod tests;
