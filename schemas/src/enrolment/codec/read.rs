//! Bytes to frames.

use super::InvalidFrame;
use crate::{
    cbor::{Fields, Reader},
    enrolment::{
        Attestation, Begin, Challenge, Event, Finish, Issued, Quarantined, Recover, RenewBegin,
        RenewChallenge, RenewFinish,
    },
    limits::{
        ENROLMENT_APPROVAL_BYTES_MAX, ENROLMENT_APPROVALS_MAX, ENROLMENT_ATTEST_BYTES_MAX,
        ENROLMENT_CERTIFICATE_BYTES_MAX, ENROLMENT_CHAIN_CERTIFICATES_MAX, ENROLMENT_CREDENTIAL_BYTES_MAX,
        ENROLMENT_CSR_BYTES_MAX, ENROLMENT_ENDPOINT_BYTES_MAX, ENROLMENT_EVENT_KIND_BYTES_MAX,
        ENROLMENT_EVENT_TEXT_BYTES_MAX, ENROLMENT_EVENTS_MAX, ENROLMENT_FRAME_BYTES_MAX,
        ENROLMENT_FRAME_KEYS_MAX, ENROLMENT_LABEL_BYTES_MAX, ENROLMENT_PCRS_MAX, ENROLMENT_PUBLIC_BYTES_MAX,
        ENROLMENT_SECRET_BYTES_MAX, ENROLMENT_SIGNATURE_BYTES_MAX, ID_BYTES_MAX,
    },
};

pub(crate) fn decode<T>(
    body: &[u8],
    read: impl FnOnce(&mut Frame<'_>, u64) -> Result<T, InvalidFrame>,
) -> Result<T, InvalidFrame> {
    if body.len() > ENROLMENT_FRAME_BYTES_MAX {
        return Err(InvalidFrame::TooLong);
    }
    let mut reader = Reader::strict(body);
    let fields = reader.fields(ENROLMENT_FRAME_KEYS_MAX)?;
    let mut frame = Frame { reader, fields };
    let whole = frame.unsigned(0, u64::MAX).and_then(|kind| read(&mut frame, kind)).and_then(|value| {
        frame.fields.end(&mut frame.reader)?;
        Ok(value)
    });
    match whole {
        Ok(value) => {
            frame.reader.finish()?;
            Ok(value)
        }
        Err(InvalidFrame::Cbor { cause, .. }) => {
            Err(InvalidFrame::Cbor { key: frame.fields.last_key(), cause })
        }
        Err(other) => Err(other),
    }
}

pub(super) fn read_begin(frame: &mut Frame<'_>) -> Result<Begin, InvalidFrame> {
    Ok(Begin {
        ek_certificate: match frame.has(1)? {
            true => Some(frame.reader.bytes(ENROLMENT_CERTIFICATE_BYTES_MAX)?.to_vec()),
            false => None,
        },
        ek_chain: frame.chain(2)?,
        ek_public: frame.bytes(3, ENROLMENT_PUBLIC_BYTES_MAX)?,
        ak_public: frame.bytes(4, ENROLMENT_PUBLIC_BYTES_MAX)?,
        ldevid_public: frame.bytes(5, ENROLMENT_PUBLIC_BYTES_MAX)?,
        csr: frame.bytes(6, ENROLMENT_CSR_BYTES_MAX)?,
        claim: match frame.has(7)? {
            true => Some(frame.text_value(7, ENROLMENT_LABEL_BYTES_MAX)?),
            false => None,
        },
        model: frame.text(8, ENROLMENT_LABEL_BYTES_MAX)?,
        agent_version: frame.text(9, ENROLMENT_LABEL_BYTES_MAX)?,
        serial_number: match frame.has(10)? {
            true => Some(frame.text_value(10, ENROLMENT_LABEL_BYTES_MAX)?),
            false => None,
        },
        mac: match frame.has(11)? {
            true => Some(frame.reader.array_of_bytes()?),
            false => None,
        },
    })
}

pub(super) fn read_finish(frame: &mut Frame<'_>) -> Result<Finish, InvalidFrame> {
    Ok(Finish {
        session: frame.exactly(1)?,
        proof: frame.exactly(2)?,
        certify: frame.attestation(3)?,
        quote: frame.attestation(4)?,
        pcrs: frame.pcrs(5)?,
        event_log: frame.events(6)?,
    })
}

pub(super) fn read_recover(frame: &mut Frame<'_>) -> Result<Recover, InvalidFrame> {
    Ok(Recover {
        ek_certificate: frame.bytes(1, ENROLMENT_CERTIFICATE_BYTES_MAX)?,
        ek_chain: frame.chain(2)?,
        ek_public: frame.bytes(3, ENROLMENT_PUBLIC_BYTES_MAX)?,
    })
}

pub(super) fn read_quarantined(frame: &mut Frame<'_>) -> Result<Quarantined, InvalidFrame> {
    let retry_after_s = u32::try_from(frame.unsigned(1, u32::MAX.into())?).unwrap_or(u32::MAX);
    frame.require(2)?;
    let mut approvals = Vec::new();
    let mut items = frame.reader.array(ENROLMENT_APPROVALS_MAX)?;
    while frame.reader.more(&mut items)? {
        approvals.push(frame.reader.bytes(ENROLMENT_APPROVAL_BYTES_MAX)?.to_vec());
    }
    Ok(Quarantined { retry_after_s, approvals })
}

pub(super) fn read_renew_begin(frame: &mut Frame<'_>) -> Result<RenewBegin, InvalidFrame> {
    Ok(RenewBegin {
        ldevid_public: frame.bytes(1, ENROLMENT_PUBLIC_BYTES_MAX)?,
        csr: frame.bytes(2, ENROLMENT_CSR_BYTES_MAX)?,
        agent_version: frame.text(3, ENROLMENT_LABEL_BYTES_MAX)?,
    })
}

pub(super) fn read_renew_finish(frame: &mut Frame<'_>) -> Result<RenewFinish, InvalidFrame> {
    Ok(RenewFinish {
        session: frame.exactly(1)?,
        certify: frame.attestation(2)?,
        quote: frame.attestation(3)?,
        pcrs: frame.pcrs(4)?,
        event_log: frame.events(5)?,
    })
}

pub(super) fn read_challenge(frame: &mut Frame<'_>) -> Result<Challenge, InvalidFrame> {
    Ok(Challenge {
        session: frame.exactly(1)?,
        nonce: frame.exactly(2)?,
        credential_blob: frame.bytes(3, ENROLMENT_CREDENTIAL_BYTES_MAX)?,
        encrypted_secret: frame.bytes(4, ENROLMENT_SECRET_BYTES_MAX)?,
        pcr_selection: frame.pcr_selection(5)?,
    })
}

pub(super) fn read_renew_challenge(frame: &mut Frame<'_>) -> Result<RenewChallenge, InvalidFrame> {
    Ok(RenewChallenge {
        session: frame.exactly(1)?,
        nonce: frame.exactly(2)?,
        pcr_selection: frame.pcr_selection(3)?,
    })
}

pub(super) fn read_issued(frame: &mut Frame<'_>) -> Result<Issued, InvalidFrame> {
    Ok(Issued {
        certificate: frame.bytes(1, ENROLMENT_CERTIFICATE_BYTES_MAX)?,
        chain: frame.chain(2)?,
        device: frame.text(3, ID_BYTES_MAX)?.parse().map_err(InvalidFrame::Id)?,
        tenant: frame.text(4, ID_BYTES_MAX)?.parse().map_err(InvalidFrame::Id)?,
        mqtt_endpoint: frame.text(5, ENROLMENT_ENDPOINT_BYTES_MAX)?,
        renew_after_s: frame.unsigned(6, u64::MAX)?,
        hub_time_s: frame.unsigned(7, u64::MAX)?,
    })
}

/// A frame that is being read.
pub(crate) struct Frame<'a> {
    reader: Reader<'a>,
    fields: Fields,
}

impl Frame<'_> {
    fn has(&mut self, key: u64) -> Result<bool, InvalidFrame> {
        Ok(self.fields.optional(&mut self.reader, key)?)
    }

    fn require(&mut self, key: u64) -> Result<(), InvalidFrame> {
        Ok(self.fields.require(&mut self.reader, key)?)
    }

    pub(super) fn unsigned(&mut self, key: u64, max: u64) -> Result<u64, InvalidFrame> {
        self.require(key)?;
        Ok(self.reader.unsigned(max)?)
    }

    fn bytes(&mut self, key: u64, max: usize) -> Result<Vec<u8>, InvalidFrame> {
        self.require(key)?;
        Ok(self.reader.bytes(max)?.to_vec())
    }

    pub(crate) fn exactly<const N: usize>(&mut self, key: u64) -> Result<[u8; N], InvalidFrame> {
        self.require(key)?;
        Ok(self.reader.array_of_bytes()?)
    }

    pub(crate) fn text(&mut self, key: u64, max: usize) -> Result<String, InvalidFrame> {
        self.require(key)?;
        self.text_value(key, max)
    }

    fn text_value(&mut self, key: u64, max: usize) -> Result<String, InvalidFrame> {
        let text = self.reader.text(max)?;
        if text.chars().any(char::is_control) {
            return Err(InvalidFrame::Control { key });
        }
        Ok(text.to_owned())
    }

    fn chain(&mut self, key: u64) -> Result<Vec<Vec<u8>>, InvalidFrame> {
        self.require(key)?;
        let mut chain = Vec::new();
        let mut items = self.reader.array(ENROLMENT_CHAIN_CERTIFICATES_MAX)?;
        while self.reader.more(&mut items)? {
            chain.push(self.reader.bytes(ENROLMENT_CERTIFICATE_BYTES_MAX)?.to_vec());
        }
        Ok(chain)
    }

    pub(crate) fn attestation(&mut self, key: u64) -> Result<Attestation, InvalidFrame> {
        self.require(key)?;
        self.reader.tuple(2)?;
        Ok(Attestation {
            attest: self.reader.bytes(ENROLMENT_ATTEST_BYTES_MAX)?.to_vec(),
            signature: self.reader.bytes(ENROLMENT_SIGNATURE_BYTES_MAX)?.to_vec(),
        })
    }

    pub(crate) fn pcr_selection(&mut self, key: u64) -> Result<Vec<u8>, InvalidFrame> {
        let selection = self.bytes(key, ENROLMENT_PCRS_MAX)?;
        let known = |index: &u8| usize::from(*index) < ENROLMENT_PCRS_MAX;
        if !selection.is_sorted_by(|a, b| a < b) || !selection.iter().all(known) {
            return Err(InvalidFrame::PcrSelection);
        }
        Ok(selection)
    }

    pub(crate) fn pcrs(&mut self, key: u64) -> Result<Vec<[u8; 32]>, InvalidFrame> {
        self.require(key)?;
        let mut pcrs = Vec::new();
        let mut items = self.reader.array(ENROLMENT_PCRS_MAX)?;
        while self.reader.more(&mut items)? {
            pcrs.push(self.reader.array_of_bytes()?);
        }
        Ok(pcrs)
    }

    pub(crate) fn events(&mut self, key: u64) -> Result<Vec<Event>, InvalidFrame> {
        self.require(key)?;
        let mut events = Vec::new();
        let mut items = self.reader.array(ENROLMENT_EVENTS_MAX)?;
        while self.reader.more(&mut items)? {
            self.reader.tuple(4)?;
            let pcr = self.reader.unsigned(ENROLMENT_PCRS_MAX as u64 - 1)?;
            events.push(Event {
                pcr: u8::try_from(pcr).map_err(|_| InvalidFrame::PcrSelection)?,
                digest: self.reader.array_of_bytes()?,
                kind: self.text_value(key, ENROLMENT_EVENT_KIND_BYTES_MAX)?,
                text: self.text_value(key, ENROLMENT_EVENT_TEXT_BYTES_MAX)?,
            });
        }
        Ok(events)
    }
}
