//! Alarms: what an operator has to look at, because something is as it should not be and the hub alone cannot settle it.
//! An alarm stands until somebody acknowledges it; the same one again is counted and does not stand twice.

use std::collections::{BTreeMap, BTreeSet};

use actix::{Context, Handler, Message, MessageResult, ResponseFuture};
use muster_schemas::{DeviceId, TenantId};
use serde::{Deserialize, Serialize};

use super::{
    RegistryActor,
    core::{Effect, Registry},
    limits::{
        ALARM_DETAIL_BYTES_MAX, ALARM_REPEAT_S, ALARMS_PER_TENANT_MAX, BARRED_QUIET_S, BY_BYTES_MAX,
        LISTED_ALARMS_MAX,
    },
    message::Refusal,
    row::Row,
};

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlarmKind {
    /// A chip was started more often than its device has connected.
    SilentReboots,
    /// A chip's counters went back: its state was put back to an earlier one.
    Rollback,
    /// Two chips, or two copies of one, speak for one device.
    Clone,
    /// A chip was cleared, or a device set up anew: it came back with another identity key.
    Cleared,
    /// A chip that is barred tried to enrol.
    BarredChip,
    /// A second device claims an identity that is taken; it is held.
    IdentityHeld,
    /// A device measured what its tenant has not accepted.
    UnknownMeasurements,
    /// The hub's own clock is behind the time that it knew before.
    ClockSetBack,
    /// A device, or many, said nothing for much longer than usual.
    FellSilent,
    /// A device, or many, publishes much more than usual.
    Flood,
}

impl AlarmKind {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::SilentReboots,
        Self::Rollback,
        Self::Clone,
        Self::Cleared,
        Self::BarredChip,
        Self::IdentityHeld,
        Self::UnknownMeasurements,
        Self::ClockSetBack,
        Self::FellSilent,
        Self::Flood,
    ];

    /// The name, as the API, the log and the numbers have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SilentReboots => "silent_reboots",
            Self::Rollback => "rollback",
            Self::Clone => "clone",
            Self::Cleared => "cleared",
            Self::BarredChip => "barred_chip",
            Self::IdentityHeld => "identity_held",
            Self::UnknownMeasurements => "unknown_measurements",
            Self::ClockSetBack => "clock_set_back",
            Self::FellSilent => "fell_silent",
            Self::Flood => "flood",
        }
    }
}

impl std::fmt::Display for AlarmKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Something to look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alarm {
    /// Its number; they grow.
    pub number: u64,
    /// The tenant it concerns; none for the hub itself.
    pub tenant: Option<TenantId>,
    /// The device it concerns.
    pub device: Option<DeviceId>,
    /// What is wrong.
    pub kind: AlarmKind,
    /// What was seen the last time, in plain words.
    pub detail: String,
    /// When it was raised, in seconds since 1970.
    pub at_s: u64,
    /// When it was raised the last time, in seconds since 1970.
    pub last_at_s: u64,
    /// How often it was raised.
    pub times: u64,
    /// Who has looked at it, and when; none while it stands.
    pub acknowledged: Option<Acknowledged>,
}

/// That somebody has looked at an alarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acknowledged {
    /// When, in seconds since 1970.
    pub at_s: u64,
    /// Who: a principal.
    pub by: String,
}

/// What an alarm is about: one stands for each.
type Subject = (Option<TenantId>, Option<DeviceId>, AlarmKind);

/// All alarms, by number.
#[derive(Debug, Default)]
pub(super) struct Alarms {
    rows: BTreeMap<u64, Alarm>,
    /// Those that stand. Follows from `rows`.
    standing: BTreeMap<Subject, u64>,
    /// Those of each tenant, and of the hub itself. Follows from `rows`.
    tenants: BTreeMap<Option<TenantId>, BTreeSet<u64>>,
    /// When each subject's alarm was acknowledged last. Follows from `rows`.
    settled: BTreeMap<Subject, u64>,
    /// When each that stands was last written; what is raised again soon after is counted in memory only.
    written: BTreeMap<u64, u64>,
    /// How often each kind was raised since the hub started.
    raised: BTreeMap<AlarmKind, u64>,
    last: u64,
}

impl Alarms {
    pub(super) fn insert(&mut self, alarm: Alarm) {
        let subject = (alarm.tenant.clone(), alarm.device.clone(), alarm.kind);
        if let Some(Acknowledged { at_s, .. }) = alarm.acknowledged {
            if self.standing.get(&subject) == Some(&alarm.number) {
                self.standing.remove(&subject);
                self.written.remove(&alarm.number);
            }
            let settled = self.settled.entry(subject).or_default();
            *settled = at_s.max(*settled);
        } else {
            self.standing.insert(subject, alarm.number);
        }
        self.tenants.entry(alarm.tenant.clone()).or_default().insert(alarm.number);
        self.last = self.last.max(alarm.number);
        self.rows.insert(alarm.number, alarm);
    }

    fn remove(&mut self, number: u64) -> Option<Alarm> {
        let alarm = self.rows.remove(&number)?;
        let subject = (alarm.tenant.clone(), alarm.device.clone(), alarm.kind);
        if self.standing.get(&subject) == Some(&number) {
            self.standing.remove(&subject);
        } else {
            self.settled.remove(&subject);
        }
        self.written.remove(&number);
        if let Some(numbers) = self.tenants.get_mut(&alarm.tenant) {
            numbers.remove(&number);
        }
        Some(alarm)
    }

    /// Which alarm of a tenant makes room: the oldest that was acknowledged, or else the oldest.
    fn dispensable(&self, tenant: &Option<TenantId>) -> Option<u64> {
        let numbers = self.tenants.get(tenant).filter(|numbers| numbers.len() >= ALARMS_PER_TENANT_MAX)?;
        let settled = |number: &&u64| self.rows.get(number).is_some_and(|row| row.acknowledged.is_some());
        numbers.iter().find(settled).or(numbers.first()).copied()
    }
}

impl Registry {
    /// Raises an alarm, or counts it if the same one stands already. At the bound of a tenant its oldest alarm goes,
    /// those that were acknowledged first.
    pub fn raise(
        &mut self,
        now_s: u64,
        (tenant, device): (Option<TenantId>, Option<DeviceId>),
        kind: AlarmKind,
        mut detail: String,
        effects: &mut Vec<Effect>,
    ) {
        detail.truncate(detail.floor_char_boundary(ALARM_DETAIL_BYTES_MAX));
        *self.alarms.raised.entry(kind).or_default() += 1;
        let subject = (tenant, device, kind);
        // A barred chip tries again and again: whoever has looked knows, for a while.
        let settled = self.alarms.settled.get(&subject).filter(|_| kind == AlarmKind::BarredChip);
        if settled.is_some_and(|at_s| now_s < at_s.saturating_add(BARRED_QUIET_S)) {
            return;
        }
        let standing = self.alarms.standing.get(&subject).and_then(|number| self.alarms.rows.get_mut(number));
        let alarm = match standing {
            Some(alarm) => {
                alarm.times = alarm.times.saturating_add(1);
                (alarm.last_at_s, alarm.detail) = (now_s, detail);
                let written = self.alarms.written.get(&alarm.number);
                if written.is_some_and(|at_s| now_s.saturating_sub(*at_s) < ALARM_REPEAT_S) {
                    return;
                }
                alarm.clone()
            }
            None => {
                let (tenant, device, _) = subject;
                if let Some(oldest) = self.alarms.dispensable(&tenant).and_then(|n| self.alarms.remove(n)) {
                    effects.push(Effect::Delete(Row::Alarm(oldest).key()));
                }
                let number = self.alarms.last.saturating_add(1);
                let (at_s, last_at_s) = (now_s, now_s);
                let acknowledged = None;
                Alarm { number, tenant, device, kind, detail, at_s, last_at_s, times: 1, acknowledged }
            }
        };
        self.alarms.written.insert(alarm.number, now_s);
        effects.push(Effect::Tell(alarm.clone()));
        self.put(Row::Alarm(alarm), effects);
    }

    /// Notes that somebody has looked at an alarm. One that was acknowledged before stays as it is.
    ///
    /// # Errors
    /// There is no such alarm among those that the caller may see.
    pub fn acknowledge(
        &mut self,
        now_s: u64,
        command: Acknowledge,
        effects: &mut Vec<Effect>,
    ) -> Result<Alarm, Refusal> {
        let Acknowledge { number, of, mut by } = command;
        let visible = |alarm: &&Alarm| of.is_none() || alarm.tenant == of;
        let alarm =
            self.alarms.rows.get(&number).filter(visible).ok_or(Refusal::AlarmUnknown(number))?.clone();
        if alarm.acknowledged.is_some() {
            return Ok(alarm);
        }
        by.truncate(by.floor_char_boundary(BY_BYTES_MAX));
        let alarm = Alarm { acknowledged: Some(Acknowledged { at_s: now_s, by }), ..alarm };
        self.put(Row::Alarm(alarm.clone()), effects);
        Ok(alarm)
    }

    /// Alarms by number, as many as one answer holds.
    pub fn alarms(&self, asked: &ListAlarms) -> Vec<Alarm> {
        let ListAlarms { of, after, acknowledged } = asked;
        let rows = self.alarms.rows.range(after.saturating_add(1)..).map(|(_, alarm)| alarm);
        let wanted = rows.filter(|alarm| {
            (of.is_none() || alarm.tenant == *of) && (*acknowledged || alarm.acknowledged.is_none())
        });
        wanted.take(LISTED_ALARMS_MAX).cloned().collect()
    }

    /// For each kind: how many stand, and how often it was raised since the hub started.
    pub fn alarm_numbers(&self) -> Vec<(AlarmKind, u64, u64)> {
        let standing = |kind| self.alarms.standing.keys().filter(|(_, _, k)| *k == kind).count() as u64;
        let raised = |kind| self.alarms.raised.get(&kind).copied().unwrap_or_default();
        AlarmKind::ALL.into_iter().map(|kind| (kind, standing(kind), raised(kind))).collect()
    }
}

/// Notes that somebody has looked at an alarm.
#[derive(Debug, Clone)]
pub struct Acknowledge {
    /// The alarm's number.
    pub number: u64,
    /// Only if it is of this tenant; none for an operator.
    pub of: Option<TenantId>,
    /// Who has looked: a principal.
    pub by: String,
}

impl Message for Acknowledge {
    type Result = Result<Alarm, Refusal>;
}

/// Asks for alarms, by number.
#[derive(Debug, Clone, Default)]
pub struct ListAlarms {
    /// Only those of this tenant.
    pub of: Option<TenantId>,
    /// Only those after this one, to go on with a long list.
    pub after: u64,
    /// Also those that were acknowledged.
    pub acknowledged: bool,
}

impl Message for ListAlarms {
    type Result = Vec<Alarm>;
}

/// Asks how many alarms of each kind stand, and how many were raised.
#[derive(Debug, Clone, Copy)]
pub struct CountAlarms;

impl Message for CountAlarms {
    type Result = Vec<(AlarmKind, u64, u64)>;
}

impl Handler<Acknowledge> for RegistryActor {
    type Result = ResponseFuture<Result<Alarm, Refusal>>;

    fn handle(&mut self, command: Acknowledge, ctx: &mut Context<Self>) -> Self::Result {
        self.change(ctx, |refusal| refusal, |core, now_s, effects| core.acknowledge(now_s, command, effects))
    }
}

impl Handler<ListAlarms> for RegistryActor {
    type Result = MessageResult<ListAlarms>;

    fn handle(&mut self, asked: ListAlarms, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.core().alarms(&asked))
    }
}

impl Handler<CountAlarms> for RegistryActor {
    type Result = MessageResult<CountAlarms>;

    fn handle(&mut self, _: CountAlarms, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.core().alarm_numbers())
    }
}

#[cfg(test)]
#[path = "alarm_tests.rs"]
mod tests;
