use std::{collections::BTreeMap, sync::Arc, time::Duration};

use muster_broker::store::{RootKey, StoreOptions};
use muster_schemas::{Kind, Message, Publisher, Qos, senml::Pack};
use tempfile::TempDir;

use super::*;

const START_MS: u64 = 1_760_000_000_000;
const SECOND: Duration = Duration::from_secs(1);

/// A hub's store, a server's, and the time, which passes when it is told to.
struct World {
    store: Store,
    now: Instant,
    now_ms: u64,
    /// What the server stored: each field of each point once.
    there: BTreeMap<(String, String), String>,
    requests: usize,
    _folder: TempDir,
}

fn acme() -> TenantId {
    "acme".parse().expect("id")
}

impl World {
    fn new() -> Self {
        let folder = TempDir::new().expect("a folder");
        let options = StoreOptions { disk_free_bytes_min: 0 };
        let store = Store::open(folder.path(), RootKey::from_bytes([7; 32]), options).expect("opens");
        store.create_tenant(&acme()).expect("created");
        #[expect(clippy::disallowed_methods, reason = "the time at which the story begins does not matter")]
        let now = Instant::now();
        Self { store, now, now_ms: START_MS, there: BTreeMap::new(), requests: 0, _folder: folder }
    }

    fn feed(&self, quotas: &Quotas) -> Feed {
        Feed::open(&self.store, &acme(), quotas, Arc::new(|_| Arc::default()), 1).expect("opens")
    }

    /// Appends messages as the tenant's router does.
    fn publish(&self, packs: impl IntoIterator<Item = Vec<u8>>) {
        let mut log = self.store.tenant(&acme()).expect("reads").expect("exists").log().expect("opens");
        let writes = packs.into_iter().map(|payload| {
            let message = Message {
                topic: "devices/pump-7/telemetry/climate".parse().expect("topic"),
                qos: Qos::AtLeastOnce,
                retain: false,
                payload: payload.into(),
                properties: None,
            };
            let publisher = Publisher { kind: Kind::Device, id: "pump-7".parse().expect("id") };
            let stored = StoredMessage { received_ms: self.now_ms, publisher, session: None, message };
            let mut record = Vec::new();
            stored.encode(&mut record);
            log.append(log.next_sequence(), &record)
        });
        let writes = writes.collect();
        self.store.commit_blocking(writes).expect("stored");
    }

    /// Lets the feed do what it wants, as the actor does, until it rests. None is a server that is not there.
    fn turn(&mut self, feed: &mut Feed, server: Option<fn(&str) -> Answer>) {
        loop {
            match feed.next(self.now, self.now_ms).expect("goes on") {
                Deed::Rest => return,
                Deed::Commit(writes) => {
                    self.store.commit_blocking(writes).expect("stored");
                    feed.committed();
                }
                Deed::Send(lines) => {
                    self.requests += 1;
                    let answer = self.answer(&lines, server);
                    feed.answered(self.now, answer);
                }
            }
        }
    }

    fn answer(&mut self, lines: &str, server: Option<fn(&str) -> Answer>) -> Answer {
        let Some(server) = server else { return Answer::Later(Trouble::Unreachable("refused".to_owned())) };
        let answer = server(lines);
        if answer == Answer::Accepted {
            for line in lines.lines() {
                let (series, rest) = line.split_once(' ').expect("fields");
                let (fields, time) = rest.rsplit_once(' ').expect("a time");
                let (key, value) = fields.split_once('=').expect("one field");
                self.there.insert((format!("{series} {key}"), time.to_owned()), value.to_owned());
            }
        }
        answer
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.now_ms += u64::try_from(time.as_millis()).expect("short");
    }
}

fn reading(number: u32) -> Vec<u8> {
    let mut pack = Pack::new("", 1.76e9 + f64::from(number));
    pack.number("load", Some("/"), f64::from(number));
    pack.encode_cbor()
}

#[test]
fn nothing_is_lost_while_the_server_is_away_for_an_hour() {
    let mut world = World::new();
    let mut feed = world.feed(&Quotas::default());
    let mut published = 0;
    for second in 0..3_900 {
        world.publish((0..3).map(|n| reading(published + n)));
        published += 3;
        // It goes after a minute, and comes back an hour later; in between the hub is started anew once.
        let server = (!(60..3_660).contains(&second)).then_some((|_| Answer::Accepted) as fn(&str) -> Answer);
        if second == 2_000 {
            feed = world.feed(&Quotas::default());
        }
        world.turn(&mut feed, server);
        world.pass(SECOND);
    }
    assert_eq!(world.there.len(), usize::try_from(published).expect("small"), "each point once");
    assert!(world.there.values().zip(0..).all(|(value, _)| value.parse::<f64>().is_ok()));
    assert_eq!((feed.backlog().records(), feed.news().given_up), (0, 0));
    assert!(feed.trouble().is_none());
    // Once a second while it is there; less and less often while it is not.
    assert!(world.requests < 60 + 240 + 2 * 80, "{} requests", world.requests);
}

#[test]
fn what_the_log_may_not_hold_any_more_is_given_up_and_told() {
    let mut world = World::new();
    let quotas = Quotas { log_bytes_max: 64 * 1_024, ..Quotas::default() };
    let mut feed = world.feed(&quotas);
    for number in 0..2_000 {
        world.publish([reading(number)]);
        if number % 10 == 0 {
            world.turn(&mut feed, None);
            world.pass(SECOND);
        }
    }
    world.turn(&mut feed, None);
    let given_up = feed.news().given_up;
    assert!(given_up > 500, "{given_up}");
    assert!(feed.backlog().bytes() <= quotas.log_bytes_max);
    assert_eq!(feed.cursor(), given_up + 1, "the log is needed from there on");
    world.pass(Duration::from_secs(60));
    world.turn(&mut feed, Some(|_| Answer::Accepted));
    assert_eq!(world.there.len() as u64 + given_up, 2_000);
    // Too old counts as too much.
    world.publish([reading(2_000)]);
    world.turn(&mut feed, None);
    world.pass(quotas.log_age_max);
    world.turn(&mut feed, None);
    assert_eq!(feed.news().given_up, 1);
}

#[test]
fn an_answer_that_was_lost_and_a_hub_that_died_change_nothing_there() {
    let mut world = World::new();
    let mut feed = world.feed(&Quotas::default());
    world.publish((0..100).map(reading));
    let Deed::Send(lines) = feed.next(world.now, world.now_ms).expect("goes on") else {
        panic!("something to send")
    };
    assert_eq!(world.answer(&lines, Some(|_| Answer::Accepted)), Answer::Accepted);
    drop(feed);
    let before = world.there.clone();
    let mut feed = world.feed(&Quotas::default());
    world.turn(&mut feed, Some(|_| Answer::Accepted));
    assert_eq!((world.there.len(), &world.there), (100, &before));
    // And what was committed is not sent again.
    let mut feed = world.feed(&Quotas::default());
    let requests = world.requests;
    world.turn(&mut feed, Some(|_| Answer::Accepted));
    assert_eq!((world.requests, feed.cursor()), (requests, 101));
}

#[test]
fn what_is_sensitive_leaves_sealed_and_opens_at_its_place_alone() {
    let world = World::new();
    let mut feed = world.feed(&Quotas::default());
    let mut pack = Pack::new("", 1.76e9);
    pack.text("password", "CANARY");
    world.publish([pack.encode_cbor()]);
    let Deed::Send(lines) = feed.next(world.now, world.now_ms).expect("goes on") else {
        panic!("something to send")
    };
    assert!(
        lines.starts_with("climate,device=pump-7 password#sealed=\"v1.") && !lines.contains("CANARY"),
        "{lines}"
    );
    let text = lines.split('"').nth(1).expect("the text");
    let tenant = world.store.tenant(&acme()).expect("reads").expect("exists");
    let place = tenant.field_sealer("pump-7/climate");
    assert_eq!(place.open("password@1760000000000000", text).expect("opens"), b"\"CANARY\"");
    assert!(place.open("password@1760000000000001", text).is_err());
    assert!(tenant.field_sealer("pump-8/climate").open("password@1760000000000000", text).is_err());
}

#[test]
fn what_a_server_never_stores_is_told_and_the_rest_goes_on() {
    let mut world = World::new();
    let mut feed = world.feed(&Quotas::default());
    world.publish((0..10).map(reading));
    world.turn(
        &mut feed,
        Some(|lines| {
            if lines.contains("load=7.0") {
                Answer::Refused("no sevens".to_owned())
            } else {
                Answer::Accepted
            }
        }),
    );
    assert_eq!((world.there.len(), feed.cursor()), (9, 11));
    let news = feed.news();
    let series = Some("climate,device=pump-7,unit=/".to_owned());
    assert_eq!(news.letters, [DeadLetter { lines: 1, series, why: "no sevens".to_owned() }]);
}

#[test]
fn while_the_tenant_s_key_is_withdrawn_nothing_leaves_and_nothing_is_lost() {
    let mut world = World::new();
    let own = || muster_broker::store::SecretKey::from([9; 32]);
    world.store.bring_key(&acme(), own(), false, 1).expect("brought");
    let mut feed = world.feed(&Quotas::default());
    world.publish((0..5).map(reading));
    world.store.withdraw_key(&acme()).expect("withdrawn");
    world.turn(&mut feed, Some(|_| Answer::Accepted));
    assert_eq!((world.there.len(), feed.trouble()), (0, Some(&Trouble::KeyAway)));
    let anew = Feed::open(&world.store, &acme(), &Quotas::default(), Arc::new(|_| Arc::default()), 1);
    assert!(matches!(anew, Err(FeedError::Unsealed(Unsealed::KeyAway))));
    world.store.bring_key(&acme(), own(), false, 2).expect("given back");
    world.pass(Duration::from_secs(300));
    world.turn(&mut feed, Some(|_| Answer::Accepted));
    assert_eq!((world.there.len(), feed.news().damaged), (5, 0));
}
