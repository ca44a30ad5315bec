//! What to do about offers, blocks and signs of health. It owns the slots and the record, and writes them; it knows no
//! network, no clock and no process.

use std::{collections::VecDeque, sync::Arc};

use muster_schemas::{
    DeviceId, TenantId,
    firmware::{
        Announcement, Block, Digest, Event, EventKind, ExecutionId, FailureCode, Get, Offer, Outcome, Report,
        Running, Stage, Window,
    },
};
use muster_slots::{
    carrier::Carrier,
    floor::FloorCounter,
    fs::Fs,
    slot::{Image, Slot},
    slots::Fault,
    updater::{Action, Health, Input as Step, Order, Sign, Step as Done, Updater, Way},
};
use muster_suit::{
    self as suit, Clock, Device, Facts, Parts, Version, cose::Signed, follow, judge,
    limits::SIGNED_BYTES_MAX, read_offer,
};
use tracing::{error, info, warn};

use super::{Accepted, Record, shelf::Shelf};
use crate::limits::{FIRMWARE_BLOCK_BYTES, FIRMWARE_ENDS_MAX};

/// How long a window of installation is waited for at a time: the machine's clock may be set meanwhile.
const LOOK_AGAIN_MS: u64 = 60_000;

/// What time it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// By a clock that never goes back.
    pub ms: u64,
    /// Unix seconds.
    pub unix_s: u64,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// There is a session; the certificate is of this tenant, if it says so.
    Connected(Option<TenantId>),
    /// There is none any more.
    Disconnected,
    /// What lies at the device's offer; empty when it was taken away.
    Offer(Vec<u8>),
    /// A block came.
    Block(Vec<u8>),
    /// The hub has what was said with that number.
    Heard(u64),
    /// Something about the health of the image that runs.
    Sign(Sign),
    /// Time has passed.
    Tick,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Ask for blocks, at QoS 0.
    Ask(Get),
    /// Tell the hub, at QoS 1.
    Say {
        /// What [`Input::Heard`] names it by.
        ticket: u64,
        /// What to tell.
        report: Report,
    },
    /// Run the health check.
    Check,
    /// Start the machine again. The core does nothing more.
    Reboot,
}

/// What does not change while the agent runs.
#[derive(Debug, Clone)]
pub struct About {
    /// This device.
    pub device: DeviceId,
    /// Its maker and class, in SUIT's words.
    pub vendor: muster_schemas::firmware::Uuid,
    /// The class.
    pub class: muster_schemas::firmware::Uuid,
    /// The longest image that fits a slot.
    pub slot_bytes: u64,
    /// The slot that runs.
    pub slot: Slot,
    /// What the image that runs says that it is.
    pub version: String,
    /// What makes a trial a success.
    pub health: Health,
    /// How long an image may take to arrive.
    pub download_ms: u64,
}

/// Which execution, and which try of it.
type Try = (ExecutionId, u32);

/// The core.
pub struct Core<F, C> {
    about: About,
    carrier: Carrier<F, C>,
    updater: Updater,
    record: Record,
    shelf: Arc<dyn Shelf>,
    /// The image that runs.
    image: Option<Digest>,
    tenant: Option<TenantId>,
    online: bool,
    /// What the updater is at.
    current: Option<Try>,
    /// The first free number of the update that a restart interrupted.
    interrupted: Option<(Try, u32)>,
    /// An order whose time has not come.
    held: Option<(Box<Order>, Window)>,
    /// Ends that were said, by their tickets.
    ends: VecDeque<(u64, Event)>,
    heard: Option<Event>,
    next_ticket: u64,
    effects: Vec<Effect>,
    over: bool,
}

impl<F: Fs, C: FloorCounter> Core<F, C> {
    /// Reads the slots' records, and goes on with what they say.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn wake(
        now: Now,
        mut about: About,
        mut carrier: Carrier<F, C>,
        record: Record,
        shelf: Arc<dyn Shelf>,
    ) -> Result<Self, Fault> {
        about.version = spelt(&about.version);
        let woken = carrier.wake(about.slot, &about.version)?;
        let image = woken.pointer.image(about.slot).map(|image| image.digest);
        let interrupted = woken.journal.as_ref();
        let interrupted = interrupted.map(|journal| ((journal.execution, journal.attempt), journal.reserved));
        let proven = woken.pointer.trial.is_none() && woken.pointer.active == about.slot;
        let floor = woken.pointer.floor;
        let updater = Updater::new(about.health, FIRMWARE_BLOCK_BYTES);
        let mut core = Self {
            about,
            carrier,
            updater,
            record,
            shelf,
            image,
            tenant: None,
            online: false,
            current: None,
            interrupted,
            held: None,
            ends: VecDeque::new(),
            heard: None,
            next_ticket: 1,
            effects: Vec::new(),
            over: false,
        };
        core.record.state.sequence = core.record.state.sequence.max(floor);
        if let Some(image) = image.filter(|_| proven) {
            core.prove(image);
        }
        core.drive(now, Step::Woke(Box::new(woken)));
        Ok(core)
    }

    /// Takes an input, and appends what is to be done.
    pub fn handle(&mut self, now: Now, input: Input, effects: &mut Vec<Effect>) {
        if !self.over {
            self.take(now, input);
            self.look_at_held(now);
        }
        effects.append(&mut self.effects);
    }

    /// When [`Input::Tick`] is wanted, at the latest.
    #[must_use]
    pub fn next_deadline(&self, now: Now) -> Option<u64> {
        let held = self.held.as_ref().map(|(_, window)| {
            let wait_ms = window.from_s.saturating_sub(now.unix_s).saturating_mul(1_000);
            now.ms.saturating_add(wait_ms.min(LOOK_AGAIN_MS))
        });
        self.updater.next_deadline().into_iter().chain(held).min()
    }

    /// Where the update is, if there is one.
    #[must_use]
    pub fn stage(&self) -> Option<Stage> {
        self.updater.stage()
    }

    fn take(&mut self, now: Now, input: Input) {
        match input {
            Input::Connected(tenant) => {
                self.tenant = tenant;
                self.online = true;
                self.say_running();
                self.drive(now, Step::Online);
            }
            Input::Disconnected => {
                self.online = false;
                self.drive(now, Step::Offline);
            }
            Input::Offer(bytes) if bytes.is_empty() => {
                self.held = None;
                if let Some((execution, _)) = self.current {
                    info!(%execution, "the offer of firmware was taken away");
                    self.drive(now, Step::Cancel(execution));
                }
            }
            Input::Offer(bytes) => self.offered(now, &bytes),
            // Of a session that is over. Nobody could be asked for what is missing beside it.
            Input::Block(_) if !self.online => {}
            Input::Block(bytes) => match Block::decode(&bytes) {
                Ok(block) => self.drive(now, Step::Arrived(block)),
                Err(error) => warn!(%error, "a block of firmware is none"),
            },
            Input::Heard(ticket) => {
                let place = self.ends.iter().position(|(said, _)| *said == ticket);
                let event = place.and_then(|place| self.ends.remove(place)).map(|(_, event)| event);
                // An end of another update may have the same number.
                if let Some(event) = event
                    && self.current == Some((event.execution, event.attempt))
                {
                    let number = event.number;
                    self.heard = Some(event);
                    self.drive(now, Step::Heard(number));
                }
            }
            Input::Sign(sign) => self.drive(now, Step::Sign(sign)),
            Input::Tick => self.drive(now, Step::Tick),
        }
    }

    fn offered(&mut self, now: Now, bytes: &[u8]) {
        let announcement = match Announcement::decode(bytes) {
            Ok(announcement) => announcement,
            Err(error) => return warn!(%error, "what lies at the offer of firmware is none"),
        };
        if let Err(refusal) = self.follow(&announcement) {
            return self.refuse(claimed(&announcement.offer), refusal.outcome(), refusal.to_string());
        }
        let signed = read_offer(&announcement.offer, &self.record.root.hub).ok();
        let signed = signed.map(|offer| (offer.execution, offer.attempt));
        // It still lies there, since the hub has not looked yet at how it stands.
        if signed.is_some() && signed == self.current {
            return;
        }
        if let Some(ended) =
            self.record.ended.clone().filter(|ended| Some((ended.execution, ended.attempt)) == signed)
        {
            return self.say(Report::Event(ended));
        }
        let device = self.device();
        let clock = Clock::Time(now.unix_s);
        let root = Some(&self.record.root);
        match judge(&device, &self.record.state, root, Parts::from(&announcement), clock) {
            Ok(accepted) => self.accept(now, accepted),
            Err(refusal) => {
                let of = signed.or_else(|| claimed(&announcement.offer));
                self.refuse(of, refusal.outcome(), refusal.to_string());
            }
        }
    }

    fn follow(&mut self, announcement: &Announcement) -> Result<(), suit::Refusal> {
        let after = follow(&self.record.root, &announcement.roots)?;
        if after.version > self.record.root.version {
            let version = after.version;
            let before = self.record.clone();
            self.record.follow(after, &announcement.roots);
            if self.keep() {
                info!(version, "the tenant has a new root");
                self.say_running();
            } else {
                self.record = before;
            }
        }
        Ok(())
    }

    fn accept(&mut self, now: Now, accepted: suit::Accepted) {
        let of = Some((accepted.execution, accepted.attempt));
        let failed = |code| Outcome::Failed { code };
        let version = accepted.version.as_ref().map(ToString::to_string);
        let Some(version) = version.and_then(|version| version.parse().ok()) else {
            let detail = "the manifest does not say which version the image is".to_owned();
            return self.refuse(of, failed(FailureCode::Other), detail);
        };
        if accepted.consent {
            let detail = "somebody at the device has to agree, and this one asks nobody".to_owned();
            return self.refuse(of, Outcome::Rejected, detail);
        }
        // Kept before anything is fetched: what is older than it is refused from now on.
        let before = self.record.clone();
        self.record.state = self.record.state.after_accepting(&accepted);
        let (manifest, sequence) = (accepted.manifest, accepted.sequence);
        self.record.accept(Accepted { manifest, sequence, image: accepted.image });
        if self.record != before && !self.keep() {
            self.record = before;
            return self.refuse(of, failed(FailureCode::Other), "its record cannot be written".to_owned());
        }
        info!(execution = %accepted.execution, sequence = sequence.0, "firmware is accepted");
        let image = Image { digest: accepted.image, size: accepted.size, sequence, version };
        let ways = accepted.transfers.into_iter().map(|transfer| Way { transfer, blocks: None }).collect();
        let order = Box::new(Order {
            execution: accepted.execution,
            attempt: accepted.attempt,
            image,
            ways,
            download_ms: Some(self.about.download_ms),
        });
        self.held = None;
        match accepted.window {
            Some(window) => self.held = Some((order, window)),
            None => self.drive(now, Step::Offered(order)),
        }
    }

    /// An order waits for its window; one whose window is over waits for another offer.
    fn look_at_held(&mut self, now: Now) {
        if let Some((_, window)) = &self.held
            && now.unix_s >= window.from_s
            && let Some((order, window)) = self.held.take()
        {
            if now.unix_s < window.to_s {
                self.drive(now, Step::Offered(order));
            } else {
                info!(execution = %order.execution, "the time to install firmware is over");
            }
        }
    }

    /// Carries out what the updater wants, until it wants nothing more.
    fn drive(&mut self, now: Now, step: Step) {
        let mut steps = VecDeque::from([step]);
        while let Some(step) = steps.pop_front() {
            let mut actions = Vec::new();
            self.updater.handle(now.ms, step, &mut actions);
            let mut has_failed = false;
            for action in actions {
                match &action {
                    Action::Report(event) => self.report(event.clone()),
                    Action::Ask(get) => self.effects.push(Effect::Ask(get.clone())),
                    Action::Check => self.effects.push(Effect::Check),
                    Action::Reboot => {
                        self.effects.push(Effect::Reboot);
                        self.over = true;
                        return;
                    }
                    // What follows on a step that failed rests on it.
                    _ if has_failed => {}
                    _ => {
                        if matches!(action, Action::Forget) {
                            self.remember_the_end();
                        }
                        let done = self.carrier.carry_out(&action);
                        has_failed = matches!(done, Some(Step::Failed { .. }));
                        self.became(done.as_ref());
                        steps.extend(done);
                    }
                }
            }
        }
    }

    fn became(&mut self, done: Option<&Step>) {
        match done {
            Some(Step::Failed { code, detail }) => error!(%code, detail, "a step of the update failed"),
            Some(Step::Done(Done::Committed)) => {
                info!(version = self.about.version, "the new image stays");
                if let Some(image) = self.image {
                    self.prove(image);
                }
                self.say_running();
            }
            Some(Step::Done(Done::Forgotten)) => (self.current, self.interrupted) = (None, None),
            _ => {}
        }
    }

    /// Whatever happens from here on, this update is not done once more.
    fn remember_the_end(&mut self) {
        if let Some(event) = self.heard.take() {
            self.record.ended = Some(event);
            // If it cannot be kept, it is only this process that remembers.
            self.keep();
        }
    }

    fn prove(&mut self, image: Digest) {
        // If it cannot be kept, the next start finds it so again.
        if self.record.installed(image) {
            self.keep();
        }
    }

    fn keep(&self) -> bool {
        let kept = self.shelf.keep(&self.record.encode());
        if let Err(error) = &kept {
            error!(%error, "the record of firmware cannot be written");
        }
        kept.is_ok()
    }

    fn device(&self) -> Device {
        let slot = match self.about.slot.other() {
            Slot::A => 0,
            Slot::B => 1,
        };
        let facts = Facts {
            vendor: self.about.vendor,
            class: self.about.class,
            unit: None,
            slot: Some(slot),
            version: self.about.version.parse().ok(),
        };
        Device {
            // The certificate says whose device it is; before it does, the root is believed.
            tenant: self.tenant.clone().unwrap_or_else(|| self.record.root.tenant.clone()),
            device: self.about.device.clone(),
            facts,
            image: self.image,
            slot_bytes: self.about.slot_bytes,
        }
    }

    fn refuse(&mut self, of: Option<Try>, outcome: Outcome, detail: String) {
        warn!(%outcome, detail, "firmware is refused");
        let Some((execution, attempt)) = of else { return };
        let interrupted = self.interrupted.filter(|(known, _)| *known == (execution, attempt));
        let number = interrupted.map_or(0, |(_, number)| number);
        let what = EventKind::Ended { outcome, detail };
        self.say(Report::Event(Event { execution, attempt, number, what }));
    }

    /// The updater tells.
    fn report(&mut self, event: Event) {
        self.current = Some((event.execution, event.attempt));
        match &event.what {
            EventKind::Reached { stage, bytes } => {
                info!(execution = %event.execution, %stage, bytes, "firmware");
            }
            EventKind::Ended { outcome, detail } => {
                info!(execution = %event.execution, %outcome, detail, "the update of firmware is over");
                if self.ends.len() >= FIRMWARE_ENDS_MAX {
                    self.ends.pop_front();
                }
                self.ends.push_back((self.next_ticket, event.clone()));
            }
        }
        self.say(Report::Event(event));
    }

    /// What the device runs. Only to a hub that is there: it is told anew at each connection.
    fn say_running(&mut self) {
        if self.online {
            self.say(Report::Running(Running {
                version: self.about.version.clone(),
                image: self.image,
                sequence: self.record.state.sequence,
                root: self.record.root.version,
                nonce: None,
            }));
        }
    }

    fn say(&mut self, report: Report) {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.effects.push(Effect::Say { ticket, report });
    }
}

/// A version as manifests spell it, so that an image that says 01.4 is the one that was signed as 1.4.
fn spelt(version: &str) -> String {
    version.parse::<Version>().map_or_else(|_| version.to_owned(), |version| version.to_string())
}

/// What an offer says that it is for, whoever signed it: only for telling that it is refused.
fn claimed(offer: &[u8]) -> Option<Try> {
    let signed = Signed::decode(offer, SIGNED_BYTES_MAX).ok()?;
    let offer = Offer::decode(signed.payload?).ok()?;
    Some((offer.execution, offer.attempt))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
