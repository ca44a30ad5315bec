//! Whether somebody may view an item: the rule that says so, or what each rule that might have said so misses.

use muster_items::{ItemInfo, StreamId};
use muster_policy::{Explanation, Rules, Shortfall};
use muster_schemas::{Principal, TenantId, api::Can};

use super::{Api, error::ApiError};

impl Api {
    /// Explains for an item of `what`, such as `pump-7/climate`, that was captured at an instant.
    pub(super) fn can_view(
        &self,
        principal: &Principal,
        tenant: &TenantId,
        what: Option<&str>,
        captured_ms: Option<i64>,
    ) -> Result<Can, ApiError> {
        let of = self.known.tenant(tenant);
        let named = what.and_then(|what| {
            let (device, stream) = what.split_once('/').unwrap_or((what, "telemetry"));
            Some(StreamId { device: device.parse().ok()?, stream: stream.to_owned() })
        });
        let stream = named.ok_or_else(|| {
            let next = "name a device and one of its streams, such as pump-7/climate";
            let why = format!("{:?} is no stream of a device", what.unwrap_or_default());
            ApiError::malformed("the question was not understood", why, next)
        })?;
        if of.rules.are_open() {
            let why = "the tenant has no policies: its apps and users read all of it".to_owned();
            return Ok(Can { allowed: true, rule: muster_policy::OPEN.to_owned(), why, next: String::new() });
        }
        let now_ms = self.now_ms();
        let captured_us = captured_ms.unwrap_or(now_ms).saturating_mul(1_000);
        let attributes = self.known.attributes(tenant, &stream.device);
        let (from_us, to_us) = (captured_us, captured_us);
        let item = ItemInfo { stream, from_us, to_us, attributes, cell: None, signer: None, hash: None };
        let explanation = of.rules.explain(&self.known.reader(principal), &item, now_ms);
        Ok(told(&of.rules, explanation, now_ms))
    }
}

fn told(rules: &Rules, explanation: Explanation, now_ms: i64) -> Can {
    let Explanation { decision, short, permitted_from_ms } = explanation;
    let rule = decision.rule();
    if decision.allowed {
        let by: Vec<_> = decision.by.iter().map(String::as_str).collect();
        let why = format!("permitted by {}", by.join(" and "));
        return Can { allowed: true, rule, why, next: String::new() };
    }
    let shows = "`muster policy show` shows the policies".to_owned();
    if !decision.failed.is_empty() {
        let why =
            format!("the policy {rule:?} cannot be evaluated for it, and what cannot be decided is denied");
        return Can { allowed: false, rule, why, next: shows };
    }
    if !decision.by.is_empty() {
        return Can { allowed: false, why: format!("the policy {rule:?} forbids it"), rule, next: shows };
    }
    let short: Vec<String> = short.iter().map(missed).collect();
    let why = match short.is_empty() {
        true => {
            format!("none of the {} policies is about viewing", rules.policies().map_or(0, |all| all.len()))
        }
        false => format!("no policy permits it: {}", short.join("; ")),
    };
    let next = match permitted_from_ms {
        Some(from_ms) => {
            let seconds = from_ms.saturating_sub(now_ms).div_euclid(1_000);
            format!(
                "if nothing else changes it is permitted in {} d {} h",
                seconds / 86_400,
                seconds % 86_400 / 3_600
            )
        }
        None => shows,
    };
    Can { allowed: false, rule, why, next }
}

fn missed(short: &Shortfall) -> String {
    let Shortfall { policy, is_for_others, unmet } = short;
    if *is_for_others {
        return format!("{policy:?} is for others");
    }
    format!("{policy:?} wants that {}", unmet.join(", and that "))
}
