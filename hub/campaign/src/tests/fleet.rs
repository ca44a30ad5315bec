//! A hundred thousand devices that do what devices do: most go on, some fail, some fall silent, some say things twice, late
//! or in the wrong order.

use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

use super::*;
use crate::{
    plan::{Gate, Rate, Retry},
    split::mix,
};

/// What becomes of devices, in thousandths.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Habits {
    pub failing: u64,
    pub silent: u64,
    pub flapping: u64,
    /// Reports that come twice, and some of them late.
    pub repeated: u64,
}

/// What a device will say, and when.
type Due = Reverse<(u64, u32, u8, u32)>;

pub(super) struct Fleet {
    pub stage: Scene,
    habits: Habits,
    heap: BinaryHeap<Due>,
    pub seed: u64,
    /// How many events were taken, and how many were refused as said before or too late.
    pub taken: u64,
    pub refused: u64,
    /// The last moment of an offer, and the first of a stop.
    pub offered: u32,
    pub touched: Vec<u32>,
    pub keep_records: bool,
    pub bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Good,
    Failing,
    Silent,
    Flapping,
}

impl Fleet {
    pub fn new(plan: Plan, sizes: &[u32], habits: Habits, seed: u64) -> Self {
        let stage = Scene::approved(plan, sizes);
        let touched = vec![0; sizes.len()];
        let (heap, taken, refused, offered, bytes) = (BinaryHeap::new(), 0, 0, 0, 0);
        let mut fleet =
            Self { stage, habits, heap, seed, taken, refused, offered, touched, keep_records: true, bytes };
        let effects = fleet.stage.start();
        fleet.hear(&effects);
        fleet
    }

    pub fn fate(&self, device: u32) -> Fate {
        let chance = mix(self.seed ^ u64::from(device)) % 1_000;
        let Habits { failing, silent, flapping, .. } = self.habits;
        match chance {
            c if c < failing => Fate::Failing,
            c if c < failing + silent => Fate::Silent,
            c if c < failing + silent + flapping => Fate::Flapping,
            _ => Fate::Good,
        }
    }

    fn hear(&mut self, effects: &[Effect]) {
        for effect in effects {
            if let Effect::Offer { execution, attempt, .. } = effect {
                let device = execution.number() - 100;
                self.offered += 1;
                self.touched[usize::from(self.stage.campaign.cells[device as usize].wave)] += 1;
                let delay = 1_000 + mix(u64::from(device)) % 20_000;
                self.heap.push(Reverse((self.stage.now_ms + delay, device, *attempt, 1)));
            }
        }
    }

    fn tell(&mut self, event: &Event) {
        match self.stage.campaign.apply(self.stage.now_ms, event) {
            Ok(effects) => {
                self.taken += 1;
                self.bytes += effects.record.len() as u64;
                if self.keep_records {
                    self.stage.records.push(effects.record);
                }
                self.hear(&effects.list);
            }
            Err(refused) => {
                assert!(refused.is_harmless(), "{event:?}: {refused}");
                self.refused += 1;
            }
        }
    }

    /// The next thing that a device says, and when it says the one after it.
    fn speak(&mut self, device: u32, attempt: u8, number: u32) {
        let execution = self.stage.execution(device);
        let fate = self.fate(device);
        // It restarts, and is never heard of again.
        if fate == Fate::Silent && number >= 6 {
            return;
        }
        // One that flaps loses its first download, each time it is tried but the last.
        let fails = (fate == Fate::Flapping && number == 2 && attempt < 3).then_some(FailureCode::Transfer);
        let fails = fails.or((fate == Fate::Failing && number == 6).then_some(FailureCode::HealthCheck));
        let reached = |stage| What::Reached { stage, bytes: u64::from(number) << 20 };
        let what = match (fails, number) {
            (Some(code), _) => What::Ended { outcome: Outcome::Failed { code } },
            (None, 1) => reached(Stage::Downloading),
            (None, 2) => reached(Stage::Downloading),
            (None, 3) => reached(Stage::Downloaded),
            (None, 4) => reached(Stage::Installing),
            (None, 5) => reached(Stage::Rebooting),
            (None, 6) => reached(Stage::Verifying),
            _ => What::Ended { outcome: Outcome::Succeeded },
        };
        let report = Event::Report { execution, attempt, number, what };
        self.tell(&report);
        let chance = mix(self.seed ^ u64::from(device) << 20 ^ u64::from(number));
        if chance % 1_000 < self.habits.repeated {
            self.tell(&report);
            // And once more, when it is long out of date.
            self.heap.push(Reverse((self.stage.now_ms + 400_000, device, attempt, number)));
        }
        let is_first = self.stage.campaign.cells[device as usize].number == number;
        if fails.is_none() && number < 7 && is_first {
            self.heap.push(Reverse((
                self.stage.now_ms + 1_000 + chance % 60_000,
                device,
                attempt,
                number + 1,
            )));
        }
    }

    fn happens(&mut self, is_word: bool) {
        match if is_word { self.heap.pop() } else { None } {
            Some(Reverse((_, device, attempt, number))) => self.speak(device, attempt, number),
            None => self.tell(&Event::Tick),
        }
    }

    /// Lets everything happen, until the campaign ends or nothing more would happen without a person.
    pub fn run(&mut self) {
        while !self.stage.state().is_over() {
            let tick_ms = self.stage.campaign.next_deadline_ms();
            let word_ms = self.heap.peek().map(|Reverse((at_ms, ..))| *at_ms);
            let is_word = word_ms.is_some_and(|at_ms| tick_ms.is_none_or(|tick_ms| at_ms <= tick_ms));
            if !is_word && self.stage.state().is_paused() && self.stage.campaign.total.in_flight() == 0 {
                return;
            }
            let Some(at_ms) = (if is_word { word_ms } else { tick_ms }) else { return };
            self.stage.now_ms = self.stage.now_ms.max(at_ms);
            self.happens(is_word);
        }
    }

    pub fn fated(&self, fate: Fate, devices: std::ops::Range<u32>) -> u32 {
        devices.filter(|device| self.fate(*device) == fate).count() as u32
    }
}

pub(super) const SIZES: [u32; 3] = [1_000, 9_000, 90_000];

/// Three waves, and no more than so many of a thousand may go wrong.
pub(super) fn three_waves(permille: u16) -> Plan {
    let wave = |size| Wave {
        success: Success { permille: 900, started_permille: 1_000 },
        failure: vec![too_much(Limit::Permille(permille), 100, Action::Pause)],
        soak_s: 600,
        gate: Gate::Auto,
        ..wave(size)
    };
    Plan {
        retry: Retry { attempts: 3, ..Retry::default() },
        rate: Rate::Constant { per_minute: 10_000 },
        downloads_max: 20_000,
        ..plan(vec![wave(Size::Count(1_000)), wave(Size::Count(9_000)), wave(Size::Rest)])
    }
}

#[test]
fn a_fleet_ends_as_predicted() {
    let habits = Habits { failing: 10, silent: 10, flapping: 1, repeated: 50 };
    let mut fleet = Fleet::new(three_waves(50), &SIZES, habits, 11);
    fleet.run();
    let (stage, all) = (&fleet.stage, 0..100_000);
    let total = stage.campaign.report().total;
    let (failing, silent) = (fleet.fated(Fate::Failing, all.clone()), fleet.fated(Fate::Silent, all.clone()));
    assert!(failing > 800 && silent > 800 && fleet.fated(Fate::Flapping, all) > 50, "{failing}, {silent}");
    assert_eq!(stage.state(), State::Partial);
    assert_eq!(total.of(Status::Failed), failing);
    assert_eq!(total.of(Status::TimedOut), silent);
    assert_eq!(total.of(Status::Succeeded), 100_000 - failing - silent);
    assert!(fleet.refused > 10_000, "{} said twice or late", fleet.refused);
    let reasons: u32 = stage.campaign.report().reasons.iter().map(|(_, count)| count).sum();
    assert_eq!(reasons, failing + silent);
    stage.check();
}

#[test]
fn an_image_that_is_bad_for_one_in_twenty_stops_by_itself() {
    let habits = Habits { failing: 50, repeated: 20, ..Habits::default() };
    let mut fleet = Fleet::new(three_waves(30), &SIZES, habits, 5);
    fleet.run();
    assert_eq!(fleet.stage.state(), State::PausedByThreshold);
    assert_eq!(fleet.touched[1..], [0, 0], "no device of the next wave was touched");
    assert!(fleet.touched[0] <= 1_000);
    let open = fleet.stage.campaign.report().total.of(Status::Targeted);
    assert_eq!(open, 99_000);
    fleet.stage.check();
}

#[test]
fn what_begins_to_go_wrong_in_the_last_wave_stops_there() {
    // A threshold over the whole, which the first waves do not reach.
    let habits = Habits { failing: 50, ..Habits::default() };
    let mut planned = three_waves(900);
    planned.failure = vec![too_much(Limit::Count(1_000), 0, Action::Pause)];
    let mut fleet = Fleet::new(planned, &SIZES, habits, 5);
    fleet.run();
    let report = fleet.stage.campaign.report();
    assert_eq!(fleet.stage.state(), State::PausedByThreshold);
    assert!(report.total.of(Status::Failed) >= 1_000);
    assert!(fleet.offered < 100_000, "{} were offered it", fleet.offered);
    // Those that had it when it stopped went on to their end, and nobody was offered it since.
    assert_eq!(report.total.started, fleet.offered);
    fleet.stage.check();
}

#[test]
fn a_fleet_that_falls_silent_stops_by_itself() {
    let habits = Habits { silent: 100, ..Habits::default() };
    let mut fleet = Fleet::new(three_waves(50), &SIZES, habits, 5);
    fleet.run();
    assert_eq!(fleet.stage.state(), State::PausedByThreshold);
    assert_eq!(fleet.touched[1..], [0, 0]);
    let reasons = fleet.stage.campaign.report().reasons;
    assert_eq!(reasons[0].0, (Status::TimedOut, Status::Rebooting, None));
    fleet.stage.check();
}

#[test]
fn a_storm_of_clocks_changes_no_outcome() {
    let habits = Habits { failing: 10, silent: 10, repeated: 50, ..Habits::default() };
    let sizes = [100, 900, 2_000];
    let mut fleet = Fleet::new(three_waves(60), &sizes, habits, 3);
    let mut step = 0_u64;
    while !fleet.stage.state().is_over() && step < 2_000_000 {
        step += 1;
        if step.is_multiple_of(5_000) {
            // An hour ahead, as of a clock that is set, or a hub that was away; and a minute back.
            fleet.stage.now_ms += Duration::from_secs(3_600).as_millis() as u64;
            fleet.tell(&Event::Tick);
        } else if step.is_multiple_of(777) {
            fleet.stage.now_ms -= 60_000;
        }
        let tick_ms = fleet.stage.campaign.next_deadline_ms();
        let word_ms = fleet.heap.peek().map(|Reverse((at_ms, ..))| *at_ms);
        let is_word = word_ms.is_some_and(|at_ms| tick_ms.is_none_or(|tick_ms| at_ms <= tick_ms));
        let Some(at_ms) = (if is_word { word_ms } else { tick_ms }) else { break };
        fleet.stage.now_ms = fleet.stage.now_ms.max(at_ms);
        fleet.happens(is_word);
    }
    let total = fleet.stage.campaign.report().total;
    assert_eq!(fleet.stage.state(), State::Partial);
    assert_eq!(total.of(Status::Failed), fleet.fated(Fate::Failing, 0..3_000));
    assert_eq!(total.of(Status::TimedOut), fleet.fated(Fate::Silent, 0..3_000));
    fleet.stage.check();
}
