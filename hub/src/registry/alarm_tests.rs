use super::*;

const NOW_S: u64 = 1_760_000_000;

fn subject(device: &str) -> (Option<TenantId>, Option<DeviceId>) {
    (Some("acme".parse().expect("id")), Some(device.parse().expect("id")))
}

fn raise(registry: &mut Registry, now_s: u64, device: &str, effects: &mut Vec<Effect>) {
    registry.raise(now_s, subject(device), AlarmKind::Clone, format!("seen at {now_s}"), effects);
}

#[test]
fn an_alarm_stands_once_and_is_counted_until_somebody_looks() {
    let (mut registry, mut effects) = (Registry::default(), Vec::new());
    raise(&mut registry, NOW_S, "pump-7", &mut effects);
    raise(&mut registry, NOW_S + 1, "pump-7", &mut effects);
    assert_eq!(effects.len(), 2, "the second is not written: a storm of them costs no disk");
    raise(&mut registry, NOW_S + ALARM_REPEAT_S, "pump-7", &mut effects);
    assert_eq!(effects.len(), 4);
    let alarms = registry.alarms(&ListAlarms::default());
    assert_eq!((alarms.len(), alarms[0].times, alarms[0].at_s), (1, 3, NOW_S));
    assert_eq!(alarms[0].detail, format!("seen at {}", NOW_S + ALARM_REPEAT_S));

    let command = Acknowledge { number: 1, of: None, by: "the operator".to_owned() };
    registry.acknowledge(NOW_S + 20, command, &mut effects).expect("acknowledged");
    assert!(registry.alarms(&ListAlarms::default()).is_empty());
    raise(&mut registry, NOW_S + 21, "pump-7", &mut effects);
    let again = registry.alarms(&ListAlarms::default());
    assert_eq!((again[0].number, again[0].times), (2, 1), "what comes after it is news");
}

#[test]
fn a_tenant_sees_and_settles_its_own_alarms_only() {
    let (mut registry, mut effects) = (Registry::default(), Vec::new());
    raise(&mut registry, NOW_S, "pump-7", &mut effects);
    registry.raise(NOW_S, (None, None), AlarmKind::ClockSetBack, "back".to_owned(), &mut effects);
    let other: TenantId = "globex".parse().expect("id");
    let asked = ListAlarms { of: Some(other.clone()), ..ListAlarms::default() };
    assert!(registry.alarms(&asked).is_empty());
    let command = Acknowledge { number: 1, of: Some(other), by: "an intruder".to_owned() };
    let refused = registry.acknowledge(NOW_S, command, &mut effects);
    assert_eq!(refused, Err(Refusal::AlarmUnknown(1)));
    assert_eq!(registry.alarms(&ListAlarms::default()).len(), 2);
}

#[test]
fn the_oldest_alarm_of_a_tenant_makes_room_and_those_of_others_stay() {
    let (mut registry, mut effects) = (Registry::default(), Vec::new());
    let globex = Some("globex".parse().expect("id"));
    registry.raise(NOW_S, (globex, None), AlarmKind::Clone, "theirs".to_owned(), &mut effects);
    for number in 0..=ALARMS_PER_TENANT_MAX {
        raise(&mut registry, NOW_S, &format!("pump-{number}"), &mut effects);
    }
    let rows: Vec<_> = registry.alarms.rows.values().collect();
    assert_eq!(rows.len(), 1 + ALARMS_PER_TENANT_MAX);
    assert_eq!(rows[0].detail, "theirs");
    assert_eq!(rows[1].device, subject("pump-1").1, "that of pump-0 has gone");
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Delete(_))));
}

#[test]
fn alarms_survive_a_restart() {
    let (mut registry, mut effects) = (Registry::default(), Vec::new());
    raise(&mut registry, NOW_S, "pump-7", &mut effects);
    let rows = effects.iter().filter_map(|effect| match effect {
        Effect::Put(row) => Some(Row::decode(&row.encode().expect("encodes")).expect("decodes")),
        _ => None,
    });
    let mut again = Registry::load(rows);
    assert_eq!(again.alarms(&ListAlarms::default()), registry.alarms(&ListAlarms::default()));
    raise(&mut again, NOW_S + 100, "pump-7", &mut effects);
    assert_eq!(again.alarms(&ListAlarms::default())[0].times, 2, "it is the one that stands");
    let numbers = again.alarm_numbers();
    assert!(numbers.contains(&(AlarmKind::Clone, 1, 1)), "{numbers:?}");
}

#[test]
fn a_barred_chip_that_goes_on_trying_is_news_once_a_day() {
    let (mut registry, mut effects) = (Registry::default(), Vec::new());
    let mut tries = |registry: &mut Registry, now_s| {
        registry.raise(now_s, subject("pump-7"), AlarmKind::BarredChip, "tried".to_owned(), &mut effects);
        registry.alarms(&ListAlarms::default()).len()
    };
    assert_eq!(tries(&mut registry, NOW_S), 1);
    let command = Acknowledge { number: 1, of: None, by: "the operator".to_owned() };
    registry.acknowledge(NOW_S, command, &mut Vec::new()).expect("acknowledged");
    assert_eq!(tries(&mut registry, NOW_S + 60), 0);
    assert_eq!(tries(&mut registry, NOW_S + BARRED_QUIET_S), 1);
}
