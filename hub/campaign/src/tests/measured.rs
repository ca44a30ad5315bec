//! What it costs. Run with `cargo test --release -p muster-campaign --lib -- --ignored --nocapture measured`.

#![expect(clippy::print_stdout, reason = "it prints what it measured")]

use std::{collections::BTreeMap, fs, hint::black_box, time::Instant};

use super::{
    fleet::{Fleet, Habits, SIZES, three_waves},
    *,
};
use crate::cell::Cell;

/// What something took: on the wall's clock, and of this process's processor time, in seconds. The machine is shared.
struct Took {
    wall: Instant,
    used_s: f64,
}

fn used_s() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

impl Took {
    #[expect(clippy::disallowed_methods, reason = "it measures")]
    fn begin() -> Self {
        Self { wall: Instant::now(), used_s: used_s() }
    }

    fn told(self, what: &str, count: usize) {
        let (wall, used) = (self.wall.elapsed().as_secs_f64(), used_s() - self.used_s);
        let rate = count as f64 / wall;
        println!("{what}: {count} in {wall:.3} s ({rate:.0}/s), {used:.2} s of a processor");
    }
}

#[test]
#[ignore = "measures, and has to be alone on a processor to mean much"]
fn what_transitions_and_replay_cost() {
    let habits = Habits { failing: 10, silent: 10, flapping: 1, repeated: 0 };
    let mut fleet = Fleet::new(three_waves(50), &SIZES, habits, 11);
    let took = Took::begin();
    fleet.run();
    took.told("100,000 devices to the end, their side simulated as well: events", fleet.taken as usize);
    println!("a record has {:.1} B on average", fleet.bytes as f64 / fleet.taken as f64);
    let took = Took::begin();
    let campaign = Campaign::replay(&fleet.stage.records).expect("the records fit");
    took.told("replay: records", fleet.stage.records.len());
    let took = Took::begin();
    let snapshot = campaign.snapshot();
    took.told("snapshot: bytes", snapshot.len());
    let took = Took::begin();
    black_box(Campaign::restore(&snapshot).expect("a snapshot"));
    took.told("restored: bytes", snapshot.len());
}

#[test]
#[ignore = "measures, and has to be alone on a processor to mean much"]
fn what_a_million_records_cost() {
    // Downloads that go on: records without end, of a fleet that does not.
    let (mut stage, _) = Scene::begun(everybody(), &[10_000]);
    stage.wait(600);
    let took = Took::begin();
    for number in 1..=100 {
        for device in 0..10_000 {
            let (execution, what) = (
                stage.execution(device),
                What::Reached { stage: Stage::Downloading, bytes: u64::from(number) << 16 },
            );
            let event = Event::Report { execution, attempt: 1, number, what };
            let effects = stage.campaign.apply(stage.now_ms, &event).expect("taken");
            stage.records.push(effects.record);
        }
    }
    took.told("events applied and encoded", 1_000_000);
    let took = Took::begin();
    let replayed = Campaign::replay(&stage.records).expect("the records fit");
    took.told("replay: records", stage.records.len());
    assert!(replayed.snapshot() == stage.campaign.snapshot());
}

#[test]
#[ignore = "measures, and has to be alone on a processor to mean much"]
fn what_selecting_and_splitting_costs() {
    let ids: Vec<_> = (0..100_000).map(|n| format!("{:020}", n * 7_919)).collect();
    let sets: Vec<BTreeMap<_, _>> = (0..100_000_u32)
        .map(|n| {
            let district = ("district".to_owned(), [format!("d{}", n % 10)].into());
            let tag = ("tag".to_owned(), [if n % 50 == 0 { "lab" } else { "street" }.to_owned()].into());
            BTreeMap::from([district, tag])
        })
        .collect();
    let candidate =
        |(id, attributes)| Candidate { id, class: "camera", model: "c2", version: "1.1.7", attributes };
    let candidates: Vec<_> = ids.iter().map(String::as_str).zip(&sets).map(candidate).collect();
    let mut planned = plan(vec![
        wave(Size::Query("tag:canary or district = d3".parse().expect("a query"))),
        wave(Size::Count(100)),
        wave(Size::Growth(10_000)),
        wave(Size::Permille(100)),
        wave(Size::Rest),
    ]);
    planned.selection = "district in (d1, d2, d3, d4, d5, d6, d7) and version < 1.2.0 and not tag:lab"
        .parse()
        .expect("a query");
    let took = Took::begin();
    let split = black_box(split(&planned, &candidates, 7));
    took.told("selected and split: candidates", candidates.len());
    println!("{} selected into {:?}", split.chosen.len(), split.sizes);
}

#[test]
fn a_device_takes_no_more_than_64_bytes() {
    // The ids of devices are twenty characters.
    let member = |n: u32| Member { device: format!("{n:020}").parse().expect("an id"), ..member(n, 0) };
    let mut stage = Scene::drafted(everybody(), 100_000);
    stage.must(Event::Submit { by: "ann".to_owned() });
    let hash = stage.campaign.hash();
    stage.must(Event::Approve { by: "bob".to_owned(), hash });
    for first in (0..100_000).step_by(10_000) {
        stage.must(Event::Enlist { members: (first..first + 10_000).map(member).collect() });
    }
    stage.start();
    let each = stage.campaign.memory_bytes() as f64 / 100_000.0;
    println!("{each:.1} B for each device and campaign: cell, name, place in a queue");
    assert!(size_of::<Cell>() <= 64);
    assert!(each <= 64.0, "{each}");
}
