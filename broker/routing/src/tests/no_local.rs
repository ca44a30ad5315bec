//! Stories of No Local for sessions that outlive their connection [MQTT-3.8.3-3]: what a session published is told from what
//! others did wherever the session gets it from.

use std::{collections::BTreeMap, sync::Arc};

use muster_schemas::Qos;

use crate::{
    Access, Effect, Input, Limits, Record, Router, RouterOptions, SubscriberId, SubscriptionOptions, Wanted,
    tests::{Bus, NOW_MS, model::message, publisher},
};

/// What is on disk.
#[derive(Default)]
pub(super) struct Disk {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    log: Vec<Record>,
}

impl Disk {
    /// Everything that the router wrote is there, and it hears so. What is left of the effects.
    pub(super) fn takes(&mut self, bus: &mut Bus) -> Vec<Effect> {
        let mut rest = Vec::new();
        for effect in bus.take() {
            match effect {
                Effect::StoreRow { key, value: Some(value) } => drop(self.rows.insert(key, value)),
                Effect::StoreRow { key, value: None } => drop(self.rows.remove(&key)),
                Effect::Append { sequence, publisher, session, message } => {
                    self.log.push(Record { sequence, received_ms: NOW_MS, publisher, session, message });
                }
                other => rest.push(other),
            }
        }
        let up_to = bus.router.next_sequence() - 1;
        let (batch, _) = bus.router.seal();
        bus.handle(Input::Committed { up_to }).handle(Input::Stored { batch });
        rest.extend(bus.take());
        rest
    }

    /// All that is on the log.
    pub(super) fn log(&self) -> Vec<Record> {
        self.log.clone()
    }

    /// A router that has only what is on disk.
    pub(super) fn restarts(&self, limits: Limits) -> Bus {
        let next_sequence = self.log.last().map_or(1, |record| record.sequence + 1);
        let mut router = Router::new(RouterOptions { limits, durable: Vec::new(), next_sequence });
        let mut restoring = router.restore_sessions(self.rows.clone(), 1, NOW_MS).expect("rows as they were");
        let from = restoring.from.unwrap_or(u64::MAX);
        for record in self.log.iter().filter(|record| record.sequence >= from) {
            router.restore_record(record, &mut restoring);
        }
        Bus { router, effects: Vec::new() }
    }
}

fn attach(bus: &mut Bus, disk: &mut Disk, number: u64, client: u64) -> Vec<Effect> {
    let (subscriber, client_id) = (SubscriberId(number), "c".parse().expect("client id"));
    let (publisher, access) = (publisher(client), Arc::new(Access::app()));
    bus.handle(Input::Join { subscriber, publisher, access });
    bus.handle(Input::Attach { subscriber, client_id, clean_start: false, expiry_s: 100, will: None });
    disk.takes(bus)
}

fn payloads(effects: &[Effect]) -> Vec<String> {
    let deliver = |effect: &Effect| match effect {
        Effect::Deliver { delivery, .. } => {
            Some(String::from_utf8_lossy(&delivery.message.payload).into_owned())
        }
        _ => None,
    };
    effects.iter().filter_map(deliver).collect()
}

/// A session that subscribes to `a` with No Local and publishes there, as another does. What it has yet to get is its
/// shell's to ask for.
fn published(limits: Limits) -> (Bus, Disk) {
    let router = Router::new(RouterOptions { limits, durable: Vec::new(), next_sequence: 1 });
    let (mut bus, mut disk) = (Bus { router, effects: Vec::new() }, Disk::default());
    attach(&mut bus, &mut disk, 1, 1);
    attach(&mut bus, &mut disk, 2, 2);
    let options =
        SubscriptionOptions { qos: Qos::AtLeastOnce, no_local: true, ..SubscriptionOptions::default() };
    bus.subscribe_with(1, "a", options, None);
    bus.subscribe(2, "a", 1);
    disk.takes(&mut bus);
    for (ticket, from) in [(1, 1), (2, 2), (3, 1), (4, 2), (5, 1)] {
        bus.publish(from, ticket, message("a", &format!("{ticket} of {from}"), 1));
    }
    disk.takes(&mut bus);
    (bus, disk)
}

#[test]
fn a_session_does_not_get_its_own_messages_after_a_restart() {
    let (_, mut disk) = published(Limits::default());
    let mut bus = disk.restarts(Limits { tail_records_max: 0, ..Limits::default() });
    let effects = attach(&mut bus, &mut disk, 1, 1);
    let asked = effects.into_iter().find_map(|effect| match effect {
        Effect::Read { wanted, .. } => Some(wanted),
        _ => None,
    });
    assert_eq!(asked, Some(Wanted::These(vec![2, 4])));
    let effects = attach(&mut bus, &mut disk, 2, 2);
    let wanted = Wanted::These(vec![1, 2, 3, 4, 5]);
    assert!(
        effects.iter().any(|effect| matches!(effect, Effect::Read { wanted: all, .. } if *all == wanted)),
        "whoever did not ask for No Local gets all"
    );
}

#[test]
fn a_session_does_not_get_its_own_messages_from_a_search() {
    let limits = Limits { queue_runs_max: 1, flights_max: 1, tail_records_max: 0, ..Limits::default() };
    let (mut bus, mut disk) = published(limits.clone());
    bus.leave(1);
    disk.takes(&mut bus);
    let mut bus = disk.restarts(limits);
    let mut effects = attach(&mut bus, &mut disk, 1, 1);
    let mut got = Vec::new();
    for _ in 0..20 {
        got.extend(payloads(&effects));
        let mut inputs = Vec::new();
        for effect in &effects {
            match effect {
                Effect::Read { session, epoch, wanted } => {
                    let is_wanted = |record: &&Record| match wanted {
                        Wanted::These(sequences) => sequences.contains(&record.sequence),
                        Wanted::From(from) => record.sequence >= *from,
                    };
                    let records = disk.log.iter().filter(is_wanted).cloned().collect();
                    let (session, epoch, wanted) = (*session, *epoch, wanted.clone());
                    inputs.push(Input::Records { session, epoch, wanted, records, next: 6 });
                }
                Effect::Deliver { to, delivery } => {
                    let tag = delivery.tag.expect("it is kept");
                    inputs.push(Input::Complete { subscriber: *to, tag });
                }
                _ => {}
            }
        }
        inputs.into_iter().for_each(|input| _ = bus.handle(input));
        effects = disk.takes(&mut bus);
    }
    assert_eq!(got, ["2 of 2", "4 of 2"]);
}

#[test]
fn a_session_that_comes_back_does_not_get_its_own_will() {
    let router = Router::new(RouterOptions { next_sequence: 1, ..RouterOptions::default() });
    let (mut bus, mut disk) = (Bus { router, effects: Vec::new() }, Disk::default());
    let (subscriber, client_id) = (SubscriberId(1), "c".parse().expect("client id"));
    bus.join(1);
    let will = Some(crate::Will { message: message("a", "gone", 1), delay_s: 0 });
    bus.handle(Input::Attach { subscriber, client_id, clean_start: false, expiry_s: 100, will });
    disk.takes(&mut bus);
    let options = SubscriptionOptions { qos: Qos::AtLeastOnce, no_local: true, ..Default::default() };
    bus.subscribe_with(1, "a", options, None);
    disk.takes(&mut bus);
    bus.leave(1);
    disk.takes(&mut bus);
    let effects = attach(&mut bus, &mut disk, 2, 1);
    assert_eq!(payloads(&effects), [""; 0]);
}
