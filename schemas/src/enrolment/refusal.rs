//! Why the hub refuses an enrolment: one number and name per reason, stable across versions.

use std::fmt;

macro_rules! refusal_codes {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal, $next:literal;)+) => {
        /// Why the hub refuses: a number on the wire, a name in logs, and what a person should do next.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum RefusalCode {
            $($(#[$doc])* $variant = $number,)+
        }

        impl RefusalCode {
            /// Every reason, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The reason of that number, if there is one.
            pub fn from_number(number: u64) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)+
                    _ => None,
                }
            }

            /// The name in logs and in the API, such as `claim_used`.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// What the person who installs or operates the device should do about it.
            pub fn next_step(self) -> &'static str {
                match self {
                    $(Self::$variant => $next,)+
                }
            }
        }
    };
}

refusal_codes! {
    /// The frame or a structure within it cannot be read.
    Malformed = 1, "malformed",
        "update the device's agent; if it is the newest, report this as a defect with the detail";
    /// The hub does not speak this version of the protocol.
    UnsupportedVersion = 2, "unsupported_version",
        "update the device's agent, or the hub, so that both speak the same version of muster-enroll";
    /// Too many attempts from this address or chip.
    RateLimited = 3, "rate_limited",
        "wait a minute and try again; if many devices share one address, enrol them in smaller groups";
    /// The chip brought no certificate of its endorsement key.
    NoEndorsementCertificate = 10, "no_endorsement_certificate",
        "write the endorsement certificate with the manufacturer's tool, or list the chip by ek hash with a class";
    /// The chip's certificate does not lead to a manufacturer's root that the hub trusts.
    UntrustedEndorsement = 11, "untrusted_endorsement",
        "if the TPM is genuine, add its manufacturer's root under tpm_roots in muster.toml and restart the hub";
    /// The certificate is of another key than the chip showed.
    EndorsementMismatch = 12, "endorsement_mismatch",
        "do not trust this device: its TPM showed another chip's certificate; read the certificate again or replace it";
    /// The tenant does not accept this class of TPM.
    ClassNotAllowed = 13, "class_not_allowed",
        "use a device whose TPM class the tenant accepts; a laboratory tenant may accept simulated TPMs when created so";
    /// The endorsement key has a type or size the hub does not accept.
    UnsuitableEndorsementKey = 14, "unsuitable_endorsement_key",
        "use a TPM 2.0 whose endorsement key follows a TCG template (ECC P-256 or P-384, RSA-2048), and its certificate";
    /// The attestation key is not a restricted signing key of this chip.
    UnsuitableAttestationKey = 20, "unsuitable_attestation_key",
        "update the device's agent: it derives the attestation key, and the hub accepts only a restricted key of the chip";
    /// The identity key could leave the chip, or has the wrong type.
    UnsuitableIdentityKey = 21, "unsuitable_identity_key",
        "remove the key from its slot (tpm2_evictcontrol -C o -c 0x81000100, and 0x81000101), then start the agent again";
    /// The signing request is not signed by the identity key, or asks for what it may not.
    BadSigningRequest = 22, "bad_signing_request",
        "update the device's agent; if it is the newest, report this as a defect with the detail";
    /// The identity key is not bound to the firmware authority that this class of devices demands.
    IdentityNotBound = 23, "identity_not_bound",
        "give the agent the class's [firmware_bound] section and a staged approval of the firmware that it boots";
    /// Nobody has claimed this chip.
    UnknownChip = 30, "unknown_chip",
        "put the chip on the tenant's list with `muster device allow`, or give the device the code of `muster claim create`";
    /// There is no such claim.
    ClaimUnknown = 31, "claim_unknown",
        "check the code for typing mistakes, or create a new one with `muster claim create`";
    /// The claim has served another device.
    ClaimUsed = 32, "claim_used",
        "create a new claim with `muster claim create`: each serves one device";
    /// The claim is too old.
    ClaimExpired = 33, "claim_expired",
        "create a new claim with `muster claim create`, and use it before it expires";
    /// The claim is for another model.
    ClaimModelMismatch = 34, "claim_model_mismatch",
        "use the device the claim was made for, or create a claim for this model with `muster claim create`";
    /// The device was suspended.
    DeviceSuspended = 35, "device_suspended",
        "ask the tenant's administrator why the device was suspended, and to resume it";
    /// The tenant was suspended.
    TenantSuspended = 36, "tenant_suspended",
        "ask the hub's operator why the tenant was suspended, and to resume it";
    /// A person looked at this device and said no.
    EnrolmentDenied = 37, "enrolment_denied",
        "ask the tenant's administrator why; `muster device pending` shows it, `muster device approve` lets it in after all";
    /// The chip was revoked or retired: it is barred, whatever claim it shows.
    ChipBarred = 39, "chip_barred",
        "ask the tenant's administrator: a revoked device comes back when an operator resumes it, a retired one never does";
    /// The hub knows no such exchange: it was answered already, or the hub restarted.
    SessionUnknown = 40, "session_unknown", "start the enrolment again; the agent does so by itself";
    /// The answer came too late.
    SessionExpired = 41, "session_expired",
        "start the enrolment again; if it happens often, look at the network and at how long the TPM takes";
    /// The attestation was made on another TLS connection.
    WrongChannel = 42, "wrong_channel",
        "connect the device to the hub directly: something between them ends the TLS connection";
    /// The chip did not solve the challenge.
    WrongProof = 43, "wrong_proof",
        "start the enrolment again; if it is refused again, do not trust this device: its keys are of different chips";
    /// The certification of the identity key does not hold.
    BadCertify = 50, "bad_certify",
        "start the enrolment again; if it is refused again, do not trust this device before you know the reason";
    /// The quote does not hold.
    BadQuote = 51, "bad_quote",
        "start the enrolment again; if it is refused again, do not trust this device before you know the reason";
    /// The PCR values are not the ones that were quoted.
    PcrMismatch = 52, "pcr_mismatch",
        "start the enrolment again; if it is refused again, do not trust this device before you know the reason";
    /// The event log does not lead to the PCR values.
    EventLogMismatch = 53, "event_log_mismatch",
        "reboot the device and try again; if it is refused again, compare its software with the release";
    /// The device's state is not one the tenant's policy accepts.
    PolicyRefused = 54, "policy_refused",
        "update the device's firmware and software, or accept what it runs with `muster measurement accept --device`";
    /// The hub cannot enrol now.
    HubUnavailable = 60, "hub_unavailable",
        "wait and try again; if it lasts, ask the hub's operator to look at `muster check` and the hub's log";
}

impl RefusalCode {
    /// The number on the wire.
    pub fn number(self) -> u16 {
        self as u16
    }
}

impl fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_found_by_its_number_and_has_its_own_name() {
        let mut names = std::collections::BTreeSet::new();
        for &code in RefusalCode::ALL {
            assert_eq!(RefusalCode::from_number(code.number().into()), Some(code));
            assert!(names.insert(code.to_string()), "{code} is named twice");
            assert!(code.as_str().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{code}");
        }
        assert!(RefusalCode::ALL.is_sorted());
        assert_eq!(RefusalCode::from_number(0), None);
        assert_eq!(RefusalCode::from_number(u64::MAX), None);
    }

    #[test]
    fn every_reason_says_what_to_do() {
        for &code in RefusalCode::ALL {
            assert!(code.next_step().len() > 20, "{code} leaves the person alone");
            assert!(!code.next_step().ends_with('.'), "{code} ends with a full stop");
        }
    }

    #[test]
    fn the_numbers_stay_as_devices_know_them() {
        // A device in the field reads these numbers; they may be added to, never changed.
        let numbers: Vec<u16> = RefusalCode::ALL.iter().map(|code| code.number()).collect();
        assert_eq!(
            numbers,
            [
                1, 2, 3, 10, 11, 12, 13, 14, 20, 21, 22, 23, 30, 31, 32, 33, 34, 35, 36, 37, 39, 40, 41, 42,
                43, 50, 51, 52, 53, 54, 60
            ]
        );
    }
}
