//! Replaying an event log: the registers that the events, in order, lead to.

use std::collections::BTreeMap;

use muster_schemas::enrolment::{Event, RefusalCode};

use super::Rejection;
use crate::{limits::EVENTS_COUNT_MAX, name::sha256};

/// The values that `events` lead to in the registers of `selection`, each starting at zero as after a reset. A register
/// that no event is of is left out: firmware may keep no log, or none that the device may read, and the quote proves the
/// value all the same.
///
/// # Errors
/// `EventLogMismatch` when there are too many events, or one is of a register outside the selection: no quote would
/// vouch for it, so the device leaves it out.
pub fn replay(events: &[Event], selection: &[u8]) -> Result<BTreeMap<u8, [u8; 32]>, Rejection> {
    if events.len() > EVENTS_COUNT_MAX {
        let detail = format!("the event log has {} events, more than {EVENTS_COUNT_MAX}", events.len());
        return Err(Rejection::new(RefusalCode::EventLogMismatch, detail));
    }
    let mut registers = BTreeMap::new();
    for event in events {
        if !selection.contains(&event.pcr) {
            let detail =
                format!("the event log has an event of register {}, which was not quoted", event.pcr);
            return Err(Rejection::new(RefusalCode::EventLogMismatch, detail));
        }
        let register = registers.entry(event.pcr).or_insert([0; 32]);
        *register = sha256(&[register.as_slice(), &event.digest]);
    }
    Ok(registers)
}

/// The events of the selected registers, in their order: what a device sends along with a quote.
pub fn quoted_only(events: &[Event], selection: &[u8]) -> Vec<Event> {
    events.iter().filter(|event| selection.contains(&event.pcr)).cloned().collect()
}
