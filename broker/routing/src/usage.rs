//! What each principal has in the router, over all of its sessions: its subscriptions, its durable sessions, its wills,
//! and the retained messages that are its own. Entries of those that have nothing are not kept.

use std::{collections::HashMap, sync::Arc};

use muster_schemas::Publisher;

/// Subscriptions, durable sessions and wills of each principal.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    principals: HashMap<Publisher, Used>,
    /// Bytes of the wills of all.
    will_bytes: usize,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Used {
    pub(crate) subscriptions: usize,
    pub(crate) sessions: usize,
    pub(crate) will_bytes: usize,
}

impl Usage {
    pub(crate) fn of(&self, publisher: &Publisher) -> Used {
        self.principals.get(publisher).copied().unwrap_or_default()
    }

    /// One session of the principal had `before` subscriptions and has `after`.
    pub(crate) fn subscriptions(&mut self, publisher: &Publisher, before: usize, after: usize) {
        if before != after {
            self.change(publisher, |used| {
                used.subscriptions = (used.subscriptions + after).saturating_sub(before);
            });
        }
    }

    pub(crate) fn session_began(&mut self, publisher: &Publisher) {
        self.change(publisher, |used| used.sessions += 1);
    }

    pub(crate) fn session_ended(&mut self, publisher: &Publisher) {
        self.change(publisher, |used| used.sessions = used.sessions.saturating_sub(1));
    }

    /// One client of the principal had left a will of `before` bytes, and now has one of `after`.
    pub(crate) fn will(&mut self, publisher: &Publisher, before: usize, after: usize) {
        if before != after {
            self.will_bytes = (self.will_bytes + after).saturating_sub(before);
            self.change(publisher, |used| used.will_bytes = (used.will_bytes + after).saturating_sub(before));
        }
    }

    /// Bytes of the wills of all principals.
    pub(crate) fn will_bytes(&self) -> usize {
        self.will_bytes
    }

    fn change(&mut self, publisher: &Publisher, change: impl FnOnce(&mut Used)) {
        let mut used = self.of(publisher);
        change(&mut used);
        if used == Used::default() {
            self.principals.remove(publisher);
        } else if let Some(found) = self.principals.get_mut(publisher) {
            *found = used;
        } else {
            self.principals.insert(publisher.clone(), used);
        }
    }
}

/// The retained messages of each principal: how many, and their bytes. A topic belongs to whoever published last.
#[derive(Debug, Default)]
pub(crate) struct Shares(HashMap<Arc<Publisher>, Share>);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

impl Shares {
    pub(crate) fn of(&self, owner: &Publisher) -> Share {
        self.0.get(owner).copied().unwrap_or_default()
    }

    /// The one copy of an owner that all of its messages share.
    pub(crate) fn name(&self, owner: &Publisher) -> Arc<Publisher> {
        self.0.get_key_value(owner).map_or_else(|| Arc::new(owner.clone()), |(name, _)| name.clone())
    }

    pub(crate) fn add(&mut self, owner: &Arc<Publisher>, bytes: usize) {
        let share = self.0.entry(owner.clone()).or_default();
        share.messages += 1;
        share.bytes += bytes;
    }

    pub(crate) fn take(&mut self, owner: &Arc<Publisher>, bytes: usize) {
        let Some(share) = self.0.get_mut(owner) else { return };
        share.messages = share.messages.saturating_sub(1);
        share.bytes = share.bytes.saturating_sub(bytes);
        if share.messages == 0 {
            self.0.remove(owner);
        }
    }
}

#[cfg(test)]
mod tests {
    use muster_schemas::Kind;

    use super::*;

    #[test]
    fn whoever_has_nothing_is_not_remembered() {
        let pump = Publisher { kind: Kind::Device, id: "pump-1".parse().expect("id") };
        let (mut usage, mut shares) = (Usage::default(), Shares::default());
        usage.subscriptions(&pump, 0, 3);
        usage.session_began(&pump);
        usage.will(&pump, 0, 9);
        usage.subscriptions(&pump, 3, 1);
        assert_eq!(usage.of(&pump), Used { subscriptions: 1, sessions: 1, will_bytes: 9 });
        usage.will(&pump, 9, 0);
        usage.session_ended(&pump);
        usage.subscriptions(&pump, 1, 0);
        let name = shares.name(&pump);
        shares.add(&name, 10);
        shares.add(&shares.name(&pump), 5);
        assert_eq!(shares.of(&pump), Share { messages: 2, bytes: 15 });
        shares.take(&name, 10);
        shares.take(&name, 5);
        assert!(usage.principals.is_empty() && usage.will_bytes() == 0 && shares.0.is_empty());
    }
}
