//! The one timer of an actor, driven by its core's `next_deadline()`.

use std::time::Instant;

use actix::fut::{ActorFutureExt, wrap_future};
use actix::{Actor, AsyncContext, Context, Handler, Message, SpawnHandle};

/// A deadline may have been reached. It may also come early, or for a deadline that was cancelled since: the actor
/// asks its core, which then does nothing, and arms again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeadlineReached;

impl Message for DeadlineReached {
    type Result = ();
}

/// At most one timer. It is lazy: a deadline that moves later, or away, leaves the timer alone, and the wake-up that
/// then comes early arms the right one. So a deadline that moves with every packet costs nothing per packet.
///
/// A timer that is armed keeps an actor alive that nobody has an address of. It ends with the actor.
#[derive(Debug, Default)]
pub struct WakeUp {
    timer: Option<Timer>,
}

#[derive(Debug)]
struct Timer {
    at: Instant,
    handle: SpawnHandle,
}

impl WakeUp {
    /// No timer yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sees to it that `DeadlineReached` is handled at `deadline` or earlier. To be called whenever the core has been
    /// called, that is at the end of every handler, that of `DeadlineReached` included.
    pub fn arm<A>(&mut self, ctx: &mut Context<A>, deadline: Option<Instant>)
    where
        A: Actor<Context = Context<A>> + Handler<DeadlineReached>,
    {
        // Whoever runs now is the timer itself, which has gone off and calls the handler that calls this.
        self.timer.take_if(|timer| timer.handle == ctx.handle());
        let Some(deadline) = deadline else { return };
        if let Some(timer) = &self.timer {
            if timer.at <= deadline {
                return;
            }
            ctx.cancel_future(timer.handle);
        }
        let sleep = tokio::time::sleep_until(deadline.into());
        let handle = ctx.spawn(wrap_future(sleep).map(|(), actor: &mut A, ctx: &mut Context<A>| {
            actor.handle(DeadlineReached, ctx);
        }));
        self.timer = Some(Timer { at: deadline, handle });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use actix::{ActorContext, Recipient};

    use super::*;
    use crate::clock::{Clock, SystemClock};
    use crate::world::{self, Recorder};

    /// Tells each wake-up with the second it came at; `next` is what its core would say.
    struct Sleeper {
        start: Instant,
        next: Option<Instant>,
        wake_up: WakeUp,
        told: Recipient<Woke>,
    }

    struct Woke {
        at: u64,
        due: bool,
    }

    impl Message for Woke {
        type Result = ();
    }

    /// The deadline in seconds since the start; None cancels.
    struct Deadline(Option<u64>);

    impl Message for Deadline {
        type Result = ();
    }

    struct Leave;

    impl Message for Leave {
        type Result = ();
    }

    impl Actor for Sleeper {
        type Context = Context<Self>;
    }

    impl Handler<Deadline> for Sleeper {
        type Result = ();

        fn handle(&mut self, Deadline(seconds): Deadline, ctx: &mut Context<Self>) {
            self.next = seconds.map(|seconds| self.start + Duration::from_secs(seconds));
            self.wake_up.arm(ctx, self.next);
        }
    }

    impl Handler<DeadlineReached> for Sleeper {
        type Result = ();

        fn handle(&mut self, _: DeadlineReached, ctx: &mut Context<Self>) {
            let now = SystemClock.now();
            let due = self.next.is_some_and(|next| next <= now);
            if due {
                self.next = None;
            }
            self.told.do_send(Woke { at: (now - self.start).as_secs(), due });
            self.wake_up.arm(ctx, self.next);
        }
    }

    impl Handler<Leave> for Sleeper {
        type Result = ();

        fn handle(&mut self, _: Leave, ctx: &mut Context<Self>) {
            ctx.stop();
        }
    }

    fn sleeper() -> (actix::Addr<Sleeper>, Recorder<Woke>) {
        let woke = Recorder::start("woke");
        let told = woke.recipient();
        let sleeper = Sleeper { start: SystemClock.now(), next: None, wake_up: WakeUp::new(), told };
        (sleeper.start(), woke)
    }

    /// Sends deadlines one after the other.
    async fn moves(sleeper: &actix::Addr<Sleeper>, deadlines: &[Option<u64>]) {
        for &deadline in deadlines {
            sleeper.send(Deadline(deadline)).await.unwrap();
        }
    }

    #[test]
    fn a_deadline_wakes_the_actor_once() {
        world::run(async {
            let (sleeper, mut woke) = sleeper();
            moves(&sleeper, &[Some(5)]).await;
            let wake = woke.next().await;
            assert_eq!((wake.at, wake.due), (5, true));
            woke.stays_quiet(Duration::from_secs(60)).await;
        });
    }

    #[test]
    fn a_deadline_that_moves_earlier_is_met() {
        world::run(async {
            let (sleeper, mut woke) = sleeper();
            moves(&sleeper, &[Some(30), Some(20), Some(3)]).await;
            let wake = woke.next().await;
            assert_eq!((wake.at, wake.due), (3, true));
            woke.stays_quiet(Duration::from_secs(60)).await;
        });
    }

    #[test]
    fn a_deadline_that_moves_later_costs_one_early_wake_up() {
        world::run(async {
            let (sleeper, mut woke) = sleeper();
            moves(&sleeper, &[Some(5), Some(6), Some(7), Some(8)]).await;
            let early = woke.next().await;
            assert_eq!((early.at, early.due), (5, false));
            let wake = woke.next().await;
            assert_eq!((wake.at, wake.due), (8, true));
        });
    }

    #[test]
    fn a_cancelled_deadline_wakes_early_and_then_never_again() {
        world::run(async {
            let (sleeper, mut woke) = sleeper();
            moves(&sleeper, &[Some(5), None]).await;
            let wake = woke.next().await;
            assert_eq!((wake.at, wake.due), (5, false));
            woke.stays_quiet(Duration::from_secs(600)).await;
            moves(&sleeper, &[Some(700)]).await;
            assert!(woke.next_within(Duration::from_secs(200)).await.due, "it can be armed again");
        });
    }

    #[test]
    fn a_deadline_in_the_past_wakes_at_once() {
        world::run(async {
            let (sleeper, mut woke) = sleeper();
            tokio::time::sleep(Duration::from_secs(10)).await;
            moves(&sleeper, &[Some(1)]).await;
            assert_eq!(woke.next().await.at, 10);
        });
    }

    #[test]
    fn the_timer_ends_with_its_actor() {
        world::run(async {
            let (sleeper, mut woke) = sleeper();
            moves(&sleeper, &[Some(9), Some(5)]).await;
            sleeper.send(Leave).await.unwrap();
            woke.stays_quiet(Duration::from_secs(60)).await;
            assert!(!sleeper.connected());
        });
    }
}
