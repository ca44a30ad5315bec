//! Carries out what an [`Updater`](crate::updater::Updater) wants of the slots, and brings back what became of it.
//! What it wants of the network, of the machine and of the health check is left to the agent.

use std::error::Error;

use crate::{
    floor::FloorCounter,
    fs::Fs,
    slot::Slot,
    slots::{Fault, Plan, Slots},
    updater::{Action, Input, Step, Woken},
};

/// The slots of one component, and the counter that remembers its sequences. It blocks while it writes.
#[derive(Debug)]
pub struct Carrier<F, C> {
    slots: Slots<F>,
    counter: C,
    /// What blocks belong to.
    plan: Option<Box<Plan>>,
}

impl<F: Fs, C: FloorCounter> Carrier<F, C> {
    /// Writes nothing yet.
    pub fn new(slots: Slots<F>, counter: C) -> Self {
        Self { slots, counter, plan: None }
    }

    /// The slots.
    pub fn slots(&self) -> &Slots<F> {
        &self.slots
    }

    /// Reads the records, and brings the counter up to them. `slot` and `version` are what runs.
    ///
    /// # Errors
    /// The records cannot be read, or the counter cannot be raised.
    pub fn wake(&mut self, slot: Slot, version: &str) -> Result<Woken, Fault> {
        self.slots.raise(&mut self.counter)?;
        let mut pointer = self.slots.pointer()?;
        pointer.floor = self.slots.floor(&mut self.counter)?;
        Ok(Woken { slot, pointer, journal: self.slots.journal()?, version: version.to_owned() })
    }

    /// Carries an action out. None if it is none of the slots, or if nothing has to be said of it.
    pub fn carry_out(&mut self, action: &Action) -> Option<Input> {
        let slots = &self.slots;
        let done = match action {
            Action::Begin(plan) => {
                self.plan = Some(plan.clone());
                slots.begin(plan).map(|offset| Some(Step::Began(offset)))
            }
            Action::Keep { offset, bytes } => {
                let plan = self.plan.as_ref()?;
                slots.keep(plan, *offset, bytes).map(|()| None)
            }
            Action::Mark { verified, plan } => {
                slots.mark(plan, *verified).map(|()| Some(Step::Marked(*verified)))
            }
            Action::Install(plan) => slots.install(plan).map(|()| Some(Step::Installed)),
            Action::Switch(plan) => slots.switch(plan).map(|()| Some(Step::Switched)),
            Action::Commit => slots.commit(&mut self.counter).map(|()| Some(Step::Committed)),
            Action::RollBack(reason) => slots.roll_back(reason.clone()).map(|()| Some(Step::RolledBack)),
            Action::GiveUp(reason) => slots.give_up(reason.clone()).map(|()| Some(Step::RolledBack)),
            Action::Forget => slots.forget().map(|()| Some(Step::Forgotten)),
            Action::Ask(_) | Action::Report(_) | Action::Reboot | Action::Check => Ok(None),
        };
        match done {
            Ok(step) => step.map(Input::Done),
            Err(fault) => Some(Input::Failed { code: fault.code(), detail: told(&fault) }),
        }
    }
}

/// An error with all of its causes.
fn told(fault: &Fault) -> String {
    let mut text = format!("failed to {fault}");
    let mut source = fault.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}
