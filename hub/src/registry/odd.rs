//! Devices that say more or less than they usually do: an alarm each, while they are in service.

use actix::{Context, Handler, Message};

use super::{
    RegistryActor, State,
    core::{Effect, Registry},
};
use crate::screening::OddDevices;

/// Tells of devices that are odd.
#[derive(Debug, Clone)]
pub struct TellOdd(pub Vec<OddDevices>);

impl Message for TellOdd {
    type Result = ();
}

impl Registry {
    /// Raises an alarm for each that is in service: of one that was suspended or retired, silence says nothing.
    pub fn tell_odd(&mut self, now_s: u64, odd: Vec<OddDevices>, effects: &mut Vec<Effect>) {
        for OddDevices { tenant, device, kind, detail } in odd {
            let state =
                device.as_ref().and_then(|id| self.device(&tenant, id).ok()).map(|device| device.state);
            let is_served = self.tenants.get(&tenant).is_some_and(|tenant| tenant.state == State::Active);
            if is_served && state.is_none_or(|state| state == State::Active) {
                self.raise(now_s, (Some(tenant), device), kind, detail, effects);
            }
        }
    }
}

impl Handler<TellOdd> for RegistryActor {
    type Result = ();

    fn handle(&mut self, TellOdd(odd): TellOdd, ctx: &mut Context<Self>) {
        if let Some(now_s) = self.loaded_now_s() {
            self.note(ctx, |core, effects| core.tell_odd(now_s, odd, effects));
        }
    }
}
