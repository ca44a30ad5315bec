//! What an actor does once for all messages that it found in its mailbox, instead of once for each.

use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use actix::{Actor, ActorFuture, AsyncContext, Context};

/// An actor that gathers what follows from its messages and carries it out when it has handled all that were there.
pub trait Turning: Actor<Context = Context<Self>> {
    /// The mailbox is empty.
    fn turn_ended(&mut self, ctx: &mut Context<Self>);
}

/// Sees to it that `turn_ended` is called once the mailbox is empty, before anybody else on the arbiter has a turn. It is
/// not called for an actor that stops meanwhile. To be asked once for each turn; that takes no memory.
pub fn ask_for_turn_end<A: Turning>(ctx: &mut Context<A>) {
    ctx.spawn(TurnEnd);
}

struct TurnEnd;

impl<A: Turning> ActorFuture<A> for TurnEnd {
    type Output = ();

    fn poll(self: Pin<&mut Self>, actor: &mut A, ctx: &mut Context<A>, _: &mut TaskContext<'_>) -> Poll<()> {
        actor.turn_ended(ctx);
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use actix::{Handler, Message, Recipient};

    use super::*;
    use crate::world::{self, Recorder};

    struct Gatherer {
        gathered: u32,
        told: Recipient<Turn>,
    }

    struct One;

    impl Message for One {
        type Result = ();
    }

    struct Turn(u32);

    impl Message for Turn {
        type Result = ();
    }

    impl Actor for Gatherer {
        type Context = Context<Self>;
    }

    impl Handler<One> for Gatherer {
        type Result = ();

        fn handle(&mut self, _: One, ctx: &mut Context<Self>) {
            if self.gathered == 0 {
                ask_for_turn_end(ctx);
            }
            self.gathered += 1;
        }
    }

    impl Turning for Gatherer {
        fn turn_ended(&mut self, _: &mut Context<Self>) {
            self.told.do_send(Turn(std::mem::take(&mut self.gathered)));
        }
    }

    #[test]
    fn a_turn_ends_once_for_all_messages_that_were_there() {
        world::run(async {
            let mut turns = Recorder::start("turns");
            let gatherer = Gatherer { gathered: 0, told: turns.recipient() }.start().recipient();
            for _ in 0..3 {
                gatherer.do_send(One);
            }
            assert_eq!(turns.next().await.0, 3);
            gatherer.do_send(One);
            assert_eq!(turns.next().await.0, 1);
            turns.stays_quiet(Duration::from_secs(60)).await;
        });
    }
}
