//! Who is given which telemetry as it is published: the sieves of the routers.

use std::{collections::HashMap, sync::Arc};

use muster_broker::sieve::{Sieve, Sieves};
use muster_items::{Attributes, ItemInfo, StreamId};
use muster_policy::{Live, Reader, limits::LIVE_DECISION_MS};
use muster_schemas::{DeviceId, Message, Publisher, TenantId};
use tracing::info;

use super::known::{Known, OfTenant};
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
        let attributes = self.known.attributes(&self.tenant, &stream.device);
        let remembered = self.decisions.get(to).and_then(|theirs| theirs.get(&stream));
        if let Some(decided) = remembered
            && self.now_ms < decided.until_ms
            && (Arc::ptr_eq(&decided.attributes, &attributes) || decided.attributes == attributes)
        {
            return decided.is_allowed;
        }
        self.decide(to, stream, attributes)
    }
}

impl LiveSieve {
    fn decide(&mut self, to: &Publisher, stream: StreamId, attributes: Arc<Attributes>) -> bool {
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
            let (device, stream) = (&stream.device, &stream.stream);
            let is_last = self.logged == LIVE_DENIALS_LOGGED_MAX;
            info!(target: "muster::audit", %tenant, %kind, %id, rule, %device, stream, is_last, "live telemetry denied");
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
