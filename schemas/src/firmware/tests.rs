use proptest::prelude::*;

use super::*;
use crate::{DeviceId, limits};

/// Every sample, by what reads it.
fn encoded() -> Vec<(&'static str, Vec<u8>)> {
    let mut all: Vec<(&str, Vec<u8>)> = Vec::new();
    all.extend(samples::offers().iter().map(|x| ("offer", x.encode())));
    all.extend(samples::freshness().iter().map(|x| ("freshness", x.encode())));
    all.extend(samples::announcements().iter().map(|x| ("announcement", x.encode())));
    all.extend(samples::gets().iter().map(|x| ("get", x.encode())));
    all.extend(samples::blocks().iter().map(|x| ("block", x.encode())));
    all.extend(samples::reports().iter().map(|x| ("report", x.encode())));
    all
}

/// What is read is written as it was.
fn read(kind: &str, bytes: &[u8]) -> Result<(), InvalidUpdate> {
    let again = match kind {
        "offer" => Offer::decode(bytes)?.encode(),
        "freshness" => Freshness::decode(bytes)?.encode(),
        "announcement" => Announcement::decode(bytes)?.encode(),
        "get" => Get::decode(bytes)?.encode(),
        "block" => Block::decode(bytes)?.encode(),
        _ => match Report::decode(bytes)? {
            // A reason that this end does not know is read as "other".
            Report::Event(Event {
                what: EventKind::Ended { outcome: Outcome::Failed { code: FailureCode::Other }, .. },
                ..
            }) => return Ok(()),
            report => report.encode(),
        },
    };
    assert_eq!(again, bytes, "{kind}");
    Ok(())
}

#[test]
fn what_is_said_survives_the_wire_and_no_part_of_it_does() {
    for (kind, bytes) in encoded() {
        assert_eq!(read(kind, &bytes), Ok(()), "{kind}");
        for cut in 0..bytes.len() {
            assert!(read(kind, &bytes[..cut]).is_err(), "{kind} cut at {cut}");
        }
        assert!(read(kind, &[&bytes[..], &[0]].concat()).is_err(), "{kind} goes on");
    }
    for offer in samples::offers() {
        assert_eq!(Offer::decode(&offer.encode()), Ok(offer));
    }
    for report in samples::reports() {
        assert_eq!(Report::decode(&report.encode()), Ok(report));
    }
    for get in samples::gets() {
        assert_eq!(Get::decode(&get.encode()), Ok(get));
    }
}

#[test]
fn an_offer_and_a_freshness_statement_are_never_taken_for_one_another() {
    let (offer, freshness) = (samples::offers().remove(0).encode(), samples::freshness().remove(0).encode());
    assert_eq!(Freshness::decode(&offer), Err(InvalidUpdate::UnknownKind(1)));
    assert_eq!(Offer::decode(&freshness), Err(InvalidUpdate::UnknownKind(2)));
}

#[test]
fn a_patch_says_what_it_is_for_and_nothing_else_does() {
    let mut offer = samples::offers().remove(0);
    offer.transfers[0].from = None;
    assert!(matches!(Offer::decode(&offer.encode()), Err(InvalidUpdate::Value { key: 12, .. })));
    let mut offer = samples::offers().remove(0);
    offer.transfers[1].from = Some(Digest([2; 32]));
    assert!(matches!(Offer::decode(&offer.encode()), Err(InvalidUpdate::Value { key: 12, .. })));
}

#[test]
fn a_device_gets_at_most_a_window() {
    let get = samples::gets().remove(1);
    for (block_bytes, count, accepted) in [
        (256, 256, true),
        (65_536, 1, true),
        (4_096, 16, true),
        (255, 1, false),
        (65_537, 1, false),
        (4_096, 17, false),
        (4_096, 0, false),
        (256, 257, false),
        (65_536, u32::MAX, false),
    ] {
        let get = Get { block_bytes, count, ..get.clone() };
        assert_eq!(Get::decode(&get.encode()).is_ok(), accepted, "{count} of {block_bytes}");
    }
    let beyond = Get { offset: u64::MAX - 10, ..get.clone() };
    assert!(matches!(Get::decode(&beyond.encode()), Err(InvalidUpdate::Value { key: 1, .. })));
    let short = Get { bitmap: Some(vec![0xff]), ..get };
    assert!(matches!(Get::decode(&short.encode()), Err(InvalidUpdate::Value { key: 4, .. })));
}

#[test]
fn a_bitmap_names_the_blocks_that_are_missing() {
    let get = samples::gets().remove(0);
    let wanted: Vec<_> = get.offsets().collect();
    assert_eq!(wanted, [65_536, 65_536 + 7 * 4_096, 65_536 + 9 * 4_096]);
    assert_eq!(samples::gets().remove(1).offsets().count(), 16);
}

#[test]
fn what_people_read_has_no_control_characters_and_an_end() {
    let detail = format!("a\u{1b}[2J{}", "ü".repeat(400));
    let event = Event {
        execution: ExecutionId::MIN,
        attempt: 1,
        number: 1,
        what: EventKind::Ended { outcome: Outcome::RolledBack, detail },
    };
    let Ok(Report::Event(Event { what: EventKind::Ended { detail, .. }, .. })) =
        Report::decode(&Report::Event(event).encode())
    else {
        panic!("a report")
    };
    assert!(detail.starts_with("a [2J") && detail.len() <= limits::UPDATE_DETAIL_BYTES_MAX);
}

#[test]
fn words_and_numbers_are_one_to_one() {
    for stage in Stage::ALL {
        assert_eq!((stage.as_str().parse(), Stage::from_number(stage.number())), (Ok(*stage), Some(*stage)));
    }
    for code in FailureCode::ALL {
        assert_eq!(
            (code.as_str().parse(), FailureCode::from_number(code.number())),
            (Ok(*code), Some(*code))
        );
        assert_eq!(serde_json::to_value(code).expect("JSON"), code.as_str());
        let failed = Outcome::Failed { code: *code };
        assert_eq!(failed.to_string().parse(), Ok(failed));
        assert_eq!(Outcome::from_numbers(1, Some(code.number())), Some(failed));
    }
    for outcome in Outcome::SAMPLES {
        assert_eq!(outcome.to_string().parse(), Ok(*outcome));
        assert_eq!(
            Outcome::from_numbers(outcome.number(), outcome.code().map(FailureCode::number)),
            Some(*outcome)
        );
    }
    for encoding in Encoding::ALL {
        assert_eq!(
            (encoding.as_str().parse(), Encoding::from_number(encoding.number())),
            (Ok(*encoding), Some(*encoding))
        );
    }
    assert_eq!(Outcome::from_numbers(1, None), None);
    assert_eq!(Outcome::from_numbers(0, Some(1)), None);
    assert!("failed".parse::<Outcome>().is_err());
    assert_eq!(FailureCode::ALL.len(), 13);
}

#[test]
fn names_have_one_text() {
    let digest = Digest([0xab; 32]);
    assert_eq!(digest.to_string().parse(), Ok(digest));
    assert_eq!(serde_json::to_string(&digest).expect("JSON"), format!("\"{digest}\""));
    assert!("ab".parse::<Digest>().is_err());
    let uuid: Uuid = "fa6b4a53-d5ad-5fdf-be9d-e663e4d41ffe".parse().expect("a UUID");
    assert_eq!(uuid.to_string(), "fa6b4a53-d5ad-5fdf-be9d-e663e4d41ffe");
    assert_eq!("fa6b4a53d5ad5fdfbe9de663e4d41ffe".parse(), Ok(uuid));
    assert!("fa6b4a53-d5ad-5fdf-be9de-663e4d41ffe".parse::<Uuid>().is_err());
    assert_eq!("2147483647".parse(), Ok(ExecutionId::MAX));
    for text in ["0", "2147483648", "4294967296", "+1", "01", "", "1 "] {
        assert!(text.parse::<ExecutionId>().is_err(), "{text:?}");
    }
}

#[test]
fn topics_lie_below_the_device() {
    let device: DeviceId = "pump-7".parse().expect("a device");
    for topic in
        [UpdateTopic::Offer, UpdateTopic::Get, UpdateTopic::Block { request: 12 }, UpdateTopic::Report]
    {
        assert_eq!(UpdateTopic::parse(&topic.of(&device)), Some((device.clone(), topic)));
    }
    for name in [
        "devices/pump-7/firmware/block/012",
        "devices/pump-7/firmware/block/",
        "devices/Pump/firmware/get",
        "devices/pump-7/firmware/other",
        "devices/a/firmware/x/firmware/get",
    ] {
        assert_eq!(UpdateTopic::parse(name), None, "{name}");
    }
}

proptest! {
    #[test]
    fn no_bytes_panic_and_what_is_read_is_written_as_it_was(
        place in 0_usize..40, at in 0_usize..400, byte: u8, drop_to in 0_usize..600,
    ) {
        let all = encoded();
        let (kind, mut bytes) = all[place % all.len()].clone();
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = read(kind, &bytes);
        bytes.truncate(drop_to);
        for kind in ["offer", "freshness", "announcement", "get", "block", "report"] {
            let _ = read(kind, &bytes);
        }
    }
}
