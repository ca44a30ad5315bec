//! When to ask for a certificate, when for the next one, and when to start over. Pure: the time comes in, what is to be
//! done comes out.

use std::time::{Duration, Instant};

use muster_schemas::enrolment::Refused;
use muster_tpm::keys::Slot;

use super::{Grant, Outcome};
use crate::{
    backoff::Backoff,
    limits::{PENDING_RETRY_MAX, RENEW_AFTER_MAX, RENEW_AFTER_MIN},
};

/// What a certificate is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// There is none, or none that the hub takes.
    First,
    /// The current one is to be followed by another.
    Next,
}

/// What was found on disk and in the TPM at the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// No certificate, or none whose key is in this TPM.
    Nothing,
    /// A certificate, and its key in this slot.
    Certificate {
        /// Where its key is.
        slot: Slot,
        /// When it is to be renewed; zero when that time has passed.
        renew_in: Duration,
    },
}

/// What happens to it.
#[derive(Debug)]
pub enum Input {
    /// The start: what there is.
    Found(Found),
    /// An attempt ended with the hub's answer.
    Answered(Outcome),
    /// An attempt failed on the way.
    Failed,
    /// A session is open that presented the certificate of this generation.
    SessionOpened {
        /// Counted from 1, one for each certificate taken into use.
        generation: u64,
    },
    /// The hub does not take our certificate.
    CertificateRefused {
        /// The generation it presented.
        generation: u64,
    },
    /// It is time to look.
    DeadlineReached,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// Ask the hub.
    Attempt {
        /// For what.
        purpose: Purpose,
        /// With the key in this slot.
        slot: Slot,
    },
    /// Present the certificate that was found on disk, whose key is in this slot.
    UseFound {
        /// Where its key is.
        slot: Slot,
        /// Its number.
        generation: u64,
    },
    /// Save this certificate and present it.
    UseGranted {
        /// What was granted.
        grant: Box<Grant>,
        /// Its number.
        generation: u64,
        /// What it was asked for.
        purpose: Purpose,
        /// In how long it will be renewed.
        renew_in: Duration,
    },
    /// The key in this slot has served its time.
    Evict(Slot),
    /// Tell people that the hub wants to be asked later.
    TellPending {
        /// When it will be asked.
        retry_in: Duration,
    },
    /// Tell people that the hub has refused.
    TellRefused {
        /// What the hub said.
        refused: Refused,
        /// When it will be asked again.
        retry_in: Duration,
    },
    /// Tell people that an attempt failed on the way.
    TellRetry {
        /// When the next one is.
        retry_in: Duration,
    },
}

/// The core of the enrolment.
#[derive(Debug)]
pub struct Lifecycle {
    /// Where the key of the certificate in use is.
    active: Option<Slot>,
    /// The number of the certificate in use.
    generation: u64,
    /// The key of the last certificate is kept until the new one has been used.
    evict: Option<Slot>,
    purpose: Purpose,
    /// When to ask next; none while an attempt runs and before anything was found.
    next_attempt: Option<Instant>,
    /// Pauses after the network failed.
    failures: Backoff,
    /// Pauses after the hub refused.
    refusals: Backoff,
}

impl Lifecycle {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(failures: Backoff, refusals: Backoff) -> Self {
        Self {
            active: None,
            generation: 0,
            evict: None,
            purpose: Purpose::First,
            next_attempt: None,
            failures,
            refusals,
        }
    }

    /// Takes an input and appends what is to be done.
    pub fn handle(&mut self, now: Instant, input: Input, effects: &mut Vec<Effect>) {
        match input {
            Input::Found(Found::Nothing) => self.ask_at(Purpose::First, now),
            Input::Found(Found::Certificate { slot, renew_in }) => {
                self.take_into_use(slot);
                effects.push(Effect::UseFound { slot, generation: self.generation });
                self.ask_at(Purpose::Next, now + renew_in.min(RENEW_AFTER_MAX));
            }
            Input::Answered(outcome) => self.answered(now, outcome, effects),
            Input::Failed => {
                let retry_in = self.failures.next_pause();
                self.next_attempt = Some(now + retry_in);
                effects.push(Effect::TellRetry { retry_in });
            }
            Input::SessionOpened { generation } => {
                if generation == self.generation
                    && let Some(slot) = self.evict.take()
                {
                    effects.push(Effect::Evict(slot));
                }
            }
            Input::CertificateRefused { generation } => self.start_over(now, generation),
            Input::DeadlineReached => {}
        }
        if self.next_attempt.is_some_and(|at| at <= now) {
            self.next_attempt = None;
            effects.push(Effect::Attempt { purpose: self.purpose, slot: self.slot_to_fill() });
        }
    }

    /// When to look again.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.next_attempt
    }

    /// The number of the certificate in use; 0 before the first.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    fn answered(&mut self, now: Instant, outcome: Outcome, effects: &mut Vec<Effect>) {
        match outcome {
            Outcome::Issued(grant) => {
                self.failures.reset();
                self.refusals.reset();
                let renew_in =
                    Duration::from_secs(grant.renew_after_s).clamp(RENEW_AFTER_MIN, RENEW_AFTER_MAX);
                let purpose = self.purpose;
                self.take_into_use(grant.slot);
                effects.push(Effect::UseGranted { grant, generation: self.generation, purpose, renew_in });
                self.ask_at(Purpose::Next, now + renew_in);
            }
            Outcome::Pending { retry_after_s } => {
                let retry_in =
                    Duration::from_secs(retry_after_s.into()).clamp(RENEW_AFTER_MIN, PENDING_RETRY_MAX);
                self.next_attempt = Some(now + retry_in);
                effects.push(Effect::TellPending { retry_in });
            }
            Outcome::Refused(refused) => {
                self.failures.reset();
                let retry_in = self.refusals.next_pause();
                self.next_attempt = Some(now + retry_in);
                effects.push(Effect::TellRefused { refused, retry_in });
            }
        }
    }

    /// A certificate that the hub does not take is of no use, not even to renew it.
    fn start_over(&mut self, now: Instant, generation: u64) {
        if generation != self.generation || self.purpose == Purpose::First {
            return;
        }
        // An attempt to renew that runs right now ends in a failure or a refusal; what comes after it is this.
        let idle = self.next_attempt.is_some();
        self.purpose = Purpose::First;
        if idle {
            self.next_attempt = Some(now);
        }
    }

    fn take_into_use(&mut self, slot: Slot) {
        // Whatever is in the other slot was for the last certificate, or for one that never came.
        self.evict = Some(slot.other());
        self.active = Some(slot);
        self.generation += 1;
    }

    fn ask_at(&mut self, purpose: Purpose, at: Instant) {
        self.purpose = purpose;
        self.next_attempt = Some(at);
    }

    /// Never the one in use: it works until the next one does.
    fn slot_to_fill(&self) -> Slot {
        self.active.map_or(Slot::A, Slot::other)
    }
}

#[cfg(test)]
mod tests {
    use muster_actors::{Clock, SystemClock};
    use muster_schemas::enrolment::RefusalCode;

    use super::*;
    use crate::limits::{REFUSED_RETRY_FIRST, REFUSED_RETRY_MAX, RETRY_FIRST, RETRY_MAX};

    struct Story {
        now: Instant,
        core: Lifecycle,
    }

    impl Story {
        fn begin(found: Found) -> (Self, Vec<Effect>) {
            let core = Lifecycle::new(
                Backoff::new(RETRY_FIRST, RETRY_MAX, 1),
                Backoff::new(REFUSED_RETRY_FIRST, REFUSED_RETRY_MAX, 2),
            );
            let mut story = Self { now: SystemClock.now(), core };
            let effects = story.tell(Input::Found(found));
            (story, effects)
        }

        fn tell(&mut self, input: Input) -> Vec<Effect> {
            let mut effects = Vec::new();
            self.core.handle(self.now, input, &mut effects);
            effects
        }

        /// Lets time jump to the deadline.
        fn wait(&mut self) -> (Duration, Vec<Effect>) {
            let at = self.core.next_deadline().expect("nothing is waited for");
            let waited = at - self.now;
            self.now = at;
            (waited, self.tell(Input::DeadlineReached))
        }
    }

    fn attempt(purpose: Purpose, slot: Slot) -> Vec<Effect> {
        vec![Effect::Attempt { purpose, slot }]
    }

    fn granted(slot: Slot) -> Input {
        Input::Answered(Outcome::Issued(Box::new(Grant {
            slot,
            chain: vec![],
            device: "dev".parse().unwrap(),
            tenant: "acme".parse().unwrap(),
            mqtt_endpoint: String::new(),
            renew_after_s: 3_600,
        })))
    }

    fn refused() -> Input {
        Input::Answered(Outcome::Refused(Refused { code: RefusalCode::UnknownChip, detail: "nobody".into() }))
    }

    #[test]
    fn a_device_without_a_certificate_asks_at_once() {
        let (_, effects) = Story::begin(Found::Nothing);
        assert_eq!(effects, attempt(Purpose::First, Slot::A));
    }

    #[test]
    fn a_refused_device_asks_again_ever_more_slowly_and_never_gives_up() {
        let (mut story, _) = Story::begin(Found::Nothing);
        let mut waited = Duration::ZERO;
        for _ in 0..20 {
            let effects = story.tell(refused());
            assert!(matches!(effects.as_slice(), [Effect::TellRefused { .. }]), "{effects:?}");
            let effects;
            (waited, effects) = story.wait();
            assert_eq!(effects, attempt(Purpose::First, Slot::A));
            assert!(waited <= REFUSED_RETRY_MAX);
        }
        assert!(waited >= REFUSED_RETRY_MAX / 2);
        let effects = story.tell(granted(Slot::A));
        assert!(matches!(effects.as_slice(), [Effect::UseGranted { generation: 1, .. }]), "{effects:?}");
    }

    #[test]
    fn a_hub_that_is_away_is_asked_again_soon() {
        let (mut story, _) = Story::begin(Found::Nothing);
        story.tell(Input::Failed);
        let (waited, effects) = story.wait();
        assert!(waited <= RETRY_FIRST);
        assert_eq!(effects, attempt(Purpose::First, Slot::A));
    }

    #[test]
    fn a_pending_device_asks_when_it_was_told_to() {
        let (mut story, _) = Story::begin(Found::Nothing);
        story.tell(Input::Answered(Outcome::Pending { retry_after_s: 30 }));
        assert_eq!(story.wait(), (Duration::from_secs(30), attempt(Purpose::First, Slot::A)));
        story.tell(Input::Answered(Outcome::Pending { retry_after_s: u32::MAX }));
        assert_eq!(story.wait().0, PENDING_RETRY_MAX);
    }

    #[test]
    fn a_renewal_fills_the_other_slot_and_the_old_key_goes_only_after_the_new_one_was_used() {
        let (mut story, effects) =
            Story::begin(Found::Certificate { slot: Slot::A, renew_in: Duration::from_secs(60) });
        assert_eq!(effects, [Effect::UseFound { slot: Slot::A, generation: 1 }]);
        assert_eq!(story.tell(Input::SessionOpened { generation: 1 }), [Effect::Evict(Slot::B)]);
        assert_eq!(story.wait(), (Duration::from_secs(60), attempt(Purpose::Next, Slot::B)));
        let effects = story.tell(granted(Slot::B));
        let [Effect::UseGranted { generation: 2, purpose: Purpose::Next, .. }] = effects.as_slice() else {
            panic!("{effects:?}")
        };
        assert_eq!(story.tell(Input::SessionOpened { generation: 1 }), [], "an old session proves nothing");
        assert_eq!(story.tell(Input::SessionOpened { generation: 2 }), [Effect::Evict(Slot::A)]);
        assert_eq!(story.tell(Input::SessionOpened { generation: 2 }), [], "once");
        assert_eq!(story.wait(), (Duration::from_secs(3_600), attempt(Purpose::Next, Slot::A)));
    }

    #[test]
    fn a_certificate_that_the_hub_refuses_is_replaced_from_the_start_with_another_key() {
        let found = Found::Certificate { slot: Slot::B, renew_in: Duration::from_secs(60) };
        let (mut story, _) = Story::begin(found);
        assert_eq!(story.tell(Input::CertificateRefused { generation: 1 }), attempt(Purpose::First, Slot::A));
        assert_eq!(story.tell(Input::CertificateRefused { generation: 1 }), [], "one attempt at a time");
        let effects = story.tell(granted(Slot::A));
        assert!(
            matches!(effects.as_slice(), [Effect::UseGranted { purpose: Purpose::First, .. }]),
            "{effects:?}"
        );
        assert_eq!(
            story.tell(Input::CertificateRefused { generation: 1 }),
            [],
            "the refusal is about the old one"
        );
    }

    #[test]
    fn a_refusal_during_a_renewal_starts_over_when_the_renewal_has_ended() {
        let (mut story, _) = Story::begin(Found::Certificate { slot: Slot::A, renew_in: Duration::ZERO });
        assert_eq!(story.tell(Input::CertificateRefused { generation: 1 }), []);
        story.tell(Input::Failed);
        assert_eq!(story.wait().1, attempt(Purpose::First, Slot::B));
    }
}
