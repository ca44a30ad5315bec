use proptest::prelude::*;

use super::*;
use crate::plan::{Gate, Proof, Rate, Retry};

/// A campaign with something of everything.
fn rich() -> Plan {
    let failure = |permille, action| too_much(Limit::Permille(permille), 4, action);
    let first = Wave {
        soak_s: 120,
        gate: Gate::Manual,
        failure: vec![failure(700, Action::Pause)],
        ..lenient(Size::Count(4))
    };
    let second = Wave {
        gate: Gate::Webhook,
        success: Success { permille: 300, started_permille: 500 },
        ..wave(Size::Count(6))
    };
    Plan {
        dynamic: true,
        failure: vec![failure(600, Action::Abort), failure(800, Action::Rollback)],
        deadlines: Deadlines { campaign_s: 40_000, ..short() },
        retry: Retry {
            attempts: 3,
            codes: vec![FailureCode::Transfer, FailureCode::Timeout],
            base_s: 60,
            ..Retry::default()
        },
        rate: Rate::Exponential { base_per_minute: 6, factor_permille: 1_500, every: 2, max_per_minute: 30 },
        downloads_max: 5,
        windows: vec!["daily 00:30 +600".parse().expect("a window")],
        download_outside: true,
        consent: true,
        proof: Proof::Verified,
        ..plan(vec![first, second, lenient(Size::Rest)])
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// Of one of the devices that have something to say: what is next, and well.
    Next(u32),
    /// Of a device: a word of whatever it could be, rightly or wrongly.
    Device(u32, u8),
    Order(u8),
    Wait(u32),
    Jump(u64),
    Back(u64),
    Join(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        60 => any::<u32>().prop_map(Step::Next),
        10 => (0..26_u32, 0..20_u8).prop_map(|(device, word)| Step::Device(device, word)),
        4 => (0..64_u8).prop_map(Step::Order),
        8 => (1..400_u32).prop_map(Step::Wait),
        1 => (1_000..30_000_u32).prop_map(Step::Wait),
        1 => (1..200_000_u64).prop_map(Step::Jump),
        1 => (1..200_000_u64).prop_map(Step::Back),
        1 => (0..60_u32).prop_map(Step::Join),
    ]
}

fn event(stage: &Scene, device: u32, word: u8) -> Event {
    let execution = stage.execution(device);
    let cell = stage.campaign.cells.get(device as usize);
    let (attempt, number) = cell.map_or((1, 1), |cell| (cell.attempt, cell.number + 1));
    let report = |what| Event::Report { execution, attempt, number, what };
    let reached = |stage, bytes| report(What::Reached { stage, bytes });
    let ended = |outcome| report(What::Ended { outcome });
    match word {
        0 => reached(Stage::Downloading, 1_024 * u64::from(number)),
        1 | 2 => reached(Stage::Downloaded, 0),
        3 | 4 => reached(Stage::Installing, 0),
        5 => reached(Stage::Rebooting, 0),
        6 => reached(Stage::Verifying, 0),
        7 | 8 => ended(Outcome::Succeeded),
        9 => ended(Outcome::Failed { code: FailureCode::Transfer }),
        10 => ended(failed()),
        11 => ended(Outcome::RolledBack),
        12 => ended(Outcome::Cancelled),
        13 => Event::Running { execution, image: new_image() },
        14 => Event::Running { execution, image: old_image() },
        15 | 16 => Event::Verified { execution },
        17 => Event::Consent { execution, granted: number % 7 != 0 },
        18 => Event::Seen { execution, online: number % 2 == 0 },
        _ => match number % 5 {
            0 => Event::Gone { execution },
            1 => Event::Superseded { execution },
            2 => Event::Freed { execution },
            // A report of long ago.
            _ => Event::Report {
                execution,
                attempt: 1,
                number: 1,
                what: What::Ended { outcome: Outcome::Succeeded },
            },
        },
    }
}

fn order(stage: &Scene, order: u8) -> Event {
    let by = || "ann".to_owned();
    let wave = stage.campaign.current as u8;
    match order {
        0..=3 => Event::Pause { by: by() },
        4..=25 => Event::Resume { by: by() },
        26..=50 => Event::Gate { by: by(), wave, open: true },
        51..=53 => Event::Gate { by: by(), wave, open: false },
        54 => Event::Abort { by: by() },
        55 | 56 => Event::Rollback { by: by() },
        57 => Event::Withdrawn,
        _ => Event::Undone,
    }
}

/// What one of the devices that have something to say says next, when all is well with it.
fn next(stage: &Scene, choice: u32) -> Option<Event> {
    let speaks = |device: &u32| {
        let device = stage.device(*device);
        device.status.is_in_flight()
            || device.why == Some(Why::Consent)
            || device.why == Some(Why::Dependency)
    };
    let speaking: Vec<u32> = (0..stage.campaign.devices()).filter(speaks).collect();
    let device = *speaking.get(choice as usize % speaking.len().max(1))?;
    let execution = stage.execution(device);
    Some(match (stage.status(device), stage.device(device).why) {
        (_, Some(Why::Consent)) => Event::Consent { execution, granted: !choice.is_multiple_of(16) },
        (_, Some(Why::Dependency)) => Event::Freed { execution },
        (Status::Offered, _) => event(stage, device, 0),
        (Status::Downloading, _) => event(stage, device, 1),
        (Status::Downloaded, _) => event(stage, device, 3),
        (Status::Installing, _) => event(stage, device, 5),
        // It succeeds, and that is proven, in one order or the other.
        _ if choice & 0x100 == 0 => event(stage, device, 7),
        _ => event(stage, device, 15),
    })
}

/// What must hold of each campaign at each time, whatever happened.
fn holds(stage: &Scene, effects: &[Effect], was: &[Status]) {
    let campaign = &stage.campaign;
    assert!(campaign.is_sound(), "counts, queues or deadlines are wrong");
    let state = campaign.state();
    assert!(state == State::Running || offers(effects).is_empty(), "an offer while it is {state}");
    let loading = campaign.total.of(Status::Offered) + campaign.total.of(Status::Downloading);
    assert!(loading <= campaign.plan().downloads_max, "{loading} download");
    for (cell, was) in campaign.cells.iter().zip(was) {
        assert!(!was.is_ended() || cell.status == *was, "{was} became {}", cell.status);
        let again = cell.status == Status::Retrying
            || cell.status == Status::Waiting
            || cell.status == Status::Offered;
        assert!(cell.status >= *was || again && !was.is_ended(), "{was} went back to {}", cell.status);
    }
    if state.is_over() {
        assert_eq!(campaign.total.open(), 0, "it is {state} and somebody is not done");
    }
}

fn tell(stage: &mut Scene, steps: &[Step]) {
    for step in steps {
        let was: Vec<_> = stage.campaign.cells.iter().map(|cell| cell.status).collect();
        let told = match step {
            Step::Next(choice) => match next(stage, *choice) {
                Some(event) => stage.tell(event),
                None => Ok(stage.wait(30)),
            },
            Step::Device(device, word) => stage.tell(event(stage, *device, *word)),
            Step::Order(number) => stage.tell(order(stage, *number)),
            Step::Wait(seconds) => Ok(stage.wait(u64::from(*seconds))),
            Step::Jump(seconds) => {
                stage.now_ms += seconds * 1_000;
                stage.tell(Event::Tick)
            }
            Step::Back(seconds) => {
                stage.now_ms -= seconds * 1_000;
                stage.tell(Event::Tick)
            }
            Step::Join(number) => stage.tell(Event::Enlist { members: vec![member(*number, 2)] }),
        };
        // Several events pass while it waits: what stopped on the way offered before it stopped.
        let waited = matches!(step, Step::Wait(_) | Step::Next(_));
        holds(stage, if waited { &[] } else { told.as_deref().unwrap_or_default() }, &was);
    }
}

fn scene() -> Scene {
    let mut stage = Scene::approved(rich(), &[4, 6, 8]);
    let zone = Some("America/New_York".parse().expect("a zone"));
    let away = Member { offline: true, zone, ..member(18, 2) };
    let taken = Member { taken: true, ..member(19, 0) };
    stage.must(Event::Enlist { members: vec![away, taken] });
    stage.start();
    stage
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 192 } else { 2_000 }))]

    #[test]
    fn replay_makes_the_same_campaign_whatever_happened(steps in proptest::collection::vec(step(), 1..400)) {
        let mut stage = scene();
        tell(&mut stage, &steps);
        stage.check();
    }

    #[test]
    fn a_crash_after_any_record_leaves_a_campaign_that_goes_on(
        steps in proptest::collection::vec(step(), 1..80), cut in any::<prop::sample::Index>(),
        more in proptest::collection::vec(step(), 1..40),
    ) {
        let mut stage = scene();
        tell(&mut stage, &steps);
        let kept = cut.index(stage.records.len() - 1) + 1;
        stage.records.truncate(kept);
        stage.campaign = Campaign::replay(&stage.records).expect("a prefix is a campaign");
        prop_assert!(stage.campaign.is_sound());
        stage.campaign.outstanding();
        tell(&mut stage, &more);
        stage.check();
    }

    #[test]
    fn a_snapshot_and_what_came_after_it_make_the_same_campaign(
        steps in proptest::collection::vec(step(), 1..80), cut in any::<prop::sample::Index>(),
    ) {
        let mut stage = scene();
        tell(&mut stage, &steps);
        let at = cut.index(stage.records.len() - 1) + 1;
        let early = Campaign::replay(&stage.records[..at]).expect("a prefix").snapshot();
        let mut restored = Campaign::restore(&early).expect("a snapshot");
        for (number, record) in stage.records.iter().enumerate().skip(at) {
            restored.repeat(number as u64, record).expect("the tail fits");
        }
        prop_assert!(restored.snapshot() == stage.campaign.snapshot());
    }

    #[test]
    fn a_record_that_is_missing_twice_or_damaged_is_seen(
        steps in proptest::collection::vec(step(), 20..60), at in any::<prop::sample::Index>(),
        how in 0..4_u8, bit in 0..8_u32,
    ) {
        let mut stage = scene();
        tell(&mut stage, &steps);
        let at = at.index(stage.records.len());
        let is_last = at + 1 == stage.records.len();
        let mut records = stage.records.clone();
        match how {
            // One that is missing at the end is a crash before it.
            0 if is_last => return Ok(()),
            0 => drop(records.remove(at)),
            1 => records.insert(at, records[at].clone()),
            2 => {
                let last = records[at].len() - 1;
                records[at].truncate(last);
            }
            _ => {
                let byte = at * 7 % records[at].len();
                records[at][byte] ^= 1 << bit;
            }
        }
        let replayed = Campaign::replay(&records);
        let is_same = replayed.as_ref().is_ok_and(|campaign| campaign.snapshot() == stage.campaign.snapshot());
        prop_assert!(replayed.is_err() || is_same && records == stage.records, "nobody noticed ({how})");
    }

    #[test]
    fn no_bytes_are_too_much_for_the_readers(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Campaign::restore(&bytes);
        if let Ok(record) = Record::decode(&bytes) {
            prop_assert_eq!(record.encode(), bytes, "a record has one form");
        }
    }

    #[test]
    fn a_damaged_snapshot_is_none_or_another(place in any::<prop::sample::Index>(), bit in 0..8_u32) {
        let mut stage = scene();
        stage.wait(600);
        let mut bytes = stage.campaign.snapshot();
        let place = place.index(bytes.len());
        bytes[place] ^= 1 << bit;
        if let Ok(campaign) = Campaign::restore(&bytes) {
            prop_assert!(campaign.is_sound());
            prop_assert_eq!(campaign.snapshot(), bytes);
        }
    }
}

#[test]
fn each_record_is_read_as_it_was_written() {
    let mut stage = scene();
    stage.wait(3_000);
    for record in &stage.records {
        assert_eq!(&Record::decode(record).expect("a record").encode(), record);
    }
    assert!(matches!(Campaign::replay::<Vec<u8>>([]), Err(Broken::Empty)));
    assert!(matches!(Campaign::replay(&stage.records[1..]), Err(Broken::Place { record: 0 })));
}

#[test]
fn a_report_is_a_record_of_some_twenty_bytes() {
    let mut stage = scene();
    stage.wait(60);
    let asked = (0..26).find(|device| stage.device(*device).why == Some(Why::Consent)).expect("one");
    let execution = stage.execution(asked);
    stage.must(Event::Consent { execution, granted: true });
    let length = stage.records.last().expect("one").len();
    assert!(length <= 20, "{length}");
}
