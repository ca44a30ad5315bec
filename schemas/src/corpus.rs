//! The seeds of the fuzz targets, run as an ordinary test. They live in `fuzz/corpus/<target>/`, one input per file.

use std::{fs, path::PathBuf};

use crate::{
    attest::{self, Answer, Challenge, Outcome},
    enrolment::{DeviceFrame, HubFrame, frame_length, samples},
    firmware::{self, Announcement, Block, Freshness, Get, Offer, Report},
    senml::Pack,
    trust::{SignedTrust, Trust},
};

fn corpus(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target)
}

fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = corpus(target);
    let mut seeds: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{} is not readable: {error}", folder.display()))
        .map(|entry| entry.expect("an entry of the corpus").path())
        .filter(|path| path.is_file())
        .map(|path| (path.display().to_string(), fs::read(&path).expect("a readable seed")))
        .collect();
    seeds.sort();
    assert!(!seeds.is_empty(), "{} is empty", folder.display());
    seeds
}

/// What the fuzz target `enrolment` runs: the input is one frame body, or one with its length prefix.
fn enrolment(input: &[u8]) -> bool {
    let framed = input.split_first_chunk().filter(|(prefix, rest)| frame_length(**prefix) == Ok(rest.len()));
    let body = framed.map_or(input, |(_, rest)| rest);
    let device = DeviceFrame::decode(body).map(|frame| assert_eq!(&frame.encode()[4..], body));
    let hub = HubFrame::decode(body).map(|frame| assert_eq!(&frame.encode()[4..], body));
    device.is_ok() || hub.is_ok()
}

/// What the fuzz target `attest` runs: what is read is written as it was.
fn attest(input: &[u8]) -> bool {
    let challenge = Challenge::decode(input).map(|read| assert_eq!(read.encode(), input));
    let answer = Answer::decode(input).map(|read| assert_eq!(read.encode(), input));
    let outcome = Outcome::decode(input).map(|read| assert_eq!(read.encode(), input));
    challenge.is_ok() || answer.is_ok() || outcome.is_ok()
}

/// What the fuzz target `trust` runs: an object as it travels, or what is signed of one.
fn trust(input: &[u8]) -> bool {
    let signed = SignedTrust::decode(input).map(|signed| {
        assert_eq!(signed.encode(), input);
        Trust::decode(&signed.body).is_ok()
    });
    let body = Trust::decode(input).map(|trust| assert_eq!(trust.encode(), input));
    signed == Ok(true) || body.is_ok()
}

/// What the fuzz target `update` runs: what is read is written as it was, but for a reason that this end does not know.
fn update(input: &[u8]) -> bool {
    let announcement = Announcement::decode(input).map(|read| assert_eq!(read.encode(), input));
    let offer = Offer::decode(input).map(|read| assert_eq!(read.encode(), input));
    let freshness = Freshness::decode(input).map(|read| assert_eq!(read.encode(), input));
    let block = Block::decode(input).map(|read| assert_eq!(read.encode(), input));
    let get = Get::decode(input).map(|read| {
        assert_eq!(read.encode(), input);
        assert!(read.offsets().count() <= 256);
    });
    let report = Report::decode(input)
        .map(|report| assert_eq!(Report::decode(&report.encode()).as_ref(), Ok(&report)));
    announcement.is_ok()
        || offer.is_ok()
        || freshness.is_ok()
        || block.is_ok()
        || get.is_ok()
        || report.is_ok()
}

/// What the fuzz target `senml` runs: what is read can be written, and then means the same.
fn senml(input: &[u8]) -> bool {
    let Ok(pack) = Pack::parse(input) else { return false };
    assert_eq!(Pack::parse(&pack.encode_cbor()).as_ref(), Ok(&pack));
    assert_eq!(Pack::parse(&pack.encode_json()).as_ref(), Ok(&pack));
    pack.resolve(1_790_000_000.0).is_ok()
}

#[test]
fn the_corpus_never_panics() {
    let targets = [
        ("enrolment", enrolment as fn(&[u8]) -> bool),
        ("attest", attest),
        ("senml", senml),
        ("trust", trust),
        ("update", update),
    ];
    for (target, run) in targets {
        for (path, seed) in seeds(target) {
            let accepted = run(&seed);
            let file = path.rsplit('/').next().unwrap_or_default();
            assert_eq!(accepted, file.starts_with("valid-"), "{path} is named for another outcome");
            for length in 0..seed.len() {
                run(&seed[..length]);
            }
        }
    }
}

/// The grammars that others read (RFC 8610) say the same as our readers do.
#[test]
fn what_is_read_fits_the_grammar() {
    let fits = |cddl: &str, rule: &str, bytes: &[u8]| {
        cddl_cat::cbor::validate_cbor_bytes(rule, cddl, bytes).map_err(|why| why.to_string())
    };
    let update = include_str!("../cddl/update.cddl");
    let (attest, root) = (include_str!("../cddl/attest.cddl"), include_str!("../cddl/root.cddl"));
    for (target, only, rule, cddl) in [
        ("update", "valid-", "update", update),
        ("attest", "valid-", "message", attest),
        ("firmware", "valid-root-unsigned", "root", root),
    ] {
        let seeds: Vec<_> =
            seeds(target).into_iter().filter(|(path, _)| path.contains(&format!("/{only}"))).collect();
        assert!(!seeds.is_empty(), "{target}");
        for (path, seed) in seeds {
            assert_eq!(fits(cddl, rule, &seed), Ok(()), "{path}");
        }
    }
    // And they can say no: a digest of 31 bytes, a number out of its range, a key too many.
    let get = firmware::samples::gets().remove(1).encode();
    let place = get.windows(2).position(|pair| pair == [0x58, 0x20]).expect("a digest of 32 bytes");
    let mut short = get.clone();
    short[place + 1] = 0x1f;
    short.remove(place + 2);
    assert!(fits(update, "get", &get).is_ok() && fits(update, "get", &short).is_err());
    let many = Get { count: 257, ..firmware::samples::gets().remove(1) };
    assert!(fits(update, "get", &many.encode()).is_err());
    assert!(fits(update, "block", &get).is_err());
}

/// Writes the seeds that follow from the samples; run by hand after the frames have changed.
#[test]
#[ignore = "writes the seeds of the fuzz targets, and is run by hand when the frames change"]
fn write_the_seeds() {
    let write = |target: &str, name: &str, bytes: &[u8]| {
        fs::create_dir_all(corpus(target)).expect("a folder for the corpus");
        fs::write(corpus(target).join(name), bytes).expect("a written seed");
    };
    let device = samples::device_frames().into_iter().map(|frame| frame.encode());
    let hub = samples::hub_frames().into_iter().map(|frame| frame.encode());
    for (place, frame) in device.chain(hub).enumerate() {
        write("enrolment", &format!("valid-{place:02}"), &frame[4..]);
        if place % 3 == 0 {
            write("enrolment", &format!("truncated-{place:02}"), &frame[4..frame.len() - 3]);
        }
    }
    let (challenge, answer) = (attest::tests::challenge().encode(), attest::tests::answer().encode());
    write("attest", "truncated-answer", &answer[..answer.len() - 3]);
    write("attest", "valid-answer", &answer);
    write("attest", "valid-challenge", &challenge);
    write("attest", "valid-attested", &Outcome::Attested.encode());
    write("attest", "valid-refused", &Outcome::Refused { detail: "another boot".into() }.encode());
    let framed = samples::device_frames()[0].encode();
    write("enrolment", "valid-with-length", &framed);
    let mut wrong_type = framed[4..].to_vec();
    wrong_type[2] = 0x17;
    write("enrolment", "unknown-type", &wrong_type);
    write("enrolment", "huge-length", &[0xa2, 0, 3, 1, 0x5b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    write("enrolment", "twice", &[0xa3, 0, 19, 1, 5, 1, 5]);
    write("enrolment", "indefinite", &[0xbf, 0, 19, 1, 5, 0xff]);
    write("enrolment", "trailing", &[0xa2, 0, 19, 1, 5, 0]);

    let mut pack = Pack::new("urn:dev:pump-7:", 1_790_000_000.5);
    pack.number("temperature", Some("Cel"), 21.5).text("state", "on").boolean("open", false);
    pack.value("blob", None, crate::senml::Value::Data(vec![0, 255]));
    write("senml", "valid-json", &pack.encode_json());
    write("senml", "valid-cbor", &pack.encode_cbor());
    write("senml", "valid-sum", br#"[{"n":"energy","u":"J","s":5}]"#);
    write(
        "senml",
        "valid-base",
        br#"[{"bn":"a/","bt":-5,"bu":"W","bv":1,"bver":5,"n":"x","v":1},{"n":"y","t":-1}]"#,
    );
    write("senml", "valid-indefinite-cbor", &[0x9f, 0xbf, 0, 0x61, b'a', 2, 0xf9, 0x3c, 0, 0xff, 0xff]);
    write("senml", "valid-decimal-cbor", &[0x81, 0xa2, 0, 0x61, b'a', 2, 0xc4, 0x82, 0x21, 0x19, 0x6a, 0xb3]);
    write("senml", "twice-json", br#"[{"n":"a","v":1,"v":2}]"#);
    write("senml", "not-finite-cbor", &[0x81, 0xa2, 0, 0x61, b'a', 2, 0xf9, 0x7e, 0]);
    write("senml", "must-understand", br#"[{"n":"a","v":1,"x_":2}]"#);
    write("senml", "deep-json", format!(r#"[{{"n":"a","v":1,"x":{}"#, "[".repeat(2_000)).as_bytes());
    write(
        "senml",
        "deep-cbor",
        &[&[0x81, 0xa3, 0, 0x61, b'a', 2, 1, 0x61, b'x'][..], &[0x81; 2_000]].concat(),
    );
    write("senml", "huge-array-cbor", &[0x9b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    write("senml", "name-json", br#"[{"n":"../../etc passwd","v":1}]"#);

    for revoked in [0, 3, 100] {
        let signed = crate::trust::tests::sample(revoked);
        write("trust", &format!("valid-{revoked}"), &signed.encode());
        write("trust", &format!("valid-body-{revoked}"), &signed.body);
        write("trust", &format!("truncated-{revoked}"), &signed.encode()[..900 + revoked]);
    }
    for (place, (kind, bytes)) in firmware::samples::encoded().iter().enumerate() {
        write("update", &format!("valid-{place:02}-{kind}"), bytes);
        if place % 3 == 0 {
            write("update", &format!("truncated-{place:02}-{kind}"), &bytes[..bytes.len() - 1]);
        }
    }
    write("update", "huge-length", &[0xa3, 0, 0x5b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    write("update", "indefinite", &[0xbf, 0, 1, 0xff]);
    let mut unordered = Trust::decode(&crate::trust::tests::sample(2).body).expect("a sample");
    unordered.revoked.reverse();
    write("trust", "unordered-body", &unordered.encode());
    write("trust", "huge-length", &[0xa3, 0, 0x5b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    write("trust", "indefinite", &[0xbf, 0, 0x41, 0, 1, 0x80, 2, 0x41, 0, 0xff]);
}
