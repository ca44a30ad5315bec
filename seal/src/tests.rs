//! The vectors of others, and what must not open.

use data_encoding::HEXLOWER;
use muster_schemas::{
    DeviceId, TenantId,
    cbor::{Reader, Writer},
};
use proptest::prelude::*;

use super::*;

fn hex(text: &str) -> Vec<u8> {
    HEXLOWER.decode(text.as_bytes()).expect("hexadecimal")
}

fn key(kem: Kem) -> Opener {
    Opener::generate(kem).expect("a key")
}

fn sealed_to(openers: &[&Opener]) -> Vec<u8> {
    let recipients: Vec<_> = openers.iter().map(|opener| opener.recipient().clone()).collect();
    seal(b"21.5", b"here", &recipients, Padding::None).expect("sealed")
}

#[test]
fn what_rfc_9180_seals_with_x25519_and_chacha20_opens() {
    // RFC 9180 A.2.1, sequence number 0.
    let private = hex("8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb");
    let opener = Opener::from_raw(Kem::X25519, &private).expect("a key");
    let encapsulated = hex("1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a");
    let ciphertext =
        hex("1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28");
    let opened = opener.open(&encapsulated, b"Ode on a Grecian Urn", b"Count-0", &ciphertext);
    assert_eq!(opened.expect("opened").as_slice(), b"Beauty is truth, truth beauty");
    assert!(opener.open(&encapsulated, b"Ode on a Grecian Urn", b"Count-1", &ciphertext).is_none());
    assert!(opener.open(&encapsulated, b"Ode to a Nightingale", b"Count-0", &ciphertext).is_none());
}

/// Of a message of the draft: the algorithm of its content, and its first recipient. Their nonces of AES-256-GCM have 32
/// bytes, which RFC 9053 §4.1 does not allow, so that the content key is what we can look at.
fn taken_apart(bytes: &[u8]) -> (i64, SealedKey<'_>) {
    let mut reader = Reader::tolerant(bytes.strip_prefix(&[0xd8, 0x60]).expect("tag 96"));
    reader.tuple(4).expect("four parts");
    let mut header = Reader::tolerant(reader.bytes(16).expect("a header"));
    header.map(1).expect("a map");
    assert_eq!(header.integer(), Ok(1));
    let algorithm = header.integer().expect("an algorithm").try_into().expect("a small one");
    reader.skip().expect("the nonce");
    reader.skip().expect("the content");
    reader.array(1).expect("one recipient");
    (algorithm, cose::read_key(&mut reader).expect("a recipient as we write it"))
}

#[test]
fn the_content_keys_of_the_drafts_vectors_come_out() {
    let mut opener = None;
    let mut seen = 0;
    for line in include_str!("../vectors/cose-hpke.txt").lines().filter(|line| !line.starts_with('#')) {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["key", "p256", private] => opener = Opener::from_raw(Kem::P256, &hex(private)).ok(),
            ["key", "x25519", private] => opener = Opener::from_raw(Kem::X25519, &hex(private)).ok(),
            [_, info, hpke_aad, message] => {
                let message = hex(message);
                let opener = opener.as_ref().expect("a key before it");
                let (algorithm, sealed) = taken_apart(&message);
                assert_eq!(sealed.algorithm, opener.recipient().kem().algorithm());
                let pick = |word, external: &'static [u8]| if word == "external" { external } else { &[] };
                let extra = [pick(info, b"external-info"), pick(hpke_aad, b"external-hpke-aad")];
                assert_eq!(sealed.content_key(algorithm, extra, opener).expect("the content key").len(), 32);
                assert!(sealed.content_key(algorithm + 1, extra, opener).is_none(), "bound to its use");
                seen += 1;
            }
            _ => assert!(line.is_empty(), "{line}"),
        }
    }
    assert_eq!(seen, 16);
}

fn here() -> Vec<u8> {
    let (tenant, device) = ("acme".parse().expect("id"), "42".parse().expect("id"));
    Binding { tenant: &tenant, device: &device, topic: "devices/42/telemetry/climate" }.to_bytes()
}

const VECTOR_KEYS: [(&str, &str); 2] =
    [("p256", include_str!("../vectors/p256.pem")), ("x25519", include_str!("../vectors/x25519.pem"))];

#[test]
fn what_another_implementation_sealed_opens() {
    let mut seen = 0;
    for line in include_str!("../vectors/python.txt").lines().filter(|line| !line.starts_with('#')) {
        let (name, message) = line.split_once(' ').expect("a key and a message");
        let (_, pem) = VECTOR_KEYS.into_iter().find(|(key, _)| *key == name).expect("its key");
        let app = Opener::from_pem(pem.as_bytes()).expect("a key");
        let opened = open(&hex(message), &here(), &app).expect("opened");
        assert_eq!(opened.as_slice(), br#"[{"n":"t","u":"Cel","v":21.5}]"#);
        assert_eq!(open(&hex(message), b"elsewhere", &app), Err(OpenFailure::ContentRefused));
        seen += 1;
    }
    assert_eq!(seen, 4, "both curves, padded and not");
}

#[test]
fn another_implementation_opens_what_we_seal() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
    let has_library = std::process::Command::new("python3").args(["-c", "import cryptography"]).output();
    if !has_library.is_ok_and(|ended| ended.status.success()) {
        return; // Nothing to compare with on this machine; the vectors above stay.
    }
    let vaults = [Padding::None, Padding::SizeClasses];
    for ((name, pem), padding) in VECTOR_KEYS.into_iter().flat_map(|key| vaults.map(|padding| (key, padding)))
    {
        let app = Opener::from_pem(pem.as_bytes()).expect("a key");
        let other = key(Kem::P256);
        let to = [other.recipient().clone(), app.recipient().clone()];
        let sealed = seal(b"the canary", &here(), &to, padding).expect("sealed");
        let mut reader = std::process::Command::new("python3")
            .arg(folder.join("reader.py"))
            .arg("open")
            .arg(folder.join(format!("{name}.pem")))
            .args(["acme", "devices/42/telemetry/climate"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("python3");
        std::io::Write::write_all(&mut reader.stdin.take().expect("its input"), &sealed).expect("taken");
        let ended = reader.wait_with_output().expect("its end");
        assert_eq!((ended.status.success(), ended.stdout.as_slice()), (true, &b"the canary"[..]), "{name}");
    }
}

#[test]
fn each_recipient_opens_it_and_nobody_else_does() {
    let [first, second, other] = [key(Kem::P256), key(Kem::X25519), key(Kem::P256)];
    let sealed = sealed_to(&[&first, &second]);
    assert_eq!(open(&sealed, b"here", &first).expect("opened").as_slice(), b"21.5");
    assert_eq!(open(&sealed, b"here", &second).expect("opened").as_slice(), b"21.5");
    let refused = open(&sealed, b"here", &other).expect_err("closed");
    assert!(matches!(refused, OpenFailure::NotForThisKey { .. }), "{refused}");
    let elsewhere = open(&sealed, b"there", &first).expect_err("closed");
    assert_eq!(elsewhere, OpenFailure::ContentRefused);
}

#[test]
fn a_binding_is_of_one_tenant_device_and_topic() {
    let (tenant, device): (TenantId, DeviceId) = ("acme".parse().expect("id"), "42".parse().expect("id"));
    let (neighbour, twin): (TenantId, DeviceId) = ("apex".parse().expect("id"), "43".parse().expect("id"));
    let topic = "devices/42/telemetry/a";
    let here = Binding { tenant: &tenant, device: &device, topic };
    let app = key(Kem::P256);
    let sealed =
        seal(b"x", &here.to_bytes(), &[app.recipient().clone()], Padding::SizeClasses).expect("sealed");
    assert!(open(&sealed, &here.to_bytes(), &app).is_ok());
    for moved in [
        Binding { tenant: &neighbour, ..here },
        Binding { device: &twin, ..here },
        Binding { topic: "devices/42/telemetry/b", ..here },
    ] {
        assert_eq!(
            open(&sealed, &moved.to_bytes(), &app).expect_err("closed"),
            OpenFailure::ContentRefused,
            "{moved:?}"
        );
    }
}

#[test]
fn every_bit_and_every_length_counts() {
    let app = key(Kem::P256);
    let sealed = sealed_to(&[&app]);
    for length in 0..sealed.len() {
        let refused = open(&sealed[..length], b"here", &app).expect_err("closed");
        assert!(matches!(refused, OpenFailure::Invalid(_)), "{length} bytes: {refused}");
    }
    for index in 0..sealed.len() {
        for bit in 0..8 {
            let mut altered = sealed.clone();
            altered[index] ^= 1 << bit;
            assert!(open(&altered, b"here", &app).is_err(), "bit {bit} of byte {index}");
        }
    }
    let longer = [&sealed[..], &[0]].concat();
    assert!(matches!(open(&longer, b"here", &app), Err(OpenFailure::Invalid(InvalidSealed::Cbor(_)))));
}

#[test]
fn nothing_of_the_plaintext_is_in_it_and_no_two_are_alike() {
    let app = key(Kem::P256);
    let secret = b"the canary sings in the mine";
    let seal = || seal(secret, b"", &[app.recipient().clone()], Padding::None).expect("sealed");
    let (one, two) = (seal(), seal());
    assert_ne!(one, two);
    assert!(!one.windows(6).any(|part| secret.windows(6).any(|of| of == part)));
}

#[test]
fn a_size_class_is_all_that_the_length_tells() {
    let app = key(Kem::X25519);
    let lengths: Vec<_> = [1, 30, 63]
        .map(|length| {
            seal(&vec![7; length], b"", &[app.recipient().clone()], Padding::SizeClasses).expect("sealed")
        })
        .map(|sealed| {
            assert!(Sealed::decode(&sealed).expect("sealed").padded);
            sealed.len()
        })
        .into();
    assert_eq!(lengths, [lengths[0]; 3]);
}

#[test]
fn the_padding_is_for_those_only_who_know_it() {
    // crit (2) names the private header, so that a reader of COSE who does not know it refuses (RFC 9052 §3.1).
    let app = key(Kem::P256);
    let sealed = seal(b"x", b"", &[app.recipient().clone()], Padding::SizeClasses).expect("sealed");
    let mut header = Writer::default();
    header.map(3).integer(1).integer(3).integer(2).array(1).integer(-65_537).integer(-65_537).boolean(true);
    let header = header.into_bytes();
    assert_eq!(sealed.get(4..4 + header.len()), Some(&header[..]));
}

#[test]
fn keys_go_to_files_that_openssl_reads_and_come_back() {
    for kem in [Kem::P256, Kem::X25519] {
        let made = key(kem);
        let private = made.to_pem().expect("a file");
        let read = Opener::from_pem(private.as_bytes()).expect("its key");
        assert_eq!(read.recipient(), made.recipient());
        let public = made.recipient().to_pem();
        assert_eq!(Recipient::from_pem(public.as_bytes()).as_ref(), Ok(made.recipient()));
        assert_eq!(Recipient::from_pem(private.as_bytes()), Err(InvalidKey::Private));
        let not_private = Opener::from_pem(public.as_bytes()).map(drop);
        assert_eq!(not_private, Err(InvalidKey::NotPem { expected: "PRIVATE KEY" }));
    }
}

#[test]
fn keys_that_openssl_made_are_read() {
    // openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256; openssl genpkey -algorithm X25519
    for (private, public) in [
        (include_str!("../vectors/p256.pem"), include_str!("../vectors/p256.pub.pem")),
        (include_str!("../vectors/x25519.pem"), include_str!("../vectors/x25519.pub.pem")),
    ] {
        let opener = Opener::from_pem(private.as_bytes()).expect("a key");
        assert_eq!(Recipient::from_pem(public.as_bytes()).as_ref(), Ok(opener.recipient()));
    }
}

#[test]
fn what_is_no_key_is_refused() {
    assert_eq!(Recipient::from_pem(b"hello"), Err(InvalidKey::NotPem { expected: "PUBLIC KEY" }));
    assert_eq!(Recipient::from_pem(&vec![b'-'; limits::KEY_FILE_BYTES_MAX + 1]), Err(InvalidKey::TooLong));
    let mut off_curve = vec![0x04; 65];
    off_curve[64] = 7;
    assert_eq!(Recipient::from_raw(Kem::P256, &off_curve), Err(InvalidKey::NotOnCurve));
    // A compressed point is a point, and not how HPKE has it.
    assert_eq!(Recipient::from_raw(Kem::P256, &[0x02; 33]), Err(InvalidKey::NotOnCurve));
    assert_eq!(Opener::from_raw(Kem::P256, &[0xff; 32]).map(drop), Err(InvalidKey::NotOnCurve));
}

#[test]
fn a_key_that_gives_everyone_the_same_secret_seals_nothing() {
    // The points of small order of X25519 (RFC 7748 §6.1): here zero.
    let zero = Recipient::from_raw(Kem::X25519, &[0; 32]).expect("32 bytes");
    assert_eq!(seal(b"x", b"", &[zero], Padding::None), Err(SealFailure::Refused));
}

#[test]
fn as_many_recipients_as_there_may_be() {
    let app = key(Kem::P256).recipient().clone();
    assert_eq!(seal(b"x", b"", &[], Padding::None), Err(SealFailure::Recipients { found: 0 }));
    assert!(seal(b"x", b"", &vec![app.clone(); limits::RECIPIENTS_MAX], Padding::None).is_ok());
    let more = vec![app; limits::RECIPIENTS_MAX + 1];
    assert_eq!(seal(b"x", b"", &more, Padding::None), Err(SealFailure::Recipients { found: 9 }));
}

#[test]
fn the_seeds_of_the_fuzz_target_are_read_as_they_are_written() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/sealed");
    let mut read = 0;
    for entry in std::fs::read_dir(folder).expect("a corpus") {
        let entry = entry.expect("an entry");
        let bytes = std::fs::read(entry.path()).expect("a seed");
        let decoded = Sealed::decode(&bytes);
        assert_eq!(
            decoded.is_ok(),
            entry.file_name().to_string_lossy().starts_with("valid-"),
            "{:?}",
            entry.path()
        );
        if let Ok(sealed) = decoded {
            assert_eq!(sealed.encode(), bytes);
            read += 1;
        }
    }
    assert!(read >= 3);
}

proptest! {
    #[test]
    fn what_is_read_is_written_as_it_was(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        let bytes = [&[0xd8, 0x60][..], &bytes].concat();
        if let Ok(sealed) = Sealed::decode(&bytes) {
            prop_assert_eq!(sealed.encode(), bytes);
        }
    }

    #[test]
    fn what_is_sealed_opens(plaintext in prop::collection::vec(any::<u8>(), 0..3_000), padded: bool, aad: Vec<u8>) {
        let padding = if padded { Padding::SizeClasses } else { Padding::None };
        let app = key(Kem::X25519);
        let sealed = seal(&plaintext, &aad, &[app.recipient().clone()], padding).expect("sealed");
        prop_assert_eq!(&open(&sealed, &aad, &app).expect("opened")[..], &plaintext[..]);
        prop_assert_eq!(Sealed::decode(&sealed).expect("sealed").encode(), sealed);
    }
}

#[test]
#[ignore = "writes the seeds anew"]
fn seeds_are_written() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/sealed");
    let [p256, x25519] = [key(Kem::P256), key(Kem::X25519)];
    let to = |openers: &[&Opener], padding| {
        let recipients: Vec<_> = openers.iter().map(|opener| opener.recipient().clone()).collect();
        seal(b"[{\"n\":\"t\",\"v\":21.5}]", b"", &recipients, padding).expect("sealed")
    };
    let whole = to(&[&p256], Padding::None);
    let seeds = [
        ("valid-p256", whole.clone()),
        ("valid-x25519-padded", to(&[&x25519], Padding::SizeClasses)),
        ("valid-two", to(&[&p256, &x25519], Padding::None)),
        ("truncated", whole[..whole.len() - 1].to_vec()),
        ("trailing", [&whole[..], &[0]].concat()),
        ("long-head", [&[0xd9, 0x00, 0x60], &whole[2..]].concat()),
        ("no-recipient", Sealed { keys: vec![], ..Sealed::decode(&whole).expect("sealed") }.encode()),
        ("not-sealed", b"[{\"n\":\"t\",\"v\":21.5}]".to_vec()),
    ];
    for (name, bytes) in seeds {
        std::fs::write(folder.join(name), bytes).expect("a seed");
    }
}

#[test]
#[ignore = "measures; for `cargo test --release -- --ignored --nocapture what_sealing_costs`"]
#[expect(clippy::disallowed_methods, clippy::print_stdout, reason = "it measures, and says what")]
fn what_sealing_costs() {
    for (kem, recipients) in [(Kem::P256, 1), (Kem::P256, 2), (Kem::X25519, 1)] {
        let app = key(kem);
        let to = vec![app.recipient().clone(); recipients];
        let payload = [7; 256];
        let rounds = 5_000_u32;
        let begun = std::time::Instant::now();
        let mut length = 0;
        for _ in 0..rounds {
            length = seal(&payload, b"aad", &to, Padding::None).expect("sealed").len();
        }
        let sealing = begun.elapsed() / rounds;
        let sealed = seal(&payload, b"aad", &to, Padding::None).expect("sealed");
        let begun = std::time::Instant::now();
        for _ in 0..rounds {
            assert!(open(&sealed, b"aad", &app).is_ok());
        }
        let opening = begun.elapsed() / rounds;
        let more = length - payload.len();
        println!("{kem:?}, {recipients} recipients: seal {sealing:?}, open {opening:?}, {more} bytes more");
    }
}
