//! What a turn of the router keeps back.

use actix::{fut::wrap_future, prelude::*};
use muster_actors::SharedClock;
use muster_routing::{Effect, Input, SubscriberId};

use super::{Outlet, Router};
use crate::sieve::Sieve;

/// The sieve in one turn.
#[derive(Default)]
pub(super) struct Sieving {
    /// Whether there is anything to ask; not known before the first delivery.
    is_on: Option<bool>,
    /// What is over although it was not given to anybody.
    withheld: Vec<(SubscriberId, u64)>,
}

impl Sieving {
    /// Whether an effect is a delivery that is kept back.
    pub(super) fn keeps_back(
        &mut self,
        (sieve, clock): (&mut dyn Sieve, &SharedClock),
        effect: &Effect,
        outlet: &Outlet,
    ) -> bool {
        let (Effect::Deliver { to, delivery }, Some(who)) = (effect, &outlet.reader) else { return false };
        // What was sent once may be sent again: the client may have it, and its acknowledgement is waited for.
        let is_given = delivery.resent_as.is_some()
            || !*self.is_on.get_or_insert_with(|| sieve.begin(clock.unix_ms()))
            || sieve.lets_through(who, &delivery.message);
        if !is_given {
            self.withheld.extend(delivery.tag.map(|tag| (*to, tag)));
        }
        !is_given
    }
}

impl Router {
    /// What was kept back is over, as far as durable sessions and shares are concerned. What follows is another turn's: it
    /// may be as much again.
    pub(super) fn pass_over(&mut self, Sieving { withheld, .. }: Sieving, ctx: &mut Context<Self>) {
        if withheld.is_empty() {
            return;
        }
        for (subscriber, tag) in withheld {
            self.input(Input::Complete { subscriber, tag });
        }
        let turn = wrap_future(tokio::task::yield_now());
        ctx.spawn(turn.map(|(), router: &mut Self, ctx: &mut Context<Self>| router.carry_out(ctx)));
    }
}
