//! What it costs. Run with `cargo test --release -p muster-campaign --lib -- --ignored --nocapture measured`.

#![expect(clippy::print_stdout, reason = "it prints what it measured")]

use std::{collections::BTreeMap, fs, hint::black_box};

use super::{
    fleet::{Fleet, Habits, SIZES, three_waves},
    *,
};
use crate::cell::Cell;

/// Processor time of this process in seconds: the wall's says more of who else is busy.
fn used_s() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

#[test]
#[ignore = "measures, and has to be alone on a processor to mean much"]
fn what_transitions_and_replay_cost() {
    let habits = Habits { failing: 10, silent: 10, flapping: 1, repeated: 0 };
    let mut fleet = Fleet::new(three_waves(50), &SIZES, habits, 11);
    let before = used_s();
    fleet.run();
    let (used, taken) = (used_s() - before, fleet.taken);
    println!(
        "100,000 devices to the end, their side simulated as well: {taken} events in {used:.2} s, {:.0}/s, {:.1} B each",
        taken as f64 / used,
        fleet.bytes as f64 / taken as f64
    );
    let before = used_s();
    let campaign = Campaign::replay(&fleet.stage.records).expect("the records fit");
    let used = used_s() - before;
    let count = fleet.stage.records.len();
    println!("replay of {count} records: {used:.2} s, {:.0}/s", count as f64 / used);
    let before = used_s();
    let snapshot = campaign.snapshot();
    let middle = used_s();
    black_box(Campaign::restore(&snapshot).expect("a snapshot"));
    println!(
        "snapshot: {} B, {:.2} s; restored in {:.2} s",
        snapshot.len(),
        middle - before,
        used_s() - middle
    );
}

#[test]
#[ignore = "measures, and has to be alone on a processor to mean much"]
fn what_a_million_records_cost() {
    // Downloads that go on: records without end, of a fleet that does not.
    let (mut stage, _) = Scene::begun(everybody(), &[10_000]);
    stage.wait(600);
    let before = used_s();
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
    let used = used_s() - before;
    println!("1,000,000 events, applied and encoded: {used:.2} s, {:.0}/s", 1e6 / used);
    let before = used_s();
    let replayed = Campaign::replay(&stage.records).expect("the records fit");
    println!("replay of {} records: {:.2} s", stage.records.len(), used_s() - before);
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
    let before = used_s();
    for _ in 0..10 {
        black_box(split(&planned, &candidates, 7));
    }
    let split = split(&planned, &candidates, 7);
    println!(
        "100,000 candidates, {} selected into {:?}: {:.3} s",
        split.chosen.len(),
        split.sizes,
        (used_s() - before) / 11.0
    );
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
