//! Durable sessions against everything that can happen to them: connections that break, commits that fail, crashes.

mod client;
mod stories;
mod world;

use proptest::prelude::*;

use self::world::{CLIENTS, FILTERS, TOPICS, World};
use crate::Limits;

/// Everybody always subscribes at the same quality of service: whoever changes it changes the order of messages.
const SUBSCRIBED_QOS: [u8; CLIENTS] = [2, 2, 1, 2];

#[derive(Debug, Clone)]
enum Step {
    Connect { who: usize },
    ConnectAnew { who: usize },
    Cut { who: usize },
    Publish { who: usize, topic: usize, qos: u8 },
    Subscribe { who: usize, filter: usize, qos: Option<u8> },
    ToServer { who: usize, packets: u8 },
    ToClient { who: usize, packets: u8 },
    Commit { commits: u8 },
    Fail,
    Answer { answers: u8 },
    Read,
    GoOn,
    Pass { ms: u64 },
    Trim,
    Crash,
}

/// What is shared more often than the rest: there is more to go wrong.
fn topic() -> impl Strategy<Value = usize> {
    prop_oneof![0..TOPICS.len(), Just(TOPICS.len() - 1)]
}

fn filter() -> impl Strategy<Value = usize> {
    prop_oneof![0..FILTERS.len(), FILTERS.len() - 2..FILTERS.len()]
}

/// Stories in which neither the disk nor the hub fails hide less of what else goes wrong.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    (any::<bool>(), prop::collection::vec(step(), 1..300)).prop_map(|(is_sound, mut steps)| {
        steps.retain(|step| !is_sound || !matches!(step, Step::Fail | Step::Crash));
        steps
    })
}

fn step() -> impl Strategy<Value = Step> {
    let who = || 0..CLIENTS;
    prop_oneof![
        4 => who().prop_map(|who| Step::Connect { who }),
        1 => who().prop_map(|who| Step::ConnectAnew { who }),
        2 => who().prop_map(|who| Step::Cut { who }),
        20 => (who(), topic(), 0..3_u8).prop_map(|(who, topic, qos)| Step::Publish { who, topic, qos }),
        6 => (who(), filter(), prop::sample::select(vec![Some(true), Some(true), Some(true), Some(false), None]))
            .prop_map(|(who, filter, lasting)| {
            let qos = lasting.map(|lasting| if lasting { SUBSCRIBED_QOS[who] } else { 0 });
            Step::Subscribe { who, filter, qos }
        }),
        16 => (who(), 1..6_u8).prop_map(|(who, packets)| Step::ToServer { who, packets }),
        16 => (who(), 1..6_u8).prop_map(|(who, packets)| Step::ToClient { who, packets }),
        16 => (1..5_u8).prop_map(|commits| Step::Commit { commits }),
        2 => Just(Step::Fail),
        16 => (1..5_u8).prop_map(|answers| Step::Answer { answers }),
        6 => Just(Step::Read),
        6 => Just(Step::GoOn),
        4 => (1..1_500_u64).prop_map(|ms| Step::Pass { ms }),
        3 => Just(Step::Trim),
        2 => Just(Step::Crash),
    ]
}

fn limits() -> impl Strategy<Value = Limits> {
    (1..5_usize, 1..4_usize, 1..4_usize, 0..4_usize, 1..6_usize).prop_map(
        |(flights_max, queue_runs_max, read_records_max, tail_records_max, fanout_slice_max)| Limits {
            flights_max,
            queue_runs_max,
            read_records_max,
            tail_records_max,
            fanout_slice_max,
            ..Limits::default()
        },
    )
}

fn take(world: &mut World, step: &Step) {
    match *step {
        Step::Connect { who } => world.connect(who, false),
        Step::ConnectAnew { who } => world.connect(who, true),
        Step::Cut { who } => world.cut(who),
        Step::Publish { who, topic, qos } => world.publish(who, topic, qos),
        Step::Subscribe { who, filter, qos } => world.subscribe(who, filter, qos),
        Step::ToServer { who, packets } => (0..packets).for_each(|_| world.broker_hears(who)),
        Step::ToClient { who, packets } => (0..packets).for_each(|_| world.client_hears(who)),
        Step::Commit { commits } => (0..commits).for_each(|_| world.commit(true)),
        Step::Fail => world.commit(false),
        Step::Answer { answers } => (0..answers).for_each(|_| world.answer()),
        Step::Read => world.read(),
        Step::GoOn => world.go_on(),
        Step::Pass { ms } => world.pass(ms),
        Step::Trim => world.trim(),
        Step::Crash => world.crash(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(1_000),
        max_shrink_iters: 100_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn durable_sessions_lose_nothing_and_repeat_nothing_at_qos_2(
        limits in limits(),
        filters in prop::collection::vec(filter(), CLIENTS),
        steps in steps(),
    ) {
        let mut world = World::new(limits);
        // Everybody is there and listens before anything goes wrong.
        world.settle();
        for (who, filter) in filters.into_iter().enumerate() {
            world.subscribe(who, filter, Some(SUBSCRIBED_QOS[who]));
        }
        world.settle();
        for step in &steps {
            world.tell(step);
            take(&mut world, step);
            world.check_bounds();
        }
        world.tell(&"settle");
        world.settle();
        world.judge();
        prop_assert!(world.faults.is_empty(), "{:#?}", world.faults);
        // Nothing of what is over comes again.
        world.crash();
        world.trim();
        let got: Vec<_> = world.clients.iter().map(|client| client.got.len()).collect();
        world.settle();
        world.judge();
        prop_assert!(world.faults.is_empty(), "after a crash: {:#?}", world.faults);
        let now: Vec<_> = world.clients.iter().map(|client| client.got.len()).collect();
        prop_assert_eq!(got, now, "something came again after a crash");
    }
}
