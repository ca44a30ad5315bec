//! An update from the accepted offer to its end, as a core: inputs in, actions out. It reads no file, no socket and
//! no clock; whoever drives it carries actions out in their order and brings back what became of them.
//!
//! ```text
//! idle ─offer─▶ beginning ─▶ receiving ─▶ installing ─▶ switching ─▶ rebooting ═▶ trial ─▶ ending ─heard─▶ idle
//!                               │ next way ◀──┘                                     │
//!                               └─────────── failed, cancelled, superseded ─────────┴▶ rolled back, told by the old image
//! ```
//!
//! Saying the same twice changes nothing. A cancellation holds until the image is being installed; afterwards it is a
//! request, and how the update ends is what is reported.

mod order;
mod receiving;
mod trial;
mod window;

use muster_schemas::firmware::{Block, Event, EventKind, ExecutionId, FailureCode, Get, Outcome, Stage};

use crate::{
    journal::Phase,
    limits::{REPORTS_ON_TRIAL_MAX, REPORTS_RESERVED, TRIES_MAX},
    pointer::Reason,
    slots::Plan,
};
pub use order::{BlockList, Health, Order, Way, Woken, WrongList};
use receiving::Receiving;
pub use trial::{Trial, Verdict};

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The agent started, and this is what the records say. Comes first, and once.
    Woke(Box<Woken>),
    /// An offer was judged, and accepted.
    Offered(Box<Order>),
    /// A block that was asked for.
    Arrived(Block),
    /// A step that was carried out.
    Done(Step),
    /// A step that failed, with what to say of it.
    Failed {
        /// Why.
        code: FailureCode,
        /// For people.
        detail: String,
    },
    /// Something about the health of the image that runs.
    Sign(Sign),
    /// Somebody wants the update to stop.
    Cancel(ExecutionId),
    /// There is a hub to talk to.
    Online,
    /// There is none any more.
    Offline,
    /// The hub has the report with that number.
    Heard(u32),
    /// Time has passed.
    Tick,
}

/// A step that was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Of [`Action::Begin`]: blocks are wanted from there.
    Began(u64),
    /// Of [`Action::Mark`].
    Marked(u64),
    /// Of [`Action::Install`].
    Installed,
    /// Of [`Action::Switch`].
    Switched,
    /// Of [`Action::Commit`].
    Committed,
    /// Of [`Action::RollBack`] and [`Action::GiveUp`].
    RolledBack,
    /// Of [`Action::Forget`].
    Forgotten,
}

/// Something about the health of the image that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sign {
    /// The program is up, and says what it is.
    Up(String),
    /// The hub is reached.
    Connected,
    /// The health check passed.
    Passed,
    /// Something is wrong, and why.
    Ill(String),
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// `Slots::begin`.
    Begin(Box<Plan>),
    /// Ask the hub for blocks.
    Ask(Get),
    /// `Slots::keep`.
    Keep {
        /// Where it belongs.
        offset: u64,
        /// What it is.
        bytes: Vec<u8>,
    },
    /// `Slots::mark`, with this plan.
    Mark {
        /// How far everything is there.
        verified: u64,
        /// With the numbers that are reserved.
        plan: Box<Plan>,
    },
    /// `Slots::install`.
    Install(Box<Plan>),
    /// `Slots::switch`.
    Switch(Box<Plan>),
    /// Start the machine again. Nothing that comes after is looked at.
    Reboot,
    /// Run the command of the health check, and bring back [`Sign::Passed`] or [`Sign::Ill`].
    Check,
    /// `Slots::commit`.
    Commit,
    /// `Slots::roll_back`.
    RollBack(Reason),
    /// `Slots::give_up`.
    GiveUp(Reason),
    /// `Slots::forget`.
    Forget,
    /// Tell the hub. What [`Input::Heard`] has not named is told again whenever there is a hub.
    Report(Event),
}

/// Whom reports are for, and the number of the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Telling {
    execution: ExecutionId,
    attempt: u32,
    number: u32,
}

impl Telling {
    fn event(&mut self, what: EventKind) -> Event {
        let event = Event { execution: self.execution, attempt: self.attempt, number: self.number, what };
        self.number = self.number.saturating_add(1);
        event
    }
}

#[derive(Debug, Clone)]
enum State {
    /// Until the records were read.
    Asleep,
    Idle,
    Receiving(Box<Receiving>),
    /// From here on a cancellation is a request.
    Installing {
        receiving: Box<Receiving>,
        cancelled: bool,
    },
    Switching,
    Rebooting,
    Trial(Box<Trial>),
    /// Told, and not heard.
    Ending(Event),
    /// Heard; the records are being cleared.
    Forgetting,
}

/// The core. One for each component that has slots.
#[derive(Debug, Clone)]
pub struct Updater {
    state: State,
    telling: Option<Telling>,
    health: Health,
    /// How long a block is that is asked for.
    block_bytes: u32,
    online: bool,
    running: Option<Box<Woken>>,
    /// The offer that came last, while another one is at a step that has to end first.
    next: Option<Box<Order>>,
    /// How the last one ended, in case its offer is seen once more.
    ended: Option<Event>,
    request: u32,
}

impl Updater {
    /// One that waits for what the records say. `block_bytes` is what blocks are asked for with, 256 to 65,536.
    pub fn new(health: Health, block_bytes: u32) -> Self {
        let block_bytes = block_bytes.clamp(256, 65_536);
        Self {
            state: State::Asleep,
            telling: None,
            health,
            block_bytes,
            online: false,
            running: None,
            next: None,
            ended: None,
            request: 0,
        }
    }

    /// Takes an input, and appends what it leads to. `now_ms` is of a clock that never goes back.
    pub fn handle(&mut self, now_ms: u64, input: Input, actions: &mut Vec<Action>) {
        match input {
            Input::Woke(woken) => self.woke(now_ms, woken, actions),
            Input::Offered(order) => self.offered(now_ms, order, actions),
            Input::Arrived(block) => self.arrived(now_ms, &block, actions),
            Input::Done(step) => self.done(now_ms, step, actions),
            Input::Failed { code, detail } => self.failed(now_ms, code, detail, actions),
            Input::Sign(sign) => self.sign(now_ms, sign, actions),
            Input::Cancel(execution) => self.cancel(execution, actions),
            Input::Online => self.online(now_ms, actions),
            Input::Offline => {
                self.online = false;
                if let State::Receiving(receiving) = &mut self.state {
                    receiving.rest();
                }
            }
            Input::Heard(number) => {
                if let State::Ending(event) = &self.state
                    && event.number == number
                {
                    self.ended = Some(event.clone());
                    self.state = State::Forgetting;
                    actions.push(Action::Forget);
                }
            }
            Input::Tick => self.tick(now_ms, actions),
        }
    }

    /// When [`Input::Tick`] is wanted, at the latest.
    pub fn next_deadline(&self) -> Option<u64> {
        match &self.state {
            State::Receiving(receiving) => receiving.next_deadline(),
            State::Trial(trial) => Some(trial.next_deadline()),
            _ => None,
        }
    }

    /// Where the update is, if there is one.
    pub fn stage(&self) -> Option<Stage> {
        match &self.state {
            State::Asleep | State::Idle | State::Ending(_) | State::Forgetting => None,
            State::Receiving(receiving) if receiving.is_beginning() => Some(Stage::Offered),
            State::Receiving(_) => Some(Stage::Downloading),
            State::Installing { .. } => Some(Stage::Installing),
            State::Switching | State::Rebooting => Some(Stage::Rebooting),
            State::Trial(_) => Some(Stage::Verifying),
        }
    }

    fn woke(&mut self, now_ms: u64, woken: Box<Woken>, actions: &mut Vec<Action>) {
        if !matches!(self.state, State::Asleep) {
            return;
        }
        self.state = State::Idle;
        let pointer = &woken.pointer;
        self.telling = woken.journal.as_ref().map(|journal| {
            // Each start has numbers of its own, so that what an image said before it was given up is not taken for
            // what the next one says.
            let starts = match &pointer.trial {
                Some(trial) => u32::from(TRIES_MAX.saturating_sub(trial.tries)),
                None => u32::from(TRIES_MAX) + 1,
            };
            let number = journal.reserved.saturating_add(starts * REPORTS_ON_TRIAL_MAX);
            Telling { execution: journal.execution, attempt: journal.attempt, number }
        });
        let journal = woken.journal.as_ref();
        let is_of = |digest| journal.is_some_and(|journal| journal.image.digest == digest);
        let rolled_back = pointer.rolled_back.as_ref().filter(|back| is_of(back.image.digest));
        let active = pointer.image(pointer.active).map(|image| image.digest);
        let switched = journal.is_some_and(|journal| journal.phase == Phase::Switching);
        if let Some(image) = pointer.trial_image() {
            if woken.slot == pointer.active {
                let reason = Reason::new(FailureCode::BootFailed, "the new image was not started");
                let why = reason.to_string();
                actions.push(Action::GiveUp(reason));
                self.end(Outcome::RolledBack, why, actions);
            } else {
                let trial = Trial::new(image.version.as_str(), self.health, now_ms);
                self.state = State::Trial(Box::new(trial));
                self.reached(Stage::Verifying, None, actions);
                if self.health.needs_command {
                    actions.push(Action::Check);
                }
                self.sign(now_ms, Sign::Up(woken.version.clone()), actions);
            }
        } else if let Some(back) = rolled_back {
            self.end(Outcome::RolledBack, back.reason.to_string(), actions);
        } else if switched && active.is_some_and(is_of) {
            self.end(Outcome::Succeeded, String::new(), actions);
        }
        // Whatever else the journal says waits for its offer, which the hub keeps.
        self.running = Some(woken);
    }

    fn offered(&mut self, now_ms: u64, order: Box<Order>, actions: &mut Vec<Action>) {
        let is_same =
            |telling: &Telling| (telling.execution, telling.attempt) == (order.execution, order.attempt);
        let is_ended = |event: &Event| (event.execution, event.attempt) == (order.execution, order.attempt);
        let same = self.telling.as_ref().is_some_and(is_same);
        match &self.state {
            // It is still on offer, since the hub has not looked yet at how it ended.
            State::Idle if self.ended.as_ref().is_some_and(is_ended) => {
                actions.extend(self.ended.clone().map(Action::Report));
            }
            State::Idle => self.start(now_ms, order, actions),
            State::Receiving(_) if !same => {
                self.next = Some(order);
                self.end(Outcome::Superseded, String::new(), actions);
            }
            _ if !same => self.next = Some(order),
            _ => {}
        }
    }

    fn start(&mut self, now_ms: u64, order: Box<Order>, actions: &mut Vec<Action>) {
        let Some(running) = &self.running else { return };
        let pointer = &running.pointer;
        let journal = running.journal.as_ref();
        let same = journal.filter(|j| (j.execution, j.attempt) == (order.execution, order.attempt));
        let number = same.map_or(0, |journal| journal.reserved);
        self.telling = Some(Telling { execution: order.execution, attempt: order.attempt, number });
        let (wanted, floor) = (order.image.clone(), pointer.floor);
        if pointer.image(running.slot).is_some_and(|image| image.digest == wanted.digest) {
            return self.end(Outcome::AlreadyInstalled, String::new(), actions);
        }
        if wanted.sequence <= floor {
            let code = FailureCode::Downgrade;
            let detail = format!("sequence {} was offered, and {floor} ran here already", wanted.sequence);
            return self.end(Outcome::Failed { code }, detail, actions);
        }
        let Some(receiving) = Receiving::new(order, now_ms) else {
            let code = FailureCode::Transfer;
            return self.end(
                Outcome::Failed { code },
                "the offer names no way to get the image".to_owned(),
                actions,
            );
        };
        self.state = State::Receiving(Box::new(receiving));
        self.reached(Stage::Offered, None, actions);
        self.begin(actions);
    }

    fn cancel(&mut self, execution: ExecutionId, actions: &mut Vec<Action>) {
        if self.next.as_ref().is_some_and(|next| next.execution == execution) {
            self.next = None;
        }
        if self.telling.is_none_or(|telling| telling.execution != execution) {
            return;
        }
        match &mut self.state {
            State::Receiving(_) => self.end(Outcome::Cancelled, String::new(), actions),
            State::Installing { cancelled, .. } => *cancelled = true,
            _ => {}
        }
    }

    fn online(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        self.online = true;
        match &self.state {
            State::Receiving(_) => self.ask(now_ms, actions),
            State::Ending(event) => actions.push(Action::Report(event.clone())),
            State::Trial(_) => self.sign(now_ms, Sign::Connected, actions),
            _ => {}
        }
    }

    fn done(&mut self, now_ms: u64, step: Step, actions: &mut Vec<Action>) {
        match (step, &mut self.state) {
            (Step::Began(offset), State::Receiving(_)) => self.began(now_ms, offset, actions),
            (Step::Marked(verified), State::Receiving(_)) => self.marked(verified, actions),
            (Step::Installed, State::Installing { cancelled: true, .. }) => {
                self.end(Outcome::Cancelled, "called off before the switch".to_owned(), actions);
            }
            (Step::Installed, State::Installing { receiving, .. }) => {
                let plan = receiving.plan(self.telling);
                self.state = State::Switching;
                actions.push(Action::Switch(Box::new(plan)));
            }
            (Step::Switched, State::Switching) => {
                self.state = State::Rebooting;
                self.reached(Stage::Rebooting, None, actions);
                actions.push(Action::Reboot);
            }
            (Step::Committed, State::Trial(_)) => {
                if let Some(running) = &mut self.running
                    && let Some(committed) = running.pointer.committed()
                {
                    running.pointer = committed;
                }
                self.end(Outcome::Succeeded, String::new(), actions);
            }
            (Step::RolledBack, State::Trial(_)) => {
                self.state = State::Rebooting;
                actions.push(Action::Reboot);
            }
            (Step::Forgotten, State::Forgetting) => self.forgotten(now_ms, actions),
            _ => {}
        }
    }

    fn failed(&mut self, now_ms: u64, code: FailureCode, detail: String, actions: &mut Vec<Action>) {
        let outcome = Outcome::Failed { code };
        if let State::Installing { receiving, cancelled: false } = &mut self.state
            && receiving.next_way(code)
        {
            self.state = State::Receiving(receiving.clone());
            return self.begin(actions);
        }
        match &mut self.state {
            State::Receiving(_) | State::Installing { .. } | State::Switching => {
                self.end(outcome, detail, actions)
            }
            // The pointer cannot be written. The tries end the trial if it stays so.
            State::Trial(trial) if trial.is_too_late(now_ms) => {
                self.state = State::Rebooting;
                actions.push(Action::Reboot);
            }
            State::Trial(trial) => trial.write_again(now_ms),
            State::Forgetting => self.forgotten(now_ms, actions),
            _ => {}
        }
    }

    /// The update is over: the records are cleared, and the offer that waits is next.
    fn forgotten(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        self.state = State::Idle;
        self.telling = None;
        if let Some(running) = &mut self.running {
            running.journal = None;
            running.pointer = running.pointer.told();
            // What was being written there is nothing.
            if let Some(cleared) = running.pointer.cleared() {
                running.pointer = cleared;
            }
        }
        if let Some(next) = self.next.take() {
            self.start(now_ms, next, actions);
        }
    }

    fn tick(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        match &mut self.state {
            State::Receiving(receiving) if receiving.is_too_late(now_ms) => {
                let code = FailureCode::Timeout;
                self.end(Outcome::Failed { code }, "the image did not arrive in time".to_owned(), actions);
            }
            State::Receiving(receiving) if receiving.is_to_ask_again(now_ms) => self.ask(now_ms, actions),
            State::Trial(_) => self.look_at_trial(now_ms, actions),
            _ => {}
        }
    }

    fn reached(&mut self, stage: Stage, bytes: Option<u64>, actions: &mut Vec<Action>) {
        if let Some(telling) = &mut self.telling {
            actions.push(Action::Report(telling.event(EventKind::Reached { stage, bytes })));
        }
    }

    /// Nothing more is done for this update but telling how it ended.
    fn end(&mut self, outcome: Outcome, detail: String, actions: &mut Vec<Action>) {
        let event = self.telling.as_mut().map(|telling| telling.event(EventKind::Ended { outcome, detail }));
        match event {
            Some(event) => {
                actions.push(Action::Report(event.clone()));
                self.state = State::Ending(event);
            }
            None => {
                self.state = State::Forgetting;
                actions.push(Action::Forget);
            }
        }
    }
}

/// The first number that no report has had, for the journal: numbers up to the next mark are given out before it.
fn reserved(telling: Option<Telling>) -> u32 {
    telling.map_or(0, |telling| telling.number).saturating_add(REPORTS_RESERVED)
}
