//! A world for tests: an actix system whose time is virtual, and actors that record what they are sent.
//!
//! Not for programs. Time stands still while anything can run and jumps to the next timer when nothing can, so a story
//! of a week takes milliseconds, and nothing in it sleeps. Real sockets do not fit in: while bytes are in the kernel
//! nothing can run, and time jumps. Connect with `tokio::io::duplex`.
//!
//! ```
//! use std::time::Duration;
//!
//! muster_actors::world::run(async {
//!     tokio::time::sleep(Duration::from_secs(86_400)).await;
//! });
//! ```

use std::any::type_name;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use actix::{Actor, Addr, Context, Handler, Message, MessageResult, Recipient, System};
use tokio::sync::Notify;

use crate::clock::{Clock, SharedClock, SystemClock};

/// A story that takes longer than this in virtual time has got stuck.
pub const STORY_MAX: Duration = Duration::from_secs(100 * 86_400);

/// How long [`Recorder::next`] waits, in virtual time.
pub const NEXT_MAX: Duration = Duration::from_secs(60);

/// The wall clock of [`clock`] when it is made: 2026-01-01 00:00 UTC.
pub const START_UNIX_MS: u64 = 1_767_225_600_000;

/// Runs a story on a new actix system in virtual time, and returns what it returns.
///
/// # Panics
/// When the story does, when it takes longer than [`STORY_MAX`], and when there is no runtime to be had.
#[expect(clippy::expect_used, clippy::panic, reason = "a test world fails by a panic")]
pub fn run<F: Future>(story: F) -> F::Output {
    let system = System::with_tokio_rt(|| {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().start_paused(true).build().expect("a tokio runtime")
    });
    system.block_on(async move {
        match tokio::time::timeout(STORY_MAX, story).await {
            Ok(end) => end,
            Err(_) => panic!("the story is stuck: nothing ended it within {STORY_MAX:?} of virtual time"),
        }
    })
}

/// A clock whose wall time begins at [`START_UNIX_MS`] and goes with the virtual time.
#[must_use]
pub fn clock() -> SharedClock {
    struct WorldClock(Instant);

    impl Clock for WorldClock {
        fn now(&self) -> Instant {
            SystemClock.now()
        }

        fn unix_ms(&self) -> u64 {
            let since = self.now().duration_since(self.0).as_millis();
            START_UNIX_MS + u64::try_from(since).unwrap_or(u64::MAX - START_UNIX_MS)
        }
    }

    Arc::new(WorldClock(SystemClock.now()))
}

/// An actor in place of a neighbour: it records each `M` and answers with the default.
#[derive(Debug)]
pub struct Recorder<M: Message + Send + 'static> {
    name: &'static str,
    record: Arc<Record<M>>,
    actor: Addr<Scribe<M>>,
}

impl<M> Recorder<M>
where
    M: Message + Send + 'static,
    M::Result: Default + Send,
{
    /// Starts a recorder; the name stands in its complaints.
    #[must_use]
    pub fn start(name: &'static str) -> Self {
        let record = Arc::new(Record { messages: Mutex::default(), came: Notify::new() });
        let actor = Scribe { record: Arc::clone(&record) }.start();
        Self { name, record, actor }
    }

    /// Where to send what is to be recorded.
    #[must_use]
    pub fn recipient(&self) -> Recipient<M> {
        self.actor.clone().recipient()
    }

    /// The next message, waited for up to [`NEXT_MAX`] of virtual time.
    ///
    /// # Panics
    /// When none comes.
    pub async fn next(&mut self) -> M {
        self.next_within(NEXT_MAX).await
    }

    /// The next message, waited for up to `limit` of virtual time.
    ///
    /// # Panics
    /// When none comes.
    #[expect(clippy::panic, reason = "a test world fails by a panic")]
    pub async fn next_within(&mut self, limit: Duration) -> M {
        match self.wait(limit).await {
            Some(message) => message,
            None => panic!("{} got no {} within {limit:?} of virtual time", self.name, type_name::<M>()),
        }
    }

    /// Lets `time` of virtual time pass in which nothing may come.
    ///
    /// # Panics
    /// When something comes, or had come before.
    pub async fn stays_quiet(&mut self, time: Duration) {
        let came = self.wait(time).await;
        assert!(came.is_none(), "{} got a {} that it should not get", self.name, type_name::<M>());
    }

    /// Takes what has come so far, without waiting.
    pub fn take(&mut self) -> Vec<M> {
        self.record.lock().drain(..).collect()
    }

    /// How many messages wait to be looked at.
    #[must_use]
    pub fn recorded(&self) -> usize {
        self.record.lock().len()
    }

    async fn wait(&mut self, limit: Duration) -> Option<M> {
        let next = async {
            loop {
                let came = self.record.came.notified();
                if let Some(message) = self.record.lock().pop_front() {
                    return message;
                }
                came.await;
            }
        };
        tokio::time::timeout(limit, next).await.ok()
    }
}

/// The actor behind a [`Recorder`].
#[derive(Debug)]
struct Scribe<M> {
    record: Arc<Record<M>>,
}

#[derive(Debug)]
struct Record<M> {
    /// Unbounded: a test that records without end has [`STORY_MAX`] to do it in.
    messages: Mutex<VecDeque<M>>,
    came: Notify,
}

impl<M> Record<M> {
    fn lock(&self) -> MutexGuard<'_, VecDeque<M>> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M: Message + Send + 'static> Actor for Scribe<M> {
    type Context = Context<Self>;
}

impl<M> Handler<M> for Scribe<M>
where
    M: Message + Send + 'static,
    M::Result: Default + Send,
{
    type Result = MessageResult<M>;

    fn handle(&mut self, message: M, _: &mut Context<Self>) -> MessageResult<M> {
        self.record.lock().push_back(message);
        self.record.came.notify_one();
        MessageResult(M::Result::default())
    }
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    struct Said(&'static str);

    impl Message for Said {
        type Result = ();
    }

    #[test]
    fn a_week_takes_no_time_and_the_clock_knows_it() {
        let (from, to) = run(async {
            let clock = clock();
            let from = clock.unix_ms();
            tokio::time::sleep(Duration::from_secs(7 * 86_400)).await;
            (from, clock.unix_ms())
        });
        assert_eq!(from, START_UNIX_MS);
        assert_eq!(to - from, 7 * 86_400_000);
    }

    #[test]
    fn a_recorder_gives_messages_in_their_order() {
        run(async {
            let mut heard = Recorder::start("heard");
            let recipient = heard.recipient();
            recipient.do_send(Said("one"));
            recipient.do_send(Said("two"));
            assert_eq!(heard.next().await.0, "one");
            assert_eq!(heard.recorded(), 1);
            assert_eq!(heard.take().len(), 1);
            heard.stays_quiet(Duration::from_secs(3600)).await;
        });
    }

    #[test]
    fn a_recorder_that_gets_nothing_says_what_it_missed() {
        let failure = catch_unwind(|| run(async { Recorder::<Said>::start("alarm").next().await.0 }));
        let text = failure.unwrap_err().downcast::<String>().unwrap();
        assert!(text.starts_with("alarm got no muster_actors::world::tests::Said within 60s"), "{text}");
    }

    #[test]
    fn a_story_that_is_stuck_fails() {
        let failure = catch_unwind(|| run(std::future::pending::<()>()));
        assert!(failure.unwrap_err().downcast::<String>().unwrap().starts_with("the story is stuck"));
    }
}
