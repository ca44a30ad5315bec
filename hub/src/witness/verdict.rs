//! What keeps a device out, in plain words: from its row, its sessions and its last refusals. Pure.

use super::ledger::{Stage, Told};
use crate::registry::AdmitReason;

/// How a device stands with the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// There is no such device.
    Unregistered,
    /// It proved itself and waits for a person, or a person has denied it.
    Held {
        /// Why it is held.
        reason: String,
        /// Whether a person said no.
        denied: bool,
    },
    /// It may come in.
    Good,
    /// It may not, whatever it does.
    Barred(AdmitReason),
}

/// The answer to "why can it not connect".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// A short name, for programs.
    pub code: String,
    /// The cause, in a sentence.
    pub cause: String,
    /// What to do next.
    pub next: String,
}

impl Verdict {
    fn new(code: &str, cause: impl Into<String>, next: impl Into<String>) -> Self {
        Self { code: code.to_owned(), cause: cause.into(), next: next.into() }
    }
}

/// Judges. `told` is what was refused since the device was last let in, newest first.
pub fn verdict(standing: Standing, sessions: usize, told: &[Told]) -> Verdict {
    if let Standing::Held { reason, denied } = standing {
        let next = "`muster device pending` shows it; `muster device approve` lets it in";
        return if denied {
            Verdict::new("denied", format!("a person denied it; it was held because {reason}"), next)
        } else {
            Verdict::new("held", format!("it waits for a person: {reason}"), next)
        };
    }
    if let Standing::Barred(reason) = standing
        && reason != AdmitReason::Expired
    {
        return Verdict::new(reason.as_str(), format!("{reason}"), reason.next_step());
    }
    if sessions > 0 {
        return connected(sessions, told);
    }
    if let Some(last) = told.first() {
        let refused = &last.refused;
        let cause = match refused.stage {
            Stage::Handshake => format!("the TLS handshake was refused: {}", refused.reason),
            Stage::Enrolment => format!("its enrolment was refused: {}", refused.reason),
            Stage::Admission => {
                format!("its certificate is in order, and it was not let in: {}", refused.reason)
            }
            Stage::Session => format!("it was in, and the bus refused it: {}", refused.reason),
        };
        return Verdict::new(&refused.code, cause, refused.next.clone());
    }
    match standing {
        Standing::Barred(reason) => Verdict::new(
            reason.as_str(),
            format!("{reason}, and it has not come to enrol again"),
            "look whether it has power and network, and at its log; muster-edge enrols again by itself",
        ),
        Standing::Held { .. } | Standing::Unregistered => Verdict::new(
            "never_seen",
            "no device of this name has reached the hub, and none is registered",
            "check the name (`muster-edge check` prints it), the device's power and network, and `hub` and `root` in \
             its edge.toml",
        ),
        Standing::Good => Verdict::new(
            "silent",
            "nothing stands against it, and it does not reach the hub",
            "look at its power and network, at `hub` and `root` in its edge.toml, and at its log",
        ),
    }
}

fn connected(sessions: usize, told: &[Told]) -> Verdict {
    let many = if sessions == 1 { "one session".to_owned() } else { format!("{sessions} sessions") };
    match told.iter().find(|told| told.refused.stage == Stage::Session) {
        Some(last) => Verdict::new(
            "connected",
            format!("it is connected with {many}; the bus refused it last: {}", last.refused.reason),
            last.refused.next.clone(),
        ),
        None => Verdict::new("connected", format!("it is connected with {many}"), "nothing is to be done"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::witness::{Proof, Refused};

    fn told(stage: Stage, code: &str) -> Told {
        let refused = Refused {
            stage,
            code: code.to_owned(),
            reason: "so it is".to_owned(),
            next: "do this".to_owned(),
            peer: None,
        };
        Told { refused, proof: Proof::Name, first_ms: 1, last_ms: 1, times: 1 }
    }

    #[test]
    fn the_cause_is_what_stands_in_the_way_now() {
        let suspended = || Standing::Barred(AdmitReason::Suspended);
        let expired = || Standing::Barred(AdmitReason::Expired);
        let held = |denied| Standing::Held { reason: "claims wait".to_owned(), denied };
        let claim = [told(Stage::Enrolment, "claim_used"), told(Stage::Handshake, "certificate_expired")];
        for (standing, sessions, told, code) in [
            (Standing::Unregistered, 0, &claim[..], "claim_used"),
            (Standing::Unregistered, 0, &[], "never_seen"),
            (Standing::Good, 0, &[], "silent"),
            (Standing::Good, 0, &claim[1..], "certificate_expired"),
            (Standing::Good, 1, &claim[..], "connected"),
            (suspended(), 0, &claim[..], "suspended"),
            (suspended(), 1, &[], "suspended"),
            (expired(), 0, &claim[..], "claim_used"),
            (expired(), 0, &[], "expired"),
            (held(false), 0, &claim[..], "held"),
            (held(true), 0, &[], "denied"),
        ] {
            let found = verdict(standing.clone(), sessions, told);
            assert_eq!(found.code, code, "{standing:?} {sessions}");
            assert!(found.next.len() > 6 && found.cause.len() > 10, "{found:?}");
        }
    }

    #[test]
    fn a_connected_device_that_the_bus_refuses_is_told_of_both() {
        let found = verdict(Standing::Good, 2, &[told(Stage::Session, "0x87")]);
        assert_eq!(found.cause, "it is connected with 2 sessions; the bus refused it last: so it is");
        assert_eq!(found.next, "do this");
    }
}
