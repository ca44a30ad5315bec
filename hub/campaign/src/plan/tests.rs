use proptest::prelude::*;

use super::*;

pub(crate) fn manifest(sequence: u64) -> Manifest {
    let byte = u8::try_from(sequence & 0xff).expect("a byte");
    Manifest { digest: Digest([byte; 32]), image: Digest([byte ^ 0x80; 32]), sequence: Sequence(sequence) }
}

pub(crate) fn wave(size: Size) -> Wave {
    let success = Success::default();
    Wave { name: String::new(), size, success, failure: Vec::new(), soak_s: 0, gate: Gate::Auto }
}

/// A plan for everybody at once, fast.
pub(crate) fn plan(waves: Vec<Wave>) -> Plan {
    Plan {
        name: "1.1 for all".to_owned(),
        selection: Query::all(),
        dynamic: false,
        component: firmware(),
        manifest: manifest(2),
        rollback: Some(manifest(3)),
        waves,
        failure: Vec::new(),
        deadlines: Deadlines::default(),
        retry: Retry { attempts: 1, ..Retry::default() },
        rate: Rate::Constant { per_minute: 1_000_000 },
        downloads_max: 1_000_000,
        windows: Vec::new(),
        zone: Zone::utc(),
        download_outside: false,
        consent: false,
        proof: Proof::Reported,
        start_at_ms: None,
    }
}

fn full() -> Plan {
    let failure = |limit, action| Failure { classes: Classes::default(), limit, started_min: 5, action };
    let mut plan = plan(vec![
        Wave { gate: Gate::Manual, soak_s: 600, ..wave(Size::Query("tag:canary".parse().expect("a query"))) },
        Wave { failure: vec![failure(Limit::Count(3), Action::Abort)], ..wave(Size::Count(10)) },
        wave(Size::Growth(10_000)),
        Wave { gate: Gate::Webhook, ..wave(Size::Permille(250)) },
        wave(Size::Rest),
    ]);
    plan.failure = vec![failure(Limit::Permille(20), Action::Rollback)];
    plan.windows = vec!["sat,sun 01:00 +240".parse().expect("a window")];
    plan.zone = "Europe/Berlin".parse().expect("a zone");
    plan.rate =
        Rate::Exponential { base_per_minute: 10, factor_permille: 2_000, every: 10, max_per_minute: 600 };
    plan.start_at_ms = Some(1_800_000_000_000);
    plan
}

#[test]
fn a_plan_is_read_as_it_was_written() {
    for plan in [plan(vec![wave(Size::Rest)]), full()] {
        assert_eq!(plan.check(), Ok(()));
        assert_eq!(Plan::decode(&plan.encode()), Ok(plan.clone()));
        let json = serde_json::to_string(&plan).expect("JSON");
        assert_eq!(serde_json::from_str::<Plan>(&json).expect("the plan"), plan);
    }
}

#[test]
fn the_plan_in_the_documents_is_one() {
    let page = include_str!("../../../../docs/firmware.md");
    let json = page.split("```json\n").find(|part| part.contains("\"waves\"")).expect("an example");
    let json = json.split("```").next().expect("its end");
    let plan: Plan = serde_json::from_str(json).expect("a plan");
    assert_eq!(plan.check(), Ok(()));
    assert_eq!((plan.waves.len(), plan.deadlines), (3, Deadlines::default()));
}

#[test]
fn every_change_of_a_plan_changes_its_hash() {
    let hash = full().hash();
    let changes: &[fn(&mut Plan)] = &[
        |p| p.name.push('x'),
        |p| p.selection = "site = x".parse().expect("a query"),
        |p| p.dynamic = true,
        |p| p.component.push('x'),
        |p| p.manifest.digest = Digest([9; 32]),
        |p| p.manifest.image = Digest([9; 32]),
        |p| p.rollback = None,
        |p| p.waves[1].size = Size::Count(11),
        |p| p.waves[1].failure[0].limit = Limit::Count(4),
        |p| p.waves[0].soak_s = 1,
        |p| p.waves[0].gate = Gate::Auto,
        |p| p.waves[2].success.permille = 999,
        |p| p.waves[2].success.started_permille = 999,
        |p| p.failure[0].action = Action::Pause,
        |p| p.failure[0].classes.timed_out = false,
        |p| p.failure[0].started_min = 6,
        |p| p.deadlines.rebooting_s += 1,
        |p| p.deadlines.campaign_s += 1,
        |p| p.retry.attempts = 2,
        |p| p.retry.codes = vec![],
        |p| p.retry.jitter_permille = 1,
        |p| p.rate = Rate::Constant { per_minute: 10 },
        |p| p.downloads_max -= 1,
        |p| p.windows.clear(),
        |p| p.zone = Zone::utc(),
        |p| p.download_outside = true,
        |p| p.consent = true,
        |p| p.proof = Proof::Verified,
        |p| p.start_at_ms = None,
    ];
    for (place, change) in changes.iter().enumerate() {
        let mut plan = full();
        change(&mut plan);
        assert_ne!(plan.hash(), hash, "change {place}");
    }
}

#[test]
fn other_words_for_the_same_are_the_same_plan() {
    let mut other = full();
    other.waves[0].size = Size::Query("(tag = \"canary\")".parse().expect("a query"));
    other.retry.codes.reverse();
    assert_eq!(other.hash(), full().hash());
}

#[test]
fn what_cannot_work_is_refused_before_it_is_approved() {
    let refused = |change: fn(&mut Plan)| {
        let mut plan = full();
        change(&mut plan);
        plan.check().expect_err("refused")
    };
    assert!(matches!(refused(|p| p.waves.clear()), InvalidPlan::Count { .. }));
    assert!(matches!(refused(|p| p.waves[4].size = Size::Count(1)), InvalidPlan::Rest { wave: 5, .. }));
    assert!(matches!(refused(|p| p.waves[1].size = Size::Rest), InvalidPlan::Rest { wave: 2, .. }));
    assert!(matches!(refused(|p| p.waves[0].size = Size::Growth(2)), InvalidPlan::Growth { wave: 1 }));
    assert!(matches!(refused(|p| p.waves[1].size = Size::Count(0)), InvalidPlan::Range { .. }));
    assert!(matches!(refused(|p| p.name = "a\nb".to_owned()), InvalidPlan::Name { .. }));
    assert!(matches!(refused(|p| p.deadlines.offered_s = 0), InvalidPlan::Range { .. }));
    assert!(matches!(refused(|p| p.failure[0].limit = Limit::Permille(0)), InvalidPlan::Range { .. }));
    assert!(matches!(refused(|p| p.retry.attempts = 21), InvalidPlan::Range { .. }));
    assert!(matches!(refused(|p| p.downloads_max = 0), InvalidPlan::Range { .. }));
    assert_eq!(refused(|p| p.rollback = None), InvalidPlan::NoWayBack);
    assert!(matches!(refused(|p| p.rollback = Some(manifest(2))), InvalidPlan::WayBack { .. }));
}

proptest! {
    #[test]
    fn a_damaged_plan_is_another_plan_or_none(place in 0..400_usize, bit in 0..8_u32) {
        let mut bytes = full().encode();
        let place = place % bytes.len();
        bytes[place] ^= 1 << bit;
        if let Ok(read) = Plan::decode(&bytes) {
            prop_assert_ne!(read.hash(), full().hash());
            prop_assert_eq!(read.encode(), bytes);
        }
    }

    #[test]
    fn a_plan_that_is_cut_off_is_none(length in 0..400_usize) {
        let bytes = full().encode();
        prop_assert!(Plan::decode(&bytes[..length % bytes.len()]).is_err());
    }
}
