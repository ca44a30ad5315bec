//! What must hold of a world: at any time, and once everything is quiet.

use std::collections::{BTreeMap, BTreeSet};

use super::{NO_LOCAL, Published, SHARES, World, id_of};
use crate::{
    Delivery, SubscriberId,
    durable::Session,
    tests::durable::client::{Client, Got, number_of},
};

impl World {
    /// Says what is wrong once everything is quiet.
    pub(in crate::tests::durable) fn judge(&mut self) {
        self.judge_shares();
        for (who, client) in self.clients.iter().enumerate() {
            let mut before: BTreeMap<(usize, &str, u8, u8), usize> = BTreeMap::new();
            let (mut seen, mut once) = (BTreeSet::new(), BTreeSet::new());
            for Got { number, qos, by: ids } in &client.got {
                let is_shared = SHARES.iter().any(|(id, _)| ids.contains(id));
                let Published { by, topic, qos: sent_qos, wanted_by, is_refused, .. } =
                    &self.published[*number];
                if *by == who && ids.contains(&id_of(NO_LOCAL)) {
                    self.faults.push(format!("{who} got {number} of its own with No Local"));
                }
                if *qos == 2 && !is_shared && !client.is_brief && !once.insert(*number) {
                    self.faults.push(format!("{who} got {number} twice"));
                }
                // What was sent before the subscription, and again after it, may come behind what was sent once.
                if !seen.insert(*number) || !wanted_by.contains(&who) || *is_refused {
                    continue;
                }
                let last = before.insert((*by, topic.as_str(), *sent_qos, *qos), *number);
                if last.is_some_and(|last| last > *number) {
                    self.faults.push(format!("{who} got {number} of {by} after {last:?}"));
                }
            }
            for (number, published) in self.published.iter().enumerate() {
                if published.is_accepted && published.wanted_by.contains(&who) && !seen.contains(&number) {
                    self.faults.push(format!("{who} never got {number}"));
                }
            }
            if !client.sending.is_empty() {
                self.faults.push(format!("{who} still sends {:?}", client.sending));
            }
        }
        for (number, session) in self.router.sessions().iter() {
            let Session { flights, queue, missed, received, resend, fetched, .. } = session;
            if !flights.is_empty() || !queue.is_empty() || *missed > 0 {
                self.faults.push(format!("{number} is not through: {flights:?} {queue:?} {missed} missed"));
            }
            if !received.is_empty() || resend.len() + fetched.len() > 0 {
                self.faults.push(format!("{number} keeps what is over: {received:?} {resend:?} {fetched:?}"));
            }
        }
        if self.router.sessions().missed > 0 {
            self.faults.push("the log lost what sessions wanted".to_owned());
        }
        let rows = self.disk.rows.len();
        let sessions = self.router.sessions().len();
        if rows > 2 * sessions + 1 {
            let kinds: Vec<_> = self.disk.rows.keys().map(|key| String::from_utf8_lossy(&key[7..])).collect();
            self.faults.push(format!("{rows} rows of {sessions} sessions are on disk: {kinds:?}"));
        }
    }

    /// A message of a share is with one member at a time.
    pub(super) fn check_alone(&mut self, to: SubscriberId, delivery: &Delivery) {
        let number = number_of(delivery);
        if delivery.tag.is_none() || delivery.resent_as.is_some() || self.published[number].is_repeated {
            return;
        }
        for (id, _) in SHARES.iter().filter(|(id, _)| delivery.subscription_ids.contains(id)) {
            let others = self.clients.iter().filter_map(|client| client.line.as_ref());
            let mut others = others.filter(|line| line.subscriber != to);
            if others.any(|line| line.holds(number, *id)) && !self.published[number].is_refused {
                self.faults.push(format!("{number} is with two members of share {id}"));
            }
        }
    }

    /// What every share as a whole got.
    fn judge_shares(&mut self) {
        for (number, published) in self.published.iter().enumerate() {
            for (id, by) in &published.shared_by {
                let copies = |client: &Client, qos: u8| {
                    let got = client.got.iter().filter(|got| got.number == number && got.qos >= qos);
                    got.filter(|got| got.by.contains(id)).count()
                };
                // What came by another subscription of a member is as well.
                let has = |client: &Client| client.got.iter().any(|got| got.number == number);
                let is_there = self.clients.iter().any(|client| client.shared.contains(id) && has(client));
                let lasting = self.clients.iter().filter(|client| !client.is_brief);
                let once: usize = lasting.map(|client| copies(client, 2)).sum();
                if once > 1 {
                    self.faults.push(format!("share {id} got {number} {once} times at QoS 2"));
                }
                let is_promised = published.is_accepted && !by.is_empty() && !published.excused.contains(id);
                if is_promised && !is_there {
                    self.faults.push(format!("share {id} never got {number}, of {by:?}"));
                }
            }
        }
        if !self.router.sessions().strays.is_empty() {
            self.faults.push(format!("strays are left: {:?}", self.router.sessions().strays));
        }
    }

    /// What holds at any time.
    pub(in crate::tests::durable) fn check_bounds(&mut self) {
        for (number, session) in self.router.sessions().iter() {
            if session.flights.len() > self.limits.flights_max {
                self.faults.push(format!("session {number} has {} flights", session.flights.len()));
            }
        }
    }
}
