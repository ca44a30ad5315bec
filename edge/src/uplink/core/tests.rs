//! Stories of the uplink in virtual time.

use bytes::Bytes;
use muster_actors::{Clock, SystemClock};

use super::*;
use crate::limits::{RETRY_FIRST, RETRY_MAX};

struct Story {
    now: Instant,
    core: Core,
}

impl Story {
    fn new() -> Self {
        let backoff = Backoff::new(RETRY_FIRST, RETRY_MAX, 3);
        Self { now: SystemClock.now(), core: Core::new(Settings { backoff }) }
    }

    /// With a certificate and an open session of number 1.
    fn open(window: u16) -> Self {
        let mut story = Self::new();
        assert_eq!(story.tell(Input::CertificateChanged { generation: 1 }), [connect(1, 1)]);
        let effects = story.tell(Input::Opened { session: 1, window });
        assert_eq!(effects, [Effect::TellOpened { generation: 1 }]);
        story
    }

    fn tell(&mut self, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.core.handle(self.now, input, &mut effects);
        effects
    }

    fn wait(&mut self) -> (Duration, Vec<Effect>) {
        let at = self.core.next_deadline().expect("nothing is waited for");
        let waited = at - self.now;
        self.now = at;
        (waited, self.tell(Input::DeadlineReached))
    }

    fn closes(&mut self, session: u64, cause: Cause) -> Vec<Effect> {
        let effects = self.tell(Input::Closed { session, cause });
        effects.into_iter().filter(|effect| !matches!(effect, Effect::TellPause(_))).collect()
    }
}

fn reading(time_ms: u64) -> Reading {
    Reading { stream: "system", time_ms, records: 1, payload: Bytes::from_static(b"[]") }
}

fn connect(session: u64, generation: u64) -> Effect {
    Effect::Connect { session, generation }
}

fn publish(time_ms: u64) -> Effect {
    Effect::Publish(reading(time_ms))
}

fn stored(session: u64, packet: u16) -> Input {
    Input::Answered { session, packet, verdict: PubackVerdict::Stored }
}

#[test]
fn a_reading_is_kept_until_its_own_acknowledgement() {
    let mut story = Story::open(10);
    assert_eq!(story.tell(Input::Reading(reading(1))), [publish(1)]);
    assert_eq!(story.tell(Input::Reading(reading(2))), [publish(2)]);
    assert_eq!(story.tell(Input::Sent { session: 1, packet: 7 }), [Effect::TellSent(reading(1))]);
    assert_eq!(story.tell(Input::Sent { session: 1, packet: 8 }), [Effect::TellSent(reading(2))]);
    assert_eq!(story.tell(stored(1, 8)), [Effect::TellStored(reading(2))]);
    assert_eq!(story.tell(stored(1, 8)), [], "an answer for nothing says nothing");
    assert_eq!(story.core.spool().len(), 1);
    assert_eq!(story.tell(stored(1, 7)), [Effect::TellStored(reading(1))]);
    assert!(story.core.spool().is_empty());
}

#[test]
fn readings_before_the_first_session_wait_for_it() {
    let mut story = Story::new();
    assert_eq!(story.tell(Input::Reading(reading(1))), []);
    assert_eq!(story.tell(Input::CertificateChanged { generation: 1 }), [connect(1, 1)]);
    let effects = story.tell(Input::Opened { session: 1, window: 10 });
    assert_eq!(effects, [Effect::TellOpened { generation: 1 }, publish(1)]);
}

#[test]
fn no_more_is_under_way_than_the_hub_allows() {
    let mut story = Story::open(2);
    for time_ms in 1..=3 {
        story.tell(Input::Reading(reading(time_ms)));
    }
    assert_eq!(story.core.spool().under_way(), 2);
    story.tell(Input::Sent { session: 1, packet: 1 });
    assert_eq!(story.tell(stored(1, 1)), [Effect::TellStored(reading(1)), publish(3)]);
}

#[test]
fn what_was_not_acknowledged_is_sent_again_in_the_next_session_and_once() {
    let mut story = Story::open(10);
    for time_ms in 1..=3 {
        story.tell(Input::Reading(reading(time_ms)));
    }
    story.tell(Input::Sent { session: 1, packet: 1 });
    story.tell(Input::Sent { session: 1, packet: 2 });
    story.tell(stored(1, 1));
    assert_eq!(story.closes(1, Cause::Lost), []);
    let (waited, effects) = story.wait();
    assert!(waited <= RETRY_FIRST, "a hub that comes back is found quickly");
    assert_eq!(effects, [connect(2, 1)]);
    assert_eq!(story.tell(stored(1, 2)), [], "the old session is over");
    let effects = story.tell(Input::Opened { session: 2, window: 10 });
    assert_eq!(effects, [Effect::TellOpened { generation: 1 }, publish(2), publish(3)]);
}

#[test]
fn pauses_grow_while_the_hub_is_away_and_are_short_again_once_it_has_stored_something() {
    let mut story = Story::open(10);
    let mut session = 1;
    let mut waited = Duration::ZERO;
    for _ in 0..12 {
        story.closes(session, Cause::Lost);
        waited = story.wait().0;
        session += 1;
    }
    assert!(waited >= RETRY_MAX / 2, "{waited:?}");
    story.tell(Input::Reading(reading(1)));
    story.tell(Input::Opened { session, window: 10 });
    story.tell(Input::Sent { session, packet: 1 });
    story.tell(stored(session, 1));
    story.closes(session, Cause::Lost);
    assert!(story.wait().0 <= RETRY_FIRST);
}

#[test]
fn a_refused_certificate_is_told_and_not_presented_again() {
    let mut story = Story::new();
    story.tell(Input::CertificateChanged { generation: 1 });
    assert_eq!(
        story.closes(1, Cause::CertificateRefused),
        [Effect::TellCertificateRefused { generation: 1 }]
    );
    assert_eq!(story.core.next_deadline(), None);
    assert_eq!(story.tell(Input::CertificateChanged { generation: 2 }), [connect(2, 2)]);
}

#[test]
fn a_session_that_is_refused_again_and_again_is_put_down_to_the_certificate() {
    let mut story = Story::new();
    story.tell(Input::CertificateChanged { generation: 1 });
    assert_eq!(story.closes(1, Cause::SessionRefused), []);
    story.wait();
    assert_eq!(story.closes(2, Cause::SessionRefused), []);
    story.wait();
    assert_eq!(story.closes(3, Cause::SessionRefused), [Effect::TellCertificateRefused { generation: 1 }]);
    assert_eq!(story.core.next_deadline(), None);
}

#[test]
fn a_renewed_certificate_is_used_at_once() {
    let mut story = Story::open(10);
    story.tell(Input::Reading(reading(1)));
    assert_eq!(story.tell(Input::CertificateChanged { generation: 2 }), [Effect::Disconnect]);
    assert_eq!(story.tell(Input::Reading(reading(2))), []);
    assert_eq!(story.closes(1, Cause::Lost), [connect(2, 2)], "without a pause");
    let effects = story.tell(Input::Opened { session: 2, window: 10 });
    assert_eq!(effects, [Effect::TellOpened { generation: 2 }, publish(1), publish(2)]);
}

#[test]
fn a_session_that_does_not_close_is_abandoned() {
    let mut story = Story::open(10);
    story.tell(Input::CertificateChanged { generation: 2 });
    assert_eq!(story.wait(), (CLOSE_TIME_MAX, vec![Effect::Abandon, connect(2, 2)]));
}

#[test]
fn a_hub_that_does_not_acknowledge_is_left() {
    let mut story = Story::open(10);
    story.tell(Input::Reading(reading(1)));
    let (waited, effects) = story.wait();
    assert_eq!(waited, ACKNOWLEDGE_TIME_MAX);
    assert!(matches!(effects.as_slice(), [Effect::Abandon, Effect::TellPause(_)]), "{effects:?}");
    assert_eq!(story.wait().1, [connect(2, 1)]);
}

#[test]
fn a_reading_that_the_hub_will_never_take_is_told_and_let_go() {
    let mut story = Story::open(10);
    story.tell(Input::Reading(reading(1)));
    story.tell(Input::Sent { session: 1, packet: 1 });
    let never = Input::Answered { session: 1, packet: 1, verdict: PubackVerdict::Never };
    assert_eq!(story.tell(never), [Effect::TellRejected(reading(1))]);
    assert!(story.core.spool().is_empty());
}

#[test]
fn a_reading_that_the_hub_cannot_take_now_is_sent_again_after_a_pause() {
    let mut story = Story::open(10);
    story.tell(Input::Reading(reading(1)));
    story.tell(Input::Sent { session: 1, packet: 1 });
    let effects = story.tell(Input::Answered { session: 1, packet: 1, verdict: PubackVerdict::Later });
    assert!(matches!(effects.as_slice(), [Effect::Abandon, Effect::TellPause(_)]), "{effects:?}");
    assert_eq!(story.core.spool().len(), 1);
}

#[test]
fn the_end_waits_for_what_is_under_way_and_then_closes() {
    let mut story = Story::open(10);
    story.tell(Input::Reading(reading(1)));
    story.tell(Input::Sent { session: 1, packet: 1 });
    assert_eq!(story.tell(Input::Finish), []);
    assert_eq!(story.tell(stored(1, 1)), [Effect::TellStored(reading(1)), Effect::Disconnect]);
    assert_eq!(story.closes(1, Cause::Lost), [Effect::Finished]);
    assert_eq!(story.core.next_deadline(), None);
}

#[test]
fn the_end_does_not_wait_for_ever() {
    let mut story = Story::open(10);
    story.tell(Input::Reading(reading(1)));
    story.tell(Input::Finish);
    assert_eq!(story.wait(), (FLUSH_TIME_MAX, vec![Effect::Disconnect]));
    let (_, effects) = story.wait();
    assert_eq!(effects, [Effect::Abandon, Effect::Finished]);
    let mut idle = Story::new();
    assert_eq!(
        idle.tell(Input::Finish),
        [Effect::Finished],
        "without a session there is nothing to wait for"
    );
}

#[test]
fn a_full_spool_says_what_it_drops_ever_more_rarely() {
    let mut story = Story::new();
    let too_long = Bytes::from(vec![b' '; crate::limits::READING_BYTES_MAX + 1]);
    let told: Vec<Effect> = (0..100)
        .flat_map(|_| story.tell(Input::Reading(Reading { payload: too_long.clone(), ..reading(1) })))
        .collect();
    assert_eq!(told, [1, 2, 4, 8, 16, 32, 64].map(|total| Effect::TellDropped { total }));
}
