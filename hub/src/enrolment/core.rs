//! The decisions of enrolment, in the order of the protocol; whatever is not sound is refused with its code, and the
//! first thing that is not ends the exchange. Knows no connection and no registry: it asks for an owner and says what
//! to write. It signs, because signing is as pure as checking.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use muster_schemas::{
    DeviceId, Kind, Principal, TenantId,
    enrolment::{
        Begin, Challenge, Finish, HubFrame, Issued, Recover, RefusalCode, RenewBegin, RenewChallenge,
        RenewFinish,
    },
};
use muster_tpm::{
    endorsement::EndorsementRoots,
    verifier::{
        self, Candidate, Evidence, Expected, Rejection, RenewCandidate, RenewExpected, check_begin,
        check_finish, check_recover, check_renew_begin, check_renew_finish, device_id,
    },
    wire::TpmtPublic,
};
use zeroize::Zeroizing;

use super::{
    limits::{
        BEGINS_BURST, BEGINS_PER_S, RENEWAL_JITTER_PERCENT, RENEWALS_BURST, RENEWALS_PER_S, SESSIONS_MAX,
        SOURCE_BEGINS_BURST, SOURCE_BEGINS_PER_S, SOURCES_MAX,
    },
    rate::{Allowance, Rate, SourceAllowances},
    session::Sessions,
};
use crate::{
    authority::{self, Authority, Leaf, PublicKey, Serial},
    random::{self, Random},
    registry::{
        Certificate, Device, Ownership,
        admissions::row::{ChipName, Mac, Registers},
        firmware_approval::FindApprovals,
        life::QuoteFacts,
        message::{Enrol, FindOwner, Renewed, Shown},
    },
};

/// When something happens: for deadlines, and for certificates.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Monotonic.
    pub instant: Instant,
    /// Seconds since 1970.
    pub unix_s: u64,
}

/// What is decided once for all enrolments.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Whose TPMs are genuine.
    pub roots: Arc<EndorsementRoots>,
    /// Who signs devices' certificates.
    pub authority: Arc<Authority>,
    /// How long a certificate lives, in seconds.
    pub certificate_life_s: u64,
    /// Where devices speak MQTT, as `host:port`; empty means where they enrolled.
    pub mqtt_endpoint: String,
}

/// A chip whose claims are sound: its owner is to be found.
#[derive(Debug)]
pub struct Claimant {
    /// What to ask the registry.
    pub owner: FindOwner,
    candidate: Candidate,
    agent_version: String,
}

/// An exchange that ends without a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What the device is told.
    pub rejection: Rejection,
    /// The chip that it showed, as far as that was read.
    pub ek_hash: Option<[u8; 32]>,
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        Self { rejection, ek_hash: None }
    }
}

/// A certificate that was signed, and what has to be durable before it leaves the hub.
#[derive(Debug)]
pub struct Grant<W> {
    /// What to write to the registry.
    pub write: W,
    /// What to send afterwards.
    pub reply: HubFrame,
}

/// What the second frame of a first enrolment is judged by.
struct PendingEnrolment {
    claimant: Claimant,
    tenant: TenantId,
    /// The registers that the quote has to cover.
    registers: Vec<u8>,
    nonce: [u8; 32],
    secret: Zeroizing<[u8; 32]>,
}

/// What the second frame of a renewal is judged by.
struct PendingRenewal {
    candidate: RenewCandidate,
    ak_public: TpmtPublic,
    agent_version: String,
    tenant: TenantId,
    device: DeviceId,
    ek_hash: [u8; 32],
    presented: Serial,
    registers: Vec<u8>,
    nonce: [u8; 32],
}

/// The hub's side of `muster-enroll/1`.
pub struct Enrolment {
    policy: Policy,
    random: Random,
    begins: SourceAllowances,
    renewals: Allowance,
    sessions: Sessions<Box<PendingEnrolment>>,
    /// Those of renewals have room of their own, which strangers cannot use up.
    renewing: Sessions<Box<PendingRenewal>>,
}

impl Enrolment {
    /// No exchange yet, and full allowances.
    pub fn new(policy: Policy, random: Random, now: Instant) -> Self {
        let begins = Rate { burst: BEGINS_BURST, per_s: BEGINS_PER_S };
        let source = Rate { burst: SOURCE_BEGINS_BURST, per_s: SOURCE_BEGINS_PER_S };
        let renewals = Rate { burst: RENEWALS_BURST, per_s: RENEWALS_PER_S };
        Self {
            policy,
            random,
            begins: SourceAllowances::new(begins, source, SOURCES_MAX, now),
            renewals: Allowance::new(renewals, now),
            sessions: Sessions::new(SESSIONS_MAX),
            renewing: Sessions::new(SESSIONS_MAX),
        }
    }

    /// Judges the first frame of a first enrolment: rates, certificate, keys, signing request.
    ///
    /// # Errors
    /// The first check that fails.
    pub fn begin(&mut self, now: Now, source: IpAddr, begin: Begin) -> Result<Claimant, Refusal> {
        self.begins.take(source, now.instant).map_err(limited)?;
        check_room(&mut self.sessions, now)?;
        let candidate = check_begin(&begin, &self.policy.roots, now.unix_s).map_err(|rejection| {
            let shown = TpmtPublic::parse(&begin.ek_public).ok();
            Refusal { rejection, ek_hash: shown.map(|ek| verifier::ek_hash(&ek)) }
        })?;
        let ek_hash = candidate.ek_hash;
        let endorsement = candidate.endorsement.as_ref();
        let shown = Shown {
            certificate: endorsement.map(|e| ChipName::certificate(e.issuer_spki_sha256, &e.serial)),
            serial_number: begin.serial_number,
            mac: begin.mac.map(Mac),
        };
        let owner = FindOwner {
            ek_hash,
            device: device_id(&ek_hash),
            class: endorsement.map(|endorsement| endorsement.class),
            model: begin.model,
            claim: begin.claim,
            shown,
        };
        Ok(Claimant { owner, candidate, agent_version: begin.agent_version })
    }

    /// Judges who asks for a way back: rates, and which chip it says it is. It proves nothing, and gets nothing secret.
    ///
    /// # Errors
    /// The first check that fails.
    pub fn recover(&mut self, now: Now, source: IpAddr, recover: &Recover) -> Result<FindApprovals, Refusal> {
        self.begins.take(source, now.instant).map_err(limited)?;
        let ek_hash = check_recover(recover, &self.policy.roots, now.unix_s)?;
        Ok(FindApprovals { device: device_id(&ek_hash), ek_hash })
    }

    /// Challenges a chip that has an owner.
    ///
    /// # Errors
    /// The endorsement key is no valid key, or too many exchanges wait.
    pub fn challenge(
        &mut self,
        now: Now,
        exporter: &[u8; 32],
        claimant: Claimant,
        ownership: Ownership,
    ) -> Result<HubFrame, Refusal> {
        let ek_hash = Some(claimant.owner.ek_hash);
        let (session, nonce) = (random::array(&mut self.random), random::array(&mut self.random));
        let secret = Zeroizing::new(random::array(&mut self.random));
        let credential = verifier::challenge(&claimant.candidate, &secret, &mut self.random)
            .map_err(|error| refuse(RefusalCode::UnsuitableEndorsementKey, format!("failed to {error}")))
            .map_err(|rejection| Refusal { rejection, ek_hash })?;
        let Ownership { tenant, registers, .. } = ownership;
        let pcr_selection = registers.clone();
        let pending = PendingEnrolment { claimant, tenant, registers, nonce, secret };
        wait(&mut self.sessions, session, exporter, Box::new(pending), now)?;
        Ok(HubFrame::Challenge(Challenge {
            session,
            nonce,
            credential_blob: credential.credential_blob,
            encrypted_secret: credential.encrypted_secret,
            pcr_selection,
        }))
    }

    /// Judges the second frame of a first enrolment, and signs.
    ///
    /// # Errors
    /// The exchange is not one of this connection, or has ended, or the proof does not hold.
    pub fn finish(
        &mut self,
        now: Now,
        exporter: &[u8; 32],
        finish: &Finish,
    ) -> Result<Grant<Enrol>, Refusal> {
        let pending = self.sessions.take(&finish.session, exporter, now.instant).map_err(no_session)?;
        let ek_hash = Some(pending.claimant.owner.ek_hash);
        let expected = Expected {
            nonce: pending.nonce,
            exporter: *exporter,
            secret: *pending.secret,
            pcr_selection: pending.registers.clone(),
        };
        let granted = check_finish(&pending.claimant.candidate, &expected, finish)
            .and_then(|evidence| self.grant_enrolment(now, *pending, &evidence));
        granted.map_err(|rejection| Refusal { rejection, ek_hash })
    }

    /// Judges the first frame of a renewal: `leaf` is the certificate that the connection was made with, and `device`
    /// the row of the registry that it belongs to; its tenant wants these `registers` quoted.
    ///
    /// # Errors
    /// The first check that fails.
    pub fn renew_begin(
        &mut self,
        now: Now,
        exporter: &[u8; 32],
        leaf: &Leaf,
        device: &Device,
        registers: Vec<u8>,
        begin: RenewBegin,
    ) -> Result<HubFrame, Refusal> {
        let of_chip = |rejection| Refusal { rejection, ek_hash: Some(device.ek_hash) };
        self.renewals.take(now.instant).map_err(limited).map_err(of_chip)?;
        check_room(&mut self.renewing, now)?;
        let candidate = check_renew_begin(&begin).map_err(of_chip)?;
        let ak_public = TpmtPublic::parse(&device.ak_public).map_err(|error| {
            let detail = format!("the registry's attestation key of this device would {error}");
            of_chip(refuse(RefusalCode::HubUnavailable, detail))
        })?;
        let (session, nonce) = (random::array(&mut self.random), random::array(&mut self.random));
        let pending = PendingRenewal {
            candidate,
            ak_public,
            agent_version: begin.agent_version,
            tenant: device.tenant.clone(),
            device: device.id.clone(),
            ek_hash: device.ek_hash,
            presented: leaf.serial,
            registers: registers.clone(),
            nonce,
        };
        wait(&mut self.renewing, session, exporter, Box::new(pending), now)?;
        Ok(HubFrame::RenewChallenge(RenewChallenge { session, nonce, pcr_selection: registers }))
    }

    /// Judges the second frame of a renewal, and signs.
    ///
    /// # Errors
    /// The exchange is not one of this connection, or has ended, or the proof does not hold.
    pub fn renew_finish(
        &mut self,
        now: Now,
        exporter: &[u8; 32],
        finish: &RenewFinish,
    ) -> Result<Grant<Renewed>, Refusal> {
        let pending = self.renewing.take(&finish.session, exporter, now.instant).map_err(no_session)?;
        let ek_hash = Some(pending.ek_hash);
        let expected = RenewExpected {
            nonce: pending.nonce,
            exporter: *exporter,
            pcr_selection: pending.registers.clone(),
        };
        let granted = check_renew_finish(&pending.candidate, &pending.ak_public, &expected, finish)
            .and_then(|evidence| self.grant_renewal(now, *pending, &evidence));
        granted.map_err(|rejection| Refusal { rejection, ek_hash })
    }

    /// How many exchanges wait for their second frame.
    pub fn pending(&self) -> usize {
        self.sessions.len() + self.renewing.len()
    }

    fn grant_enrolment(
        &mut self,
        now: Now,
        pending: PendingEnrolment,
        evidence: &Evidence,
    ) -> Result<Grant<Enrol>, Rejection> {
        let PendingEnrolment { claimant, tenant, .. } = pending;
        let Claimant { owner, candidate, agent_version } = claimant;
        let issued = self.sign(now, &tenant, &owner.device, &candidate.ldevid_sec1)?;
        let reply = self.issued(now, &issued, &tenant, &owner.device);
        let write = Enrol {
            chip: owner,
            tenant,
            ak_public: candidate.ak_public.marshal(),
            ak_name: candidate.ak_name,
            certificate: Certificate::of(&issued.leaf),
            reset_count: evidence.reset_count,
            clock_ms: evidence.clock_ms,
            agent_version,
            quote: quote_facts(evidence),
            measured: Registers(evidence.pcrs.clone()),
        };
        Ok(Grant { write, reply })
    }

    fn grant_renewal(
        &mut self,
        now: Now,
        pending: PendingRenewal,
        evidence: &Evidence,
    ) -> Result<Grant<Renewed>, Rejection> {
        let PendingRenewal { candidate, agent_version, tenant, device, presented, .. } = pending;
        let issued = self.sign(now, &tenant, &device, &candidate.ldevid_sec1)?;
        let reply = self.issued(now, &issued, &tenant, &device);
        let write = Renewed {
            tenant,
            device,
            presented,
            certificate: Certificate::of(&issued.leaf),
            reset_count: evidence.reset_count,
            clock_ms: evidence.clock_ms,
            agent_version,
            quote: quote_facts(evidence),
            measured: Registers(evidence.pcrs.clone()),
        };
        Ok(Grant { write, reply })
    }

    fn sign(
        &self,
        now: Now,
        tenant: &TenantId,
        device: &DeviceId,
        ldevid_sec1: &[u8; 65],
    ) -> Result<authority::Issued, Rejection> {
        let Policy { authority, certificate_life_s, .. } = &self.policy;
        let key = PublicKey::from_sec1(ldevid_sec1).map_err(|error| {
            refuse(
                RefusalCode::UnsuitableIdentityKey,
                format!("the identity key is no key to certify: {error}"),
            )
        })?;
        let principal = Principal {
            trust_domain: authority.trust_domain().clone(),
            tenant: tenant.clone(),
            kind: Kind::Device,
            id: device.clone(),
        };
        authority
            .issue_device(&key, &principal, now.unix_s, *certificate_life_s)
            .map_err(|error| refuse(RefusalCode::HubUnavailable, format!("the hub failed to {error}")))
    }

    fn issued(
        &mut self,
        now: Now,
        issued: &authority::Issued,
        tenant: &TenantId,
        device: &DeviceId,
    ) -> HubFrame {
        let life_s = issued.leaf.not_after_s.saturating_sub(now.unix_s);
        HubFrame::Issued(Issued {
            certificate: issued.certificate.to_vec(),
            chain: vec![self.policy.authority.certificate().to_vec()],
            device: device.clone(),
            tenant: tenant.clone(),
            mqtt_endpoint: self.policy.mqtt_endpoint.clone(),
            renew_after_s: renew_after_s(life_s, random::array(&mut self.random)),
            hub_time_s: now.unix_s,
        })
    }
}

fn check_room<T>(sessions: &mut Sessions<T>, now: Now) -> Result<(), Rejection> {
    if sessions.has_room(now.instant) { Ok(()) } else { Err(busy()) }
}

fn wait<T>(
    sessions: &mut Sessions<T>,
    session: [u8; 16],
    exporter: &[u8; 32],
    pending: T,
    now: Now,
) -> Result<(), Rejection> {
    let waits = sessions.insert(session, *exporter, pending, now.instant);
    if waits { Ok(()) } else { Err(busy()) }
}

/// Half of what a certificate has to live, give or take a tenth, so that devices enrolled together renew apart.
fn renew_after_s(life_s: u64, random: [u8; 8]) -> u64 {
    let half = life_s / 2;
    let jitter = half / 100 * RENEWAL_JITTER_PERCENT + half % 100 * RENEWAL_JITTER_PERCENT / 100;
    half - jitter + u64::from_be_bytes(random) % (2 * jitter + 1)
}

fn quote_facts(evidence: &Evidence) -> QuoteFacts {
    let Evidence { restart_count, firmware_version, .. } = *evidence;
    QuoteFacts { restart_count, firmware_version }
}

fn refuse(code: RefusalCode, detail: impl Into<String>) -> Rejection {
    Rejection::new(code, detail)
}

fn limited(wait: Duration) -> Rejection {
    let wait_s = wait.as_secs() + 1;
    refuse(
        RefusalCode::RateLimited,
        format!("too many devices begin at this moment; come back in {wait_s} s"),
    )
}

fn busy() -> Rejection {
    refuse(RefusalCode::RateLimited, "too many exchanges wait for their second frame; come back in a minute")
}

fn no_session(code: RefusalCode) -> Rejection {
    let detail = match code {
        RefusalCode::SessionExpired => "the answer to the challenge came after more than a minute",
        RefusalCode::WrongChannel => "the challenge was sent on another connection",
        _ => "there is no such challenge: it was answered before, or the hub was restarted",
    };
    refuse(code, detail)
}

#[cfg(test)]
#[path = "core_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "attacks.rs"]
mod attacks;
