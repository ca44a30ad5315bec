//! Passwords at the door of MQTT, for devices that can do nothing else. Checking one costs tens of milliseconds and 19 MiB,
//! so that guessing is dear; whoever only wants the hub to spend them meets bounds before that: on how often one source and
//! one name may try, on how many are checked at a time, and on how many wait.

use std::{
    collections::BTreeMap,
    future::ready,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use bytes::Bytes;
use muster_actors::SharedClock;
use muster_broker::{Access, Admission, Admitted, Named, NotAdmitted, PasswordGate, ReasonCode};
use muster_schemas::{DeviceId, Kind, Principal, TenantId, TrustDomain};
use tokio::sync::Semaphore;
use tracing::{debug, info};

use super::PasswordHash;
use crate::{
    enrolment::rate::{Allowance, Rate},
    limits::{LEGACY_CHECKS_MAX, LEGACY_CHECKS_WAITING_MAX, LEGACY_PASSWORD_BYTES_MAX, LEGACY_TRIED_MAX},
    place::Place,
    registry::{
        RegistryActor,
        legacy::{FindPassword, FoundPassword},
    },
};

/// How often one address may try: devices of a site share one, and all come back at once after a power cut.
const SOURCE: Rate = Rate { burst: 100, per_s: 2 };
/// How often one name may be tried from one address. What was right does not count.
const NAME: Rate = Rate { burst: 10, per_s: 1 };

/// Who or what tries.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Tried {
    Source(IpAddr),
    Name(IpAddr, TenantId, DeviceId),
}

/// Checks the passwords of MQTT clients without a certificate.
pub struct Passwords {
    registry: Place<RegistryActor>,
    trust_domain: TrustDomain,
    clock: SharedClock,
    checks: Arc<Checks>,
    tries: Arc<Mutex<Tries>>,
}

impl Passwords {
    /// Checks against what `registry` has.
    pub fn new(registry: Place<RegistryActor>, trust_domain: TrustDomain, clock: SharedClock) -> Self {
        let (checks, tries) = (Arc::default(), Arc::default());
        Self { registry, trust_domain, clock, checks, tries }
    }
}

impl PasswordGate for Passwords {
    fn admit(&self, peer: SocketAddr, named: Named) -> Admission {
        let Named { username, password } = named;
        // Whatever is wrong, the peer is told the same.
        let said =
            username.split_once('/').and_then(|(tenant, id)| Some((tenant.parse().ok()?, id.parse().ok()?)));
        let (Some((tenant, id)), Some(registry)) = (said, self.registry.address()) else {
            return Box::pin(ready(Err(wrong())));
        };
        if password.len() > LEGACY_PASSWORD_BYTES_MAX {
            return Box::pin(ready(Err(wrong())));
        }
        let (source, now) = (network(peer.ip()), self.clock.now());
        let keys =
            [Tried::Source(source), Tried::Name(source, TenantId::clone(&tenant), DeviceId::clone(&id))];
        {
            let mut tries = self.tries.lock().unwrap_or_else(PoisonError::into_inner);
            if !tries.take(&keys, now) {
                debug!(%peer, %tenant, %id, "too many passwords were tried");
                return Box::pin(ready(Err(too_many())));
            }
        }
        let found = registry.send(FindPassword { tenant: tenant.clone(), id: id.clone() });
        let (checks, tries, trust_domain) =
            (self.checks.clone(), self.tries.clone(), self.trust_domain.clone());
        Box::pin(async move {
            let (hash, known) = match found.await {
                Ok(FoundPassword::Hash(hash)) => (hash, true),
                // As long as for a device that is there, so that nobody learns which are.
                Ok(FoundPassword::Nothing) => (PasswordHash::of_nobody(), false),
                Ok(FoundPassword::Nowhere) => return Err(wrong()),
                Err(_) => return Err(busy()),
            };
            let right = checks.check(hash, password).await.ok_or_else(busy)?;
            if !(right && known) {
                info!(%peer, %tenant, %id, known, "a password was refused");
                return Err(wrong());
            }
            tries.lock().unwrap_or_else(PoisonError::into_inner).give_back(&keys);
            let access = Arc::new(Access::device(&id));
            let principal = Principal { trust_domain, tenant, kind: Kind::Device, id };
            Ok(Admitted { principal, access, expires: None, quarantine: None })
        })
    }
}

/// Passwords that are checked, a few at a time, on threads that may block.
struct Checks {
    at_a_time: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl Default for Checks {
    fn default() -> Self {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        Self { at_a_time: semaphore(LEGACY_CHECKS_MAX), waiting: semaphore(LEGACY_CHECKS_WAITING_MAX) }
    }
}

impl Checks {
    /// Whether it is the password; none, if too many wait to be checked.
    async fn check(&self, hash: PasswordHash, password: Bytes) -> Option<bool> {
        let _waiting = self.waiting.try_acquire().ok()?;
        let permit = self.at_a_time.clone().acquire_owned().await.ok()?;
        // The permit goes along: a peer that leaves does not make room before the work is done.
        let checked = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            hash.is_of(&password)
        });
        checked.await.ok()
    }
}

/// How often who may try again.
#[derive(Default)]
struct Tries {
    allowances: BTreeMap<Tried, Allowance>,
}

impl Tries {
    /// Takes one of each, if there is one of each. Where there are too many to watch, those who are not watched yet wait.
    fn take(&mut self, keys: &[Tried], now: Instant) -> bool {
        if self.allowances.len() + keys.len() > LEGACY_TRIED_MAX {
            self.allowances.retain(|_, allowance| !allowance.is_full(now));
        }
        keys.iter().all(|key| {
            if !self.allowances.contains_key(key) && self.allowances.len() >= LEGACY_TRIED_MAX {
                return false;
            }
            let rate = if matches!(key, Tried::Source(_)) { SOURCE } else { NAME };
            let allowance = self.allowances.entry(key.clone()).or_insert_with(|| Allowance::new(rate, now));
            allowance.take(now).is_ok()
        })
    }

    fn give_back(&mut self, keys: &[Tried]) {
        for key in keys {
            if let Some(allowance) = self.allowances.get_mut(key) {
                allowance.give_back();
            }
        }
    }
}

/// The network of a source: whoever has one address of IPv6 has 2^64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let mut segments = v6.segments();
            for segment in segments.iter_mut().skip(4) {
                *segment = 0;
            }
            IpAddr::V6(Ipv6Addr::from(segments))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

fn wrong() -> NotAdmitted {
    let reason = "the user name or the password is not right, or its tenant takes none; connect with a certificate, or as \
                  <tenant>/<device> with its password";
    NotAdmitted { code: ReasonCode::BadUserNameOrPassword, reason: reason.to_owned() }
}

fn too_many() -> NotAdmitted {
    let reason = "too many passwords were tried from here; wait a while".to_owned();
    NotAdmitted { code: ReasonCode::ConnectionRateExceeded, reason }
}

fn busy() -> NotAdmitted {
    let reason = "too many passwords wait to be checked; connect again in a moment".to_owned();
    NotAdmitted { code: ReasonCode::ServerBusy, reason }
}

#[cfg(test)]
#[path = "passwords_tests.rs"]
mod tests;
