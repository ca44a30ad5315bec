//! One life of a child: an actor in its context, whose end is an [`Exit`], whatever it does.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use actix::dev::ContextFut;
use actix::{Actor, ActorContext, Addr, Context};

use crate::exit::{Exit, ExitSlot};
use crate::stop::{StopListener, StopRequest};

/// An actor that was built and is polled here, not by actix, because of what actix does with a panic: its context,
/// when it is dropped by the unwinding, calls the broken actor's `stopping` and `stopped`, and a second panic in
/// these aborts the process. Here the panic is caught first and the context is then dropped without calling anything.
pub(crate) struct Incarnation<A: Actor<Context = Context<A>>> {
    /// None once it has ended.
    life: Option<ContextFut<A, Context<A>>>,
    /// None if the actor has none either: then it cannot fail.
    slot: Option<ExitSlot>,
    /// The request to stop was passed on; the actor hears it once.
    told_to_stop: bool,
}

impl<A: Actor<Context = Context<A>>> Incarnation<A> {
    /// Builds the actor. It lives from the first poll on; what is sent to its address before then waits.
    pub(crate) fn build(factory: &mut dyn FnMut(ExitSlot) -> A) -> Result<(Self, Addr<A>), Exit> {
        let slot = ExitSlot::default();
        let actor = caught(|| factory(slot.clone()))?;
        let life = Context::new().into_future(actor);
        let address = life.address();
        let slot = slot.is_shared().then_some(slot);
        Ok((Self { life: Some(life), slot, told_to_stop: false }, address))
    }

    /// Ready with the exit when the actor has ended and is dropped.
    pub(crate) fn poll(
        &mut self,
        cx: &mut TaskContext<'_>,
        (stop, listener): (&StopRequest, &mut StopListener),
    ) -> Poll<Exit> {
        let Some(life) = self.life.as_mut() else { return Poll::Ready(self.exit()) };
        if !self.told_to_stop && listener.poll(stop, cx).is_ready() {
            self.told_to_stop = true;
            life.ctx().stop();
        }
        match caught(|| Pin::new(life).poll(cx)) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(())) => Poll::Ready(self.end().unwrap_or_else(|| self.exit())),
            Err(panicked) => {
                if let Some(life) = self.life.as_mut() {
                    life.ctx().terminate();
                }
                let _panicked_again = self.end();
                Poll::Ready(panicked)
            }
        }
    }

    /// The exit of an actor that ended without a panic.
    fn exit(&self) -> Exit {
        self.slot.as_ref().map_or(Exit::Stopped, ExitSlot::exit)
    }

    /// Drops the actor with its mailbox; the exit is that of a panic in a destructor.
    fn end(&mut self) -> Option<Exit> {
        let life = self.life.take();
        caught(|| drop(life)).err()
    }
}

/// What `run` returns, or its panic as an exit.
///
/// Unwind safe: what a panic may have left broken is dropped by every caller and not looked at.
fn caught<T>(run: impl FnOnce() -> T) -> Result<T, Exit> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|payload: Box<dyn Any + Send>| Exit::from_panic(&*payload))
}
