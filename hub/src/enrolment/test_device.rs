//! A device with soft keys that speaks `muster-enroll/1`, honestly unless a test makes it otherwise, and the
//! installation that it enrols at.

use std::sync::Arc;

use muster_schemas::enrolment::{
    Begin, Challenge, DeviceFrame, Event, Finish, HubFrame, Issued, RefusalCode, RenewBegin, RenewChallenge,
    RenewFinish, frame_length,
};
use muster_tpm::{
    binding::{activation_proof, qualifying_data},
    csr::signing_request,
    endorsement::{EndorsementRoots, TpmClass},
    keys::{DeviceKeys as _, Slot},
    manufacturer::SimulatedManufacturer,
    soft::SimulatedSoftwareKeys,
    verifier::quoted_only,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::core::Policy;
use crate::authority::{Authority, Role, TrustBundle};

pub const NOW_S: u64 = 1_800_000_000;
pub const WEEK_S: u64 = 7 * 86_400;

/// What a hub decides once, and what its listener reads certificates with.
pub fn installation() -> (Policy, TrustBundle) {
    let root = SimulatedManufacturer::well_known().expect("manufacturer").root_certificate().to_vec();
    let trust_domain = "muster.example".parse().expect("domain");
    let root_authority = Authority::new_root(&trust_domain, NOW_S).expect("root");
    let authority = root_authority.new_intermediate(Role::Device, NOW_S).expect("authority");
    let devices = [(Role::Device, authority.certificate())];
    let bundle = TrustBundle::new(root_authority.certificate(), devices).expect("bundle");
    let policy = Policy {
        roots: Arc::new(EndorsementRoots::new(vec![(root, TpmClass::Simulated)]).expect("roots")),
        authority: Arc::new(authority),
        certificate_life_s: WEEK_S,
        mqtt_endpoint: "hub.example:8883".to_owned(),
    };
    (policy, bundle)
}

pub struct TestDevice {
    pub keys: SimulatedSoftwareKeys,
    pub slot: Slot,
    pub claim: Option<String>,
    events: Vec<Event>,
}

impl TestDevice {
    pub fn new(seed: u8) -> Self {
        let manufacturer = SimulatedManufacturer::well_known().expect("manufacturer");
        let mut keys = SimulatedSoftwareKeys::new(&[seed; 32], &manufacturer).expect("keys");
        keys.create_ldevid(Slot::A).expect("created");
        keys.extend(9, &[seed; 32]).expect("extended");
        let text = "image".to_owned();
        let events = vec![Event { pcr: 9, digest: [seed; 32], kind: "boot".to_owned(), text }];
        Self { keys, slot: Slot::A, claim: None, events }
    }

    pub fn claiming(seed: u8, claim: &str) -> Self {
        Self { claim: Some(claim.to_owned()), ..Self::new(seed) }
    }

    pub fn begin(&mut self) -> Begin {
        Begin {
            ek_certificate: self.keys.ek_certificate().expect("certificate"),
            ek_chain: Vec::new(),
            ek_public: self.keys.ek_public().expect("key"),
            ak_public: self.keys.ak_public().expect("key"),
            ldevid_public: self.ldevid(),
            csr: self.csr(),
            claim: self.claim.clone(),
            model: "soft".to_owned(),
            agent_version: "0.1.0".to_owned(),
            serial_number: None,
            mac: None,
        }
    }

    pub fn finish(&mut self, challenge: &Challenge, exporter: &[u8; 32]) -> Finish {
        let secret =
            self.keys.activate(&challenge.credential_blob, &challenge.encrypted_secret).expect("opens");
        let binding = qualifying_data(&challenge.nonce, exporter, &self.csr());
        Finish {
            session: challenge.session,
            proof: activation_proof(&secret, &challenge.nonce),
            certify: self.keys.certify(self.slot, &binding).expect("certified"),
            quote: self.keys.quote(&challenge.pcr_selection, &binding).expect("quoted"),
            pcrs: self.keys.pcrs(&challenge.pcr_selection).expect("read"),
            event_log: quoted_only(&self.events, &challenge.pcr_selection),
        }
    }

    pub fn renew_begin(&mut self) -> RenewBegin {
        RenewBegin { ldevid_public: self.ldevid(), csr: self.csr(), agent_version: "0.2.0".to_owned() }
    }

    pub fn renew_finish(&mut self, challenge: &RenewChallenge, exporter: &[u8; 32]) -> RenewFinish {
        let binding = qualifying_data(&challenge.nonce, exporter, &self.csr());
        RenewFinish {
            session: challenge.session,
            certify: self.keys.certify(self.slot, &binding).expect("certified"),
            quote: self.keys.quote(&challenge.pcr_selection, &binding).expect("quoted"),
            pcrs: self.keys.pcrs(&challenge.pcr_selection).expect("read"),
            event_log: quoted_only(&self.events, &challenge.pcr_selection),
        }
    }

    /// As before a renewal: a new key in the other slot.
    pub fn turn_slot(&mut self) {
        self.slot = self.slot.other();
        self.keys.create_ldevid(self.slot).expect("created");
    }

    fn ldevid(&mut self) -> Vec<u8> {
        self.keys.ldevid_public(self.slot).expect("read").expect("a key")
    }

    fn csr(&mut self) -> Vec<u8> {
        signing_request(&mut self.keys, self.slot).expect("signed")
    }
}

/// The device's end of a connection.
pub struct Line {
    pub stream: DuplexStream,
}

impl Line {
    pub async fn send(&mut self, frame: DeviceFrame) {
        self.stream.write_all(&frame.encode()).await.expect("sent");
    }

    pub async fn receive(&mut self) -> HubFrame {
        let mut prefix = [0; 4];
        self.stream.read_exact(&mut prefix).await.expect("a frame");
        let mut body = vec![0; frame_length(prefix).expect("a length")];
        self.stream.read_exact(&mut body).await.expect("a whole frame");
        HubFrame::decode(&body).expect("well formed")
    }

    pub async fn ask(&mut self, frame: DeviceFrame) -> HubFrame {
        self.send(frame).await;
        self.receive().await
    }

    pub async fn is_closed(&mut self) -> bool {
        self.stream.read(&mut [0]).await.expect("read") == 0
    }
}

pub fn challenged(frame: HubFrame) -> Challenge {
    let HubFrame::Challenge(challenge) = frame else { panic!("not challenged: {frame:?}") };
    challenge
}

pub fn renewal_challenged(frame: HubFrame) -> RenewChallenge {
    let HubFrame::RenewChallenge(challenge) = frame else { panic!("not challenged: {frame:?}") };
    challenge
}

pub fn issued(frame: HubFrame) -> Issued {
    let HubFrame::Issued(issued) = frame else { panic!("not issued: {frame:?}") };
    issued
}

pub fn refusal(frame: HubFrame) -> RefusalCode {
    let HubFrame::Refused(refused) = frame else { panic!("not refused: {frame:?}") };
    assert!(!refused.detail.is_empty());
    refused.code
}
