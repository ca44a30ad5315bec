//! Who is given which telemetry as it is published: the sieves of the routers.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use muster_broker::sieve::{Sieve, Sieves};
use muster_items::{Attributes, ItemInfo, StreamId};
use muster_policy::{Live, Reader, limits::LIVE_DECISION_MS};
use muster_schemas::{DeviceId, Message, Publisher, TenantId};
use tracing::info;

use super::{
    denials::{Denial, What},
    known::{Known, OfTenant},
};
use crate::limits::{LIVE_DECISIONS_MAX, LIVE_DENIALS_LOGGED_MAX};

/// Sieves that go by what is known.
pub fn sieves(known: Known) -> Sieves {
    Arc::new(move |tenant| {
        Box::new(LiveSieve {
            of: None,
            known: known.clone(),
            tenant: tenant.clone(),
            readers: HashMap::new(),
            decisions: HashMap::new(),
            count: 0,
            logged: 0,
            now_ms: 0,
            kept_back: known.live_counter(tenant),
        })
    })
}

/// One tenant's. A decision is remembered for as long as nothing changes that it rests on.
struct LiveSieve {
    known: Known,
    tenant: TenantId,
    of: Option<Arc<OfTenant>>,
    readers: HashMap<Publisher, Reader>,
    decisions: HashMap<Publisher, HashMap<StreamId, Decided>>,
    /// How many.
    count: usize,
    logged: usize,
    now_ms: i64,
    kept_back: Arc<AtomicU64>,
}

struct Decided {
    /// What the device's attributes were.
    attributes: Arc<Attributes>,
    is_allowed: bool,
    /// Before this instant it is good.
    until_ms: i64,
}

impl Sieve for LiveSieve {
    fn begin(&mut self, now_ms: u64) -> bool {
        self.now_ms = i64::try_from(now_ms).unwrap_or(i64::MAX);
        let of = self.known.told(&self.tenant);
        if of.as_ref().map(Arc::as_ptr) != self.of.as_ref().map(Arc::as_ptr) {
            self.readers.clear();
            self.decisions.clear();
            self.count = 0;
            self.logged = 0;
            self.of = of;
        }
        self.of.as_ref().is_some_and(|of| !of.rules.are_open())
    }

    fn lets_through(&mut self, to: &Publisher, message: &Message) -> bool {
        // Telemetry is what rules speak of. For all else there are access lists.
        let Some(stream) = stream_of(message.topic.as_str()) else { return true };
        let is_allowed = self.shows(to, stream, message.topic.as_str());
        if !is_allowed {
            self.kept_back.fetch_add(1, Ordering::Relaxed);
        }
        is_allowed
    }
}

impl LiveSieve {
    fn shows(&mut self, to: &Publisher, stream: StreamId, topic: &str) -> bool {
        let attributes = self.known.attributes(&self.tenant, &stream.device);
        let remembered = self.decisions.get(to).and_then(|theirs| theirs.get(&stream));
        if let Some(decided) = remembered
            && self.now_ms < decided.until_ms
            && (Arc::ptr_eq(&decided.attributes, &attributes) || decided.attributes == attributes)
        {
            return decided.is_allowed;
        }
        self.decide(to, stream, topic, attributes)
    }

    fn decide(&mut self, to: &Publisher, stream: StreamId, topic: &str, attributes: Arc<Attributes>) -> bool {
        // Without anything told there are no rules, and nothing is asked.
        let Some(of) = &self.of else { return true };
        let reader = self.readers.entry(to.clone()).or_insert_with(|| of.reader(to.kind, &to.id));
        let now_us = self.now_ms.saturating_mul(1_000);
        let item = ItemInfo {
            stream,
            from_us: now_us,
            to_us: now_us,
            attributes,
            cell: None,
            signer: None,
            hash: None,
        };
        let Live { allowed, until_ms, rule } = of.rules.live(reader, &item, self.now_ms);
        let ItemInfo { stream, attributes, .. } = item;
        if !allowed && self.logged < LIVE_DENIALS_LOGGED_MAX {
            self.logged += 1;
            let (tenant, kind, id) = (&self.tenant, to.kind, &to.id);
            let device = &stream.device;
            let is_last = self.logged == LIVE_DENIALS_LOGGED_MAX;
            info!(target: "muster::audit", %tenant, %kind, %id, rule, %device, is_last, "live telemetry denied");
            let (rule, now_ms) = (rule.as_str(), self.now_ms);
            let (what, topic) = (What::Live, Some(topic));
            // Counted above, message by message.
            self.known.note(Denial { tenant, from: tenant, who: (kind, id), what, topic, rule, now_ms }, 0);
        }
        if self.count >= LIVE_DECISIONS_MAX {
            self.decisions.clear();
            self.count = 0;
        }
        let until_ms = until_ms.unwrap_or(self.now_ms.saturating_add(LIVE_DECISION_MS));
        let decided = Decided { attributes, is_allowed: allowed, until_ms };
        let before = self.decisions.entry(to.clone()).or_default().insert(stream, decided);
        self.count += usize::from(before.is_none());
        allowed
    }
}

/// The stream of telemetry that a topic is, if it is one.
fn stream_of(topic: &str) -> Option<StreamId> {
    let (device, rest) = topic.strip_prefix("devices/")?.split_once('/')?;
    let stream = rest.strip_prefix("telemetry/")?;
    Some(StreamId { device: device.parse::<DeviceId>().ok()?, stream: stream.to_owned() })
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use muster_policy::{Policies, Rules};
    use muster_schemas::{Kind, Qos};

    use super::*;
    use crate::registry::attributes::{Described, Party};

    fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
        text.parse().expect("well formed")
    }

    fn district(text: &str) -> BTreeMap<String, BTreeSet<String>> {
        BTreeMap::from([("district".to_owned(), BTreeSet::from([text.to_owned()]))])
    }

    fn told(known: &Known, policies: Option<&str>, of_board: &str) {
        let tenant: TenantId = id("acme");
        let parsed = policies.map(|text| Arc::new(Policies::parse(text).expect("valid")));
        let board = Described {
            tenant: tenant.clone(),
            party: Party::App,
            id: id("board"),
            attributes: district(of_board),
            groups: BTreeSet::new(),
        };
        let of = OfTenant {
            rules: Rules::new(tenant.clone(), parsed),
            readers: BTreeMap::from([((Party::App, id("board")), Arc::new(board))]),
            versions: Vec::new(),
            data_sets: BTreeMap::new(),
            grants: Vec::new(),
        };
        known.replace(&tenant, of);
    }

    fn on(topic: &str) -> Message {
        Message {
            topic: id(topic),
            payload: bytes::Bytes::new(),
            qos: Qos::AtMostOnce,
            retain: false,
            properties: None,
        }
    }

    const OWN_DISTRICT: &str = "permit (principal, action == Action::\"view\", resource)
        when { principal.district.containsAny(resource.district) };";

    #[test]
    fn a_decision_holds_until_a_rule_a_reader_or_a_device_changes() {
        let known = Known::default();
        let mut sieve = sieves(known.clone())(&id("acme"));
        let board = Publisher { kind: Kind::App, id: id("board") };
        let gate = on("devices/camera/telemetry/gate");
        assert!(!sieve.begin(1), "nothing was said: nobody is asked about");
        told(&known, None, "d7");
        assert!(!sieve.begin(1), "there are no policies");
        told(&known, Some(OWN_DISTRICT), "d7");
        assert!(sieve.begin(1));
        assert!(!sieve.lets_through(&board, &gate), "a device of nowhere");
        known.describe(&id("acme"), &id("camera"), Attributes(district("d7")));
        assert!(sieve.begin(2) && sieve.lets_through(&board, &gate), "the device was said to be there");
        told(&known, Some(OWN_DISTRICT), "d8");
        assert!(sieve.begin(3) && !sieve.lets_through(&board, &gate), "the app is elsewhere");
        let other = Publisher { kind: Kind::App, id: id("other") };
        assert!(!sieve.lets_through(&other, &gate), "of whom nothing was said");
        for topic in ["devices/camera/twin/reported", "alerts/fire", "devices/camera/telemetry"] {
            assert!(sieve.lets_through(&board, &on(topic)), "{topic} is no telemetry");
        }
        assert!(!sieve.lets_through(&board, &on("devices/camera/telemetry/a/b")));
    }

    #[test]
    fn a_rule_by_the_time_of_day_is_asked_again() {
        let known = Known::default();
        let mut sieve = sieves(known.clone())(&id("acme"));
        let after = "permit (principal, action == Action::\"view\", resource)
            when { context.now >= datetime(\"1970-01-01T00:00:05Z\") };";
        told(&known, Some(after), "d7");
        let board = Publisher { kind: Kind::App, id: id("board") };
        let gate = on("devices/camera/telemetry/gate");
        for (now_ms, is_given) in [(1_000, false), (4_999, false), (5_000, true), (9_000, true)] {
            assert!(sieve.begin(now_ms));
            assert_eq!(sieve.lets_through(&board, &gate), is_given, "{now_ms}");
        }
    }
}
