//! The pace at which a principal, and its tenant, may be read: two buckets each, messages and bytes. Whoever is ahead of
//! its pace is not read for a while, and TCP makes the peer wait. Nobody is disconnected for it, and nobody else waits.

use std::{
    cell::Cell,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use muster_actors::SharedClock;
use muster_mqtt::Packet;
use muster_schemas::Principal;
use tokio::time::sleep;
use tracing::info;

use crate::{
    address::Caller, bucket::Bucket, counters::TenantCounters, limits::THROTTLED_LOG_TIME,
    outbox::OutboxReader, quota::Quota,
};

/// What a batch of packets costs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
}

impl Cost {
    /// Of these packets, which took so many bytes.
    pub(crate) fn of(packets: &[Packet], bytes: usize) -> Self {
        Self { messages: packets.iter().map(messages).sum(), bytes: bytes as u64 }
    }
}

/// How many messages a packet counts for: what it asks to be done. Acknowledgements answer what we sent, or close what
/// was counted when it began.
fn messages(packet: &Packet) -> u64 {
    match packet {
        Packet::PubAck(_) | Packet::PubRec(_) | Packet::PubRel(_) | Packet::PubComp(_) => 0,
        Packet::Subscribe(subscribe) => subscribe.filters.len() as u64,
        Packet::Unsubscribe(unsubscribe) => unsubscribe.filters.len() as u64,
        _ => 1,
    }
}

/// Which quota makes somebody wait, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ahead {
    pub(crate) quota: Paced,
    pub(crate) wait: Duration,
}

/// What is paced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paced {
    Messages,
    Bytes,
}

impl Paced {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Messages => "messages_per_s_max",
            Self::Bytes => "bytes_per_s_max",
        }
    }
}

/// One principal's pace, or one tenant's: clones are the same. Its connections may be read by different threads.
#[derive(Debug, Clone)]
pub(crate) struct Pace(Arc<Mutex<Buckets>>);

#[derive(Debug)]
struct Buckets {
    messages: Bucket,
    bytes: Bucket,
}

impl Pace {
    pub(crate) fn new(quota: &Quota) -> Self {
        let buckets = Buckets { messages: Bucket::new(quota.messages), bytes: Bucket::new(quota.bytes) };
        Self(Arc::new(Mutex::new(buckets)))
    }

    /// Pays for a batch that was read, and says how long to wait before the next read; none if it is within its pace.
    pub(crate) fn pay(&self, now: Instant, cost: Cost) -> Option<Ahead> {
        self.with(|buckets| {
            let messages = buckets.messages.take(now, cost.messages);
            let bytes = buckets.bytes.take(now, cost.bytes);
            match (messages, bytes) {
                (None, None) => None,
                (Some(wait), other) if other.is_none_or(|other| other <= wait) => {
                    Some(Ahead { quota: Paced::Messages, wait })
                }
                (_, wait) => wait.map(|wait| Ahead { quota: Paced::Bytes, wait }),
            }
        })
    }

    /// Whether it owes nothing, so that a new one would be the same.
    pub(crate) fn is_even(&self, now: Instant) -> bool {
        self.with(|buckets| buckets.messages.is_full(now) && buckets.bytes.is_full(now))
    }

    fn with<T>(&self, look: impl FnOnce(&mut Buckets) -> T) -> T {
        // A panic cannot leave a bucket half changed: its one field is assigned at once.
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Keeps one connection's reader to the pace of its principal and of its tenant, and says so when it has to.
pub(crate) struct Throttle {
    /// The narrowest first.
    paces: [Pace; 2],
    counters: Arc<TenantCounters>,
    caller: Arc<Caller>,
    logged: Cell<Option<Instant>>,
}

impl Throttle {
    pub(crate) fn new(paces: [Pace; 2], counters: Arc<TenantCounters>, caller: Arc<Caller>) -> Self {
        Self { paces, counters, caller, logged: Cell::new(None) }
    }

    /// The pace of the principal.
    pub(crate) fn own(&self) -> Pace {
        let [own, _] = &self.paces;
        own.clone()
    }

    /// Pays for a batch, and gives what is to be waited for before the next may be read, if anything is: few ever wait.
    /// What a principal waits for its own sake costs its tenant nothing yet.
    pub(crate) fn keep<'a>(
        &'a self,
        outbox: &'a OutboxReader,
        clock: &'a SharedClock,
        cost: Cost,
    ) -> Option<Pin<Box<dyn Future<Output = ()> + 'a>>> {
        let [own, tenant] = &self.paces;
        let now = clock.now();
        let (own, mut wider) = match own.pay(now, cost) {
            None => (None, tenant.pay(now, cost)),
            ahead => (ahead, None),
        };
        if own.is_none() && wider.is_none() {
            return None;
        }
        Some(Box::pin(async move {
            if let Some(ahead) = own {
                self.wait(outbox, clock, ahead, "principal").await;
                wider = tenant.pay(clock.now(), cost);
            }
            if let Some(ahead) = wider {
                self.wait(outbox, clock, ahead, "tenant").await;
            }
        }))
    }

    async fn wait(&self, outbox: &OutboxReader, clock: &SharedClock, ahead: Ahead, whose: &'static str) {
        let Ahead { quota, wait } = ahead;
        self.tell(clock.now(), quota, wait, whose);
        let _paused = outbox.pause(clock);
        sleep(wait).await;
    }

    fn tell(&self, now: Instant, quota: Paced, wait: Duration, whose: &'static str) {
        match quota {
            Paced::Messages => self.counters.quota_messages.add(1),
            Paced::Bytes => self.counters.quota_bytes.add(1),
        }
        self.counters.throttled_ms.add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        if self.logged.get().is_none_or(|at| now >= at + THROTTLED_LOG_TIME) {
            self.logged.set(Some(now));
            let Caller { principal: Principal { tenant, kind, id, .. }, peer } = &*self.caller;
            let (quota, wait_ms) = (quota.as_str(), u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
            info!(%tenant, %kind, %id, %peer, whose, quota, wait_ms, "client throttled");
        }
    }
}

#[cfg(test)]
mod tests {
    use muster_actors::{Clock, SystemClock};

    use super::*;
    use crate::{bucket::Rate, quota::Quotas};

    #[test]
    fn the_longer_of_two_waits_holds_and_is_named() {
        let rate = |per_s_max| Rate { per_s_max, burst_max: per_s_max };
        let pace = Pace::new(&Quota { messages: rate(10), bytes: rate(1_000), ..Quotas::default().tenant });
        let now = SystemClock.now();
        let pay = |messages, bytes| pace.pay(now, Cost { messages, bytes });
        assert_eq!(pay(10, 100), None);
        assert!(!pace.is_even(now));
        let second = Duration::from_secs(1);
        assert_eq!(pay(10, 100), Some(Ahead { quota: Paced::Messages, wait: second }));
        assert_eq!(pay(0, 3_800), Some(Ahead { quota: Paced::Bytes, wait: 3 * second }));
        assert!(pace.is_even(now + 4 * second));
    }
}
