//! Who takes part: publishers and subscribers of both versions, with windows, filters and habits of all sorts.

use muster_mqtt::Version;
use muster_schemas::Qos;

use super::{
    chance::Chance,
    client::{Client, Part},
    ledger::{Filter, Ledger},
    publisher::Publisher,
    subscriber::Subscriber,
};

/// Version, whether the session is kept, messages on their way at once, whether it goes by itself.
const PUBLISHERS: [(Version, bool, usize, bool); 6] = [
    (Version::V5, true, 1, false),
    (Version::V5, true, 20, false),
    (Version::V5, true, 60, true),
    (Version::V311, true, 10, false),
    (Version::V5, false, 20, false),
    (Version::V311, false, 8, true),
];

/// Version, filter, QoS, Receive Maximum, when it comes in percent of all starts, whether it goes by itself.
const SUBSCRIBERS: [(Version, Filter, Qos, u16, u32, bool); 8] = [
    (Version::V5, Filter::All, Qos::ExactlyOnce, 100, 0, false),
    (Version::V5, Filter::All, Qos::AtLeastOnce, 1_000, 0, false),
    (Version::V311, Filter::All, Qos::ExactlyOnce, 0, 0, false),
    (Version::V5, Filter::Publisher(2), Qos::ExactlyOnce, 3, 0, false),
    (Version::V5, Filter::Topic(1), Qos::ExactlyOnce, 20, 0, true),
    (Version::V311, Filter::Topic(0), Qos::AtLeastOnce, 0, 0, true),
    (Version::V5, Filter::All, Qos::ExactlyOnce, 50, 30, true),
    (Version::V311, Filter::Publisher(1), Qos::AtLeastOnce, 0, 60, false),
];

/// How many clients there are.
pub const CLIENTS: usize = PUBLISHERS.len() + SUBSCRIBERS.len();

/// All clients for a run with so many starts of the hub. Subscribers are entered into the ledger.
pub fn cast(seed: u64, starts: u32, ledger: &mut Ledger) -> Vec<Client> {
    let chance = |of: usize| Chance::new(seed, 100 + of as u64);
    let mut clients = Vec::new();
    for (number, (version, is_persistent, window, wanders)) in PUBLISHERS.into_iter().enumerate() {
        let publisher = Publisher::new(number, is_persistent, window, chance(50 + number));
        clients.push(Client {
            place: clients.len(),
            name: format!("publisher-{number}"),
            version,
            part: Part::Publish(publisher),
            receive_maximum: 0,
            comes_at: 0,
            wanders,
            chance: chance(number),
            has_session: false,
        });
    }
    for (number, (version, filter, qos, receive_maximum, percent, wanders)) in
        SUBSCRIBERS.into_iter().enumerate()
    {
        ledger.enter(number, filter, qos);
        clients.push(Client {
            place: clients.len(),
            name: format!("subscriber-{number}"),
            version,
            part: Part::Subscribe(Subscriber::new(number, filter, qos)),
            receive_maximum,
            comes_at: starts * percent / 100,
            wanders,
            chance: chance(20 + number),
            has_session: false,
        });
    }
    clients
}
