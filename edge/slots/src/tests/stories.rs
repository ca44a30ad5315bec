//! The core, told what happens, with slots in memory that carry out what it wants.

use muster_schemas::firmware::{
    Block, Encoding, Event, EventKind, ExecutionId, FailureCode, Get, Outcome, Sequence, Stage, Transfer,
};

use super::stage::{factory, firmware, folders, image, sha};
use crate::{
    carrier::Carrier,
    floor::NoCounter,
    fs::recorder::Recorder,
    limits::{ASK_AGAIN_MS, LISTED_BLOCK_BYTES, MARK_BYTES},
    loader::choose,
    slots::Slots,
    updater::{Action, BlockList, Health, Input, Order, Sign, Updater, Way},
};

const HEALTH: Health = Health { needs_connection: true, needs_command: true, within_ms: 60_000 };
const BLOCK_BYTES: u32 = 16 * 1024;

/// A device, and the hub that it talks to.
struct Device {
    fs: Recorder,
    updater: Updater,
    carrier: Carrier<Recorder, NoCounter>,
    now_ms: u64,
    /// What it said, and what it asks for.
    reports: Vec<Event>,
    asked: Vec<Get>,
    rebooting: bool,
    checking: bool,
}

impl Device {
    fn new(old: &[u8]) -> Self {
        Self::on(factory(&folders(), old, 0), "1.0")
    }

    /// Switched on, with a program that says that it is this version.
    fn on(fs: Recorder, version: &str) -> Self {
        let slots = Slots::new(fs.clone(), folders());
        let slot = choose(&slots).expect("boots").slot;
        let mut carrier = Carrier::new(slots, NoCounter);
        let woken = carrier.wake(slot, version).expect("reads its records");
        let mut device = Self {
            fs,
            updater: Updater::new(HEALTH, BLOCK_BYTES),
            carrier,
            now_ms: 0,
            reports: Vec::new(),
            asked: Vec::new(),
            rebooting: false,
            checking: false,
        };
        device.tell(Input::Woke(Box::new(woken)));
        device
    }

    /// What the medium holds, in a new process.
    fn reboot(&self, version: &str) -> Self {
        assert!(self.rebooting, "it did not want to");
        Self::on(Recorder::holding(self.fs.now()), version)
    }

    fn tell(&mut self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let mut actions = Vec::new();
            self.updater.handle(self.now_ms, input, &mut actions);
            for action in actions {
                inputs.extend(self.carrier.carry_out(&action));
                match action {
                    Action::Report(event) => self.reports.push(event),
                    Action::Ask(get) => self.asked.push(get),
                    Action::Reboot => self.rebooting = true,
                    Action::Check => self.checking = true,
                    _ => {}
                }
            }
        }
    }

    /// Answers what was asked, until nothing more is, or the count is reached.
    fn serve(&mut self, artifact: &[u8], windows: usize) {
        for _ in 0..windows {
            let Some(get) = self.asked.pop() else { return };
            for offset in get.offsets().collect::<Vec<u64>>() {
                self.tell(Input::Arrived(block(artifact, offset)));
            }
        }
    }

    fn hear(&mut self) {
        let last = self.reports.last().expect("it said something").number;
        self.tell(Input::Heard(last));
    }

    fn stages(&self) -> Vec<Stage> {
        let stage = |event: &Event| match event.what {
            EventKind::Reached { stage, .. } => Some(stage),
            EventKind::Ended { .. } => None,
        };
        let mut stages: Vec<Stage> = self.reports.iter().filter_map(stage).collect();
        stages.dedup();
        stages
    }

    fn outcome(&self) -> Option<(Outcome, String)> {
        self.reports.iter().rev().find_map(|event| match &event.what {
            EventKind::Ended { outcome, detail } => Some((*outcome, detail.clone())),
            EventKind::Reached { .. } => None,
        })
    }
}

fn block(artifact: &[u8], offset: u64) -> Block {
    let from = usize::try_from(offset).expect("short");
    let to = (from + BLOCK_BYTES as usize).min(artifact.len());
    Block { artifact: sha(artifact), offset, bytes: artifact[from..to].to_vec() }
}

fn way(encoding: Encoding, artifact: &[u8], old: Option<&[u8]>) -> Way {
    let (size, digest) = (artifact.len() as u64, sha(artifact));
    Way { transfer: Transfer { encoding, from: old.map(sha), size, digest, uris: Vec::new() }, blocks: None }
}

fn order(new: &[u8], ways: Vec<Way>) -> Box<Order> {
    let execution = ExecutionId::new(7).expect("a number");
    Box::new(Order { execution, attempt: 1, image: image(new, 2, "1.1"), ways, download_ms: Some(3_600_000) })
}

fn offered(old: &[u8], new: &[u8]) -> Device {
    let mut device = Device::new(old);
    device.tell(Input::Online);
    device.tell(Input::Offered(order(new, vec![way(Encoding::Full, new, None)])));
    device
}

/// The old image and a new one of two MiB and a bit.
fn images() -> (Vec<u8>, Vec<u8>) {
    (firmware(1, 5_000), firmware(2, 2 * 1024 * 1024 + 70_001))
}

#[test]
fn an_update_goes_from_offer_to_success() {
    use Stage::{Downloaded, Downloading, Installing, Offered, Rebooting, Verifying};
    let (old, new) = images();
    let mut device = offered(&old, &new);
    assert_eq!(device.updater.stage(), Some(Downloading));
    device.serve(&new, 1_000);
    assert_eq!(device.stages(), [Offered, Downloading, Downloaded, Installing, Rebooting]);
    let before = device.reports.last().expect("some").number;

    let mut device = device.reboot("1.1");
    assert_eq!(device.stages(), [Verifying]);
    assert!(device.reports[0].number > before, "numbers go on over the reboot");
    assert!(device.checking);
    device.tell(Input::Online);
    assert_eq!(device.outcome(), None, "the health check has not passed");
    device.tell(Input::Sign(Sign::Passed));
    assert_eq!(device.outcome(), Some((Outcome::Succeeded, String::new())));
    device.hear();
    assert_eq!((device.updater.stage(), device.carrier.slots().journal().expect("reads")), (None, None));

    let pointer = device.carrier.slots().pointer().expect("reads");
    assert_eq!((pointer.floor, pointer.trial), (Sequence(2), None));
    device.tell(Input::Offered(order(&new, vec![way(Encoding::Full, &new, None)])));
    assert_eq!(device.outcome().expect("told again").0, Outcome::Succeeded, "its offer, seen once more");
}

#[test]
fn a_success_that_nobody_heard_is_told_again_after_a_reboot() {
    let (old, new) = images();
    let mut device = offered(&old, &new);
    device.serve(&new, 1_000);
    let mut device = device.reboot("1.1");
    device.tell(Input::Online);
    device.tell(Input::Sign(Sign::Passed));
    let first = device.reports.last().expect("some").number;

    let device = Device::on(Recorder::holding(device.fs.now()), "1.1");
    assert_eq!(device.outcome().expect("told").0, Outcome::Succeeded);
    assert!(device.reports[0].number > first);
}

#[test]
fn a_transfer_goes_on_where_power_went() {
    let (old, new) = images();
    let mut device = offered(&old, &new);
    device.serve(&new, 20);
    let calls = device.fs.calls();
    let left = device.fs.after_power_cut(calls);
    for medium in left {
        let mut device = Device::on(Recorder::holding(medium), "1.0");
        device.tell(Input::Online);
        device.tell(Input::Offered(order(&new, vec![way(Encoding::Full, &new, None)])));
        assert_eq!(device.asked[0].offset, MARK_BYTES, "what was marked is not sent again");
        device.serve(&new, 1_000);
        assert!(device.rebooting);
    }
}

#[test]
fn only_blocks_that_did_not_come_are_asked_for_again() {
    let (old, new) = images();
    let mut device = offered(&old, &new);
    let get = device.asked.pop().expect("asked");
    assert_eq!((get.offset, get.count, get.bitmap), (0, 4, None));
    for offset in [16_384, 49_152] {
        device.tell(Input::Arrived(block(&new, offset)));
        device.tell(Input::Arrived(block(&new, offset)));
    }
    device.now_ms = ASK_AGAIN_MS - 1;
    device.tell(Input::Tick);
    assert!(device.asked.is_empty());
    device.now_ms = device.updater.next_deadline().expect("it waits");
    device.tell(Input::Tick);
    let get = device.asked.pop().expect("asked again");
    assert_eq!(get.offsets().collect::<Vec<u64>>(), [0, 32_768]);
    device.tell(Input::Offline);
    device.now_ms += 100_000;
    device.tell(Input::Tick);
    assert!(device.asked.is_empty(), "nobody is asked while there is nobody");
    device.tell(Input::Online);
    device.serve(&new, 1_000);
    assert!(device.rebooting);
}

#[test]
fn a_wrong_block_is_found_by_the_list_when_it_arrives() {
    let (old, new) = images();
    let hashes: Vec<u8> = new.chunks(LISTED_BLOCK_BYTES as usize).flat_map(|block| sha(block).0).collect();
    let list = BlockList::decode(&hashes, sha(&hashes), new.len() as u64).expect("it is the list");
    assert!(BlockList::decode(&hashes, sha(b"another"), new.len() as u64).is_err());
    let listed = Way { blocks: Some(list), ..way(Encoding::Full, &new, None) };
    let mut device = Device::new(&old);
    device.tell(Input::Online);
    device.tell(Input::Offered(order(&new, vec![listed])));
    let mut wrong = new.clone();
    wrong[70_000] ^= 1;
    let wrong_block = |offset| Block { artifact: sha(&new), ..block(&wrong, offset) };
    device.serve(&new, 1);
    for _ in 0..3 {
        let get = device.asked.pop().expect("asked");
        assert_eq!(get.offset, 65_536, "the window is asked for again");
        get.offsets().for_each(|offset| device.tell(Input::Arrived(wrong_block(offset))));
    }
    let code = FailureCode::DigestMismatch;
    assert_eq!(device.outcome().expect("it ended").0, Outcome::Failed { code });
}

#[test]
fn what_does_not_fit_the_window_is_passed_over() {
    let (old, new) = images();
    let mut device = offered(&old, &new);
    let good = block(&new, 0);
    let odd = [
        Block { offset: 1, ..good.clone() },
        Block { offset: u64::MAX, ..good.clone() },
        Block { offset: 65_536, ..good.clone() },
        Block { artifact: sha(b"another"), ..good.clone() },
        Block { bytes: Vec::new(), ..good.clone() },
        Block { bytes: vec![0; 70_000], ..good.clone() },
        Block { bytes: vec![0; 16_383], ..good },
    ];
    let before = device.fs.calls();
    for block in odd {
        device.tell(Input::Arrived(block));
    }
    assert_eq!(device.fs.calls(), before, "nothing is written");
    device.serve(&new, 1_000);
    assert!(device.rebooting);
}

#[test]
fn a_patch_that_does_not_fit_is_followed_by_the_full_image() {
    let (old, new) = images();
    let rubbish = firmware(77, 3_000);
    let mut device = Device::new(&old);
    device.tell(Input::Online);
    let ways = vec![way(Encoding::Bsdiff, &rubbish, Some(&old)), way(Encoding::Full, &new, None)];
    device.tell(Input::Offered(order(&new, ways)));
    device.serve(&rubbish, 1);
    assert_eq!(device.outcome(), None);
    device.serve(&new, 1_000);
    assert!(device.rebooting);
}

#[test]
fn an_image_other_than_the_signed_one_is_refused() {
    let (old, new) = images();
    let other = firmware(3, new.len());
    let mut device = Device::new(&old);
    device.tell(Input::Online);
    device.tell(Input::Offered(order(&new, vec![way(Encoding::Full, &other, None)])));
    device.serve(&other, 1_000);
    let code = FailureCode::DigestMismatch;
    assert_eq!(device.outcome().expect("it ended").0, Outcome::Failed { code });
    assert!(!device.rebooting);
    assert_eq!(choose(device.carrier.slots()).expect("boots").image.version.as_str(), "1.0");
}

#[test]
fn an_older_image_is_refused_and_the_running_one_is_there_already() {
    let (old, new) = images();
    let mut device = Device::new(&old);
    device.tell(Input::Offered(order(&old, vec![way(Encoding::Full, &old, None)])));
    assert_eq!(device.outcome().expect("it ended").0, Outcome::AlreadyInstalled);
    let mut device = Device::new(&old);
    let mut older = order(&new, vec![way(Encoding::Full, &new, None)]);
    older.image.sequence = Sequence(1);
    device.tell(Input::Offered(older));
    let code = FailureCode::Downgrade;
    assert_eq!(device.outcome().expect("it ended").0, Outcome::Failed { code });
}

#[test]
fn without_room_nothing_is_changed() {
    let (old, new) = images();
    let mut device = Device::new(&old);
    device.fs.with_space(100_000);
    let before = device.fs.calls();
    device.tell(Input::Offered(order(&new, vec![way(Encoding::Full, &new, None)])));
    let code = FailureCode::NoSpace;
    assert_eq!(
        (device.outcome().expect("it ended").0, device.fs.calls()),
        (Outcome::Failed { code }, before)
    );
}

#[test]
fn a_cancellation_holds_while_blocks_arrive_and_is_a_request_afterwards() {
    let (old, new) = images();
    let execution = ExecutionId::new(7).expect("a number");
    let mut device = offered(&old, &new);
    device.tell(Input::Cancel(ExecutionId::new(8).expect("a number")));
    assert_eq!(device.outcome(), None, "another one was meant");
    device.tell(Input::Cancel(execution));
    assert_eq!(device.outcome().expect("it ended").0, Outcome::Cancelled);

    let mut device = offered(&old, &new);
    device.serve(&new, 1_000);
    device.tell(Input::Cancel(execution));
    assert_eq!((device.outcome(), device.rebooting), (None, true));
}

#[test]
fn a_later_offer_takes_the_place_of_one_that_arrives() {
    let (old, new) = images();
    let newer = firmware(4, 100_000);
    let mut device = offered(&old, &new);
    device.serve(&new, 3);
    let mut later = order(&newer, vec![way(Encoding::Full, &newer, None)]);
    later.execution = ExecutionId::new(8).expect("a number");
    later.image.sequence = Sequence(3);
    device.tell(Input::Offered(later));
    assert_eq!(device.outcome().expect("it ended").0, Outcome::Superseded);
    device.asked.clear();
    device.hear();
    device.serve(&newer, 1_000);
    assert!(device.rebooting);
    assert_eq!(device.reports.last().expect("some").execution.number(), 8);
}

#[test]
fn an_image_that_is_not_well_in_time_gives_way_to_the_old_one() {
    let (old, new) = images();
    let signs: [(&str, &[Sign], &str); 4] = [
        ("1.1", &[Sign::Connected, Sign::Ill("the pump does not turn".to_owned())], "the pump does not turn"),
        ("1.1", &[Sign::Passed], "did not reach the hub"),
        ("1.1", &[Sign::Connected], "did not pass its health check"),
        ("1.0", &[Sign::Connected, Sign::Passed], "it says that it is 1.0, and should be 1.1"),
    ];
    for (version, signs, why) in signs {
        let mut device = offered(&old, &new);
        device.serve(&new, 1_000);
        let mut device = device.reboot(version);
        let on_trial = device.reports.last().expect("some").number;
        for sign in signs {
            device.tell(Input::Sign(sign.clone()));
        }
        device.now_ms = HEALTH.within_ms;
        device.tell(Input::Tick);
        let mut device = device.reboot("1.0");
        let (outcome, detail) = device.outcome().expect("it ended");
        assert_eq!(outcome, Outcome::RolledBack);
        assert!(detail.starts_with("health-check: ") && detail.contains(why), "{detail}");
        assert!(device.reports[0].number > on_trial, "the hub would pass over it");
        device.hear();
        assert_eq!(device.carrier.slots().pointer().expect("reads").rolled_back, None);
        let next = order(&new, vec![way(Encoding::Full, &new, None)]);
        device.tell(Input::Offered(Box::new(Order { attempt: 2, ..*next })));
        device.tell(Input::Online);
        device.serve(&new, 1_000);
        assert!(device.rebooting, "it may be tried again");
    }
}

#[test]
fn an_image_that_never_says_anything_has_three_tries() {
    let (old, new) = images();
    let mut device = offered(&old, &new);
    device.serve(&new, 1_000);
    let mut fs = Recorder::holding(device.fs.now());
    for _ in 0..3 {
        let slots = Slots::new(fs.clone(), folders());
        assert!(choose(&slots).expect("boots").trial.is_some());
        fs = Recorder::holding(fs.now());
    }
    let device = Device::on(fs, "1.0");
    let (outcome, detail) = device.outcome().expect("it ended");
    assert_eq!(outcome, Outcome::RolledBack);
    assert!(detail.starts_with("boot-failed: "), "{detail}");
}

#[test]
fn a_transfer_that_takes_too_long_is_given_up() {
    let (old, new) = images();
    let mut device = offered(&old, &new);
    device.now_ms = 3_600_000;
    device.tell(Input::Tick);
    let code = FailureCode::Timeout;
    assert_eq!(device.outcome().expect("it ended").0, Outcome::Failed { code });
}
