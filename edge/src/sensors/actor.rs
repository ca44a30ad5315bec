//! The actor that reads this machine when it is time.

use std::collections::BTreeMap;

use actix::{Actor, Context, Handler, Message};
use muster_actors::{DeadlineReached, SharedClock, WakeUp};
use muster_schemas::DeviceId;
use tracing::warn;

use super::{Due, Machine, Reading, Schedule};
use crate::line::Line;

/// A reading, told to the uplink.
#[derive(Debug)]
pub struct Said(pub Reading);

impl Message for Said {
    type Result = ();
}

/// The uplink has a session: the labels are told anew.
#[derive(Debug, Clone, Copy)]
pub struct SessionOpened;

impl Message for SessionOpened {
    type Result = ();
}

/// Reads this machine. A restart loses the load since the last reading, and nothing else.
pub struct Sensors {
    device: DeviceId,
    labels: BTreeMap<String, String>,
    machine: Machine,
    schedule: Schedule,
    clock: SharedClock,
    wake_up: WakeUp,
    uplink: Line<Said>,
}

impl Sensors {
    /// Readings of `machine` and the fixed texts, for `uplink`.
    #[must_use]
    pub fn new(
        device: DeviceId,
        labels: BTreeMap<String, String>,
        machine: Machine,
        schedule: Schedule,
        clock: SharedClock,
        uplink: Line<Said>,
    ) -> Self {
        Self { device, labels, machine, schedule, clock, wake_up: WakeUp::new(), uplink }
    }

    fn read_what_is_due(&mut self, ctx: &mut Context<Self>) {
        while let Some((due, time_ms)) = self.schedule.take_due(self.clock.now(), self.clock.unix_ms()) {
            let reading = match due {
                Due::System => {
                    Reading::of(&self.device, due.stream(), time_ms, |pack| self.machine.read(pack))
                }
                Due::Labels => Reading::of(&self.device, due.stream(), time_ms, |pack| {
                    for (name, text) in &self.labels {
                        pack.text(name, text);
                    }
                }),
            };
            match reading {
                Some(reading) => self.uplink.say(Said(reading)),
                None if due == Due::System => warn!("nothing can be read on this machine"),
                None => {}
            }
        }
        self.wake_up.arm(ctx, self.schedule.next_deadline());
    }
}

impl Actor for Sensors {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.read_what_is_due(ctx);
    }
}

impl Handler<DeadlineReached> for Sensors {
    type Result = ();

    fn handle(&mut self, _: DeadlineReached, ctx: &mut Context<Self>) {
        self.read_what_is_due(ctx);
    }
}

impl Handler<SessionOpened> for Sensors {
    type Result = ();

    fn handle(&mut self, _: SessionOpened, ctx: &mut Context<Self>) {
        self.schedule.session_opened(self.clock.now());
        self.read_what_is_due(ctx);
    }
}
