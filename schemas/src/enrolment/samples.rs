//! Frames for the tests: one of each kind, and the largest.

use super::{
    Attestation, Begin, Challenge, DeviceFrame, Event, Finish, HubFrame, Issued, Pending, Quarantined,
    Recover, RefusalCode, Refused, RenewBegin, RenewChallenge, RenewFinish,
};
use crate::limits::{
    ENROLMENT_ATTEST_BYTES_MAX, ENROLMENT_CERTIFICATE_BYTES_MAX, ENROLMENT_CHAIN_CERTIFICATES_MAX,
    ENROLMENT_CSR_BYTES_MAX, ENROLMENT_EVENT_KIND_BYTES_MAX, ENROLMENT_EVENT_TEXT_BYTES_MAX,
    ENROLMENT_EVENTS_MAX, ENROLMENT_LABEL_BYTES_MAX, ENROLMENT_PCRS_MAX, ENROLMENT_PUBLIC_BYTES_MAX,
    ENROLMENT_SIGNATURE_BYTES_MAX,
};

fn attestation() -> Attestation {
    Attestation { attest: b"\xffTCG attest".to_vec(), signature: vec![0x00, 0x18, 0x00, 0x0b] }
}

fn event() -> Event {
    Event { pcr: 4, digest: [9; 32], kind: "boot-application".into(), text: "/boot/vmlinuz-6.12".into() }
}

/// One of each kind, and a [`Begin`] without what is optional.
pub fn device_frames() -> Vec<DeviceFrame> {
    let begin = Begin {
        ek_certificate: Some(b"certificate".to_vec()),
        ek_chain: vec![b"intermediate".to_vec()],
        ek_public: b"ek".to_vec(),
        ak_public: b"ak".to_vec(),
        ldevid_public: b"ldevid".to_vec(),
        csr: b"request".to_vec(),
        claim: Some("K7QM-3XNP-9RTW".into()),
        model: "pump-mk2".into(),
        agent_version: "0.1.0".into(),
        serial_number: Some("PMP-00017".into()),
        mac: Some([0x02, 0, 0, 0x5e, 0, 0x11]),
    };
    let bare = Begin {
        ek_certificate: None,
        ek_chain: vec![],
        claim: None,
        serial_number: None,
        mac: None,
        ..begin.clone()
    };
    vec![
        DeviceFrame::Begin(begin),
        DeviceFrame::Begin(bare),
        DeviceFrame::Finish(Finish {
            session: [1; 16],
            proof: [2; 32],
            certify: attestation(),
            quote: attestation(),
            pcrs: vec![[3; 32], [4; 32]],
            event_log: vec![event()],
        }),
        DeviceFrame::RenewBegin(RenewBegin {
            ldevid_public: b"ldevid".to_vec(),
            csr: b"request".to_vec(),
            agent_version: "0.1.0".into(),
        }),
        DeviceFrame::RenewFinish(RenewFinish {
            session: [1; 16],
            certify: attestation(),
            quote: attestation(),
            pcrs: vec![],
            event_log: vec![event(), event()],
        }),
        DeviceFrame::Recover(Recover {
            ek_certificate: b"certificate".to_vec(),
            ek_chain: vec![],
            ek_public: b"ek".to_vec(),
        }),
    ]
}

/// One of each kind.
pub fn hub_frames() -> Vec<HubFrame> {
    vec![
        HubFrame::Challenge(Challenge {
            session: [1; 16],
            nonce: [2; 32],
            credential_blob: vec![3; 52],
            encrypted_secret: vec![4; 68],
            pcr_selection: vec![0, 2, 4, 7],
        }),
        HubFrame::RenewChallenge(RenewChallenge { session: [1; 16], nonce: [2; 32], pcr_selection: vec![0] }),
        HubFrame::Issued(Issued {
            certificate: b"certificate".to_vec(),
            chain: vec![b"device authority".to_vec()],
            device: "4k7qm3xnp9rtw2abcdef".parse().expect("an id"),
            tenant: "acme".parse().expect("an id"),
            mqtt_endpoint: "hub.muster.example:8883".into(),
            renew_after_s: 302_400,
            hub_time_s: 1_790_000_000,
        }),
        HubFrame::Pending(Pending { retry_after_s: 60 }),
        HubFrame::Refused(Refused { code: RefusalCode::UnknownChip, detail: "nobody claimed it".into() }),
        HubFrame::Quarantined(Quarantined { retry_after_s: 60, approvals: vec![b"approval".to_vec()] }),
    ]
}

/// Frames whose every field is at its bound.
pub fn largest_device_frames() -> Vec<DeviceFrame> {
    let certificate = vec![1; ENROLMENT_CERTIFICATE_BYTES_MAX];
    let public = vec![2; ENROLMENT_PUBLIC_BYTES_MAX];
    let label = "m".repeat(ENROLMENT_LABEL_BYTES_MAX);
    let attestation = Attestation {
        attest: vec![3; ENROLMENT_ATTEST_BYTES_MAX],
        signature: vec![4; ENROLMENT_SIGNATURE_BYTES_MAX],
    };
    let event = Event {
        pcr: 23,
        digest: [5; 32],
        kind: "k".repeat(ENROLMENT_EVENT_KIND_BYTES_MAX),
        text: "t".repeat(ENROLMENT_EVENT_TEXT_BYTES_MAX),
    };
    vec![
        DeviceFrame::Begin(Begin {
            ek_certificate: Some(certificate.clone()),
            ek_chain: vec![certificate; ENROLMENT_CHAIN_CERTIFICATES_MAX],
            ek_public: public.clone(),
            ak_public: public.clone(),
            ldevid_public: public,
            csr: vec![6; ENROLMENT_CSR_BYTES_MAX],
            claim: Some(label.clone()),
            model: label.clone(),
            agent_version: label.clone(),
            serial_number: Some(label),
            mac: Some([0xff; 6]),
        }),
        DeviceFrame::Finish(Finish {
            session: [7; 16],
            proof: [8; 32],
            certify: attestation.clone(),
            quote: attestation,
            pcrs: vec![[9; 32]; ENROLMENT_PCRS_MAX],
            event_log: vec![event; ENROLMENT_EVENTS_MAX],
        }),
    ]
}
