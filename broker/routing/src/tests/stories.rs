//! Stories of access, subscriptions, retained messages and quotas.

use muster_schemas::{Message, Qos};

use crate::{
    Access, Effect, Input, Outcome, Refusal, RetainHandling, SubscriberId, SubscriptionOptions, Wish,
    tests::{Bus, model::message, publisher, retained, told},
};

fn refusal_of_subscribe(bus: &mut Bus) -> Option<Refusal> {
    match bus.take().pop() {
        Some(Effect::Subscribed { outcomes, .. }) => outcomes.into_iter().next().and_then(Result::err),
        other => panic!("no answer to a subscribe but {other:?}"),
    }
}

#[test]
fn a_message_reaches_its_subscriber_with_the_lower_qos() {
    let mut bus = Bus::new();
    bus.join(1).join(2).subscribe(2, "alerts/#", 1).take();
    bus.publish(1, 7, message("alerts/high", "water", 2));
    let effects = bus.take();
    assert_eq!(told(&effects), [(2, "alerts/high".into(), "water".into(), 1, false)]);
    let outcome = Outcome::Routed { matched: true };
    assert_eq!(effects.last(), Some(&Effect::Published { to: SubscriberId(1), ticket: 7, outcome }));
}

#[test]
fn a_publish_that_nobody_wants_says_so() {
    let mut bus = Bus::new();
    bus.join(1).publish(1, 7, message("alerts/high", "water", 1));
    assert_eq!(bus.answers(), [(7, Outcome::Routed { matched: false })]);
}

#[test]
fn a_refused_publish_goes_nowhere_and_tells_the_rule() {
    let mut bus = Bus::new();
    bus.join(1).subscribe(1, "#", 1);
    bus.join_with(2, Access::device(&"pump-7".parse().expect("id"))).take();
    bus.publish(2, 7, retained(message("devices/pump-8/telemetry", "1", 1)));
    let refusal = Refusal::NotAuthorized { rule: "device-own-topics".into() };
    assert_eq!(refusal.to_string(), "not allowed by the rule \"device-own-topics\"");
    let outcome = Outcome::Refused(refusal.clone());
    let wish = Wish::Publish(Some("devices/pump-8/telemetry".parse().expect("a topic")));
    let denied = Effect::Denied { to: SubscriberId(2), wish, refusal };
    assert_eq!(bus.take(), [denied.clone(), Effect::Published { to: SubscriberId(2), ticket: 7, outcome }]);
    bus.publish(2, 7, message("devices/pump-8/telemetry", "1", 0));
    assert_eq!(bus.take(), [denied]);
    bus.publish(1, 8, message("$SYS/uptime", "1", 1));
    assert_eq!(bus.answers(), [(8, Outcome::Refused(Refusal::TopicReserved))]);
    assert!(bus.router.retained().is_empty());
}

#[test]
fn a_subscribe_is_answered_wish_by_wish() {
    let mut bus = Bus::new();
    bus.join_with(1, Access::device(&"pump-7".parse().expect("id")));
    bus.subscribe(1, "devices/pump-7/commands/#", 1);
    let to = SubscriberId(1);
    assert_eq!(bus.take(), [Effect::Subscribed { to, ticket: 1, outcomes: vec![Ok(Qos::AtLeastOnce)] }]);
    bus.subscribe(1, "devices/#", 1);
    let rule = "device-own-topics".into();
    assert_eq!(refusal_of_subscribe(&mut bus), Some(Refusal::NotAuthorized { rule }));
    bus.subscribe(1, "$share/group/devices/pump-7/#", 1);
    assert_eq!(refusal_of_subscribe(&mut bus), None);
    bus.subscribe(1, "$share/group/devices/pump-8/#", 1);
    let rule = "device-own-topics".into();
    assert_eq!(
        refusal_of_subscribe(&mut bus),
        Some(Refusal::NotAuthorized { rule }),
        "a share is no way around"
    );
}

#[test]
fn quotas_of_subscriptions_refuse_new_ones_and_let_old_ones_change() {
    let mut bus = Bus::with(|limits| {
        limits.subscriptions_per_subscriber_max = 2;
        limits.subscriptions_max = 3;
    });
    bus.join(1).join(2).subscribe(1, "a", 0).subscribe(1, "b", 0).take();
    bus.subscribe(1, "c", 0);
    let refusal = refusal_of_subscribe(&mut bus).expect("a refusal");
    assert_eq!(refusal, Refusal::SubscriptionQuota { max: 2 });
    assert!(refusal.to_string().contains("2 subscriptions"));
    bus.subscribe(1, "a", 2);
    assert_eq!(refusal_of_subscribe(&mut bus), None);
    bus.subscribe(2, "a", 0).take();
    bus.subscribe(2, "b", 0);
    assert_eq!(refusal_of_subscribe(&mut bus), Some(Refusal::TenantSubscriptionQuota { max: 3 }));
    bus.unsubscribe(1, "b").subscribe(2, "b", 0);
    assert_eq!(refusal_of_subscribe(&mut bus), None);
}

#[test]
fn a_new_subscription_gets_what_is_retained_with_the_flag_set() {
    let mut bus = Bus::new();
    bus.join(1).join(2).publish(1, 1, retained(message("a/b", "1", 2))).take();
    bus.subscribe(2, "a/+", 1);
    let effects = bus.take();
    assert!(matches!(effects[0], Effect::Subscribed { .. }));
    assert_eq!(told(&effects), [(2, "a/b".into(), "1".into(), 1, true)]);
    bus.publish(1, 2, retained(message("a/b", "", 1))).take();
    bus.subscribe(2, "#", 1);
    assert_eq!(bus.told(), []);
}

#[test]
fn retain_handling_says_when_retained_messages_are_sent() {
    let mut bus = Bus::new();
    bus.join(1).publish(1, 1, retained(message("a", "1", 1))).take();
    let mut count = |retain_handling| {
        let options = SubscriptionOptions { retain_handling, ..Default::default() };
        bus.subscribe_with(1, "a", options, None).told().len()
    };
    assert_eq!(count(RetainHandling::DoNotSend), 0);
    assert_eq!(count(RetainHandling::SendIfNew), 0);
    assert_eq!(count(RetainHandling::Send), 1);
    assert_eq!(count(RetainHandling::Send), 1);
    bus.unsubscribe(1, "a").take();
    let options = SubscriptionOptions { retain_handling: RetainHandling::SendIfNew, ..Default::default() };
    assert_eq!(bus.subscribe_with(1, "a", options, None).told().len(), 1);
}

#[test]
fn a_live_message_keeps_its_retain_flag_only_when_asked() {
    let mut bus = Bus::new();
    bus.join(1).join(2).subscribe(1, "a", 0);
    let options = SubscriptionOptions { retain_as_published: true, ..Default::default() };
    bus.subscribe_with(2, "a", options, None).take();
    bus.publish(1, 1, retained(message("a", "1", 0)));
    assert_eq!(bus.told(), [(1, "a".into(), "1".into(), 0, false), (2, "a".into(), "1".into(), 0, true)]);
}

#[test]
fn with_no_local_ones_own_messages_pass_by() {
    let mut bus = Bus::new();
    bus.join(1).join(2);
    let options = SubscriptionOptions { no_local: true, ..Default::default() };
    bus.subscribe_with(1, "a", options, None).take();
    assert_eq!(bus.publish(1, 1, message("a", "own", 0)).told(), []);
    assert_eq!(bus.publish(2, 1, message("a", "other", 0)).told().len(), 1);
}

#[test]
fn the_retained_quotas_refuse_the_whole_publish() {
    let mut bus = Bus::with(|limits| limits.retained_messages_max = 1);
    bus.join(1).subscribe(1, "#", 1).publish(1, 1, retained(message("a", "1", 1))).take();
    bus.publish(1, 2, retained(message("logged/b", "1", 1)));
    let refusal = Refusal::RetainedQuota { max: 1 };
    assert!(refusal.to_string().contains("1 retained messages"));
    assert_eq!(bus.answers(), [(2, Outcome::Refused(refusal))]);
    assert_eq!(bus.router.next_sequence(), 2);

    let mut bus = Bus::with(|limits| limits.retained_bytes_max = 300);
    bus.join(1).publish(1, 1, retained(message("a", &"1".repeat(300), 1)));
    assert_eq!(bus.answers(), [(1, Outcome::Refused(Refusal::RetainedBytesQuota { max: 300 }))]);
}

#[test]
fn a_restored_message_is_kept_even_beyond_the_quota() {
    let mut bus = Bus::with(|limits| limits.retained_messages_max = 0);
    bus.router.restore_retained(&publisher(1), &retained(message("a", "1", 1)), 0);
    assert_eq!(bus.join(1).subscribe(1, "a", 0).told().len(), 1);
}

#[test]
fn who_has_left_publishes_and_gets_nothing() {
    let mut bus = Bus::new();
    bus.join(1).join(2).subscribe(1, "#", 1).subscribe(2, "#", 1).leave(2).take();
    bus.publish(2, 1, message("a", "late", 1)).subscribe(2, "#", 0).unsubscribe(2, "#");
    assert_eq!(bus.take(), []);
    bus.publish(1, 1, message("a", "1", 0));
    assert_eq!(bus.told().len(), 1);
}

#[test]
fn joining_again_begins_with_nothing() {
    let mut bus = Bus::new();
    bus.join(1).subscribe(1, "#", 1).join_with(1, Access::device(&"pump-7".parse().expect("id"))).take();
    bus.publish(1, 1, message("devices/pump-7/events/boot", "1", 1));
    assert_eq!(bus.answers(), [(1, Outcome::Routed { matched: false })]);
    bus.publish(1, 1, message("alerts", "1", 1));
    assert!(matches!(bus.answers()[..], [(1, Outcome::Refused(Refusal::NotAuthorized { .. }))]));
}

#[test]
fn what_the_broker_announces_is_kept_in_memory_and_goes_to_no_log() {
    let mut bus = Bus::new();
    let says = |payload: &'static str| {
        let topic = "$SYS/broker/uptime".parse().expect("topic");
        let (qos, payload) = (Qos::AtMostOnce, payload.into());
        Input::Announce { message: Message { topic, qos, retain: true, payload, properties: None } }
    };
    bus.join(1).join(2).subscribe(1, "#", 0);
    bus.effects.clear();
    bus.handle(says("1"));
    assert_eq!(bus.effects, [], "wildcards at the first level pass it by [MQTT-4.7.2-1]");
    assert!(!bus.router.index().begins_with("$SYS"));
    bus.subscribe(2, "$SYS/#", 0);
    assert!(bus.router.index().begins_with("$SYS"));
    bus.handle(says("2"));
    let told = bus.effects.iter().filter_map(|effect| match effect {
        Effect::Deliver { to, delivery } => Some((to.0, delivery.message.payload.clone(), delivery.retain)),
        Effect::Append { .. } | Effect::KeepRetained { .. } => panic!("{effect:?}"),
        _ => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), [(2, "1".into(), true), (2, "2".into(), false)]);
}
