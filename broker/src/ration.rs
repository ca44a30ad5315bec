//! Lines of the log that peers cause by being refused: so many for each peer within a while, and one at its end that says
//! how many more there would have been, and why. Counters count them all.

use std::{
    collections::BTreeMap,
    fmt::{Display, Write as _},
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use muster_mqtt::ReasonCode;
use muster_schemas::{Principal, TenantId};
use tokio::time::sleep;
use tracing::info;

use crate::limits::{REFUSALS_LOG_TIME, REFUSALS_LOGGED_MAX, REFUSALS_OF_A_PEER_LOGGED_MAX};

/// What the peers of a tenant, or those who came no further than the listener, may put into the log.
pub(crate) struct Ration {
    tenant: Option<TenantId>,
    window: Mutex<Window>,
}

impl Ration {
    /// For the peers of a tenant.
    pub(crate) fn of(tenant: &TenantId) -> Arc<Self> {
        Arc::new(Self { tenant: Some(tenant.clone()), window: Mutex::default() })
    }

    /// For those of whom no tenant is known, or whom it did not let in.
    pub(crate) fn of_listeners() -> Arc<Self> {
        Arc::new(Self { tenant: None, window: Mutex::default() })
    }

    /// Whether this refusal of a principal gets a line of its own.
    pub(crate) fn allows(self: &Arc<Self>, whose: &Principal, what: &'static str, code: ReasonCode) -> bool {
        let Principal { kind, id, .. } = whose;
        self.allows_peer(&format_args!("{kind} {id}"), what, code)
    }

    /// Whether this refusal of a peer gets a line of its own.
    pub(crate) fn allows_peer(
        self: &Arc<Self>,
        peer: &dyn Display,
        what: &'static str,
        code: ReasonCode,
    ) -> bool {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if !mem::replace(&mut window.is_open, true) {
            let ration = self.clone();
            // One at a time, and only while somebody is being refused.
            actix_rt::spawn(async move {
                sleep(REFUSALS_LOG_TIME).await;
                ration.tell();
            });
        }
        window.take(peer, (what, code))
    }

    /// Says what was left out, and begins anew.
    fn tell(&self) {
        let window = mem::take(&mut *self.window.lock().unwrap_or_else(PoisonError::into_inner));
        let tenant = self.tenant.as_ref().map(TenantId::as_str);
        for (peer, LeftOut { count, why }) in window.left_out() {
            info!(tenant, peer, left_out = count, %why, "more was refused than is logged");
        }
    }
}

/// What was refused, and with which code.
type Refused = (&'static str, ReasonCode);

/// A while, from its first refusal on.
#[derive(Default)]
struct Window {
    is_open: bool,
    lines: usize,
    /// Those who had a line, so there are no more of them than lines.
    peers: BTreeMap<String, Peer>,
    /// Of all others.
    others: BTreeMap<Refused, u64>,
}

#[derive(Default)]
struct Peer {
    lines: usize,
    left_out: BTreeMap<Refused, u64>,
}

/// What had no line.
#[derive(Debug, PartialEq, Eq)]
struct LeftOut {
    count: u64,
    why: String,
}

impl Window {
    /// Whether there is a line for this one.
    fn take(&mut self, peer: &dyn Display, refused: Refused) -> bool {
        let has_room = self.lines < REFUSALS_LOGGED_MAX;
        let peer = peer.to_string();
        if !has_room && !self.peers.contains_key(&peer) {
            *self.others.entry(refused).or_default() += 1;
            return false;
        }
        let peer = self.peers.entry(peer).or_default();
        if has_room && peer.lines < REFUSALS_OF_A_PEER_LOGGED_MAX {
            peer.lines += 1;
            self.lines += 1;
            return true;
        }
        *peer.left_out.entry(refused).or_default() += 1;
        false
    }

    /// What had no line, by peer; nobody's name stands for all who had none at all.
    fn left_out(&self) -> Vec<(Option<&str>, LeftOut)> {
        let peers = self.peers.iter().map(|(name, peer)| (Some(name.as_str()), &peer.left_out));
        let all = peers.chain([(None, &self.others)]).filter(|(_, left_out)| !left_out.is_empty());
        all.map(|(name, left_out)| {
            let mut why = String::new();
            for ((what, code), count) in left_out {
                let comma = if why.is_empty() { "" } else { "; " };
                // Writing to a string does not fail.
                let _ = write!(why, "{comma}{count} × {what}: {code}");
            }
            (name, LeftOut { count: left_out.values().sum(), why })
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DENIED: Refused = ("publish", ReasonCode::NotAuthorized);
    const FULL: Refused = ("subscription", ReasonCode::QuotaExceeded);

    #[test]
    fn a_peer_gets_some_lines_and_the_rest_is_told_by_reason() {
        let mut window = Window::default();
        let lines = (0..1_000).filter(|n| window.take(&"device a", if n % 4 == 0 { FULL } else { DENIED }));
        assert_eq!(lines.count(), REFUSALS_OF_A_PEER_LOGGED_MAX);
        assert!(window.take(&"device b", FULL), "another has lines of its own");
        let why =
            "743 × publish: not authorized (0x87); 247 × subscription: quota exceeded (0x97)".to_owned();
        assert_eq!(window.left_out(), [(Some("device a"), LeftOut { count: 990, why })]);
    }

    #[test]
    fn many_peers_together_get_no_more_than_their_tenant() {
        let mut window = Window::default();
        let lines = (0..10_000).filter(|n| window.take(&format_args!("device {}", n % 5_000), DENIED));
        assert_eq!(lines.count(), REFUSALS_LOGGED_MAX);
        assert_eq!(window.peers.len(), REFUSALS_LOGGED_MAX, "who had no line is not remembered");
        let left_out = window.left_out();
        assert_eq!(left_out.len(), REFUSALS_LOGGED_MAX + 1);
        let (nobody, rest) = left_out.last().unwrap();
        assert_eq!((*nobody, rest.count), (None, 10_000 - 2 * REFUSALS_LOGGED_MAX as u64));
        assert_eq!(left_out.iter().map(|(_, left)| left.count).sum::<u64>(), 10_000 - 100);
    }
}
