//! Why an item may be shown or not: which policies decided, and if none did, what each that might have fell short of.

use cedar_policy::{Policy, PolicyId};
use muster_items::ItemInfo;
use serde_json::{Value, json};

use crate::{
    asking::{Asking, Decision, captured_ms},
    est::{conditions, conjuncts},
    policies::Entry,
    reader::Reader,
    rules::Rules,
    schema::Action,
};

/// A decision, explained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// What was decided, and by which policies.
    pub decision: Decision,
    /// If nothing permitted it: the policies that might have.
    pub short: Vec<Shortfall>,
    /// If nothing changes, it is permitted from this instant on, in milliseconds since 1970.
    pub permitted_from_ms: Option<i64>,
}

/// A policy that permits and did not here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortfall {
    /// Its name.
    pub policy: String,
    /// Whether it is for somebody else.
    pub is_for_others: bool,
    /// The conditions that do not hold.
    pub unmet: Vec<String>,
}

impl Rules {
    /// Decides on an item as [`Rules::may_view`] does, and says why.
    pub fn explain(&self, reader: &Reader, item: &ItemInfo, now_ms: i64) -> Explanation {
        let decision = self.may_view(reader, item, now_ms);
        let is_silent = !decision.allowed && decision.by.is_empty() && decision.failed.is_empty();
        let Some(policies) = self.policies().filter(|_| is_silent) else {
            return Explanation { decision, short: Vec::new(), permitted_from_ms: None };
        };
        let permits = policies.own().filter(|entry| entry.permits() && entry.is_for(Action::View));
        let short = permits.map(|entry| {
            let is_for_others = !entry.concerns(reader, self.home());
            let unmet = if is_for_others { Vec::new() } else { self.unmet(entry, reader, item, now_ms) };
            Shortfall { policy: entry.name.clone(), is_for_others, unmet }
        });
        Explanation {
            decision,
            short: short.collect(),
            permitted_from_ms: self.permitted_from(reader, item, now_ms),
        }
    }

    fn unmet(&self, entry: &Entry, reader: &Reader, item: &ItemInfo, now_ms: i64) -> Vec<String> {
        let Some(policies) = self.policies() else { return Vec::new() };
        let mut parts = Vec::new();
        conditions(&entry.json).for_each(|body| conjuncts(body, &mut parts));
        let holds = |part: &Value| {
            let alone = alone(part)?;
            let entry = Entry { policy: alone.clone(), ..entry.clone() };
            let asking = Asking::to(
                [&entry].into_iter(),
                policies.attributes(),
                self.home(),
                reader,
                Action::View,
                now_ms,
            )?;
            let text = alone.to_string();
            Some((asking.item(item, captured_ms(item)).allowed, text))
        };
        let unmet = parts.into_iter().filter_map(holds).filter(|(allowed, _)| !allowed);
        unmet.map(|(_, text)| body_of(&text)).collect()
    }

    /// The first instant after `now_ms` at which the item may be shown.
    fn permitted_from(&self, reader: &Reader, item: &ItemInfo, now_ms: i64) -> Option<i64> {
        let instants = self.moments(reader, captured_ms(item), now_ms);
        instants.into_iter().find(|at| self.may_view(reader, item, *at).allowed)
    }
}

/// A policy of this one condition.
fn alone(condition: &Value) -> Option<Policy> {
    let any = json!({ "op": "All" });
    let policy = json!({
        "effect": "permit", "principal": any, "action": any, "resource": any,
        "conditions": [{ "kind": "when", "body": condition }],
    });
    Policy::from_json(Some(PolicyId::new("part")), policy).ok()
}

/// What stands between the braces of a condition's text.
fn body_of(text: &str) -> String {
    let body = text.split_once('{').and_then(|(_, rest)| Some(rest.rsplit_once('}')?.0));
    body.unwrap_or(text).split_whitespace().collect::<Vec<_>>().join(" ")
}
