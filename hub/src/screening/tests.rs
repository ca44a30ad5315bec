use bytes::Bytes;
use muster_actors::SystemClock;
use muster_broker::{ReasonCode, Verdict};
use muster_schemas::{
    Message, Qos, TrustDomain,
    api::{DeadLetter, ReadingRule},
};

use super::{limits::*, watch::Watched, *};
use crate::registry::AlarmKind;

fn screens() -> Screens {
    Screens::new(Arc::default(), SystemClock::shared())
}

fn principal(tenant: &str, kind: Kind, id: &str) -> Principal {
    let trust_domain: TrustDomain = "muster.example".parse().expect("a name");
    Principal { trust_domain, tenant: tenant.parse().expect("id"), kind, id: id.parse().expect("id") }
}

fn door(screens: &Screens, id: &str) -> Box<dyn Screen> {
    screens.screen_of(&principal("acme", Kind::Device, id)).expect("devices are screened")
}

fn message(topic: &str, payload: impl Into<Bytes>) -> Message {
    let (qos, retain, properties) = (Qos::AtLeastOnce, false, None);
    Message { topic: topic.parse().expect("a topic"), qos, retain, payload: payload.into(), properties }
}

const TOPIC: &str = "devices/d1/telemetry/climate";
const GOOD: &[u8] = br#"[{"n":"t","u":"Cel","v":21.5}]"#;

fn unfit(verdict: Verdict) -> muster_broker::Unfit {
    match verdict {
        Verdict::Unfit(unfit) => *unfit,
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_a_devices_own_telemetry_is_screened() {
    let screens = screens();
    for kind in [Kind::App, Kind::User, Kind::Service, Kind::Relay] {
        assert!(screens.screen_of(&principal("acme", kind, "d1")).is_none());
    }
    let mut door = door(&screens, "d1");
    assert_eq!(door.screen(&message(TOPIC, GOOD)), Verdict::Fit);
    for topic in ["devices/d1/events/door", "devices/d1/telemetry/a/b", "devices/d2/telemetry/climate"] {
        assert_eq!(door.screen(&message(topic, "open")), Verdict::Fit, "{topic}");
    }
    let clears = Message { retain: true, ..message(TOPIC, "") };
    assert_eq!(door.screen(&clears), Verdict::Fit);
    let refused = unfit(door.screen(&message(TOPIC, "21.5")));
    assert_eq!(refused.code, ReasonCode::PayloadFormatInvalid);
    assert_eq!(refused.reason, "refused: it is neither a JSON nor a CBOR array");
}

#[test]
fn a_dead_letter_says_what_and_why_and_is_bounded() {
    let screens = screens();
    let mut other = door(&screens, "d2");
    let mut door = door(&screens, "d1");
    let letter = unfit(door.screen(&message(TOPIC, vec![b'x'; 5_000]))).letter.expect("a letter");
    assert_eq!(letter.topic.as_str(), "$SYS/dead/devices/d1/telemetry/climate");
    let read: DeadLetter = serde_json::from_slice(&letter.payload).expect("JSON");
    assert_eq!((read.sequence, read.code.as_str(), read.topic.as_str()), (1, "not_senml", TOPIC));
    assert_eq!((read.payload_bytes, read.refused, read.taken), (5_000, 0, 0));
    let copy = data_encoding::BASE64.decode(read.payload.as_bytes()).expect("base64");
    assert_eq!(copy, vec![b'x'; LETTER_PAYLOAD_BYTES_MAX]);

    let half = br#"[{"n":"t","u":"Cel","v":21.5},{"n":"h","u":"wet","v":1}]"#;
    let Verdict::Partly(partly) = door.screen(&message(TOPIC, &half[..])) else { panic!("not a part") };
    let read: DeadLetter =
        serde_json::from_slice(&partly.refused.letter.expect("a letter").payload).expect("JSON");
    assert_eq!((read.sequence, read.code.as_str(), read.refused, read.taken), (2, "wrong_unit", 1, 1));
    assert!(partly.refused.reason.starts_with("1 of 2 readings refused: record 1 (h): its unit \"wet\""));
    assert!(!partly.payload.windows(3).any(|part| part == b"wet"));

    // A device has its share of letters; what is beyond is counted by their number.
    let written = (0..20).filter(|_| unfit(door.screen(&message(TOPIC, "x"))).letter.is_some()).count();
    assert_eq!(written as u32, LETTERS_PER_WINDOW_MAX - 2);
    let letter = unfit(other.screen(&message("devices/d2/telemetry/x", "x"))).letter.expect("its own share");
    let read: DeadLetter = serde_json::from_slice(&letter.payload).expect("JSON");
    assert_eq!(read.sequence, 23);
}

#[test]
fn a_will_is_taken_whole_or_its_client_is_told_why_not() {
    let screens = screens();
    let mut door = door(&screens, "d1");
    assert_eq!(door.screen_will(&message(TOPIC, GOOD)), Ok(()));
    assert_eq!(door.screen_will(&message("devices/d1/events/gone", "gone")), Ok(()));
    assert_eq!(door.screen_will(&Message { retain: true, ..message(TOPIC, "") }), Ok(()));
    let refused = door.screen_will(&message(TOPIC, "gone")).expect_err("no SenML");
    assert_eq!(refused.code, ReasonCode::PayloadFormatInvalid);
    assert!(refused.letter.is_some());
    let half = br#"[{"n":"t","u":"Cel","v":21.5},{"n":"h","u":"wet","v":1}]"#;
    let refused = door.screen_will(&message(TOPIC, &half[..])).expect_err("a part of it is none");
    assert!(refused.reason.starts_with("1 of 2 readings refused: record 1 (h)"), "{}", refused.reason);
    let letter: DeadLetter =
        serde_json::from_slice(&refused.letter.expect("a letter").payload).expect("JSON");
    assert_eq!((letter.refused, letter.taken), (2, 0));
}

#[test]
fn a_million_streams_of_one_device_are_refused_at_the_door_and_told() {
    let bounds = Bounds { device_streams_max: 3, ..Bounds::default() };
    let tenants = BTreeMap::from([("acme".parse().expect("id"), bounds)]);
    let quotas = TenantBounds { tenants, ..TenantBounds::default() };
    let screens = Screens::new(Arc::new(quotas), SystemClock::shared());
    let tenant = screens.0.tenant(&"acme".parse().expect("id"));
    let mut door = door(&screens, "d1");
    let mut letters = 0;
    for stream in 0..1_000_000 {
        let verdict = door.screen(&message(&format!("devices/d1/telemetry/s{stream}"), GOOD));
        if stream < 3 {
            assert_eq!(verdict, Verdict::Fit);
            continue;
        }
        let unfit = unfit(verdict);
        assert_eq!(unfit.code, ReasonCode::QuotaExceeded);
        assert_eq!(unfit.reason, "refused: the device has 3 streams already, which is its quota");
        let Some(letter) = unfit.letter else { continue };
        letters += 1;
        let letter: DeadLetter = serde_json::from_slice(&letter.payload).expect("JSON");
        assert_eq!((letter.code.as_str(), letter.reason), ("too_many_streams", unfit.reason));
    }
    assert!((1..1_000).contains(&letters), "{letters}");
    assert_eq!(tenant.series.load(Relaxed), 3, "what was refused takes no memory");

    // Another tenant has what is usual.
    let mut stranger = screens.screen_of(&principal("globex", Kind::Device, "d1")).expect("screened");
    for stream in 0..256 {
        assert_eq!(stranger.screen(&message(&format!("devices/d1/telemetry/s{stream}"), GOOD)), Verdict::Fit);
    }
    let over = unfit(stranger.screen(&message("devices/d1/telemetry/over", GOOD)));
    assert!(over.reason.contains("256 streams"), "{}", over.reason);
}

#[test]
fn a_tenants_schema_holds_for_its_open_sessions_and_no_other_tenant() {
    let screens = screens();
    let mut door = door(&screens, "d1");
    let mut stranger = screens.screen_of(&principal("globex", Kind::Device, "d1")).expect("screened");
    let rule = ReadingRule {
        stream: None,
        name: "t".into(),
        unit: Some("K".into()),
        kind: None,
        min: None,
        max: None,
    };
    let schema = TelemetrySchema { readings: vec![rule], ..TelemetrySchema::default() };
    assert_eq!(door.screen(&message(TOPIC, GOOD)), Verdict::Fit);
    screens.set(&"acme".parse().expect("id"), schema.clone()).expect("it makes sense");
    assert!(unfit(door.screen(&message(TOPIC, GOOD))).reason.contains("the tenant's schema says \"K\""));
    assert_eq!(stranger.screen(&message(TOPIC, GOOD)), Verdict::Fit);
    let wrong = TelemetrySchema { ahead_s: Some(u32::MAX), ..schema };
    assert!(screens.set(&"acme".parse().expect("id"), wrong).is_err());
    assert!(matches!(door.screen(&message(TOPIC, GOOD)), Verdict::Unfit(_)), "what was said before stays");
}

#[test]
fn series_are_counted_for_the_tenant_and_given_back() {
    let screens = screens();
    let tenant = screens.0.tenant(&"acme".parse().expect("id"));
    let mut one = door(&screens, "d1");
    let mut again = door(&screens, "d1");
    for door in [&mut one, &mut again] {
        assert_eq!(door.screen(&message(TOPIC, GOOD)), Verdict::Fit);
    }
    assert_eq!(tenant.series.load(Relaxed), 1, "the sessions of a device share what is known of it");
    assert_eq!(door(&screens, "d2").screen(&message("devices/d2/telemetry/x", GOOD)), Verdict::Fit);
    assert_eq!(tenant.series.load(Relaxed), 2);

    // Without a session, silent for a day: forgotten. The other has a session.
    let mut watched = Watched::default();
    let mut now_ms = 0;
    watched.tick(&screens, now_ms);
    assert_eq!(watched.len(), 2);
    while now_ms <= FORGET_MS + TICK.as_millis() as u64 {
        now_ms += TICK.as_millis() as u64;
        watched.tick(&screens, now_ms);
    }
    assert_eq!((watched.len(), tenant.series.load(Relaxed), screens.0.devices.load(Relaxed)), (1, 1, 1));
}

/// Lets each device say so many messages between ticks; gives what is told, by tick.
fn play(screens: &Screens, ids: &[String], ticks: &[(usize, u32)]) -> Vec<(usize, OddDevices)> {
    let mut doors: Vec<_> = ids.iter().map(|id| door(screens, id)).collect();
    let (mut watched, mut told, mut tick) = (Watched::default(), Vec::new(), 0);
    let event = message("events", "x");
    for &(times, messages) in ticks {
        for _ in 0..times {
            tick += 1;
            for door in &mut doors {
                (0..messages).for_each(|_| assert_eq!(door.screen(&event), Verdict::Fit));
            }
            let odd = watched.tick(screens, tick as u64 * TICK.as_millis() as u64);
            told.extend(odd.into_iter().map(|odd| (tick, odd)));
        }
    }
    told
}

#[test]
fn silence_and_flood_are_told_once_and_many_at_once_together() {
    let told = play(&screens(), &["d1".to_owned()], &[(30, 5), (20, 0), (5, 5), (10, 500), (5, 5)]);
    let kinds: Vec<_> = told.iter().map(|(tick, odd)| (*tick, odd.kind)).collect();
    assert_eq!(kinds, [(37, AlarmKind::FellSilent), (58, AlarmKind::Flood)]);
    assert_eq!(told[0].1.device.as_ref().map(DeviceId::as_str), Some("d1"));
    assert_eq!(told[0].1.detail, "it has said nothing for 70 s, and usually speaks every 10 s or more often");
    assert!(
        told[1].1.detail.starts_with("it publishes 50.0 messages in a second, and usually 0."),
        "{told:?}"
    );

    let ids: Vec<_> = (0..ALARMS_PER_TICK_MAX + 1).map(|number| format!("d{number:02}")).collect();
    let told = play(&screens(), &ids, &[(30, 5), (20, 0)]);
    let [(37, OddDevices { device: None, detail, .. })] = &told[..] else { panic!("{told:?}") };
    assert_eq!(detail, "17 devices fell silent at once, among them d00, d01, d02");
}

#[test]
fn a_hub_that_was_away_misses_nobody() {
    let screens = screens();
    let mut door = door(&screens, "d1");
    let mut watched = Watched::default();
    for tick in 1..=30 {
        let _ = door.screen(&message("events", "x"));
        assert_eq!(watched.tick(&screens, tick * 10_000), []);
    }
    assert_eq!(watched.tick(&screens, 9_000_000), []);
    assert_eq!(watched.tick(&screens, 9_010_000), []);
}
