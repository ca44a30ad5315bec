//! What follows from the quotes that a device comes with.

use muster_schemas::DeviceId;

use super::{Change, Precautions};
use crate::registry::{
    AlarmKind,
    boots::{self, Boot, Judgement, Seen},
    core::{Effect, Registry},
    row::{Device, State},
};

impl Registry {
    /// Judges the quote that a known device came with, raises what is to be raised, and says whether its tenant wants it
    /// kept out for that.
    pub(in crate::registry) fn judge_quote(
        &mut self,
        now_s: u64,
        device: &Device,
        now: Boot,
        key_replaced: bool,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let Device { life, reset_count, clock_ms, .. } = device;
        let was = Boot { reset_count: *reset_count, restart_count: life.restart_count, clock_ms: *clock_ms };
        let before = Seen { boot: was, at_s: life.quoted_at_s };
        let connections = self.connections.remove(&device.id);
        let judgement = boots::judge(before, Seen { boot: now, at_s: now_s }, connections, key_replaced);
        let counters = format!(
            "resets {} and clock {} s before, resets {} and clock {} s now",
            was.reset_count,
            was.clock_ms / 1_000,
            now.reset_count,
            now.clock_ms / 1_000
        );
        let (kind, what) = match judgement {
            Judgement::SameBoot | Judgement::Reboot => return false,
            Judgement::SilentReboots { resets, connections } => (
                AlarmKind::SilentReboots,
                format!(
                    "the chip was started {resets} times and the device has connected {connections} times since"
                ),
            ),
            Judgement::Cleared => (
                AlarmKind::Cleared,
                "the chip was cleared and came back with another identity key".to_owned(),
            ),
            Judgement::Rollback => (
                AlarmKind::Rollback,
                "the chip's counters went back: its state was put back, or a copy of it is in use".to_owned(),
            ),
            Judgement::Clone => (
                AlarmKind::Clone,
                "the chip's clock is not that of one chip: a copy of it is in use".to_owned(),
            ),
        };
        let subject = (Some(device.tenant.clone()), Some(device.id.clone()));
        self.raise(now_s, subject, kind, format!("{what} ({counters})"), effects);
        let Precautions { suspend_clones, approve_cleared } =
            self.tenant(&device.tenant).map(|tenant| tenant.precautions).unwrap_or_default();
        let keeps_out = match judgement {
            Judgement::Rollback | Judgement::Clone => suspend_clones,
            Judgement::Cleared => approve_cleared && !life.may_return_cleared,
            _ => false,
        };
        if keeps_out {
            let why = format!("{kind}: its tenant wants to look first");
            let noted = Change { at_s: now_s, by: "the hub".to_owned(), why };
            self.end(device, "this device was suspended; ask the operator of the hub", effects);
            // The counters stay those of before, so that the chip is judged anew when it comes back.
            self.set_state(device.clone(), State::Suspended, noted, effects);
        }
        keeps_out
    }

    /// A barred chip has tried to enrol.
    pub(in crate::registry) fn note_barred(
        &mut self,
        now_s: u64,
        device: &DeviceId,
        effects: &mut Vec<Effect>,
    ) {
        let Some(row) = self.devices.get(device) else { return };
        let (tenant, state) = (row.tenant.clone(), row.state.as_str());
        let detail = format!("the chip of a {state} device tried to enrol, and was refused");
        self.raise(now_s, (Some(tenant), Some(device.clone())), AlarmKind::BarredChip, detail, effects);
    }

    /// A device has announced that it runs.
    pub(in crate::registry) fn count_connection(&mut self, device: &DeviceId) {
        if let Some(connections) = self.connections.get_mut(device) {
            *connections = connections.saturating_add(1);
        }
    }
}
