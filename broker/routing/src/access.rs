//! Access lists: which topics a peer may publish to and subscribe to. Made once per session, asked on every packet.
//! Not for policies themselves: whoever holds them compiles them to such a list.

use std::fmt;

use bytestring::ByteString;
use muster_schemas::{DeviceId, InvalidTopic, TopicFilter, TopicName};

/// The rule that forbids publishing to `$...`, whatever the list says.
pub const RESERVED_TOPICS: &str = "reserved-topics";

/// One line of a list. The first line that has an opinion decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    name: ByteString,
    allows: bool,
    filter: TopicFilter,
}

impl Rule {
    /// Allows what the filter matches. The name is what a denial tells.
    pub fn allow(name: impl Into<ByteString>, filter: TopicFilter) -> Self {
        Self { name: name.into(), allows: true, filter }
    }

    /// Forbids what the filter matches.
    pub fn deny(name: impl Into<ByteString>, filter: TopicFilter) -> Self {
        Self { name: name.into(), allows: false, filter }
    }
}

/// Which rule forbids, or the name of the list when none of its rules allows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not allowed by the rule {rule:?}")]
pub struct Denial {
    /// The name of the rule or the list.
    pub rule: ByteString,
}

/// What one peer may publish and subscribe to. What no rule allows is denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    name: ByteString,
    publish: Vec<Rule>,
    subscribe: Vec<Rule>,
}

impl Access {
    /// A list of its own making. The name is what a denial tells when no rule has an opinion.
    pub fn new(name: impl Into<ByteString>, publish: Vec<Rule>, subscribe: Vec<Rule>) -> Self {
        Self { name: name.into(), publish, subscribe }
    }

    /// A device publishes and subscribes only under `devices/<own id>/`.
    pub fn device(id: &DeviceId) -> Self {
        let name = ByteString::from_static("device-own-topics");
        let rules = vec![Rule::allow(name.clone(), filter(&format!("devices/{id}/#")))];
        Self { name, publish: rules.clone(), subscribe: rules }
    }

    /// An app subscribes to everything of its tenant. It publishes commands, desired twins, and outside `devices/`.
    pub fn app() -> Self {
        let rule = ByteString::from_static;
        Self {
            name: rule("app-topics"),
            publish: vec![
                Rule::allow(rule("app-commands"), filter("devices/+/commands/#")),
                Rule::allow(rule("app-desired-twins"), filter("devices/+/twin/desired")),
                Rule::deny(rule("app-not-as-a-device"), filter("devices/#")),
                Rule::allow(rule("app-own-topics"), filter("#")),
            ],
            subscribe: vec![
                Rule::allow(rule("app-subscribes"), filter("#")),
                Rule::allow(rule("app-subscribes-to-numbers"), filter("$SYS/#")),
            ],
        }
    }

    /// Whether a message may be published to `topic`.
    ///
    /// # Errors
    /// The rule that forbids it. Topics that begin with `$` are always forbidden, by [`RESERVED_TOPICS`].
    pub fn check_publish(&self, topic: &TopicName) -> Result<(), Denial> {
        self.publish_rule(topic).map(drop)
    }

    /// The name of the rule by which a message may be published to `topic`.
    ///
    /// # Errors
    /// As [`Access::check_publish`].
    pub fn publish_rule(&self, topic: &TopicName) -> Result<&str, Denial> {
        if topic.is_reserved() {
            return Err(Denial { rule: ByteString::from_static(RESERVED_TOPICS) });
        }
        match self.publish.iter().find(|rule| rule.filter.matches(topic)) {
            Some(rule) if rule.allows => Ok(&rule.name),
            Some(rule) => Err(Denial { rule: rule.name.clone() }),
            None => Err(Denial { rule: self.name.clone() }),
        }
    }

    /// Whether every topic that `wanted` asks for may be subscribed to: an allowing rule covers it all, and no
    /// forbidding rule before that one touches it.
    ///
    /// # Errors
    /// The rule that forbids it.
    pub fn check_subscribe(&self, wanted: &TopicFilter) -> Result<(), Denial> {
        self.subscribe_rule(wanted).map(drop)
    }

    /// The name of the rule by which `wanted` may be subscribed to.
    ///
    /// # Errors
    /// As [`Access::check_subscribe`].
    pub fn subscribe_rule(&self, wanted: &TopicFilter) -> Result<&str, Denial> {
        for rule in &self.subscribe {
            if rule.allows && rule.filter.covers(wanted) {
                return Ok(&rule.name);
            }
            if !rule.allows && overlap(&rule.filter, wanted) {
                return Err(Denial { rule: rule.name.clone() });
            }
        }
        Err(Denial { rule: self.name.clone() })
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// For filters that we spell ourselves; a device id is at most 64 bytes without wildcards or separators.
fn filter(text: &str) -> TopicFilter {
    text.parse().unwrap_or_else(|_: InvalidTopic| unreachable!("our own filters are well formed"))
}

/// Whether some topic is matched by both filters.
fn overlap(a: &TopicFilter, b: &TopicFilter) -> bool {
    let starts = |f: &TopicFilter, with: &[char]| f.as_str().starts_with(with);
    if (starts(a, &['$']) && starts(b, &['+', '#'])) || (starts(b, &['$']) && starts(a, &['+', '#'])) {
        return false;
    }
    let (mut ours, mut theirs) = (a.levels(), b.levels());
    loop {
        match (ours.next(), theirs.next()) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (None, _) | (_, None) => return false,
            (Some("+"), _) | (_, Some("+")) => {}
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tests::model;

    fn name(text: &str) -> TopicName {
        text.parse().expect("topic")
    }

    fn denied(by: &str) -> Result<(), Denial> {
        Err(Denial { rule: by.into() })
    }

    #[test]
    fn a_device_stays_under_its_own_id() {
        let access = Access::device(&"pump-7".parse().expect("id"));
        let own = "device-own-topics";
        for (topic, expected) in [
            ("devices/pump-7/telemetry/climate", Ok(())),
            ("devices/pump-7/commands/reboot/replies", Ok(())),
            ("devices/pump-70/telemetry/climate", denied(own)),
            ("devices/pump-8/telemetry/climate", denied(own)),
            ("alerts", denied(own)),
            ("$SYS/uptime", denied(RESERVED_TOPICS)),
        ] {
            assert_eq!(access.check_publish(&name(topic)), expected, "publish {topic}");
        }
        for (wanted, expected) in [
            ("devices/pump-7/#", Ok(())),
            ("devices/pump-7/commands/+", Ok(())),
            ("devices/+/commands/reboot", denied(own)),
            ("devices/#", denied(own)),
            ("#", denied(own)),
            ("+/pump-7/commands/reboot", denied(own)),
            ("$SYS/#", denied(own)),
        ] {
            assert_eq!(access.check_subscribe(&filter(wanted)), expected, "subscribe {wanted}");
        }
    }

    #[test]
    fn an_app_commands_devices_but_does_not_speak_for_them() {
        let access = Access::app();
        for (topic, expected) in [
            ("devices/pump-7/commands/reboot", Ok(())),
            ("devices/pump-7/twin/desired", Ok(())),
            ("devices/pump-7/twin/reported", denied("app-not-as-a-device")),
            ("devices/pump-7/telemetry/climate", denied("app-not-as-a-device")),
            ("devices", denied("app-not-as-a-device")),
            ("alerts/high", Ok(())),
            ("$SYS/uptime", denied(RESERVED_TOPICS)),
        ] {
            assert_eq!(access.check_publish(&name(topic)), expected, "publish {topic}");
        }
        for (wanted, expected) in [
            ("#", Ok(())),
            ("devices/+/telemetry/#", Ok(())),
            ("$SYS/#", Ok(())),
            ("$SYS/broker/+", Ok(())),
            ("$share/group/devices/#", denied("app-topics")),
        ] {
            assert_eq!(access.check_subscribe(&filter(wanted)), expected, "subscribe {wanted}");
        }
    }

    #[test]
    fn whoever_may_is_told_by_which_rule() {
        let access = Access::app();
        assert_eq!(access.publish_rule(&name("devices/7/commands/reboot")), Ok("app-commands"));
        assert_eq!(access.publish_rule(&name("alerts")), Ok("app-own-topics"));
        assert_eq!(access.subscribe_rule(&filter("$SYS/#")), Ok("app-subscribes-to-numbers"));
    }

    proptest! {
        #[test]
        fn whoever_may_subscribe_sees_only_topics_that_the_rules_allow(
            rules in prop::collection::vec((any::<bool>(), model::filter()), 0..5),
            wanted in model::filter(),
            topic in model::topic(),
        ) {
            let rules: Vec<Rule> = rules
                .into_iter()
                .map(|(allows, filter)| Rule { name: "rule".into(), allows, filter })
                .collect();
            let access = Access::new("list", Vec::new(), rules.clone());
            if access.check_subscribe(&wanted).is_ok() && wanted.matches(&topic) {
                let first = rules.iter().find(|rule| rule.filter.matches(&topic));
                prop_assert!(first.is_some_and(|rule| rule.allows));
            }
        }

        #[test]
        fn filters_that_match_one_topic_overlap(a in model::filter(), b in model::filter(), t in model::topic()) {
            prop_assert!(!(a.matches(&t) && b.matches(&t)) || overlap(&a, &b));
        }
    }
}
