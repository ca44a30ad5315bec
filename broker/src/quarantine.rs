//! Quarantine: a peer that was let in and has yet to show something. Until it has, it may publish what one list allows, it
//! subscribes to nothing but its own challenge and gets nothing else, and it has only so long.
//!
//! The bus does not know what is shown. It carries a challenge to the peer and an answer to a [`Judge`], in the AUTH packets
//! of MQTT 5 or on topics of that session alone (`muster_schemas::attest`), and does what the judge says.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use muster_mqtt::ReasonCode;
use muster_routing::Access;

use crate::{admission::NotAdmitted, limits::ATTEST_ANSWER_BYTES_MAX};

/// Says what one connection's peer has to show, and whether it did.
pub trait Judge: Send + Sync {
    /// A challenge that nobody else got. It takes the place of the one before.
    fn challenge(&self) -> Bytes;

    /// Judges an answer to the last challenge; a challenge is good for one.
    fn judge(&self, answer: Bytes) -> Judgement;
}

/// What a judge answers with. The session ends at its deadline all the same.
pub type Judgement = Pin<Box<dyn Future<Output = Result<(), NotAdmitted>> + Send>>;

/// What a peer is let in with before it has shown what it has to.
#[derive(Clone)]
pub struct Quarantine {
    /// What it may publish until then.
    pub access: Arc<Access>,
    /// How long it has, from its connection on, and how long a challenge is good for.
    pub time_max: Duration,
    /// Who judges it.
    pub judge: Arc<dyn Judge>,
}

impl fmt::Debug for Quarantine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quarantine").field("access", &self.access).finish_non_exhaustive()
    }
}

/// Where an exchange stands: whose turn it is, and until when.
pub(crate) struct Attesting {
    judge: Arc<dyn Judge>,
    time_max: Duration,
    /// When the quarantine ends the session; none once it is over.
    ends: Option<Instant>,
    /// Until when the last challenge may be answered, if it was not.
    answer_by: Option<Instant>,
    /// An answer is being judged.
    is_judged: bool,
}

// One for each session of a tenant that demands it; ten thousand of them are quarantined at one time.
const _: () = assert!(size_of::<Attesting>() <= 96, "thousands of sessions are in quarantine at one time");

impl Attesting {
    pub(crate) fn new(quarantine: Quarantine, now: Instant) -> Self {
        let Quarantine { judge, time_max, .. } = quarantine;
        Self { judge, time_max, ends: Some(now + time_max), answer_by: None, is_judged: false }
    }

    /// When the session ends, unless it has shown what it has to.
    pub(crate) fn ends(&self) -> Option<Instant> {
        self.ends
    }

    /// How long a peer has.
    pub(crate) fn time_max(&self) -> Duration {
        self.time_max
    }

    /// A challenge for the peer.
    pub(crate) fn challenge(&mut self, now: Instant) -> Bytes {
        self.answer_by = Some(now + self.time_max);
        self.judge.challenge()
    }

    /// Has an answer judged; its outcome is for [`Attesting::judged`].
    ///
    /// # Errors
    /// There is nothing that it could be the answer to.
    pub(crate) fn judge(&mut self, now: Instant, answer: Bytes) -> Result<Judgement, NotAdmitted> {
        if self.is_judged {
            return Err(refused("attest: an answer is being judged; wait for its result".to_owned()));
        }
        let by = self.answer_by.take();
        let by =
            by.ok_or_else(|| refused("attest: no challenge waits for an answer; ask for one".to_owned()))?;
        if now > by {
            let seconds = self.time_max.as_secs();
            return Err(refused(format!(
                "attest: the answer came too late; a challenge is good for {seconds} s"
            )));
        }
        if answer.len() > ATTEST_ANSWER_BYTES_MAX {
            return Err(refused(format!(
                "attest: the answer is longer than {ATTEST_ANSWER_BYTES_MAX} bytes"
            )));
        }
        self.is_judged = true;
        Ok(self.judge.judge(answer))
    }

    /// The judge has said so. True if that ends the quarantine.
    pub(crate) fn judged(&mut self, is_well: bool) -> bool {
        self.is_judged = false;
        is_well && self.ends.take().is_some()
    }
}

fn refused(reason: String) -> NotAdmitted {
    NotAdmitted { code: ReasonCode::NotAuthorized, reason }
}

#[cfg(test)]
mod tests {
    use muster_actors::{Clock as _, SystemClock};

    use super::*;

    struct Always;

    impl Judge for Always {
        fn challenge(&self) -> Bytes {
            Bytes::from_static(b"challenge")
        }

        fn judge(&self, _: Bytes) -> Judgement {
            Box::pin(std::future::ready(Ok(())))
        }
    }

    fn attesting(now: Instant) -> Attesting {
        let access = Arc::new(Access::new("quarantine", Vec::new(), Vec::new()));
        let (time_max, judge) = (Duration::from_secs(30), Arc::new(Always));
        Attesting::new(Quarantine { access, time_max, judge }, now)
    }

    fn why(outcome: Result<Judgement, NotAdmitted>) -> Option<String> {
        outcome.err().map(|refusal| refusal.reason)
    }

    #[test]
    fn an_answer_is_judged_once_in_time_and_only_if_it_was_asked_for() {
        let now = SystemClock.now();
        let mut attesting = attesting(now);
        assert!(why(attesting.judge(now, Bytes::new())).is_some_and(|why| why.contains("no challenge")));
        attesting.challenge(now);
        assert!(attesting.judge(now, Bytes::new()).is_ok());
        assert!(why(attesting.judge(now, Bytes::new())).is_some_and(|why| why.contains("being judged")));
        assert!(attesting.judged(true) && attesting.ends().is_none());
        assert!(why(attesting.judge(now, Bytes::new())).is_some_and(|why| why.contains("no challenge")));
        // Again, in a session that goes on.
        attesting.challenge(now);
        let late = now + Duration::from_millis(30_001);
        assert!(why(attesting.judge(late, Bytes::new())).is_some_and(|why| why.contains("too late")));
        attesting.challenge(now);
        let long = Bytes::from(vec![0; ATTEST_ANSWER_BYTES_MAX + 1]);
        assert!(why(attesting.judge(now, long)).is_some_and(|why| why.contains("longer")));
        assert!(!attesting.judged(true), "the quarantine was over before");
    }
}
