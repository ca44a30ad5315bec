//! Stories of campaigns, with a stage to tell them on.

mod approval;
mod deadlines;
mod devices;
mod fleet;
mod measured;
mod offers;
mod repeat;
mod thresholds;
mod waves;

use muster_schemas::firmware::{Digest, ExecutionId, FailureCode, Outcome, Stage};

use crate::{
    plan::tests::{manifest, plan, wave},
    plan::{Action, Classes, Deadlines, Failure, Limit, Manifest, Plan, Size, Success, Wave},
    *,
};

/// When stories begin: a Monday, at midnight in Greenwich.
pub(super) const BEGIN_MS: u64 = 1_795_392_000_000;

/// A campaign with a clock, and all that came of it.
pub(super) struct Scene {
    pub campaign: Campaign,
    pub now_ms: u64,
    pub records: Vec<Vec<u8>>,
}

pub(super) fn created(plan: Plan, devices: u32) -> Created {
    let first = ExecutionId::new(100).expect("a number");
    let by = "ann".to_owned();
    Created { number: 7, by, four_eyes: true, executions: (first, devices), undoes: None, plan }
}

pub(super) fn member(number: u32, wave: u8) -> Member {
    let device = format!("d{number:07}").parse().expect("an id");
    Member { device, wave, zone: None, taken: false, offline: false }
}

/// A wave that is good enough with most of it, so that one failure is none of the story.
pub(super) fn lenient(size: Size) -> Wave {
    Wave { success: Success { permille: 1, started_permille: 1_000 }, ..wave(size) }
}

pub(super) fn too_much(limit: Limit, started_min: u32, action: Action) -> Failure {
    Failure { classes: Classes::default(), limit, started_min, action }
}

impl Scene {
    /// Created, and no more.
    pub fn drafted(plan: Plan, room: u32) -> Self {
        let (campaign, effects) = Campaign::create(BEGIN_MS, created(plan, room)).expect("a campaign");
        Self { campaign, now_ms: BEGIN_MS, records: vec![effects.record] }
    }

    /// Approved by somebody else, with so many devices in each wave.
    pub fn approved(plan: Plan, sizes: &[u32]) -> Self {
        let members =
            sizes.iter().zip(0_u8..).flat_map(|(size, wave)| std::iter::repeat_n(wave, *size as usize));
        let members: Vec<_> = (0_u32..).zip(members).map(|(number, wave)| member(number, wave)).collect();
        let mut stage = Self::drafted(plan, members.len() as u32 + 1_000);
        stage.must(Event::Submit { by: "ann".to_owned() });
        let hash = stage.campaign.hash();
        stage.must(Event::Approve { by: "bob".to_owned(), hash });
        for some in members.chunks(limits::MEMBERS_PER_RECORD_MAX) {
            stage.must(Event::Enlist { members: some.to_vec() });
        }
        stage
    }

    /// Begun.
    pub fn begun(plan: Plan, sizes: &[u32]) -> (Self, Vec<Effect>) {
        let mut stage = Self::approved(plan, sizes);
        let effects = stage.start();
        (stage, effects)
    }

    pub fn start(&mut self) -> Vec<Effect> {
        let plan = self.campaign.plan();
        let signed: Vec<Manifest> = std::iter::once(plan.manifest).chain(plan.rollback).collect();
        self.must(Event::Start { by: "ann".to_owned(), signed })
    }

    pub fn tell(&mut self, event: Event) -> Result<Vec<Effect>, Refused> {
        let before = self.campaign.print;
        match self.campaign.apply(self.now_ms, &event) {
            Ok(effects) => {
                self.records.push(effects.record);
                Ok(effects.list)
            }
            Err(refused) => {
                assert_eq!(self.campaign.print, before, "what is refused changes nothing");
                Err(refused)
            }
        }
    }

    #[track_caller]
    pub fn must(&mut self, event: Event) -> Vec<Effect> {
        let shown = format!("{event:?}").chars().take(80).collect::<String>();
        self.tell(event).unwrap_or_else(|refused| panic!("{shown}: {refused}"))
    }

    /// Lets time pass, with a tick whenever one is wanted.
    pub fn wait(&mut self, seconds: u64) -> Vec<Effect> {
        let (until_ms, mut effects) = (self.now_ms + seconds * 1_000, Vec::new());
        while let Some(due_ms) = self.campaign.next_deadline_ms().filter(|due_ms| *due_ms <= until_ms) {
            self.now_ms = self.now_ms.max(due_ms);
            effects.extend(self.must(Event::Tick));
        }
        self.now_ms = until_ms;
        effects
    }

    pub fn execution(&self, device: u32) -> ExecutionId {
        ExecutionId::new(100 + device).expect("a number")
    }

    pub fn device(&self, device: u32) -> Device {
        self.campaign.device(self.execution(device)).expect("a device")
    }

    pub fn status(&self, device: u32) -> Status {
        self.device(device).status
    }

    pub fn said(&mut self, device: u32, what: What) -> Result<Vec<Effect>, Refused> {
        let attempt = self.device(device).attempt;
        let number = self.campaign.cells[device as usize].number + 1;
        self.tell(Event::Report { execution: self.execution(device), attempt, number, what })
    }

    pub fn reached(&mut self, device: u32, stage: Stage) -> Vec<Effect> {
        self.said(device, What::Reached { stage, bytes: 0 }).expect("taken")
    }

    pub fn ended(&mut self, device: u32, outcome: Outcome) -> Vec<Effect> {
        self.said(device, What::Ended { outcome }).expect("taken")
    }

    pub fn fails(&mut self, device: u32, code: FailureCode) -> Vec<Effect> {
        self.ended(device, Outcome::Failed { code })
    }

    /// All stages, one after the other, and success.
    pub fn succeeds(&mut self, device: u32) -> Vec<Effect> {
        for stage in [Stage::Downloading, Stage::Downloaded, Stage::Installing, Stage::Rebooting] {
            self.reached(device, stage);
        }
        self.ended(device, Outcome::Succeeded)
    }

    pub fn runs(&mut self, device: u32, image: Digest) -> Result<Vec<Effect>, Refused> {
        self.tell(Event::Running { execution: self.execution(device), image })
    }

    pub fn state(&self) -> State {
        self.campaign.state()
    }

    /// That the records make the same campaign, which counts right.
    pub fn check(&self) {
        assert!(self.campaign.is_sound());
        let replayed = Campaign::replay(&self.records).expect("the records fit");
        assert!(replayed.snapshot() == self.campaign.snapshot(), "replay made another campaign");
        let restored = Campaign::restore(&self.campaign.snapshot()).expect("the snapshot fits");
        assert!(restored.snapshot() == self.campaign.snapshot(), "the snapshot made another campaign");
    }
}

pub(super) fn offers(effects: &[Effect]) -> Vec<u32> {
    let offered = effects.iter().filter_map(|effect| match effect {
        Effect::Offer { execution, .. } => Some(execution.number() - 100),
        _ => None,
    });
    offered.collect()
}

pub(super) fn alarms(effects: &[Effect]) -> Vec<Alarm> {
    let alarms = effects.iter().filter_map(|effect| match effect {
        Effect::Alarm(alarm) => Some(alarm.clone()),
        _ => None,
    });
    alarms.collect()
}

pub(super) fn everybody() -> Plan {
    plan(vec![lenient(Size::Rest)])
}

pub(super) fn failed() -> Outcome {
    Outcome::Failed { code: FailureCode::HealthCheck }
}

pub(super) fn old_image() -> Digest {
    Digest([0xee; 32])
}

pub(super) fn new_image() -> Digest {
    manifest(2).image
}

pub(super) fn short() -> Deadlines {
    Deadlines {
        waiting_s: 1_000,
        offered_s: 100,
        downloading_s: 200,
        downloaded_s: 300,
        installing_s: 400,
        rebooting_s: 500,
        verifying_s: 600,
        cancelling_s: 50,
        gate_s: 700,
        campaign_s: 100_000,
    }
}
