//! Frames to bytes.

use crate::{
    cbor::Writer,
    enrolment::{
        Attestation, Begin, Challenge, Event, Finish, Issued, LENGTH_PREFIX_BYTES, Quarantined, Recover,
        RenewBegin, RenewChallenge, RenewFinish,
    },
    limits::ENROLMENT_DETAIL_BYTES_MAX,
};

use super::{
    BEGIN, CHALLENGE, FINISH, ISSUED, QUARANTINED, RECOVER, RENEW_BEGIN, RENEW_CHALLENGE, RENEW_FINISH,
};

/// What a person may read: no control characters, and not longer than the bound.
pub(crate) fn presentable(detail: &str) -> String {
    let mut text: String = detail.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    text.truncate(text.floor_char_boundary(ENROLMENT_DETAIL_BYTES_MAX));
    text
}

pub(super) fn framed(write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::new(vec![0; LENGTH_PREFIX_BYTES]);
    write(&mut writer);
    let mut frame = writer.into_bytes();
    let length = u32::try_from(frame.len() - LENGTH_PREFIX_BYTES).unwrap_or(u32::MAX);
    for (place, byte) in frame.iter_mut().zip(length.to_be_bytes()) {
        *place = byte;
    }
    frame
}

pub(super) fn write_begin(w: &mut Writer, begin: &Begin) {
    let optional = [
        begin.ek_certificate.is_some(),
        begin.claim.is_some(),
        begin.serial_number.is_some(),
        begin.mac.is_some(),
    ];
    w.map(8 + optional.into_iter().filter(|present| *present).count()).unsigned(0).unsigned(BEGIN);
    if let Some(certificate) = &begin.ek_certificate {
        w.unsigned(1).bytes(certificate);
    }
    w.unsigned(2);
    write_chain(w, &begin.ek_chain);
    w.unsigned(3).bytes(&begin.ek_public);
    w.unsigned(4).bytes(&begin.ak_public);
    w.unsigned(5).bytes(&begin.ldevid_public);
    w.unsigned(6).bytes(&begin.csr);
    if let Some(claim) = &begin.claim {
        w.unsigned(7).text(claim);
    }
    w.unsigned(8).text(&begin.model);
    w.unsigned(9).text(&begin.agent_version);
    if let Some(serial_number) = &begin.serial_number {
        w.unsigned(10).text(serial_number);
    }
    if let Some(mac) = &begin.mac {
        w.unsigned(11).bytes(mac);
    }
}

pub(super) fn write_finish(w: &mut Writer, finish: &Finish) {
    w.map(7).unsigned(0).unsigned(FINISH);
    w.unsigned(1).bytes(&finish.session);
    w.unsigned(2).bytes(&finish.proof);
    w.unsigned(3);
    write_attestation(w, &finish.certify);
    w.unsigned(4);
    write_attestation(w, &finish.quote);
    w.unsigned(5);
    write_pcrs(w, &finish.pcrs);
    w.unsigned(6);
    write_events(w, &finish.event_log);
}

pub(super) fn write_recover(w: &mut Writer, recover: &Recover) {
    w.map(4).unsigned(0).unsigned(RECOVER);
    w.unsigned(1).bytes(&recover.ek_certificate);
    w.unsigned(2);
    write_chain(w, &recover.ek_chain);
    w.unsigned(3).bytes(&recover.ek_public);
}

pub(super) fn write_quarantined(w: &mut Writer, quarantined: &Quarantined) {
    w.map(3).unsigned(0).unsigned(QUARANTINED);
    w.unsigned(1).unsigned(quarantined.retry_after_s.into());
    w.unsigned(2).array(quarantined.approvals.len());
    for approval in &quarantined.approvals {
        w.bytes(approval);
    }
}

pub(super) fn write_renew_begin(w: &mut Writer, begin: &RenewBegin) {
    w.map(4).unsigned(0).unsigned(RENEW_BEGIN);
    w.unsigned(1).bytes(&begin.ldevid_public);
    w.unsigned(2).bytes(&begin.csr);
    w.unsigned(3).text(&begin.agent_version);
}

pub(super) fn write_renew_finish(w: &mut Writer, finish: &RenewFinish) {
    w.map(6).unsigned(0).unsigned(RENEW_FINISH);
    w.unsigned(1).bytes(&finish.session);
    w.unsigned(2);
    write_attestation(w, &finish.certify);
    w.unsigned(3);
    write_attestation(w, &finish.quote);
    w.unsigned(4);
    write_pcrs(w, &finish.pcrs);
    w.unsigned(5);
    write_events(w, &finish.event_log);
}

pub(super) fn write_challenge(w: &mut Writer, challenge: &Challenge) {
    w.map(6).unsigned(0).unsigned(CHALLENGE);
    w.unsigned(1).bytes(&challenge.session);
    w.unsigned(2).bytes(&challenge.nonce);
    w.unsigned(3).bytes(&challenge.credential_blob);
    w.unsigned(4).bytes(&challenge.encrypted_secret);
    w.unsigned(5).bytes(&challenge.pcr_selection);
}

pub(super) fn write_renew_challenge(w: &mut Writer, challenge: &RenewChallenge) {
    w.map(4).unsigned(0).unsigned(RENEW_CHALLENGE);
    w.unsigned(1).bytes(&challenge.session);
    w.unsigned(2).bytes(&challenge.nonce);
    w.unsigned(3).bytes(&challenge.pcr_selection);
}

pub(super) fn write_issued(w: &mut Writer, issued: &Issued) {
    w.map(8).unsigned(0).unsigned(ISSUED);
    w.unsigned(1).bytes(&issued.certificate);
    w.unsigned(2);
    write_chain(w, &issued.chain);
    w.unsigned(3).text(issued.device.as_str());
    w.unsigned(4).text(issued.tenant.as_str());
    w.unsigned(5).text(&issued.mqtt_endpoint);
    w.unsigned(6).unsigned(issued.renew_after_s);
    w.unsigned(7).unsigned(issued.hub_time_s);
}

fn write_chain(w: &mut Writer, chain: &[Vec<u8>]) {
    w.array(chain.len());
    for certificate in chain {
        w.bytes(certificate);
    }
}

pub(crate) fn write_attestation(w: &mut Writer, attestation: &Attestation) {
    w.array(2).bytes(&attestation.attest).bytes(&attestation.signature);
}

pub(crate) fn write_pcrs(w: &mut Writer, pcrs: &[[u8; 32]]) {
    w.array(pcrs.len());
    for pcr in pcrs {
        w.bytes(pcr);
    }
}

pub(crate) fn write_events(w: &mut Writer, events: &[Event]) {
    w.array(events.len());
    for event in events {
        w.array(4).unsigned(event.pcr.into()).bytes(&event.digest).text(&event.kind).text(&event.text);
    }
}
